"""Every error the SDK raises on purpose, with the exit code its command ends with.

::

    EdgeSdkError                      70  (never raised itself)
    ├── UsageError                     2  the call or the command line is wrong
    │   ├── UnknownNameError           2  a name nobody registered; suggests the nearest
    │   ├── InputSpecError             2  an input description that cannot be read or does not fit
    │   └── OutputExistsError          2  the output is there already and --overwrite was not given
    ├── SourceError                    5  the SOURCE of a model cannot be turned into a model
    │   ├── SourceNotFoundError        2  no such file, module, factory or zoo entry
    │   ├── FactoryError               5  the user's own code raised
    │   ├── WeightsError               5  weights that do not match the model
    │   │   └── WeightsDamagedError    6  a file of weights that is damaged
    │   ├── SourceDamagedError         6  a damaged .pt2 or .edgemodel
    │   └── UnsafeFileError            6  a file that would run code when read
    ├── CaptureError                   5  torch.export cannot trace the model
    ├── ModelOutputError               5  the model itself answers NaN, infinity or no tensor
    ├── ConversionError                5  a converter gave up
    │   ├── UnsupportedOperatorError   5  the target has no such operator
    │   ├── DynamicShapeError          5  the target would freeze a dimension that must stay free
    │   ├── ConverterCrashError        5  the converter's process died
    │   └── ConverterLimitError        5  the converter ran past its time or memory limit
    ├── BundleError                    6  a bundle that cannot be used
    │   ├── BundleDamagedError         6  files missing, truncated or altered
    │   ├── BundleUnsafeError          6  paths, links or sizes no honest bundle has
    │   └── BundleSchemaError          6  a manifest of a newer schema, or not a manifest
    ├── SessionError                   5  a runtime refuses an artefact or its inputs
    │   └── SessionCrashError          5  the runtime's process died on it
    ├── DataError                      5  labelled data that cannot be trained or measured on
    ├── TrainingError                  5  training cannot begin, go on or be resumed
    │   ├── CheckpointError            6  a checkpoint that is damaged, or of an older format
    │   └── DivergedError              5  the loss became NaN or infinite
    ├── PruningError                   5  no channel of the model can be removed as asked
    │   └── BudgetError                5  no choice of channels meets the budget; says the nearest
    ├── QuantizationError              5  the model cannot be quantized as asked
    │   └── UnsupportedRecipeError     2  the target has no such quantization; lists what it has
    ├── MediaError                     5  a video or picture that cannot be read or written
    ├── GateError                      1  everything ran, and a gate was missed
    ├── PaintingError                  1  all is written, but the painter failed on key frames
    ├── MissingEnvironmentError        3  something the machine should have is absent
    │   ├── MissingBackendError        3  a Python extra is not installed
    │   ├── MissingToolError           3  a program is not installed
    │   └── StorageError               3  a disk is full or read-only
    └── DeviceError                    4  a device failed or went away
        └── WorkerLostError            4  a process or machine that computed for us is gone

Exit codes: 1 a gate was missed, 2 the call is wrong, 3 the machine lacks something, 4 a device or
worker is gone, 5 the model or data cannot be used, 6 a file is damaged or unsafe, 70 a bug of ours.

``message`` says what is wrong, ``where`` the place in the user's own code or file (if there is
one), ``remedy`` what to do next. All three are part of ``str(error)``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar

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
    "by_name",
    "nearest",
]


class EdgeSdkError(Exception):
    """Root of every error raised on purpose.

    Args:
        message: What is wrong, in one sentence.
        where: Place in the user's own material, such as ``net.py:41``.
        remedy: What to do next.
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
        parts = [self.message]
        if self.where:
            parts.append(f"  at: {self.where}")
        if self.remedy:
            parts.append(f"  fix: {self.remedy}")
        return "\n".join(parts)

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments do not survive the default protocol of exceptions.
        return (_rebuild, (type(self), self.message, self.where, self.remedy))

    def to_dict(self) -> dict[str, object]:
        """The error as plain JSON, for ``--json`` and from a converter's process."""
        return {
            "error": type(self).__name__,
            "message": self.message,
            "where": self.where,
            "remedy": self.remedy,
            "exit_code": self.exit_code,
        }


def _rebuild(
    kind: type[EdgeSdkError], message: str, where: str | None, remedy: str | None
) -> EdgeSdkError:
    error = kind.__new__(kind)
    EdgeSdkError.__init__(error, message, where=where, remedy=remedy)
    return error


class UsageError(EdgeSdkError, exit_code=2):
    """The call or the command line is wrong."""


class UnknownNameError(UsageError):
    """A name nobody registered.

    Args:
        kind: What the name should have named, such as ``target``.
        name: The name as given.
        known: Every name that would have been right.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        choices = sorted(known)
        close = nearest(name, choices)
        remedy = f"did you mean {close!r}?" if close else f"one of: {', '.join(choices)}"
        super().__init__(f"unknown {kind} {name!r}", remedy=remedy)


class InputSpecError(UsageError):
    """An input description that cannot be read or does not fit the model."""


class OutputExistsError(UsageError):
    """The output is there already and overwriting was not asked for."""


class SourceError(EdgeSdkError, exit_code=5):
    """The SOURCE of a model cannot be turned into a model."""


class SourceNotFoundError(SourceError, exit_code=2):
    """No such file, module, factory or zoo entry."""


class FactoryError(SourceError):
    """The user's own code raised while it was imported or called."""


class WeightsError(SourceError):
    """Weights that do not match the model, or cannot be used for it."""


class WeightsDamagedError(WeightsError, exit_code=6):
    """A file of weights that is truncated, altered or of another kind."""


class SourceDamagedError(SourceError, exit_code=6):
    """A saved model (``.pt2`` or ``.edgemodel``) is truncated, altered or of another kind."""


class UnsafeFileError(SourceError, exit_code=6):
    """A file that would run code when read."""


class CaptureError(EdgeSdkError, exit_code=5):
    """``torch.export`` cannot trace the model; its control flow may follow data."""


class ModelOutputError(EdgeSdkError, exit_code=5):
    """The model itself answers NaN, infinity or something that holds no tensor."""


class ConversionError(EdgeSdkError, exit_code=5):
    """A converter gave up."""


class UnsupportedOperatorError(ConversionError):
    """The target has no such operator."""


class DynamicShapeError(ConversionError):
    """The target would silently freeze a dimension that was asked to stay free."""


class ConverterCrashError(ConversionError):
    """The converter's process died."""


class ConverterLimitError(ConversionError):
    """The converter ran past its limit of time or memory."""


class BundleError(EdgeSdkError, exit_code=6):
    """A bundle that cannot be used."""


class BundleDamagedError(BundleError):
    """Files of the bundle are missing, truncated or altered."""


class BundleUnsafeError(BundleError):
    """Paths, links or sizes that no honest bundle has."""


class BundleSchemaError(BundleError):
    """A manifest of a newer schema, or no manifest at all."""


class SessionError(EdgeSdkError, exit_code=5):
    """A runtime refuses an artefact or its inputs."""


class SessionCrashError(SessionError):
    """The process in which the runtime ran has died or stopped answering."""


class DataError(EdgeSdkError, exit_code=5):
    """Labelled data that cannot be trained or measured on."""


class TrainingError(EdgeSdkError, exit_code=5):
    """Training cannot begin, go on or be resumed."""


class CheckpointError(TrainingError, exit_code=6):
    """A checkpoint that is damaged, or of a format that is no longer read."""


class DivergedError(TrainingError):
    """The loss became NaN or infinite."""


class PruningError(EdgeSdkError, exit_code=5):
    """No channel of the model can be removed as asked."""


class BudgetError(PruningError):
    """No choice of channels meets the budget; the message says the nearest."""


class QuantizationError(EdgeSdkError, exit_code=5):
    """The model cannot be quantized as asked."""


class UnsupportedRecipeError(QuantizationError, exit_code=2):
    """The target has no such quantization.

    Args:
        target: Target with variant.
        recipe: Name of the recipe.
        supported: Recipes the target has.
        reason: Why it lacks this one.
    """

    def __init__(
        self, target: str, recipe: str, supported: Iterable[str], reason: str = ""
    ) -> None:
        why = f": {reason}" if reason else ""
        super().__init__(
            f"{target} cannot do {recipe}{why}",
            remedy=f"{target} has {', '.join(supported) or 'no recipe at all'}",
        )


class MediaError(EdgeSdkError, exit_code=5):
    """A video or picture that cannot be read or written; says the time where it stops."""


class GateError(EdgeSdkError, exit_code=1):
    """Everything ran, and a gate was missed."""


class PaintingError(EdgeSdkError, exit_code=1):
    """All is written, but the painter failed on some key frames and an earlier one stands."""


class MissingEnvironmentError(EdgeSdkError, exit_code=3):
    """Something the machine should have is absent."""


class MissingBackendError(MissingEnvironmentError):
    """A Python extra is not installed.

    Args:
        package: The import package that is absent.
        extra: The extra of this distribution that brings it.
        remedy: What to do where that is not to install the extra.
    """

    def __init__(self, package: str, extra: str, *, remedy: str | None = None) -> None:
        super().__init__(
            f"the Python package {package!r} is not installed",
            remedy=remedy or f'pip install "edgesdk[{extra}]"',
        )


class MissingToolError(MissingEnvironmentError):
    """A program is not installed."""


class StorageError(MissingEnvironmentError):
    """A disk is full, read-only or not ours to write to."""


class DeviceError(EdgeSdkError, exit_code=4):
    """A device failed or went away."""


class WorkerLostError(DeviceError):
    """A process or machine that computed for us is gone, and so were those that took its place."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Find the known name most like ``name``; None where nothing is close."""
    by_folded = {choice.casefold(): choice for choice in known}
    close = difflib.get_close_matches(name.casefold(), list(by_folded), n=1, cutoff=0.6)
    return by_folded[close[0]] if close else None


def _family(root: type[EdgeSdkError]) -> dict[str, type[EdgeSdkError]]:
    found = {root.__name__: root}
    for child in root.__subclasses__():
        found.update(_family(child))
    return found


def by_name(kind: str, message: str, *, where: str | None, remedy: str | None) -> EdgeSdkError:
    """Build the error of class ``kind``, as a child process named it in plain JSON.

    Args:
        kind: Class name; an unknown one gives a :class:`ConversionError`.
        message: See :class:`EdgeSdkError`.
        where: See :class:`EdgeSdkError`.
        remedy: See :class:`EdgeSdkError`.
    """
    return _rebuild(_family(EdgeSdkError).get(kind, ConversionError), message, where, remedy)
