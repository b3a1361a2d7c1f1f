"""Painters of bundles: load an artefact and paint with it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from edgesdk.bundle.bundle import Bundle
from edgesdk.bundle.manifest import ArtefactRecord
from edgesdk.errors import BundleError, MissingBackendError, UsageError
from edgesdk.runtime.session import Session
from edgesdk.video.checks import whole_number
from edgesdk.video.painters import SessionPainter, session_painter
from edgesdk.video.styles import find_style_input

__all__ = ["bundle_painter"]

#: Targets, fastest on a desktop processor first.
_PREFERRED = ("onnx", "litert", "executorch", "coreml")


def bundle_painter(
    bundle: Bundle | str | os.PathLike[str],
    target: str | None = None,
    style: str | int | None = None,
    blend: Mapping[str, float] | None = None,
    *,
    threads: int = 0,
) -> SessionPainter:
    """Load an artefact of a bundle as a painter; close it after use.

    >>> painter = bundle_painter("painters.edge", style="night")     # doctest: +SKIP
    >>> painter.set_style("wave")                                    # doctest: +SKIP

    Args:
        bundle: A bundle, or its folder, whose files are then checked.
        target: Artefact, as for :meth:`~edgesdk.bundle.bundle.Bundle.artefact`; None: the first
            that loads here, of onnx, litert, executorch and coreml.
        style: Name or number of one of the network's styles; None: the first.
        blend: Weights of several styles, instead; scaled to a sum of 1.
        threads: Threads of the runtime; 0: one a processor.

    Raises:
        BundleError: The bundle is damaged, or none of its artefacts loads or fits its styles.
        UnknownNameError: The target or the style is unknown.
        UsageError: The artefact is not a stylizer.
        MissingBackendError: The runtime of the target is not installed.
        SessionError: The runtime rejects the artefact.
    """
    opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
    whole_number("threads", threads, 0)
    session = _session(opened, target, threads or os.cpu_count() or 1)
    try:
        _check_names(opened, session)
        painter = session_painter(
            session, style=style, blend=blend, style_names=opened.manifest.styles
        )
    except BaseException:
        session.close()
        raise
    painter.close_with(session.close)
    return painter


def _check_names(bundle: Bundle, session: Session) -> None:
    try:
        find_style_input(session.inputs, bundle.manifest.styles)
    except UsageError as error:
        raise BundleError(
            f"in {Path(bundle.path).name} {error.message}",
            remedy="export it again from a model with a name in style_names for each of its styles",
        ) from error


def _session(bundle: Bundle, target: str | None, threads: int) -> Session:
    if target is not None:
        return _opened(bundle, bundle.artefact(target), threads)
    records = sorted(bundle.manifest.artefacts, key=_preference)
    missing: MissingBackendError | None = None
    for record in records:
        try:
            return _opened(bundle, record, threads)
        except MissingBackendError as error:
            missing = missing or error
    if missing is not None:
        raise missing
    raise BundleError(
        f"{Path(bundle.path).name} has no artefact to paint with",
        remedy="see failures in its manifest for the reasons; export it again",
    )


def _preference(record: ArtefactRecord) -> tuple[int, bool]:
    family = record.target.partition(":")[0]
    place = _PREFERRED.index(family) if family in _PREFERRED else len(_PREFERRED)
    return place, record.quantization is not None


def _opened(bundle: Bundle, record: ArtefactRecord, threads: int) -> Session:
    from edgesdk import runtime

    # Frames are rendered while it paints.
    return runtime.open(
        bundle.path_of(record),
        threads=threads,
        inputs=record.inputs,
        outputs=record.outputs,
        spin=False,
    )
