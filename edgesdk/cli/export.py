"""``edgesdk export``."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgesdk.cli.console import Output
from edgesdk.cli.options import (
    DebugOption,
    JsonOption,
    MaxErrorOption,
    MinAgreementOption,
    MinCosineOption,
    QuietOption,
)
from edgesdk.cli.paintings_table import painted_table, painting_notes
from edgesdk.cli.quantization import (
    CalibrationOption,
    CalibrationSamplesOption,
    DataOption,
    DropSamplesOption,
    EvaluationOption,
    FaceOption,
    KeepFloatOption,
    MaxDropOption,
    QuantizeOption,
    RangesOption,
    RepairOption,
    culprits_table,
    drops_table,
    quantize_options,
)
from edgesdk.errors import EdgeSdkError

if TYPE_CHECKING:
    from edgesdk.bundle.manifest import Manifest

__all__ = ["export"]


def export(
    source: Annotated[
        str,
        typer.Argument(
            help="Zoo name, path/file.py:factory, package.module:factory, .pt2 or .edgemodel."
        ),
    ],
    to: Annotated[
        list[str], typer.Option("--to", help="Targets, by commas; a variant after a colon.")
    ] = ["executorch,coreml,litert,onnx"],  # noqa: B006 - typer reads the default once
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The bundle to write, NAME.edge.")
    ] = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", help="NAME:1x3x224x224[:dtype], or a file with an example."),
    ] = None,
    image: Annotated[
        str | None,
        typer.Option(
            "--image",
            help="Bake the preprocessing in, so that an app passes camera bytes: auto (what the "
            "source knows), imagenet, inception, unit, byte, grey, or "
            "color=rgb,range=0..1,mean=a/b/c,std=a/b/c.",
        ),
    ] = None,
    dynamic: Annotated[
        list[str] | None,
        typer.Option(
            "--dynamic", help="[TARGET:]batch[=1..8] or [TARGET:]hw[=64..1024/32]; repeatable."
        ),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option("--weights", help="safetensors, or .pth of tensors only.")
    ] = None,
    samples: Annotated[
        list[Path] | None,
        typer.Option("--samples", help="Photographs or .npz files, or a folder; repeatable."),
    ] = None,
    quantize: QuantizeOption = None,
    calibration: CalibrationOption = None,
    evaluate: EvaluationOption = None,
    data: DataOption = None,
    max_drop: MaxDropOption = None,
    repair: RepairOption = False,
    ranges: RangesOption = "",
    keep_float: KeepFloatOption = None,
    face: FaceOption = "float",
    calibration_samples: CalibrationSamplesOption = 0,
    drop_samples: DropSamplesOption = 512,
    name: Annotated[str, typer.Option("--name", help="Name in the manifest.")] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the bundle.")] = False,
    verify: Annotated[bool, typer.Option(help="Run each artefact and compare.")] = True,
    reference: Annotated[bool, typer.Option(help="Keep the program in the bundle.")] = True,
    cache: Annotated[bool, typer.Option(help="Serve unchanged work from the cache.")] = True,
    min_cosine: MinCosineOption = None,
    max_error: MaxErrorOption = None,
    min_agreement: MinAgreementOption = None,
    jobs: Annotated[int, typer.Option("--jobs", min=0, help="Conversions at a time.")] = 0,
    timeout: Annotated[float, typer.Option("--timeout", min=1, help="Seconds a target.")] = 900.0,
    memory_limit: Annotated[
        float, typer.Option("--memory-limit", min=0, help="GiB a target; 0 for no limit.")
    ] = 0.0,
    json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> int:
    """Convert a model to every target and prove each artefact equal to it."""
    from edgesdk.cli.export_request import example_and_inputs, sample_files
    from edgesdk.converters.registry import parse_targets
    from edgesdk.report.summary import summary_rows
    from edgesdk.spec import parse_dynamic, parse_image
    from edgesdk.verification.parity import Tolerances

    out = Output(json=json, quiet=quiet)
    example, specs = example_and_inputs(inputs or [])
    found = sample_files(samples or [])
    # What costs nothing to check is checked before torch is loaded.
    parse_targets(to)
    gates = Tolerances(min_cosine, max_error, min_agreement)
    quantization = quantize_options(
        quantize,
        calibration=calibration,
        evaluation=evaluate,
        data=data,
        max_drop=max_drop,
        repair=repair,
        ranges=ranges,
        keep_float=keep_float,
        face=face,
        calibration_samples=calibration_samples,
        drop_samples=drop_samples,
    )
    for axis in dynamic or ():
        parse_dynamic(axis.rpartition(":")[2])
    if image is not None and image != "auto":
        parse_image(image)
    # What the user's own code prints is no result.
    with out.progress("exporting") as progress, contextlib.redirect_stdout(sys.stderr):
        # torch takes seconds to load: say so before, and check cheap things first.
        progress.step("model", "loading torch")
        from edgesdk.converters.isolation import Limits
        from edgesdk.exporter.export import export as run
        from edgesdk.host.cache import Cache

        bundle = run(
            source,
            example,
            targets=to,
            output=output,
            name=name,
            inputs=specs,
            image=image,
            dynamic=tuple(dynamic or ()),
            weights=weights,
            samples=found,
            gates=gates,
            verify=verify,
            reference=reference,
            overwrite=overwrite,
            jobs=jobs,
            limits=Limits(timeout, int(memory_limit * 2**30) or None),
            cache=Cache() if cache else None,
            quantize=quantization,
            on_progress=progress.step,
        )
        progress.step("bundle", "written")
    manifest = bundle.manifest
    problem = _problem(manifest, verify)
    result: dict[str, Any] = {"bundle": str(bundle.path), **manifest.model_dump(mode="json")}
    out.result(result, problem)
    from edgesdk.cli.tables import classes_table, footnotes, targets_table

    rows = summary_rows(manifest)
    out.table(targets_table(rows))
    for text in footnotes(rows):
        out.line(text)
    for table in (painted_table(manifest), drops_table(manifest), culprits_table(manifest)):
        if table is not None:
            out.line("")
            out.table(table)
    classes = classes_table(manifest)
    if classes is not None and (manifest.labels or manifest.classes or problem is not None):
        out.line("")
        out.table(classes)
    out.line("")
    out.line(f"wrote {bundle.path}")
    for note in (*manifest.notes, *painting_notes(manifest), *_notes_of_artefacts(manifest)):
        out.remark(f"note: {note}")
    if problem is None:
        return 0
    out.problem(problem)
    if debug:
        for failure in manifest.failures:
            if failure.log:
                out.remark(f"{failure.target}'s converter printed last:\n{failure.log}")
    return problem.exit_code


def _problem(manifest: Manifest, verified: bool) -> EdgeSdkError | None:
    from edgesdk.verification.accuracy_drop import require_drop
    from edgesdk.verification.verify_bundle import require_parity

    judged = manifest if verified else manifest.model_copy(update={"artefacts": []})
    try:
        require_parity(judged)
        require_drop(judged)
    except EdgeSdkError as error:
        return error
    return None


def _notes_of_artefacts(manifest: Manifest) -> list[str]:
    return [f"{record.target}: {note}" for record in manifest.artefacts for note in record.notes]
