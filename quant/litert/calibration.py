"""Ranges and input moments of a float ``.tflite`` on calibration samples."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgesdk.errors import DataError, MissingBackendError, QuantizationError
from edgesdk.quant.litert.file import LitertModel
from edgesdk.quant.litert.layers import LitertLayer
from edgesdk.quant.litert.windows import input_vectors
from edgesdk.quant.plan import Arrays
from edgesdk.quant.ranges import RangeObserver
from edgesdk.quant.rounding import InputMoments

__all__ = ["Calibration", "calibrate", "checked_samples", "float_runs", "measurable"]

#: Values beyond this are padding for max pooling, written as the smallest float.
_PADDING = 3e38
#: Largest number of inputs per output channel with second moments, which need memory.
_MOST_INPUTS = 2304
#: Width of the range of a constant tensor; integers need some width to represent zero.
_WIDTH = 1.0
#: NumPy types of inputs and outputs.
_FACE = {"FLOAT32": np.float32, "FLOAT16": np.float16, "INT32": np.int32, "INT64": np.int64}


@dataclass(frozen=True)
class Calibration:
    """Result of a calibration.

    Attributes:
        ranges: Lowest and highest value to represent, by tensor index.
        moments: Moments of a layer's inputs, by operator index.
    """

    ranges: dict[int, tuple[float, float]] = field(default_factory=dict)
    moments: dict[int, InputMoments] = field(default_factory=dict)


def checked_samples(model: LitertModel, samples: Sequence[Arrays], where: str) -> list[Arrays]:
    """Convert samples to the types of a model's inputs, and check them.

    Args:
        model: Float model.
        samples: Arrays by input name.
        where: Kind of samples, for messages.

    Raises:
        DataError: A sample lacks an input, has another shape, or holds NaN or infinity.
    """
    found = []
    for number, sample in enumerate(samples):
        arrays: Arrays = {}
        for name, index in model.inputs.items():
            place = f"{where} {number}"
            if name not in sample:
                raise DataError(
                    f"{place} has no input {name!r}", remedy=f"give {', '.join(model.inputs)}"
                )
            tensor, array = model.tensors[index], np.asarray(sample[name])
            sizes = model.free.get(index, tensor.shape)
            if len(sizes) != array.ndim or any(
                size not in (-1, given) for size, given in zip(sizes, array.shape, strict=True)
            ):
                raise DataError(
                    f"{name!r} of {place} has shape {list(array.shape)}, not {list(sizes)}",
                    remedy="prepare it as for the float model",
                )
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise DataError(
                    f"{name!r} of {place} holds NaN or infinity", remedy="remove that sample"
                )
            arrays[name] = np.ascontiguousarray(array, _FACE.get(tensor.dtype, array.dtype))
        found.append(arrays)
    return found


def float_runs(
    path: Path, model: LitertModel, samples: Sequence[Arrays]
) -> Iterator[Callable[[int], np.ndarray]]:
    """Run a float model and keep all its tensors.

    Args:
        path: The ``.tflite`` file.
        model: Its content.
        samples: See :func:`checked_samples`.

    Yields:
        After each sample, a function from a tensor index to its values.

    Raises:
        MissingBackendError: ``ai_edge_litert`` is not installed.
        QuantizationError: The interpreter refuses the model.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise MissingBackendError("ai_edge_litert", "litert") from error
    try:
        with warnings.catch_warnings():
            # The interpreter warns that keeping all tensors needs memory; that is intended.
            warnings.simplefilter("ignore")
            interpreter: Any = Interpreter(
                model_content=path.read_bytes(),
                num_threads=1,
                experimental_preserve_all_tensors=True,
            )
            interpreter.allocate_tensors()
        shapes = {name: model.tensors[index].shape for name, index in model.inputs.items()}
        for sample in samples:
            given = {name: array.shape for name, array in sample.items()}
            if given != shapes:
                for name, shape in given.items():
                    interpreter.resize_tensor_input(model.inputs[name], shape)
                interpreter.allocate_tensors()
                shapes = given
            for name, array in sample.items():
                interpreter.set_tensor(model.inputs[name], array)
            interpreter.invoke()
            yield interpreter.get_tensor
    except (OSError, RuntimeError, ValueError) as error:
        raise QuantizationError(
            f"LiteRT cannot run {path.name}: {(str(error).splitlines() or ['no reason'])[0]}",
            remedy="make the float artefact run first, then quantize it",
        ) from error


def measurable(model: LitertModel) -> list[int]:
    """Return the tensors that have ranges: float inputs and results."""
    used = {
        index for operator in model.operators for index in (*operator.present, *operator.outputs)
    }
    used |= {*model.inputs.values(), *model.outputs.values()}
    return [
        tensor.index
        for tensor in model.tensors
        if tensor.dtype == "FLOAT32" and not tensor.constant and tensor.index in used
    ]


def calibrate(
    path: Path,
    model: LitertModel,
    samples: Sequence[Arrays],
    *,
    tensors: Collection[int] = (),
    layers: Sequence[LitertLayer] = (),
    method: str = "min_max",
    bits: int = 8,
) -> Calibration:
    """Observe ranges of tensors and input moments of layers.

    Args:
        path: The float ``.tflite`` file.
        model: Its content.
        samples: See :func:`checked_samples`.
        tensors: Tensors to take ranges of.
        layers: Layers to take moments for, except those with very many inputs.
        method: One of :data:`edgesdk.quant.spec.RANGE_METHODS`.
        bits: Bits of the integers.

    Raises:
        DataError: A tensor held NaN or infinity.
        MissingBackendError: See :func:`float_runs`.
        QuantizationError: See :func:`float_runs`.
    """
    observers = {index: RangeObserver(method, bits) for index in tensors}
    wanted = [
        layer
        for layer in layers
        if layer.kind in ("conv2d", "depthwise", "linear") and _inputs(layer) <= _MOST_INPUTS
    ]
    moments: dict[int, InputMoments] = {}
    for values in float_runs(path, model, samples):
        for index, observer in observers.items():
            observer.add(_counted(values(index), model.tensors[index].name))
        for layer in wanted:
            vectors = input_vectors(layer, values(layer.activation))
            if vectors is None:
                continue
            groups, count, inputs = vectors.shape
            own = moments.setdefault(layer.operator.index, InputMoments.empty(groups, inputs))
            own.second += np.swapaxes(vectors, 1, 2) @ vectors
            own.total += vectors.sum(axis=1, dtype=np.float64)
            own.count += count
    ranges = {index: _widened(*observer.range()) for index, observer in observers.items()}
    return Calibration(ranges, moments)


def _inputs(layer: LitertLayer) -> int:
    return layer.weights // layer.weight.shape[layer.axis]


def _counted(values: np.ndarray, name: str) -> np.ndarray:
    if np.isnan(values).any():
        raise DataError(
            f"tensor {name.split(';')[-1]!r} held NaN during calibration",
            remedy="remove samples on which the model overflows",
        )
    if np.abs(values).max(initial=0.0) < _PADDING:
        return values
    kept = values[np.abs(values) < _PADDING]
    return kept if kept.size else np.zeros(1, np.float32)


def _widened(low: float, high: float) -> tuple[float, float]:
    return (low, high) if high > low else (low, low + _WIDTH)
