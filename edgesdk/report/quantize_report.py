"""Every recipe on every target, measured side by side: which quantization to ship."""

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
from edgesdk.profiling.profile import profile
from edgesdk.quant.recipes import FLOAT
from edgesdk.report import Suggestion, suggestions, write_report

__all__ = ["QuantizeReport", "quantize_report"]


@dataclass(frozen=True)
class QuantizeReport:
    """What :func:`quantize_report` made.

    Attributes:
        bundle: With an artefact a target and recipe, each proven, measured and profiled.
        report: The HTML page.
        suggestions: One a target.
    """

    bundle: Bundle
    report: Path
    suggestions: tuple[Suggestion, ...]


def quantize_report(
    model: Any,
    example: Any = None,
    *,
    quantize: QuantizeOptions,
    targets: Sequence[str] | str = ("executorch", "coreml", "litert", "onnx"),
    output: str | os.PathLike[str] | None = None,
    options: ExportOptions | None = None,
    device: str = "local",
    threads: int = 1,
    runs: int = 20,
    on_progress: Progress | None = None,
    on_measure: Callable[[Step], None] | None = None,
    **changes: Any,
) -> QuantizeReport:
    """Export every recipe beside the float artefact, measure all of them, and suggest.

    Recipes that a target cannot do are recorded as failures of that target alone.

    Args:
        model: The model, or SOURCE of one.
        example: See :func:`edgesdk.export`.
        quantize: Recipes and data; the float artefact is added.
        targets: See :func:`edgesdk.export`.
        output: The bundle to write.
        options: See :func:`edgesdk.export`.
        device: Where to measure latencies.
        threads: Threads of each runtime.
        runs: Timed runs.
        on_progress: See :func:`edgesdk.export`.
        on_measure: Called while latencies are measured.
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
        model, example, targets=targets, output=output, options=settings, on_progress=on_progress
    )
    measured = profile(
        bundle, device=device, threads=threads, runs=runs, on_progress=on_measure
    ).bundle
    page = write_report(measured.path)
    return QuantizeReport(measured, page, tuple(suggestions(measured.manifest)))
