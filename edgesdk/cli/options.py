"""Options that several verbs share: one name, one help text and one panel each."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from edgesdk.cli.completion import complete_sources, complete_targets

__all__ = [
    "CONVERSION",
    "GATES",
    "INPUT",
    "LIMITS",
    "MEASUREMENT",
    "OUTPUT",
    "QUANTIZATION",
    "TRAINING",
    "AccuracyControlOption",
    "BundleArgument",
    "BundleOutputOption",
    "CacheOption",
    "CalibrationOption",
    "CalibrationSamplesOption",
    "CheckpointOption",
    "CpuThreadsOption",
    "DebugOption",
    "EpochsOption",
    "EvaluationOption",
    "EvaluationSamplesOption",
    "ImageSizeOption",
    "InputOption",
    "JsonOption",
    "KeepFloatOption",
    "LabelledDataOption",
    "LimitOption",
    "LogsOption",
    "MaxDropOption",
    "MaxErrorOption",
    "MinAgreementOption",
    "MinCosineOption",
    "ModelArgument",
    "OverwriteOption",
    "QuietOption",
    "RangesOption",
    "RecipeOption",
    "ResumeOption",
    "RunsOption",
    "SettingsOption",
    "SourceArgument",
    "SplitOption",
    "TargetsOption",
    "ThreadsOption",
    "ToOption",
    "WeightsOption",
    "flag",
    "option",
]

# Panels of the help pages.
INPUT = "Input"
CONVERSION = "Conversion"
QUANTIZATION = "Quantization"
GATES = "Gates"
TRAINING = "Training"
MEASUREMENT = "Measurement"
LIMITS = "Limits"
OUTPUT = "Output"


def option(panel: str, names: str, *, help: str, **rest: Any) -> Any:
    """Describe an option with a value.

    The help page adds the default to texts that do not name one.

    Args:
        panel: Panel of the help page.
        names: Names and the placeholder of the value, as in ``--output -o PATH``.
        help: Text of the help page.
        **rest: Further arguments of :func:`typer.Option`.
    """
    parts = names.split(" ")
    options = [part for part in parts if part.startswith("-")]
    metavar = " ".join(parts[len(options) :])
    rest["show_default"] = "default" not in help
    return typer.Option(*options, help=help, metavar=metavar, rich_help_panel=panel, **rest)


def flag(panel: str, names: str, *, help: str) -> Any:
    """Describe an option without a value, with names as in ``--quiet -q``."""
    return option(panel, f"{names} ", help=help)


_input = partial(option, INPUT)
_quantization: Callable[..., Any] = partial(option, QUANTIZATION)
_gate: Callable[..., Any] = partial(option, GATES)
_training: Callable[..., Any] = partial(option, TRAINING)

# Every verb.
JsonOption = Annotated[bool, flag(OUTPUT, "--json", help="Print the result as one JSON object.")]
QuietOption = Annotated[bool, flag(OUTPUT, "--quiet -q", help="Print no progress.")]
DebugOption = Annotated[bool, flag(OUTPUT, "--debug", help="Print tracebacks of errors.")]

# Models.
SourceArgument = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        rich_help_panel=INPUT,
        autocompletion=complete_sources,
        help="Model: a zoo name (edgesdk models), path/file.py:factory, "
        "package.module:factory, .pt2 or .edgemodel.",
    ),
]
ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        rich_help_panel=INPUT,
        autocompletion=complete_sources,
        help="Model: a zoo name (edgesdk models), path/file.py:factory, "
        "package.module:factory or .edgemodel.",
    ),
]
InputOption = Annotated[
    list[str] | None,
    _input(
        "--input SPEC",
        help="Input as NAME:1x3x224x224[:dtype], or a file with example inputs (.npz, .npy, "
        ".safetensors, .pt). Repeatable.",
    ),
]
WeightsOption = Annotated[
    Path | None,
    _input("--weights FILE", help="Load these weights: .safetensors, or .pth with tensors only."),
]
BundleArgument = Annotated[
    Path,
    typer.Argument(
        metavar="BUNDLE", rich_help_panel=INPUT, help="Bundle made by edgesdk export, NAME.edge."
    ),
]
TargetsOption = Annotated[
    list[str] | None,
    _input(
        "--target TARGET",
        autocompletion=complete_targets,
        help="Take this artefact of the bundle only. Repeatable.",
    ),
]

# Conversion.
ToOption = Annotated[
    list[str],
    option(
        CONVERSION,
        "--to TARGETS",
        autocompletion=complete_targets,
        help="Targets, separated by commas: litert (Android), executorch (Android, iOS), coreml "
        "(iOS), onnx. A variant follows a colon, as in coreml:fp16 or executorch:vulkan "
        "(default: all four).",
    ),
]
CacheOption = Annotated[
    bool,
    flag(LIMITS, "--cache/--no-cache", help="Reuse unchanged results of earlier runs (default)."),
]

# Quantization.
CalibrationOption = Annotated[
    Path | None,
    _quantization(
        "--calibration PATH",
        help="Inputs that set the int8 ranges of w8a8_static: a folder of photographs like the "
        "app's, or arrays (.npz).",
    ),
]
CalibrationSamplesOption = Annotated[
    int,
    _quantization(
        "--calibration-samples N",
        min=0,
        help="Number of calibration inputs (0: until the ranges converge).",
    ),
]
RangesOption = Annotated[
    str,
    _quantization(
        "--ranges METHOD",
        help="Estimator of int8 ranges: min_max (default), moving_average, percentile, entropy "
        "or mse.",
    ),
]
KeepFloatOption = Annotated[
    list[str] | None,
    _quantization("--keep-float LAYER", help="Keep this layer (module path) float. Repeatable."),
]
AccuracyControlOption = Annotated[
    bool,
    flag(
        QUANTIZATION,
        "--accuracy-control",
        help="Keep the most sensitive layers float until --max-drop holds.",
    ),
]

# Gates.
LabelledDataOption = Annotated[
    Path | None,
    _gate(
        "--data DIR",
        help="Labelled images (DIR/CLASS/*.jpg, IDX or CIFAR files): measure the top-1 drop on "
        "the test images, calibrate on the training images.",
    ),
]
EvaluationOption = Annotated[
    Path | None,
    _gate(
        "--evaluate PATH",
        help="Measure the accuracy drop on these photographs or arrays (.npz), without labels.",
    ),
]
MaxDropOption = Annotated[
    str | None, _gate("--max-drop SHARE", help="Largest accuracy drop of an artefact, such as 1%.")
]
EvaluationSamplesOption = Annotated[
    int,
    _gate("--evaluation-samples N", min=1, help="Largest number of inputs to measure the drop on."),
]
MinCosineOption = Annotated[
    float | None,
    _gate(
        "--min-cosine X",
        help="Smallest cosine similarity to the model (default: 0.9999; fp16: 0.999).",
    ),
]
MaxErrorOption = Annotated[
    float | None,
    _gate(
        "--max-error X",
        help="Largest difference, as a share of the output's range (default: 1e-3; fp16: 2e-2).",
    ),
]
MinAgreementOption = Annotated[
    float | None,
    _gate("--min-agreement X", help="Smallest share of samples with the same top-1, 0..1."),
]

# Training.
RecipeOption = Annotated[
    str, _training("--recipe NAME", help="Training recipe: a name, or a .json or .yaml file.")
]
EpochsOption = Annotated[
    int | None, _training("--epochs N", min=1, help="Number of epochs (default: the recipe's).")
]
SettingsOption = Annotated[
    list[str] | None,
    _training("--set KEY=VALUE", help="Override a setting of the recipe. Repeatable."),
]
ImageSizeOption = Annotated[
    int | None, _input("--image-size N", min=1, help="Scale all images to this side in pixels.")
]
LimitOption = Annotated[
    int | None, _input("--limit N", min=2, help="Use at most this many images of each split.")
]
SplitOption = Annotated[
    str | None,
    _input(
        "--split NAME",
        help="Train and validate on parts of this split alone (test).",
    ),
]
CheckpointOption = Annotated[
    Path | None,
    _training(
        "--checkpoint DIR", help="Save checkpoints there; the same command resumes from them."
    ),
]
ResumeOption = Annotated[
    bool, flag(TRAINING, "--resume/--no-resume", help="Resume from the checkpoint (default).")
]
LogsOption = Annotated[
    Path | None, option(OUTPUT, "--logs DIR", help="Write TensorBoard logs there.")
]
CpuThreadsOption = Annotated[
    int | None, option(LIMITS, "--threads N", min=1, help="Number of CPU threads of each process.")
]

# Measurement.
ThreadsOption = Annotated[
    int, option(MEASUREMENT, "--threads N", min=1, help="Number of threads of each runtime.")
]
RunsOption = Annotated[int, option(MEASUREMENT, "--runs N", min=1, help="Number of timed runs.")]

# Output.
BundleOutputOption = Annotated[
    Path | None,
    option(OUTPUT, "--output -o PATH", help="Bundle to write (default: named after SOURCE)."),
]
OverwriteOption = Annotated[bool, flag(OUTPUT, "--overwrite", help="Replace an existing output.")]
