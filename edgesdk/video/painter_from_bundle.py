"""A bundle's artefact as a painter of video."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from edgesdk.bundle.bundle import Bundle
from edgesdk.bundle.manifest import ArtefactRecord
from edgesdk.errors import BundleError, MissingBackendError, UsageError
from edgesdk.runtime.session import Session
from edgesdk.video.painters import SessionPainter, session_painter
from edgesdk.video.styles import find_style_input

__all__ = ["bundle_painter"]

#: Runtimes in the order in which they paint fastest on a desktop processor.
_PREFERRED = ("onnx", "litert", "executorch", "coreml")


def bundle_painter(
    bundle: Bundle | str | os.PathLike[str],
    target: str | None = None,
    style: str | int | None = None,
    blend: Mapping[str, float] | None = None,
    *,
    threads: int = 0,
) -> SessionPainter:
    """Load an artefact of a bundle as a painter. Close it when all is painted.

    Args:
        bundle: A bundle, or the folder of one, whose files are then checked.
        target: Which artefact, as :meth:`~edgesdk.bundle.bundle.Bundle.artefact` takes it; by
            default the first that can be loaded here, of onnx, litert, executorch and coreml.
        style: For a network of several styles, the name or number of one; by default the first.
        blend: Several styles with weights, instead of one; scaled to a sum of 1.
        threads: Of the runtime; 0 takes one a processor.

    Raises:
        BundleError: No bundle, a damaged one, one without an artefact that can be loaded, or one
            whose names of styles are not those of the artefact's input.
        UnknownNameError: No such target or style.
        UsageError: The artefact is no stylizer.
        MissingBackendError: The target's runtime is not installed.
        SessionError: The runtime refuses the artefact.
    """
    opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 0:
        raise UsageError(f"threads must be a whole number of at least 0, not {threads!r}")
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
            remedy="export it anew from a model with a name in style_names for each of its styles",
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
        remedy="its manifest tells why under failures; export it anew",
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
