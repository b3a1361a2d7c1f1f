"""Export a model to several targets, verify each artefact, and write one bundle."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from edgesdk.bundle.bundle import Bundle
from edgesdk.bundle.writer import BundleWriter
from edgesdk.converters.registry import Target, parse_targets
from edgesdk.errors import UsageError
from edgesdk.exporter.options import ExportOptions, Progress, with_changes
from edgesdk.exporter.prepared import prepare
from edgesdk.exporter.run import ExportRun
from edgesdk.spec import DynamicDim, parse_dynamic

__all__ = ["ExportOptions", "Progress", "export"]


def export(
    model: str | nn.Module,
    example: Any = None,
    *,
    targets: Sequence[str] | str = ("executorch", "coreml", "litert", "onnx"),
    output: str | os.PathLike[str] | None = None,
    options: ExportOptions | None = None,
    on_progress: Progress | None = None,
    **changes: Any,
) -> Bundle:
    """Convert a model to every target, verify each artefact, and write one bundle.

    Each target is converted in a separate process; a failure is recorded and the others continue.

        bundle = edgesdk.export("mobilenet_v2", targets="onnx,litert", output="net.edge")
        print([artefact.parity.passed for artefact in bundle.manifest.artefacts])

    Args:
        model: The model, or a SOURCE.
        example: Example arguments: a tensor, a tuple, or a dictionary by argument name. Zoo
            networks and programs bring their own.
        targets: Targets, with a variant after a colon if it is not the default one; a string may
            list several, separated by commas.
        output: The bundle to write; by default ``NAME.edge`` in the working folder.
        options: See :class:`ExportOptions`.
        on_progress: Called with target and step, from several threads but one at a time.
        **changes: Fields of :class:`ExportOptions` that differ from ``options``.

    Returns:
        The bundle. Its manifest records which artefacts passed; see
        :func:`edgesdk.verification.verify_bundle.require_parity`.

    Raises:
        EdgeSdkError: Nothing was written: invalid usage, a model that cannot be captured, a failure
            of every target, or an output that cannot be written.
    """
    settings = with_changes(options, changes)
    chosen = parse_targets([targets] if isinstance(targets, str) else targets)
    dynamic = _dynamic_by_target(settings.dynamic, chosen)
    default = f"{_default_name(model)}.edge"
    place = Path(output if output is not None else default)
    name = settings.name or place.name.removesuffix(".edge")
    lock = threading.Lock()

    def report(target: str, step: str) -> None:
        if on_progress is not None:
            with lock:
                on_progress(target, step)

    # Check that the output is writable before spending minutes on conversions.
    with BundleWriter(place, overwrite=settings.overwrite) as writer:
        report("model", "loading")
        prepared = prepare(
            model,
            example,
            inputs=settings.inputs,
            image=settings.image,
            weights=settings.weights,
        )
        return ExportRun(settings, prepared, chosen, dynamic, writer, report).run(name)


def _default_name(model: str | nn.Module) -> str:
    if not isinstance(model, str):
        return type(model).__name__
    head = (model.rpartition(":")[0] or model).rstrip("/")
    return Path(head).stem if head.endswith((".py", ".pt2", ".edgemodel")) else head.split(".")[-1]


def _dynamic_by_target(
    texts: Sequence[str], chosen: Sequence[tuple[Target, str]]
) -> dict[str, dict[str, DynamicDim]]:
    names = [target.name for target, _ in chosen]
    found: dict[str, dict[str, DynamicDim]] = {name: {} for name in names}
    for text in texts:
        head, separator, rest = text.partition(":")
        if separator and head not in names:
            raise UsageError(
                f"--dynamic {text} names a target that is not exported",
                remedy=f"one of {', '.join(names)}, or none for all",
            )
        for name in [head] if separator else names:
            found[name] |= parse_dynamic(rest if separator else text)
    return found
