"""Options and tables of quantization, for the verbs that quantize."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from edgesdk.bundle.manifest import Manifest
    from edgesdk.exporter.quantization.options import QuantizeOptions

__all__ = [
    "CalibrationOption",
    "CalibrationSamplesOption",
    "DataOption",
    "DropSamplesOption",
    "EvaluationOption",
    "FaceOption",
    "KeepFloatOption",
    "MaxDropOption",
    "QuantizeOption",
    "RangesOption",
    "RepairOption",
    "culprits_table",
    "drops_table",
    "quantize_options",
]

QuantizeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--quantize",
        help="Recipes, by commas: w8a8_static, w8a32_dynamic, w8_only, w4_only_block32, fp16, "
        "palette4, ...; fp32 for the float artefact beside them.",
    ),
]
CalibrationOption = Annotated[
    Path | None,
    typer.Option(
        "--calibration", help="Photographs or arrays (.npz) that fixed ranges are taken from."
    ),
]
EvaluationOption = Annotated[
    Path | None,
    typer.Option("--evaluate", help="Photographs or arrays that the drop is measured on."),
]
DataOption = Annotated[
    Path | None,
    typer.Option("--data", help="Labelled images, for ranges and for the drop in top-1."),
]
MaxDropOption = Annotated[
    str | None,
    typer.Option("--max-drop", help="Gate: what may be lost at most, such as 1%."),
]
RepairOption = Annotated[
    bool, typer.Option("--repair", help="Keep layers float until --max-drop is met.")
]
RangesOption = Annotated[
    str,
    typer.Option(
        "--ranges", help="min_max, moving_average, percentile, entropy or mse; the recipe's own."
    ),
]
KeepFloatOption = Annotated[
    list[str] | None,
    typer.Option("--keep-float", help="Module path of a layer that stays float; repeatable."),
]
FaceOption = Annotated[
    str, typer.Option("--face", help="float, or int8 numbers with scales in the manifest.")
]
CalibrationSamplesOption = Annotated[
    int,
    typer.Option(
        "--calibration-samples", min=0, help="Inputs to take ranges from; 0: until they stand."
    ),
]
DropSamplesOption = Annotated[
    int, typer.Option("--drop-samples", min=1, help="Inputs to measure the drop on at most.")
]


def quantize_options(
    recipes: Sequence[str] | None,
    *,
    calibration: Path | None,
    evaluation: Path | None,
    data: Path | None,
    max_drop: str | None,
    repair: bool,
    ranges: str,
    keep_float: Sequence[str] | None,
    face: str,
    calibration_samples: int,
    drop_samples: int,
) -> QuantizeOptions | None:
    """The options as one checked value; None where nothing is to be quantized.

    Raises:
        UsageError: An option that needs recipes without any, or a value out of range.
        UnknownNameError: No such recipe, range method or face.
    """
    from edgesdk.errors import UsageError
    from edgesdk.exporter.quantization.options import QuantizeOptions, parse_drop

    if not recipes:
        given = {
            "--calibration": calibration,
            "--evaluate": evaluation,
            "--data": data,
            "--max-drop": max_drop,
            "--repair": repair,
            "--ranges": ranges,
            "--keep-float": keep_float,
            "--face": face != "float",
        }
        for name, value in given.items():
            if value:
                raise UsageError(f"{name} needs a recipe", remedy="add --quantize w8a8_static")
        return None
    for name, path in (
        ("--calibration", calibration),
        ("--evaluate", evaluation),
        ("--data", data),
    ):
        if path is not None and not path.exists():
            raise UsageError(f"{name}: there is no {path}", remedy="check the path")
    if (max_drop is not None) and evaluation is None and data is None:
        raise UsageError(
            "there is nothing to measure the drop on",
            remedy="--evaluate FOLDER of photographs, or --data with labelled images",
        )
    return QuantizeOptions(
        tuple(recipes),
        calibration=calibration,
        evaluation=evaluation,
        data=data,
        samples=drop_samples,
        calibration_samples=calibration_samples,
        ranges=ranges,
        float_layers=tuple(keep_float or ()),
        io_dtype=face,
        max_drop=None if max_drop is None else parse_drop(max_drop),
        accuracy_control=repair,
    )


def drops_table(manifest: Manifest) -> Table | None:
    """What each quantized artefact lost; None where nothing was measured."""
    from rich.text import Text

    from edgesdk.cli.tables import plain_table

    found = [
        (f"{record.target} {record.quantization}", record.quantized)
        for record in manifest.artefacts
        if record.quantized is not None
    ]
    if not found:
        return None
    table = plain_table(
        "quantized", "weights ≤ 8 bits", "top-1", "agreement", "in top 5", "cosine", "drop", "gate"
    )
    for label, record in found:
        total = sum(record.weights.values())
        small = sum(count for bits, count in record.weights.items() if bits <= 8)
        share = f"{small / total:.1%}" if total else "–"
        drop = record.drop
        if drop is None:
            table.add_row(Text(label), share, "–", "–", "–", "–", "not measured", "–")
            continue
        gate = "–" if drop.bound is None else f"{'met' if drop.passed else 'missed'}"
        table.add_row(
            Text(label),
            share,
            _percent(drop.top1),
            _percent(drop.agreement),
            _percent(drop.containment),
            "–" if drop.cosine is None else f"{drop.cosine:.4f}",
            f"{drop.drop:.2%} of {drop.metric}",
            Text(gate, "green" if drop.passed else "red"),
        )
    return table


def culprits_table(manifest: Manifest, most: int = 8) -> Table | None:
    """The layers whose quantization harms most, of artefacts that missed their gate."""
    from rich.text import Text

    from edgesdk.cli.tables import plain_table

    rows = [
        (record, culprit)
        for record in manifest.artefacts
        if record.quantized is not None and record.quantized.drop is not None
        for culprit in record.quantized.drop.culprits[:most]
    ]
    if not rows:
        return None
    table = plain_table("target", "recipe", "layer", "weights", "SNR dB", "where")
    for record, culprit in rows:
        table.add_row(
            Text(record.target),
            Text(record.quantization or ""),
            Text(culprit.path),
            f"{culprit.weights:,}",
            "–" if culprit.snr_db is None else f"{culprit.snr_db:.1f}",
            Text(culprit.where),
        )
    return table


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"
