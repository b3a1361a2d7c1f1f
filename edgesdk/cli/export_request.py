"""Read the options of ``edgesdk export`` into the values that the package takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgesdk.errors import InputSpecError, UsageError
from edgesdk.host.image_files import ARRAY_SUFFIXES
from edgesdk.spec import TensorSpec, parse_input

if TYPE_CHECKING:
    from edgesdk.exporter.quantization.options import QuantizeOptions

__all__ = ["example_and_inputs", "quantize_options"]


def example_and_inputs(texts: Sequence[str]) -> tuple[Any, tuple[TensorSpec, ...]]:
    """Read ``--input``: specs, or one file with example inputs.

    Raises:
        InputSpecError: Invalid text, or a file together with specs.
    """
    files = [text for text in texts if text.endswith(ARRAY_SUFFIXES)]
    if not files:
        specs = tuple(parse_input(text) for text in texts)
        unnamed = [spec for spec in specs if spec.name == "x"]
        if len(unnamed) > 1:
            specs = tuple(spec.renamed(f"x{index}") for index, spec in enumerate(specs))
        return None, specs
    if len(texts) > 1:
        raise InputSpecError(
            "an example file holds all inputs", remedy="give the file alone, or specs alone"
        )
    from edgesdk.frontend.sample_files import read_example

    return read_example(Path(files[0])), ()


def quantize_options(
    recipes: Sequence[str] | None,
    *,
    calibration: Path | None,
    evaluation: Path | None,
    data: Path | None,
    max_drop: str | None,
    accuracy_control: bool,
    ranges: str,
    keep_float: Sequence[str] | None,
    io_dtype: str,
    calibration_samples: int,
    evaluation_samples: int,
) -> QuantizeOptions | None:
    """Check the options of quantization; None without a recipe.

    Raises:
        UsageError: An option that needs a recipe, without any; or a value out of range.
        UnknownNameError: Unknown recipe, range estimator or ``io_dtype``.
    """
    from edgesdk.exporter.quantization.options import QuantizeOptions, parse_drop

    if not recipes:
        given = {
            "--calibration": calibration,
            "--evaluate": evaluation,
            "--data": data,
            "--max-drop": max_drop,
            "--accuracy-control": accuracy_control,
            "--ranges": ranges,
            "--keep-float": keep_float,
            "--io-dtype": io_dtype != "float",
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
            raise UsageError(f"{name}: {path} does not exist", remedy="check the path")
    if (max_drop is not None) and evaluation is None and data is None:
        raise UsageError(
            "--max-drop needs inputs to measure the accuracy drop on",
            remedy="add --evaluate FOLDER of photographs, or --data with labelled images",
        )
    return QuantizeOptions(
        tuple(recipes),
        calibration=calibration,
        evaluation=evaluation,
        data=data,
        samples=evaluation_samples,
        calibration_samples=calibration_samples,
        ranges=ranges,
        float_layers=tuple(keep_float or ()),
        io_dtype=io_dtype,
        max_drop=None if max_drop is None else parse_drop(max_drop),
        accuracy_control=accuracy_control,
    )
