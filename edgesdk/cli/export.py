"""``edgesdk export``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgesdk.cli import options as opt
from edgesdk.cli.completion import complete_recipes
from edgesdk.cli.console import Output
from edgesdk.cli.verb import verb
from edgesdk.errors import EdgeSdkError

if TYPE_CHECKING:
    from edgesdk.bundle.manifest import Manifest, RewriteRecord

__all__ = ["export"]


@verb(
    {
        "Convert for every target and prove each artefact": (
            "edgesdk export efficientnet_lite0 --image auto -o lite0.edge"
        ),
        "int8 from camera bytes on Android": (
            "edgesdk export net.py:build --input image:1x3x224x224 --to litert,executorch \\\n"
            "    --image imagenet --quantize w8a8_static --calibration photos/"
        ),
    }
)
def export(
    out: Output,
    *,
    source: opt.SourceArgument,
    inputs: opt.InputOption = None,
    weights: opt.WeightsOption = None,
    to: opt.ToOption = None,
    image: str | None = opt.CONVERSION.option(
        "--image PRESET",
        None,
        help="Build the preprocessing in, so that an Android or iOS app passes camera bytes "
        "(uint8): auto (zoo networks and saved models know it), imagenet (its mean and std), "
        "inception, unit (0..1), byte (0..255), grey, or "
        "color=rgb,range=0..1,mean=a/b/c,std=a/b/c.",
    ),
    dynamic: list[str] | None = opt.CONVERSION.option(
        "--dynamic AXIS",
        None,
        help="Leave an axis free: batch, batch=1..8 or hw=64..1024/32; for one target as "
        "onnx:batch. Repeatable.",
    ),
    reference: bool = opt.CONVERSION.option(
        "--reference/--no-reference",
        True,
        help="Keep the captured program in the bundle (default).",
    ),
    quantize: list[str] | None = opt.QUANTIZATION.option(
        "--quantize RECIPES",
        None,
        autocompletion=complete_recipes,
        help="Recipes, separated by commas. w8a8_static: int8 weights and activations, needs "
        "--calibration or --data. w8a32_dynamic, w8_only: int8 weights. w4_only_block32: "
        "int4 weights. fp16, palette4, ... fp32 adds the float artefact.",
    ),
    calibration: opt.CalibrationOption = None,
    io_dtype: str = opt.QUANTIZATION.option(
        "--io-dtype TYPE",
        "float",
        help="Type of inputs and outputs with w8a8_static: float (default), or int8, whose "
        "scales are in the manifest (Android, ONNX; Core ML has float only).",
    ),
    accuracy_control: opt.AccuracyControlOption = False,
    keep_float: opt.KeepFloatOption = None,
    ranges: opt.RangesOption = "",
    calibration_samples: opt.CalibrationSamplesOption = 0,
    verify: bool = opt.GATES.option(
        "--verify/--no-verify",
        True,
        help="Run each artefact and compare it with the model (default).",
    ),
    samples: list[Path] | None = opt.GATES.option(
        "--samples PATH",
        None,
        check=opt.existing,
        help="Compare on these photographs or arrays (.npz), a file or folder (default: "
        "photographs of the package). Repeatable.",
    ),
    min_cosine: opt.MinCosineOption = None,
    max_error: opt.MaxErrorOption = None,
    min_agreement: opt.MinAgreementOption = None,
    evaluate: opt.EvaluationOption = None,
    data: opt.LabelledDataOption = None,
    max_drop: opt.MaxDropOption = None,
    evaluation_samples: opt.EvaluationSamplesOption = 512,
    jobs: int = opt.LIMITS.option(
        "--jobs N", 0, min=0, help="Number of conversions at a time (0: choose)."
    ),
    timeout: float = opt.LIMITS.option(
        "--timeout SECONDS", 900.0, min=1, help="Largest time for one target."
    ),
    memory_limit: float = opt.LIMITS.option(
        "--memory-limit GIB", 0.0, min=0, help="Largest memory of one conversion (0: no limit)."
    ),
    cache: opt.CacheOption = True,
    output: opt.BundleOutputOption = None,
    name: str = opt.OUTPUT.option(
        "--name NAME", "", help="Name in the manifest (default: the bundle's name)."
    ),
    overwrite: opt.OverwriteOption = False,
) -> None:
    """Convert a model to every target and prove each copy equal."""
    from edgesdk.bundle.writer import BundleWriter
    from edgesdk.cli.export_request import chosen_targets, example_and_inputs, quantize_options
    from edgesdk.exporter.options import default_name, dynamic_by_target
    from edgesdk.host.image_files import sample_paths
    from edgesdk.spec import parse_image
    from edgesdk.verification.parity import Tolerances

    # Cheap checks come before torch is loaded, which takes seconds.
    example, specs = example_and_inputs(inputs or [])
    found = sample_paths(samples or [])
    targets, missing = chosen_targets(to, source, weights)
    gates = Tolerances(min_cosine, max_error, min_agreement)
    quantization = quantize_options(
        quantize,
        calibration=calibration,
        evaluation=evaluate,
        data=data,
        max_drop=max_drop,
        accuracy_control=accuracy_control,
        ranges=ranges,
        keep_float=keep_float,
        io_dtype=io_dtype,
        calibration_samples=calibration_samples,
        evaluation_samples=evaluation_samples,
    )
    dynamic_by_target(dynamic or (), [name.partition(":")[0] for name in targets])
    if image is not None and image != "auto":
        parse_image(image)
    output = output or Path(f"{default_name(source)}.edge")
    with BundleWriter(output, overwrite=overwrite):
        # Entering checks the place.
        pass
    if missing:
        out.remark(f"note: {missing}")
    with out.progress("model") as progress:
        progress.begin("loading torch")
        from edgesdk.converters.isolation import Limits
        from edgesdk.exporter.export import export as run
        from edgesdk.host.cache import Cache

        bundle = run(
            source,
            example,
            to=targets,
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
    from edgesdk.cli.tables import bundle_facts

    manifest = bundle.manifest
    problem = _problem(manifest, verify)
    result = bundle_facts(bundle)
    out.result(result, problem)
    _show(out, manifest)
    out.line(f"wrote {bundle.path}")
    from edgesdk.cli.tables import painting_notes

    for note in (*manifest.notes, *painting_notes(manifest), *_notes_of_artefacts(manifest)):
        out.remark(f"note: {note}")
    if out.debug and problem is not None:
        for failure in manifest.failures:
            if failure.log:
                out.remark(f"last output of {failure.target}'s converter:\n{failure.log}")


def _show(out: Output, manifest: Manifest) -> None:
    from edgesdk.cli.tables import (
        classes_table,
        drops_table,
        footnotes,
        painted_table,
        targets_table,
        worst_layers_table,
    )
    from edgesdk.report.summary import summary_rows, warnings_of

    rows = summary_rows(manifest)
    out.table(targets_table(rows))
    for text in footnotes(rows):
        out.line(text)
    tables = [painted_table(manifest), drops_table(manifest), worst_layers_table(manifest)]
    if manifest.labels or manifest.classes or out.problem is not None:
        tables.append(classes_table(manifest))
    for table in tables:
        if table is not None:
            out.line()
            out.table(table)
    out.line()
    for text in warnings_of(manifest):
        out.line(f"warning: {text}")


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
    """Return the notes and rewrites, those that several artefacts share once."""
    from edgesdk.bundle.manifest import artefact_names
    from edgesdk.report.labels import notes_by_artefacts, rewrites_by_artefacts

    labels = artefact_names(manifest.artefacts)
    found = [*notes_by_artefacts(manifest, labels)]
    for names, rewrites in rewrites_by_artefacts(manifest, labels):
        found.append((names, [_rewrite_note(rewrite) for rewrite in rewrites]))
    return [f"{', '.join(names)}: {note}" for names, notes in found for note in notes]


def _rewrite_note(rewrite: RewriteRecord) -> str:
    place = f" at {rewrite.where}" if rewrite.where else ""
    return f"rewrote {rewrite.operator}{place}: {rewrite.reason}"
