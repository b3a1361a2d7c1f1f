"""Inputs of quantization: a calibration set for ranges, an evaluation set for the drop."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgesdk.bundle.manifest import CalibrationRecord
from edgesdk.errors import DataError, UsageError
from edgesdk.exporter.prepared import CaptureSpec, PreparedModel
from edgesdk.exporter.quantization.options import QuantizeOptions
from edgesdk.exporter.results import QuantizationData
from edgesdk.frontend.capture import run_eager
from edgesdk.host.atomic_write import storage_errors
from edgesdk.host.digest import digest
from edgesdk.quant.array_file import save_arrays
from edgesdk.quant.input_sets import InputSet, enough_samples, read_inputs
from edgesdk.quant.plan import Arrays
from edgesdk.quant.spec import QuantSpec
from edgesdk.verification.accuracy_drop import EvaluationSet, float_answers

__all__ = ["QuantizationInputs"]

#: Maximum number of calibration inputs if the user gives no number.
_MAX_CALIBRATION = 256


@dataclass(frozen=True)
class QuantizationInputs:
    """Inputs of one export that quantizes.

    Attributes:
        calibration: Inputs that set the ranges; None if no recipe needs any.
        available: Number of inputs to choose from.
        evaluation: Inputs for measuring the drop; None if none were given.
    """

    calibration: InputSet | None
    available: int
    evaluation: EvaluationSet | None

    @classmethod
    def read(
        cls,
        options: QuantizeOptions,
        prepared: PreparedModel,
        specs: Sequence[QuantSpec],
        on_progress: Callable[[str], None] | None = None,
    ) -> QuantizationInputs:
        """Read both sets and choose the number of calibration inputs.

        Args:
            options: Quantization options.
            prepared: The model.
            specs: Recipes of the export.
            on_progress: Called with the current step.

        Raises:
            UsageError: A recipe needs calibration inputs and there are none.
            DataError: The inputs cannot be used.
        """
        report = on_progress or (lambda step: None)
        reader = _Reader(options, prepared)
        calibration, available = None, 0
        # Recipes without fixed ranges do not need calibration inputs, but rounding weights with
        # them is more accurate.
        given = options.calibration is not None or options.data is not None
        if any(spec.static for spec in specs) or (given and any(spec.weights for spec in specs)):
            report("reading inputs for calibration")
            found = reader.calibration()
            available = len(found)
            count = options.calibration_samples
            if not count:
                report("choosing how many inputs to calibrate on")
                captured = prepared.capture(CaptureSpec())
                names = [spec.name for spec in captured.inputs]
                # A stylizer needs every style in its calibration set.
                least = len(prepared.backgrounds())
                count, _ = enough_samples(captured.program, names, found.inputs, least=least)
            calibration = found.first(count)
        evaluation = None
        if options.measured:
            report("reading inputs to measure the drop on")
            evaluation = reader.evaluation(calibration)
        return cls(calibration, available, evaluation)

    def record(self, spec: QuantSpec) -> CalibrationRecord | None:
        """Return the manifest's record of a recipe's calibration; None if it had none."""
        if self.calibration is None or spec.weights is None:
            return None
        return CalibrationRecord(
            method=spec.ranges if spec.static else "rounding of weights",
            samples=len(self.calibration),
            available=self.available,
            sha256=self.calibration.sha256,
            source=self.calibration.source,
            notes=list(self.calibration.notes),
        )

    def write(self, folder: Path, samples: Path, samples_sha256: str) -> QuantizationData:
        """Write the files that converters read.

        Args:
            folder: Folder for the files.
            samples: File of samples that parity is measured on.
            samples_sha256: Digest of ``samples``.

        Raises:
            StorageError: The disk is full or read-only.
        """
        if self.calibration is None:
            return QuantizationData(samples, samples_sha256)
        path = folder / "calibration.safetensors"
        with storage_errors("cannot write", path):
            save_arrays(path, self.calibration.inputs)
        return QuantizationData(samples, samples_sha256, path, digest(path))


class _Reader:
    def __init__(self, options: QuantizeOptions, prepared: PreparedModel) -> None:
        self._options = options
        self._prepared = prepared
        self._specs = prepared.input_specs(CaptureSpec())
        self._splits: Any = None

    def calibration(self) -> InputSet:
        options = self._options
        limit = options.calibration_samples or _MAX_CALIBRATION
        if options.calibration is not None:
            return self._read(options.calibration, limit)
        if options.data is not None:
            return self._labelled("train", limit)[0]
        raise UsageError(
            "a recipe with fixed ranges needs calibration inputs",
            remedy="--calibration FOLDER of photographs like those of the app, a file of arrays "
            "(.npz), or --data with labelled images",
        )

    def evaluation(self, calibration: InputSet | None) -> EvaluationSet:
        options = self._options
        labels: tuple[int, ...] = ()
        if options.evaluation is not None:
            # Calibration inputs would flatter the drop: exclude them by name.
            same = options.evaluation is options.calibration or (
                isinstance(options.evaluation, (str, Path))
                and isinstance(options.calibration, (str, Path))
                and Path(options.evaluation).resolve() == Path(options.calibration).resolve()
            )
            used = calibration.names if same and calibration is not None else ()
            found = self._read(options.evaluation, options.samples, used)
        else:
            found, labels = self._labelled("test", options.samples)
        if calibration is not None:
            _refuse_overlap(calibration, found)
        model = self._prepared.flat_model()

        def run(arrays: Arrays) -> Arrays:
            return run_eager(model, arrays)

        sha256 = hashlib.sha256(f"{found.sha256} {labels}".encode()).hexdigest()
        expected = float_answers(run, found.inputs)
        return EvaluationSet(found.inputs, expected, labels, found.source, sha256)

    def _read(self, source: Any, limit: int, exclude: Sequence[str] = ()) -> InputSet:
        return read_inputs(
            source,
            self._specs,
            image=self._prepared.loaded.image,
            backgrounds=self._prepared.backgrounds(),
            limit=limit,
            seed=self._options.seed,
            exclude=exclude,
        )

    def _labelled(self, part: str, limit: int) -> tuple[InputSet, tuple[int, ...]]:
        """Return inputs made of labelled images as in training, and their classes."""
        from edgesdk.training import open_data

        if self._splits is None:
            self._splits = open_data(Path(str(self._options.data)), validation=0)
        data = getattr(self._splits, part)
        if data is None or not len(data):
            raise DataError(
                f"{self._options.data} has no {part} images",
                remedy=f"add a folder {part}, or give --calibration and --evaluation",
            )
        order = np.random.default_rng(self._options.seed).permutation(len(data))[:limit]
        inputs, labels = [], []
        for row in order:
            image, label = data[int(row)]
            inputs.append(self._as_input(np.asarray(image)))
            labels.append(int(label))
        name = Path(str(self._options.data)).name
        return (
            InputSet(
                tuple(f"{part} {row}" for row in order),
                tuple(inputs),
                f"{len(order)} of {len(data)} {part} images in {name}",
            ),
            tuple(labels),
        )

    def _as_input(self, image: np.ndarray) -> Arrays:
        """Convert one image ``uint8 [channels, height, width]`` to the model's input."""
        spec = next((spec for spec in self._specs if len(spec.shape) == 4 and spec.layout), None)
        if spec is None:
            raise DataError(
                "the model has no image input",
                remedy="give --calibration and --evaluation as arrays",
            )
        if spec.layout == "NHWC":
            array = image.transpose(1, 2, 0)[None]
        else:
            mean, std = (
                np.asarray(values, np.float32).reshape(-1, 1, 1)
                for values in (self._splits.mean, self._splits.std)
            )
            array = ((image.astype(np.float32) / 255 - mean) / std)[None]
        if array.shape != spec.shape:
            raise DataError(
                f"the images have the shape {array.shape}, but the model takes {spec.shape}",
                remedy="give the images the model was trained on",
            )
        example = self._prepared.example()
        return {**example, spec.name: np.ascontiguousarray(array.astype(spec.dtype))}


def _refuse_overlap(calibration: InputSet, evaluation: InputSet) -> None:
    known = {_fingerprint(arrays) for arrays in calibration.inputs}
    shared = [
        name
        for name, arrays in zip(evaluation.names, evaluation.inputs, strict=True)
        if _fingerprint(arrays) in known
    ]
    if shared:
        raise DataError(
            f"{len(shared)} samples are in both the calibration and the evaluation set, such as "
            f"{shared[0]}",
            remedy="give different inputs, or one folder for both: it is split",
        )


def _fingerprint(arrays: Arrays) -> str:
    sha = hashlib.sha256()
    for name in sorted(arrays):
        sha.update(np.ascontiguousarray(arrays[name]).tobytes())
    return sha.hexdigest()
