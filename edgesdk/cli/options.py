"""Options that several verbs share: one name, one help text and one panel each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from edgesdk.cli.completion import complete_sources, complete_targets
from edgesdk.errors import InputNotFoundError

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
    "Panel",
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
    "checked",
    "existing",
]


def checked(info: Any, check: Callable[[Any], object] | None) -> Any:
    """Let a verb check the value of an option or argument before it begins.

    Completion and help pages parse command lines too, with files that do not exist.
    """
    vars(info)["check"] = check
    return info


class Panel(str):
    """A panel of the help pages, by its title."""

    def option(self, names: str, default: Any = ..., *, help: str, **rest: Any) -> Any:
        """Describe an option of this panel.

        The help page adds the default to texts that do not name one.

        Args:
            names: Names and the placeholder of the value, as in ``--output -o PATH``; flags have
                no placeholder.
            default: Default of the parameter; without one the option is required, or its
                annotated parameter has the default.
            help: Text of the help page.
            **rest: Further arguments of :func:`typer.Option`; and ``check``, see :func:`checked`.
        """
        parts = names.split(" ")
        options = [part for part in parts if part.startswith("-")]
        rest["show_default"] = "default" not in help
        rest["metavar"] = " ".join(parts[len(options) :])
        check = rest.pop("check", None)
        return checked(
            typer.Option(default, *options, help=help, rich_help_panel=self, **rest), check
        )


# Panels of the help pages.
INPUT = Panel("Input")
CONVERSION = Panel("Conversion")
QUANTIZATION = Panel("Quantization")
GATES = Panel("Gates")
TRAINING = Panel("Training")
MEASUREMENT = Panel("Measurement")
LIMITS = Panel("Limits")
OUTPUT = Panel("Output")


def existing(value: Any) -> Any:
    """Check that a path, or each of several, exists; a callback of options.

    Raises:
        InputNotFoundError: It does not exist; the remedy suggests a near name.
    """
    for path in value if isinstance(value, list) else [value]:
        if path is not None and not Path(path).exists():
            raise InputNotFoundError(path, "file or folder")
    return value


def _bundle(path: Path) -> Path:
    if not path.exists():
        raise InputNotFoundError(
            path, "bundle", remedy="check the path, or make one with edgesdk export"
        )
    return path


def _inputs(texts: list[str] | None) -> list[str] | None:
    from edgesdk.host.image_files import ARRAY_SUFFIXES

    existing([text for text in texts or () if text.endswith(ARRAY_SUFFIXES)])
    return texts


def _weights(path: Path | None) -> Path | None:
    from edgesdk.frontend.source_files import check_weights_file

    if path is not None:
        check_weights_file(path)
    return path


def _source(text: str) -> str:
    from edgesdk.frontend.source_files import check_source

    check_source(text)
    return text


def _model(formats: str) -> Any:
    argument = typer.Argument(
        metavar="SOURCE",
        rich_help_panel=INPUT,
        autocompletion=complete_sources,
        help=f"Model: a zoo name (edgesdk models), path/file.py:factory, {formats}.",
    )
    return checked(argument, _source)


# Every verb.
JsonOption = Annotated[bool, OUTPUT.option("--json", help="Print the result as one JSON object.")]
QuietOption = Annotated[bool, OUTPUT.option("--quiet -q", help="Print no progress.")]
DebugOption = Annotated[bool, OUTPUT.option("--debug", help="Print tracebacks of errors.")]

# Models.
SourceArgument = Annotated[str, _model("package.module:factory, .pt2 or .edgemodel")]
ModelArgument = Annotated[str, _model("package.module:factory or .edgemodel")]
InputOption = Annotated[
    list[str] | None,
    INPUT.option(
        "--input SPEC",
        check=_inputs,
        help="Input as NAME:1x3x224x224[:dtype], or a file with example inputs (.npz, .npy, "
        ".safetensors, .pt). Repeatable.",
    ),
]
WeightsOption = Annotated[
    Path | None,
    INPUT.option(
        "--weights FILE",
        check=_weights,
        help="Load these weights: .safetensors, .pth or .ckpt with tensors only, or .edgemodel.",
    ),
]
BundleArgument = Annotated[
    Path,
    checked(
        typer.Argument(
            metavar="BUNDLE",
            rich_help_panel=INPUT,
            help="Bundle made by edgesdk export, NAME.edge.",
        ),
        _bundle,
    ),
]
TargetsOption = Annotated[
    list[str] | None,
    INPUT.option(
        "--target -t TARGET",
        autocompletion=complete_targets,
        help="Take this artefact of the bundle only. Repeatable.",
    ),
]

# Conversion.
ToOption = Annotated[
    list[str] | None,
    CONVERSION.option(
        "--to -t TARGETS",
        autocompletion=complete_targets,
        help="Targets, separated by commas: litert (Android), executorch (Android, iOS), coreml "
        "(iOS, half precision), onnx. A variant follows a colon: coreml:fp32, executorch:vulkan "
        "(default: all that are installed).",
    ),
]
CacheOption = Annotated[
    bool,
    LIMITS.option("--cache/--no-cache", help="Reuse unchanged results of earlier runs (default)."),
]

# Quantization.
CalibrationOption = Annotated[
    Path | None,
    QUANTIZATION.option(
        "--calibration PATH",
        check=existing,
        help="Inputs that set the int8 ranges of w8a8_static: a folder of photographs like the "
        "app's, or arrays (.npz).",
    ),
]
CalibrationSamplesOption = Annotated[
    int,
    QUANTIZATION.option(
        "--calibration-samples N",
        min=0,
        help="Number of calibration inputs (0: until the ranges converge).",
    ),
]
RangesOption = Annotated[
    str,
    QUANTIZATION.option(
        "--ranges METHOD",
        help="Estimator of int8 ranges: min_max (default), moving_average, percentile, entropy "
        "or mse.",
    ),
]
KeepFloatOption = Annotated[
    list[str] | None,
    QUANTIZATION.option(
        "--keep-float LAYER", help="Keep this layer (module path) float. Repeatable."
    ),
]
AccuracyControlOption = Annotated[
    bool,
    QUANTIZATION.option(
        "--accuracy-control", help="Keep the most sensitive layers float until --max-drop holds."
    ),
]

# Gates.
LabelledDataOption = Annotated[
    Path | None,
    GATES.option(
        "--data DIR",
        check=existing,
        help="Labelled images (DIR/CLASS/*.jpg, IDX or CIFAR files): measure the top-1 drop on "
        "the test images, calibrate on the training images.",
    ),
]
EvaluationOption = Annotated[
    Path | None,
    GATES.option(
        "--evaluate PATH",
        check=existing,
        help="Measure the accuracy drop without labels, on these photographs or arrays (.npz): the "
        "share whose class differs from the float model's, or the loss of cosine.",
    ),
]
MaxDropOption = Annotated[
    str | None,
    GATES.option(
        "--max-drop SHARE",
        help="Fail (exit code 1) if a quantized artefact loses more than this, such as 1% or 0.01, "
        "of the float model's accuracy: needs --data (points of top-1) or --evaluate.",
    ),
]
EvaluationSamplesOption = Annotated[
    int,
    GATES.option(
        "--evaluation-samples N", min=1, help="Largest number of inputs to measure the drop on."
    ),
]
MinCosineOption = Annotated[
    float | None,
    GATES.option(
        "--min-cosine X",
        help="Smallest cosine similarity to the model (default: 0.9999; fp16, as in coreml: 0.999; "
        "quantized, to "
        "its simulation: 0.999).",
    ),
]
MaxErrorOption = Annotated[
    float | None,
    GATES.option(
        "--max-error X",
        help="Largest difference, as a share of the output's range (default: 1e-3; fp16, as in "
        "coreml: 2e-2; quantized: 1e-1).",
    ),
]
MinAgreementOption = Annotated[
    float | None,
    GATES.option("--min-agreement X", help="Smallest share of samples with the same top-1, 0..1."),
]

# Training.
RecipeOption = Annotated[
    str, TRAINING.option("--recipe NAME", help="Training recipe: a name, or a .json or .yaml file.")
]
EpochsOption = Annotated[
    int | None,
    TRAINING.option("--epochs N", min=1, help="Number of epochs (default: the recipe's)."),
]
SettingsOption = Annotated[
    list[str] | None,
    TRAINING.option("--set KEY=VALUE", help="Override a setting of the recipe. Repeatable."),
]
ImageSizeOption = Annotated[
    int | None,
    INPUT.option("--image-size N", min=1, help="Scale all images to this side in pixels."),
]
LimitOption = Annotated[
    int | None, INPUT.option("--limit N", min=2, help="Use at most this many images of each split.")
]
SplitOption = Annotated[
    str | None,
    INPUT.option("--split NAME", help="Train and validate on parts of this split alone (test)."),
]
CheckpointOption = Annotated[
    Path | None,
    TRAINING.option(
        "--checkpoint DIR", help="Save checkpoints there; the same command resumes from them."
    ),
]
ResumeOption = Annotated[
    bool, TRAINING.option("--resume/--no-resume", help="Resume from the checkpoint (default).")
]
LogsOption = Annotated[
    Path | None, OUTPUT.option("--logs DIR", help="Write TensorBoard logs there.")
]
CpuThreadsOption = Annotated[
    int | None, LIMITS.option("--threads N", min=1, help="Number of CPU threads of each process.")
]

# Measurement.
ThreadsOption = Annotated[
    int, MEASUREMENT.option("--threads N", min=1, help="Number of threads of each runtime.")
]
RunsOption = Annotated[int, MEASUREMENT.option("--runs N", min=1, help="Number of timed runs.")]

# Output.
BundleOutputOption = Annotated[
    Path | None,
    OUTPUT.option(
        "--output -o PATH",
        help="Bundle to write, a folder NAME.edge with the .tflite, .pte, .mlpackage and .onnx "
        "files (default: named after SOURCE).",
    ),
]
OverwriteOption = Annotated[bool, OUTPUT.option("--overwrite", help="Replace an existing output.")]
