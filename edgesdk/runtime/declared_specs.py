"""Reconcile the inputs and outputs of a file with those its manifest declares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgesdk.errors import SessionError
from edgesdk.spec import TensorSpec

__all__ = ["declared_specs"]


def declared_specs(
    kind: str, found: Sequence[TensorSpec], declared: Sequence[TensorSpec] | None
) -> tuple[TensorSpec, ...]:
    """Merge the file's order, shapes and dtypes with the declared names, ranges and layouts.

    Dtypes and fixed sizes of both must agree. The declaration adds facts that files do not hold:
    names (``.pte``), ranges of free dimensions, layouts. Specs are matched by name if both have the
    same names, else by position.

    Args:
        kind: ``input`` or ``output``, for messages.
        found: Specs of the file, in the artefact's order.
        declared: Specs of the manifest, or None.

    Raises:
        SessionError: The declaration belongs to another file.
    """
    if declared is None:
        return tuple(found)
    if len(declared) != len(found):
        raise SessionError(
            f"the artefact has {len(found)} {kind}s, but {len(declared)} are declared",
            remedy="the manifest belongs to another file; export again",
        )
    by_name = {spec.name: spec for spec in declared}
    if len(by_name) != len(declared):
        raise SessionError(f"two declared {kind}s have the same name")
    same_names = set(by_name) == {spec.name for spec in found}
    return tuple(
        _merged(kind, spec, by_name[spec.name] if same_names else declared[position])
        for position, spec in enumerate(found)
    )


def _merged(kind: str, found: TensorSpec, declared: TensorSpec) -> TensorSpec:
    fits = found.dtype == declared.dtype and len(found.shape) == len(declared.shape)
    if fits:
        fits = all(
            size == wanted or axis in found.dynamic or axis in declared.dynamic
            for axis, (size, wanted) in enumerate(zip(found.shape, declared.shape, strict=True))
        )
    if not fits:
        raise SessionError(
            f"the artefact has the {kind} {found}, but {declared} is declared",
            remedy="the manifest belongs to another file; export again",
        )
    # A dimension that is free in the file and fixed in the declaration stays fixed: only the
    # declared size was verified.
    return replace(declared, dynamic=dict(declared.dynamic))
