"""Reconciling what a file says of its inputs and outputs with what its manifest says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgesdk.errors import SessionError
from edgesdk.spec import TensorSpec

__all__ = ["declared_specs"]


def declared_specs(
    kind: str, found: Sequence[TensorSpec], declared: Sequence[TensorSpec] | None
) -> tuple[TensorSpec, ...]:
    """The specs a session shows: the file's order, shapes and dtypes with the declared names.

    A file wins where it contradicts nothing: its dtype and its fixed sizes must be the declared
    ones. The declaration adds what files do not hold: names (``.pte``), ranges of free dimensions,
    layouts. Specs are matched by name where the names are the same set, else by position.

    Args:
        kind: ``input`` or ``output``, for messages.
        found: What the file says, in the artefact's order.
        declared: What the manifest says, or None.

    Raises:
        SessionError: The declaration belongs to another file.
    """
    if declared is None:
        return tuple(found)
    if len(declared) != len(found):
        raise SessionError(
            f"the artefact has {len(found)} {kind}s, {len(declared)} are declared",
            remedy="the manifest belongs to another file; export again",
        )
    by_name = {spec.name: spec for spec in declared}
    if len(by_name) != len(declared):
        raise SessionError(f"two declared {kind}s have one name")
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
            f"the artefact has the {kind} {found}, declared is {declared}",
            remedy="the manifest belongs to another file; export again",
        )
    # A dimension that the file leaves free and the declaration fixes stays fixed: the declaration
    # is what was verified.
    return replace(declared, dynamic=dict(declared.dynamic))
