"""``edgesdk quantize-report``."""

from __future__ import annotations

from typing import Any

from edgesdk.cli import options as opt
from edgesdk.cli.completion import complete_recipes
from edgesdk.cli.console import Output
from edgesdk.cli.verb import verb

__all__ = ["quantize_report"]


@verb(
    {
        "Compare on photographs": (
            "edgesdk quantize-report efficientnet_lite0 --evaluate photos/ \\\n"
            "    --calibration photos/"
        ),
        "Compare two recipes for Android on labelled images": (
            "edgesdk quantize-report net.py:build --data images/ \\\n"
            "    --to litert,executorch --quantize w8a8_static,w8a32_dynamic"
        ),
    }
)
def quantize_report(
    out: Output,
    *,
    source: opt.SourceArgument,
    inputs: opt.InputOption = None,
    weights: opt.WeightsOption = None,
    to: opt.ToOption = None,
    quantize: list[str] = opt.QUANTIZATION.option(
        "--quantize RECIPES",
        ["fp16,w8_only,w8a32_dynamic,w8a8_static"],
        autocompletion=complete_recipes,
        help="Recipes to compare, separated by commas; see edgesdk export (default: "
        "fp16,w8_only,w8a32_dynamic,w8a8_static).",
    ),
    calibration: opt.CalibrationOption = None,
    accuracy_control: opt.AccuracyControlOption = False,
    keep_float: opt.KeepFloatOption = None,
    ranges: opt.RangesOption = "",
    calibration_samples: opt.CalibrationSamplesOption = 0,
    evaluate: opt.EvaluationOption = None,
    data: opt.LabelledDataOption = None,
    max_drop: opt.MaxDropOption = None,
    evaluation_samples: opt.EvaluationSamplesOption = 256,
    runs: opt.RunsOption = 20,
    threads: opt.ThreadsOption = 1,
    cache: opt.CacheOption = True,
    output: opt.BundleOutputOption = None,
    overwrite: opt.OverwriteOption = False,
) -> None:
    """Compare quantization recipes by size, latency and accuracy."""
    from edgesdk.cli.export_request import chosen_targets, example_and_inputs, quantize_options
    from edgesdk.errors import UsageError

    example, specs = example_and_inputs(inputs or [])
    targets, missing = chosen_targets(to, source, weights)
    options = quantize_options(
        quantize,
        calibration=calibration,
        evaluation=evaluate,
        data=data,
        max_drop=max_drop,
        accuracy_control=accuracy_control,
        ranges=ranges,
        keep_float=keep_float,
        io_dtype="float",
        calibration_samples=calibration_samples,
        evaluation_samples=evaluation_samples,
    )
    if options is None or not options.measured:
        raise UsageError(
            "quantize-report needs inputs to measure the accuracy drop on",
            remedy="add --evaluate FOLDER of photographs like the app's, or --data with "
            "labelled images",
        )
    if missing:
        out.remark(f"note: {missing}")
    with out.progress("latency") as progress:
        progress.step("model", "loading torch")
        from edgesdk.host.cache import Cache
        from edgesdk.report.quantize_report import quantize_report as run

        made = run(
            source,
            example,
            quantize=options,
            to=targets,
            output=output,
            inputs=specs,
            weights=weights,
            overwrite=overwrite,
            cache=Cache() if cache else None,
            threads=threads,
            runs=runs,
            on_progress=progress.step,
            on_measure=progress.measurement,
        )
    _show(out, made)


def _show(out: Output, made: Any) -> None:
    from dataclasses import asdict

    from edgesdk.cli.tables import (
        bundle_facts,
        drops_table,
        footnotes,
        painted_table,
        targets_table,
        worst_layers_table,
    )
    from edgesdk.errors import GateError
    from edgesdk.report.summary import summary_rows, warnings_of
    from edgesdk.verification.accuracy_drop import require_drop
    from edgesdk.verification.verify_bundle import require_parity

    manifest = made.bundle.manifest
    problem: GateError | None = None
    try:
        # A recipe that a target lacks is a finding of the comparison, not a failure.
        require_parity(manifest, allow_failures=True)
        require_drop(manifest)
    except GateError as error:
        problem = error
    result = {
        "report": str(made.report),
        "suggestions": [{**asdict(found), "reason": found.reason} for found in made.suggestions],
        **bundle_facts(made.bundle),
    }
    out.result(result, problem)
    rows = summary_rows(manifest)
    out.table(targets_table(rows, ("target", "status", "size", "p50", "against float")))
    for text in footnotes(rows):
        out.line(text)
    for table in (painted_table(manifest), drops_table(manifest), worst_layers_table(manifest)):
        if table is not None:
            out.line()
            out.table(table)
    out.line()
    for text in warnings_of(manifest):
        out.line(f"warning: {text}")
    for found in made.suggestions:
        out.line(f"ship {found.reason}")
    out.line(f"wrote {made.bundle.path} and {made.report}")
