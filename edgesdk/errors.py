"""Every error the SDK raises on purpose, with the exit code its command ends with.

::

    EdgeSdkError                      70  (never raised itself)
    ├── UsageError                     2  the call or the command line is wrong
    │   ├── UnknownNameError           2  a name nobody registered; suggests the nearest
    │   ├── InputSpecError             2  an input description that cannot be read or does not fit
    │   └── OutputExistsError          2  the output is there already and --overwrite was not given
    ├── SourceError                    2  the SOURCE of a model cannot be turned into a model
    │   ├── SourceNotFoundError        2  no such file, module, factory or zoo entry
    │   ├── FactoryError               2  the user's own code raised
    │   ├── WeightsError               2  weights that are damaged or do not match the model
    │   └── UnsafeFileError            2  a file that would run code when read
    ├── CaptureError                   2  torch.export cannot trace the model
    ├── ModelOutputError               2  the model itself answers NaN, infinity or no tensor
    ├── ConversionError                2  a converter gave up
    │   ├── UnsupportedOperatorError   2  the target has no such operator
    │   ├── DynamicShapeError          2  the target would freeze a dimension that must stay free
    │   ├── ConverterCrashError        2  the converter's process died
    │   └── ConverterLimitError        2  the converter ran past its time or memory limit
    ├── BundleError                    2  a bundle that cannot be used
    │   ├── BundleDamagedError         2  files missing, truncated or altered
    │   ├── BundleUnsafeError          2  paths, links or sizes no honest bundle has
    │   └── BundleSchemaError          2  a manifest of a newer schema, or not a manifest
    ├── SessionError                   2  a runtime refuses an artefact or its inputs
    │   └── SessionCrashError          2  the runtime's process died on it
    ├── DataError                      2  labelled data that cannot be trained or measured on
    ├── TrainingError                  2  training cannot begin, go on or be resumed
    │   └── DivergedError              2  the loss became NaN or infinite
    ├── PruningError                   2  no channel of the model can be removed as asked
    │   └── BudgetError                2  no choice of channels meets the budget; says the nearest
    ├── QuantizationError              2  the model cannot be quantized as asked
    │   └── UnsupportedRecipeError     2  the target has no such quantization; lists what it has
    ├── MediaError                     2  a video or picture that cannot be read or written
    ├── GateError                      1  everything ran, and a gate was missed
    ├── PaintingError                  1  all is written, but the painter failed on key frames
    ├── MissingEnvironmentError        3  something the machine should have is absent
    │   ├── MissingBackendError        3  a Python extra is not installed
    │   ├── MissingToolError           3  a program is not installed
    │   └── StorageError               3  a disk is full or read-only
    └── DeviceError                    4  a device failed or went away
        └── WorkerLostError            4  a process or machine that computed for us is gone

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
    "SourceError",
    "SourceNotFoundError",
    "StorageError",
    "TrainingError",
    "UnknownNameError",
    "UnsafeFileError",
    "UnsupportedOperatorError",
    "UnsupportedRecipeError",
    "UsageError",
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


class UsageError(EdgeSdkError):
    """The call or the command line is wrong."""

    exit_code = 2


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


class SourceError(EdgeSdkError):
    """The SOURCE of a model cannot be turned into a model."""

    exit_code = 2


class SourceNotFoundError(SourceError):
    """No such file, module, factory or zoo entry."""


class FactoryError(SourceError):
    """The user's own code raised while it was imported or called."""


class WeightsError(SourceError):
    """Weights that are damaged or do not match the model."""


class UnsafeFileError(SourceError):
    """A file that would run code when read."""


class CaptureError(EdgeSdkError):
    """``torch.export`` cannot trace the model; its control flow may follow data."""

    exit_code = 2


class ModelOutputError(EdgeSdkError):
    """The model itself answers NaN, infinity or something that holds no tensor."""

    exit_code = 2


class ConversionError(EdgeSdkError):
    """A converter gave up."""

    exit_code = 2


class UnsupportedOperatorError(ConversionError):
    """The target has no such operator."""


class DynamicShapeError(ConversionError):
    """The target would silently freeze a dimension that was asked to stay free."""


class ConverterCrashError(ConversionError):
    """The converter's process died."""


class ConverterLimitError(ConversionError):
    """The converter ran past its limit of time or memory."""


class BundleError(EdgeSdkError):
    """A bundle that cannot be used."""

    exit_code = 2


class BundleDamagedError(BundleError):
    """Files of the bundle are missing, truncated or altered."""


class BundleUnsafeError(BundleError):
    """Paths, links or sizes that no honest bundle has."""


class BundleSchemaError(BundleError):
    """A manifest of a newer schema, or no manifest at all."""


class SessionError(EdgeSdkError):
    """A runtime refuses an artefact or its inputs."""

    exit_code = 2


class SessionCrashError(SessionError):
    """The process in which the runtime ran has died or stopped answering."""


class DataError(EdgeSdkError):
    """Labelled data that cannot be trained or measured on."""

    exit_code = 2


class TrainingError(EdgeSdkError):
    """Training cannot begin, go on or be resumed."""

    exit_code = 2


class DivergedError(TrainingError):
    """The loss became NaN or infinite."""


class PruningError(EdgeSdkError):
    """No channel of the model can be removed as asked."""

    exit_code = 2


class BudgetError(PruningError):
    """No choice of channels meets the budget; the message says the nearest."""


class QuantizationError(EdgeSdkError):
    """The model cannot be quantized as asked."""

    exit_code = 2


class UnsupportedRecipeError(QuantizationError):
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


class MediaError(EdgeSdkError):
    """A video or picture that cannot be read or written; says the time where it stops."""

    exit_code = 2


class GateError(EdgeSdkError):
    """Everything ran, and a gate was missed."""

    exit_code = 1


class PaintingError(EdgeSdkError):
    """All is written, but the painter failed on some key frames and an earlier one stands."""

    exit_code = 1


class MissingEnvironmentError(EdgeSdkError):
    """Something the machine should have is absent."""

    exit_code = 3


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


class DeviceError(EdgeSdkError):
    """A device failed or went away."""

    exit_code = 4


class WorkerLostError(DeviceError):
    """A process or machine that computed for us is gone, and so were those that took its place."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name most like ``name``, or None where nothing is close."""
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
