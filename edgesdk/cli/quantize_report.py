"""``edgesdk quantize-report``."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from edgesdk.cli.console import Output
from edgesdk.cli.options import DebugOption, JsonOption, QuietOption, ThreadsOption
from edgesdk.cli.paintings_table import painted_table
from edgesdk.cli.quantization import (
    CalibrationOption,
    CalibrationSamplesOption,
    DataOption,
    DropSamplesOption,
    EvaluationOption,
    KeepFloatOption,
    MaxDropOption,
    RangesOption,
    RepairOption,
    culprits_table,
    drops_table,
    quantize_options,
)

__all__ = ["quantize_report"]


def quantize_report(
    source: Annotated[str, typer.Argument(help="SOURCE of a model; see `edgesdk export`.")],
    quantize: Annotated[
        list[str], typer.Option("--quantize", help="Recipes to compare, by commas.")
    ] = ["fp16,w8_only,w8a32_dynamic,w8a8_static"],  # noqa: B006 - typer reads the default once
    to: Annotated[
        list[str], typer.Option("--to", help="Targets, by commas; a variant after a colon.")
    ] = ["executorch,coreml,litert,onnx"],  # noqa: B006
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The bundle to write, NAME.edge.")
    ] = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", help="NAME:1x3x224x224[:dtype], or a file with an example."),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option("--weights", help="safetensors, or .pth of tensors only.")
    ] = None,
    calibration: CalibrationOption = None,
    evaluate: EvaluationOption = None,
    data: DataOption = None,
    max_drop: MaxDropOption = None,
    repair: RepairOption = False,
    ranges: RangesOption = "",
    keep_float: KeepFloatOption = None,
    calibration_samples: CalibrationSamplesOption = 0,
    drop_samples: DropSamplesOption = 256,
    threads: ThreadsOption = 1,
    runs: Annotated[int, typer.Option("--runs", min=1, help="Timed runs.")] = 20,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the bundle.")] = False,
    cache: Annotated[bool, typer.Option(help="Serve unchanged work from the cache.")] = True,
    json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> int:
    """Compare quantizations: what each saves and loses on every target, and which to ship."""
    del debug
    from edgesdk.cli.export_request import example_and_inputs
    from edgesdk.converters.registry import parse_targets
    from edgesdk.errors import UsageError

    out = Output(json=json, quiet=quiet)
    example, specs = example_and_inputs(inputs or [])
    parse_targets(to)
    options = quantize_options(
        quantize,
        calibration=calibration,
        evaluation=evaluate,
        data=data,
        max_drop=max_drop,
        repair=repair,
        ranges=ranges,
        keep_float=keep_float,
        face="float",
        calibration_samples=calibration_samples,
        drop_samples=drop_samples,
    )
    if options is None or not options.measured:
        raise UsageError(
            "there is nothing to measure what is lost on",
            remedy="--evaluate FOLDER of photographs like those of the app, or --data with "
            "labelled images",
        )
    with out.progress("comparing") as progress, contextlib.redirect_stdout(sys.stderr):
        progress.step("model", "loading torch")
        from edgesdk.devices.base import Step
        from edgesdk.host.cache import Cache
        from edgesdk.report.quantize_report import quantize_report as run

        def measured(step: Step) -> None:
            progress.step("latency", f"{step.doing} {step.done}/{step.total}")

        made = run(
            source,
            example,
            quantize=options,
            targets=to,
            output=output,
            inputs=specs,
            weights=weights,
            overwrite=overwrite,
            cache=Cache() if cache else None,
            threads=threads,
            runs=runs,
            on_progress=progress.step,
            on_measure=measured,
        )
    return _shown(out, made)


def _shown(out: Output, made: Any) -> int:
    from dataclasses import asdict

    from edgesdk.cli.tables import targets_table
    from edgesdk.errors import GateError
    from edgesdk.report.summary import summary_rows
    from edgesdk.verification.accuracy_drop import require_drop
    from edgesdk.verification.verify_bundle import require_parity

    manifest = made.bundle.manifest
    problem: GateError | None = None
    try:
        # A recipe that a target lacks is part of the comparison, no failure of it.
        require_parity(manifest, allow_failures=True)
        require_drop(manifest)
    except GateError as error:
        problem = error
    result = {
        "bundle": str(made.bundle.path),
        "report": str(made.report),
        "suggestions": [asdict(found) for found in made.suggestions],
        **manifest.model_dump(mode="json"),
    }
    out.result(result, problem)
    out.table(targets_table(summary_rows(manifest), ("target", "status", "size", "p50", "cosine")))
    for table in (painted_table(manifest), drops_table(manifest), culprits_table(manifest)):
        if table is not None:
            out.line("")
            out.table(table)
    out.line("")
    for found in made.suggestions:
        out.line(f"ship {found.reason}")
    out.line(f"wrote {made.bundle.path} and {made.report}")
    if problem is None:
        return 0
    out.problem(problem)
    return problem.exit_code
