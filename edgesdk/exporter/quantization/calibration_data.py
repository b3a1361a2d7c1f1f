"""What quantization reads: inputs that ranges are taken from, and others that the drop is measured
on."""

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
from edgesdk.spec import TensorSpec
from edgesdk.verification.accuracy_drop import EvaluationSet, float_answers

__all__ = ["QuantizationInputs"]

#: Most inputs that ranges are taken from where the user names no number.
_MOST = 256


@dataclass(frozen=True)
class QuantizationInputs:
    """Inputs of one export that quantizes.

    Attributes:
        calibration: What ranges are taken from; None where no recipe needs any.
        available: How many inputs there were to choose from.
        evaluation: What the drop is measured on; None where nothing was given.
        faces: The model's inputs as the artefact's face takes them.
    """

    calibration: InputSet | None
    available: int
    evaluation: EvaluationSet | None
    faces: tuple[TensorSpec, ...]

    @classmethod
    def read(
        cls,
        options: QuantizeOptions,
        prepared: PreparedModel,
        specs: Sequence[QuantSpec],
        on_step: Callable[[str], None] | None = None,
    ) -> QuantizationInputs:
        """Read both sets and choose how many inputs ranges are taken from.

        Args:
            options: What the user asked for.
            prepared: The model.
            specs: The recipes to be made.
            on_step: Called with what is being done.

        Raises:
            UsageError: A recipe needs ranges and there is nothing to take them from.
            DataError: Inputs that no range or drop comes of.
        """
        tell = on_step or (lambda step: None)
        reader = _Reader(options, prepared)
        calibration, available = None, 0
        # Without fixed ranges inputs are no must, but weights rounded in view of them lose less.
        given = options.calibration is not None or options.data is not None
        if any(spec.static for spec in specs) or (given and any(spec.weights for spec in specs)):
            tell("reading inputs for calibration")
            found = reader.calibration()
            available = len(found)
            count = options.calibration_samples
            if not count:
                tell("choosing how many inputs to calibrate on")
                captured = prepared.capture(CaptureSpec())
                names = [spec.name for spec in captured.inputs]
                # In less than all its styles a stylizer has not shown its ranges.
                least = len(prepared.backgrounds())
                count, _ = enough_samples(captured.program, names, found.inputs, least=least)
            calibration = found.first(count)
        evaluation = None
        if options.measured:
            tell("reading inputs to measure the drop on")
            evaluation = reader.evaluation(calibration)
        return cls(calibration, available, evaluation, prepared.face_specs(CaptureSpec()))

    def record(self, spec: QuantSpec) -> CalibrationRecord | None:
        """What the manifest says of a recipe's calibration; None where it had none."""
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
        """Write what the converters' processes read.

        Args:
            folder: Where to.
            samples: What parity is measured on.
            samples_sha256: Its digest.

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
        self._specs = prepared.face_specs(CaptureSpec())
        self._splits: Any = None

    def calibration(self) -> InputSet:
        options = self._options
        limit = options.calibration_samples or _MOST
        if options.calibration is not None:
            return self._read(options.calibration, limit)
        if options.data is not None:
            return self._labelled("train", limit)[0]
        raise UsageError(
            "a recipe with fixed ranges needs inputs to take them from",
            remedy="--calibration FOLDER of photographs like those of the app, a file of arrays "
            "(.npz), or --data with labelled images",
        )

    def evaluation(self, calibration: InputSet | None) -> EvaluationSet:
        options = self._options
        labels: tuple[int, ...] = ()
        if options.evaluation is not None:
            # What ranges were taken from flatters the drop: it is kept apart by name.
            same = options.evaluation is options.calibration or (
                isinstance(options.evaluation, (str, Path))
                and isinstance(options.calibration, (str, Path))
                and Path(options.evaluation).resolve() == Path(options.calibration).resolve()
            )
            taken = calibration.names if same and calibration is not None else ()
            found = self._read(options.evaluation, options.samples, taken)
        else:
            found, labels = self._labelled("test", options.samples)
        if calibration is not None:
            _refuse_overlap(calibration, found)
        face = self._prepared.face()

        def run(arrays: Arrays) -> Arrays:
            return run_eager(face, arrays)

        sha256 = hashlib.sha256(f"{found.sha256} {labels}".encode()).hexdigest()
        expected = float_answers(run, found.inputs)
        return EvaluationSet(found.inputs, expected, labels, found.source, sha256)

    def _read(self, source: Any, limit: int, apart_from: Sequence[str] = ()) -> InputSet:
        return read_inputs(
            source,
            self._specs,
            image=self._prepared.loaded.image,
            backgrounds=self._prepared.backgrounds(),
            limit=limit,
            seed=self._options.seed,
            exclude=apart_from,
        )

    def _labelled(self, part: str, limit: int) -> tuple[InputSet, tuple[int, ...]]:
        """Inputs of labelled images, as the model was trained on them, and their classes."""
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
            inputs.append(self._as_face(np.asarray(image)))
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

    def _as_face(self, image: np.ndarray) -> Arrays:
        """One image ``uint8 [channels, height, width]`` as the face takes it."""
        spec = next((spec for spec in self._specs if len(spec.shape) == 4 and spec.layout), None)
        if spec is None:
            raise DataError(
                "the model takes no image", remedy="give --calibration and --evaluation as arrays"
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
                f"the images are {array.shape}, the model takes {spec.shape}",
                remedy="give the images the model was trained on",
            )
        example = self._prepared.example()
        return {**example, spec.name: np.ascontiguousarray(array.astype(spec.dtype))}


def _refuse_overlap(calibration: InputSet, evaluation: InputSet) -> None:
    seen = {_fingerprint(arrays) for arrays in calibration.inputs}
    shared = [
        name
        for name, arrays in zip(evaluation.names, evaluation.inputs, strict=True)
        if _fingerprint(arrays) in seen
    ]
    if shared:
        raise DataError(
            f"{len(shared)} samples are in both sets, {shared[0]} for one",
            remedy="measure on inputs that no range was taken from, or name one folder for both: "
            "it is split",
        )


def _fingerprint(arrays: Arrays) -> str:
    sha = hashlib.sha256()
    for name in sorted(arrays):
        sha.update(np.ascontiguousarray(arrays[name]).tobytes())
    return sha.hexdigest()
