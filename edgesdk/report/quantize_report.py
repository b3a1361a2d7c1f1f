"""Compare every quantization recipe on every target, and suggest which one to ship."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgesdk.bundle.bundle import Bundle
from edgesdk.devices.base import Step
from edgesdk.exporter.export import export
from edgesdk.exporter.options import ExportOptions, Progress, with_changes
from edgesdk.exporter.quantization.options import QuantizeOptions
from edgesdk.host.progress import AUTO, Auto
from edgesdk.profiling.profile import profile
from edgesdk.quant.recipes import FLOAT
from edgesdk.report import Suggestion, suggestions, write_report

__all__ = ["QuantizeReport", "quantize_report"]


@dataclass(frozen=True)
class QuantizeReport:
    """Result of :func:`quantize_report`.

    Attributes:
        bundle: Bundle with one artefact per target and recipe, each verified and profiled.
        report: Path of the HTML page.
        suggestions: One suggestion per target.
    """

    bundle: Bundle
    report: Path
    suggestions: tuple[Suggestion, ...]


def quantize_report(
    model: Any,
    example: Any = None,
    *,
    quantize: QuantizeOptions,
    to: Sequence[str] | str = ("executorch", "coreml", "litert", "onnx"),
    output: str | os.PathLike[str] | None = None,
    options: ExportOptions | None = None,
    device: str = "local",
    threads: int = 1,
    runs: int = 20,
    on_progress: Progress | Auto | None = AUTO,
    on_measure: Callable[[Step], None] | Auto | None = AUTO,
    targets: Sequence[str] | str | None = None,
    **changes: Any,
) -> QuantizeReport:
    """Export every recipe beside the float artefact, measure them all, and suggest one per target.

    A recipe that a target does not support is recorded as a failure of that target alone.

    Example:
        >>> options = edgesdk.QuantizeOptions(recipes=("int8",), data="photos/")
        >>> edgesdk.quantize_report("mobilenet_v2", quantize=options).suggestions

    Args:
        model: Model, or SOURCE of one.
        example, to, options, on_progress: See :func:`edgesdk.export`.
        quantize: Recipes and data; the float artefact is added.
        output: Bundle to write.
        device: Device that measures latencies.
        threads: Threads of each runtime.
        runs: Number of timed runs.
        on_measure: Called while latencies are measured; likewise.
        targets: Former name of ``to``.
        **changes: Fields of :class:`~edgesdk.ExportOptions` that differ from ``options``.

    Raises:
        EdgeSdkError: See :func:`edgesdk.export` and :func:`edgesdk.profiling.profile.profile`.
    """
    names = [name.strip() for text in quantize.recipes for name in text.split(",")]
    recipes = tuple(names) if FLOAT in names else (FLOAT, *names)
    settings = with_changes(
        options, {**changes, "quantize": replace(quantize, recipes=recipes, sensitivity=True)}
    )
    bundle = export(
        model,
        example,
        to=to if targets is None else targets,
        output=output,
        options=settings,
        on_progress=on_progress,
    )
    measured = profile(
        bundle, device=device, threads=threads, runs=runs, on_progress=on_measure
    ).bundle
    page = write_report(measured.path)
    return QuantizeReport(measured, page, tuple(suggestions(measured.manifest)))
