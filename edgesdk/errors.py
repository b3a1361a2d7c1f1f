"""Every error the SDK raises on purpose, with the exit code its command ends with.

::

    EdgeSdkError                      70  (never raised itself)
    ├── UsageError                     2  the call or the command line is wrong
    │   ├── UnknownNameError           2  an unknown name; the remedy suggests the nearest
    │   ├── InputSpecError             2  an input description cannot be parsed or does not fit
    │   ├── InputNotFoundError         2  a file or folder given as input does not exist
    │   └── OutputExistsError          2  the output exists and --overwrite was not given
    ├── SourceError                    5  SOURCE does not give a model
    │   ├── SourceNotFoundError        2  no such file, module, factory or zoo entry
    │   ├── FactoryError               5  the user's own code raised
    │   ├── WeightsError               5  weights do not match the model
    │   │   └── WeightsDamagedError    6  a weight file is damaged
    │   ├── SourceDamagedError         6  a .pt2 or .edgemodel is damaged
    │   └── UnsafeFileError            6  a file would run code when read
    ├── CaptureError                   5  torch.export cannot trace the model
    ├── ModelOutputError               5  the model returns NaN, infinity or no tensor
    ├── ConversionError                5  a converter failed
    │   ├── UnsupportedOperatorError   5  the target lacks an operator
    │   ├── DynamicShapeError          5  the target would freeze a dimension that must stay free
    │   ├── ConverterCrashError        5  the converter's process died
    │   └── ConverterLimitError        5  the converter exceeded its time or memory limit
    ├── BundleError                    6  a bundle cannot be used
    │   ├── BundleDamagedError         6  files are missing, truncated or altered
    │   ├── BundleUnsafeError          6  unsafe paths, links or sizes
    │   └── BundleSchemaError          6  a manifest is invalid or of a newer schema
    ├── SessionError                   5  a runtime refuses an artefact or its inputs
    │   └── SessionCrashError          5  the runtime's process died
    ├── DataError                      5  labelled data cannot be used
    ├── TrainingError                  5  training cannot start, continue or resume
    │   ├── CheckpointError            6  a checkpoint is damaged or of an older format
    │   └── DivergedError              5  the loss became NaN or infinite
    ├── PruningError                   5  the model cannot be pruned as requested
    │   └── BudgetError                5  no choice of channels meets the budget
    ├── QuantizationError              5  the model cannot be quantized as requested
    │   └── UnsupportedRecipeError     2  the target does not support the recipe
    ├── MediaError                     5  a video or image cannot be read or written
    ├── GateError                      1  a gate was missed
    ├── PaintingError                  1  the painter failed on some key frames
    ├── MissingEnvironmentError        3  the machine lacks something
    │   ├── MissingBackendError        3  a Python extra is not installed
    │   ├── MissingToolError           3  a program is not installed
    │   └── StorageError               3  a disk is full or read-only
    └── DeviceError                    4  a device failed or disconnected
        └── WorkerLostError            4  a worker process or machine is gone

Exit codes: 0 done, 1 a gate was missed, 2 wrong usage, 3 the environment lacks something, 4 a
device or worker is gone, 5 the model or its data cannot be used, 6 a file is damaged or unsafe,
70 a bug of the SDK. ``message`` describes the error, ``where`` is the place in the user's own code
or file (if any), ``remedy`` is the next step. ``str(error)`` contains all three, with arguments of
Python functions in place of the options that ``error.on_command_line()`` names.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from edgesdk.near_names import nearest, nearest_path
from edgesdk.option_spelling import in_python

__all__ = [
    "BudgetError",
    "BundleDamagedError",
    "BundleError",
    "BundleSchemaError",
    "BundleUnsafeError",
    "CaptureError",
    "CheckpointError",
    "ConversionError",
    "ConverterCrashError",
    "ConverterLimitError",
    "DataError",
    "DeviceError",
    "DivergedError",
    "DynamicShapeError",
    "EdgeSdkError",
    "FactoryError",
    "GateError",
    "InputNotFoundError",
    "InputSpecError",
    "MediaError",
    "MissingBackendError",
    "MissingEnvironmentError",
    "MissingToolError",
    "ModelOutputError",
    "OutputExistsError",
    "PaintingError",
    "PruningError",
    "QuantizationError",
    "SessionCrashError",
    "SessionError",
    "SourceDamagedError",
    "SourceError",
    "SourceNotFoundError",
    "StorageError",
    "TrainingError",
    "UnknownNameError",
    "UnsafeFileError",
    "UnsupportedOperatorError",
    "UnsupportedRecipeError",
    "UsageError",
    "WeightsDamagedError",
    "WeightsError",
    "WorkerLostError",
    "rebuild",
]


class EdgeSdkError(Exception):
    """Root of every error raised on purpose.

    Args:
        message: Description of the error in one sentence.
        where: Place in the user's own code or file, such as ``net.py:41``.
        remedy: Suggested next step.
    """

    exit_code: ClassVar[int] = 70

    def __init_subclass__(cls, *, exit_code: int | None = None) -> None:
        if exit_code is not None:
            cls.exit_code = exit_code

    def __init__(
        self, message: str, *, where: str | None = None, remedy: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.remedy = remedy

    def __str__(self) -> str:
        return in_python(self.on_command_line())

    def on_command_line(self) -> str:
        """Return message, place and remedy with the options of the commands."""
        place = f"\n  at: {self.where}" if self.where else ""
        return self.message + place + (f"\n  fix: {self.remedy}" if self.remedy else "")

    def __reduce__(self) -> tuple[object, ...]:
        # The default protocol drops keyword-only arguments.
        return (rebuild, (type(self), self.message, self.where, self.remedy))

    def to_dict(self) -> dict[str, object]:
        """Return the error as plain JSON, for ``--json`` and between processes."""
        return {
            "error": type(self).__name__,
            "message": self.message,
            "where": self.where,
            "remedy": self.remedy,
            "exit_code": self.exit_code,
        }


def rebuild(
    kind: type[EdgeSdkError], message: str, where: str | None, remedy: str | None
) -> EdgeSdkError:
    """Make an error of its parts, without the arguments that its class derives them from."""
    error = kind.__new__(kind)
    EdgeSdkError.__init__(error, message, where=where, remedy=remedy)
    return error


class UsageError(EdgeSdkError, exit_code=2):
    """The call or the command line is wrong."""


class UnknownNameError(UsageError):
    """A name is unknown; the remedy suggests the nearest.

    Args:
        kind: Kind of the name, such as ``target``.
        name: The name as given.
        known: All valid names.
        meant: Valid name by the name that other tools use for it.
    """

    def __init__(
        self, kind: str, name: str, known: Iterable[str], meant: Mapping[str, str] | None = None
    ) -> None:
        choices = sorted(known)
        close = (meant or {}).get(name.casefold()) or nearest(name, choices)
        remedy = f"did you mean {close!r}?" if close else f"one of: {', '.join(choices)}"
        super().__init__(f"unknown {kind} {name!r}", remedy=remedy)


class InputSpecError(UsageError):
    """An input description cannot be parsed or does not fit the model."""


class InputNotFoundError(UsageError):
    """A file or folder given as input does not exist; the remedy suggests a near name.

    Args:
        path: The path as given.
        kind: Kind of the input, such as ``folder``; a folder given for a file is refused too.
        remedy: Next step if there is no near name.
    """

    def __init__(
        self, path: str | os.PathLike[str], kind: str = "file", remedy: str = "check the path"
    ) -> None:
        if Path(path).is_dir():
            super().__init__(f"{path} is a folder, not a {kind}", remedy="give the file itself")
            return
        near = nearest_path(path)
        super().__init__(
            f"no such {kind}: {os.fspath(path)}",
            remedy=f"did you mean {near}?" if near else remedy,
        )


class OutputExistsError(UsageError):
    """The output exists and overwriting was not requested."""


class SourceError(EdgeSdkError, exit_code=5):
    """SOURCE does not give a model."""


class SourceNotFoundError(SourceError, exit_code=2):
    """No such file, module, factory or zoo entry."""


class FactoryError(SourceError):
    """The user's own code raised while it was imported or called."""


class WeightsError(SourceError):
    """Weights do not match the model or cannot be used for it."""


class WeightsDamagedError(WeightsError, exit_code=6):
    """A weight file is truncated, altered or not a weight file."""


class SourceDamagedError(SourceError, exit_code=6):
    """A ``.pt2`` or ``.edgemodel`` is truncated, altered or of another format."""


class UnsafeFileError(SourceError, exit_code=6):
    """A file would run code when read."""


class CaptureError(EdgeSdkError, exit_code=5):
    """``torch.export`` cannot trace the model; its control flow may depend on data."""


class ModelOutputError(EdgeSdkError, exit_code=5):
    """The model returns NaN, infinity or no tensor."""


class ConversionError(EdgeSdkError, exit_code=5):
    """A converter failed."""


class UnsupportedOperatorError(ConversionError):
    """The target lacks an operator of the model."""


class DynamicShapeError(ConversionError):
    """The target would silently freeze a dimension that must stay free."""


class ConverterCrashError(ConversionError):
    """The converter's process died."""


class ConverterLimitError(ConversionError):
    """The converter exceeded its time or memory limit."""


class BundleError(EdgeSdkError, exit_code=6):
    """A bundle cannot be used."""


class BundleDamagedError(BundleError):
    """Files of the bundle are missing, truncated or altered."""


class BundleUnsafeError(BundleError):
    """A bundle has unsafe paths, links or sizes."""


class BundleSchemaError(BundleError):
    """A manifest is invalid or of a newer schema."""


class SessionError(EdgeSdkError, exit_code=5):
    """A runtime refuses an artefact or its inputs."""


class SessionCrashError(SessionError):
    """The runtime's process died or stopped responding."""


class DataError(EdgeSdkError, exit_code=5):
    """Labelled data cannot be used for training or evaluation."""


class TrainingError(EdgeSdkError, exit_code=5):
    """Training cannot start, continue or resume."""


class CheckpointError(TrainingError, exit_code=6):
    """A checkpoint is damaged or of an unsupported older format."""


class DivergedError(TrainingError):
    """The loss became NaN or infinite."""


class PruningError(EdgeSdkError, exit_code=5):
    """The model cannot be pruned as requested."""


class BudgetError(PruningError):
    """No choice of channels meets the budget; the message gives the nearest."""


class QuantizationError(EdgeSdkError, exit_code=5):
    """The model cannot be quantized as requested."""


class UnsupportedRecipeError(QuantizationError, exit_code=2):
    """The target does not support the recipe.

    Args:
        target: Target with variant.
        recipe: Name of the recipe.
        supported: Recipes the target supports.
        reason: Reason why it does not support this one.
    """

    def __init__(
        self, target: str, recipe: str, supported: Iterable[str], reason: str = ""
    ) -> None:
        why = f": {reason}" if reason else ""
        super().__init__(
            f"{target} does not support {recipe}{why}",
            remedy=f"{target} supports {', '.join(supported) or 'no recipe'}",
        )


class MediaError(EdgeSdkError, exit_code=5):
    """A video or image cannot be read or written; the message gives the time of the failure."""


class GateError(EdgeSdkError, exit_code=1):
    """A gate was missed; everything else succeeded."""


class PaintingError(EdgeSdkError, exit_code=1):
    """The painter failed on some key frames; the output shows earlier ones instead."""


class MissingEnvironmentError(EdgeSdkError, exit_code=3):
    """The machine lacks something."""


class MissingBackendError(MissingEnvironmentError):
    """Python extras are not installed.

    Args:
        package: Names of the missing import packages.
        extra: Extras of this distribution that install them.
        remedy: Remedy other than installing the extras.
    """

    def __init__(
        self, package: str | Sequence[str], extra: str | Sequence[str], remedy: str | None = None
    ) -> None:
        packages = [package] if isinstance(package, str) else package
        extras = [extra] if isinstance(extra, str) else list(dict.fromkeys(extra))
        named = "packages {} are" if len(packages) > 1 else "package {} is"
        super().__init__(
            f"the Python {named.format(', '.join(map(repr, packages)))} not installed",
            remedy=remedy or f'pip install "edgesdk[{",".join(extras)}]"',
        )


class MissingToolError(MissingEnvironmentError):
    """A program is not installed."""


class StorageError(MissingEnvironmentError):
    """A disk is full, read-only or without write permission."""


class DeviceError(EdgeSdkError, exit_code=4):
    """A device failed or disconnected."""


class WorkerLostError(DeviceError):
    """A worker process or machine is gone, and so are its replacements."""
