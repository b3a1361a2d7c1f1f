"""Ranges and moments of a float ONNX model's tensors on calibration samples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from edgesdk.errors import DataError, MissingBackendError, QuantizationError
from edgesdk.quant.onnx.graph import OnnxGraph
from edgesdk.quant.onnx.layers import OnnxLayer
from edgesdk.quant.onnx.windows import window_of
from edgesdk.quant.plan import Arrays
from edgesdk.quant.ranges import RangeObserver
from edgesdk.quant.rounding import InputMoments

__all__ = ["first_line", "input_moments", "observe_ranges"]

#: Number of samples for moments; twice as many change hardly any weight.
_SAMPLES = 64
#: Number of positions of an image for moments.
_PLACES = 2048
#: Largest number of inputs with moments; more would take gigabytes and minutes.
_MOST_INPUTS = 4608
#: Bytes of moments gathered in one pass over the samples.
_PASS_BYTES = 512 * 2**20


def first_line(error: BaseException) -> str:
    """Return the first non-empty line of a vendor's exception."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:400]


def _values(graph: OnnxGraph, names: Iterable[str], samples: Sequence[Arrays]) -> Iterator[Arrays]:
    """Yield the values of tensors for each sample, computed by ONNX Runtime in floats."""
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise MissingBackendError("onnxruntime", "onnx") from error
    wanted = list(dict.fromkeys(names))
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    del model.graph.output[:]
    given = {value.name for value in graph.inputs}
    # A type without shape: the exporter's shape may not fit the sample.
    computed = [name for name in wanted if name not in given]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in computed)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        raise QuantizationError(
            f"ONNX Runtime cannot compute the float model: {first_line(error)}",
            remedy="check that the float artefact runs in ONNX Runtime",
        ) from error
    for sample in samples:
        missing = sorted(given - sample.keys())
        if missing:
            raise DataError(
                f"a calibration sample has no input {missing[0]!r}",
                remedy=f"give {', '.join(sorted(given))}",
            )
        feed = {name: sample[name] for name in given}
        try:
            results = session.run(computed, feed) if computed else []
        except Exception as error:
            raise DataError(
                f"the model cannot run on a calibration sample: {first_line(error)}",
                remedy="give samples with the model's shapes and dtypes",
            ) from error
        yield {name: feed[name] for name in wanted if name in given} | dict(
            zip(computed, results, strict=True)
        )


def observe_ranges(
    graph: OnnxGraph, names: Iterable[str], samples: Sequence[Arrays], method: str, bits: int
) -> dict[str, tuple[float, float]]:
    """Observe the ranges of tensors over the samples.

    Args:
        graph: Float model.
        names: Tensors to observe; only float ones are.
        samples: Inputs by name.
        method: Range method, see :class:`edgesdk.quant.ranges.RangeObserver`.
        bits: Bits of the integers.

    Returns:
        Lowest and highest value by tensor; the range contains zero.

    Raises:
        DataError: No samples, or the model cannot run on one.
        MissingBackendError: ONNX Runtime is not installed.
        QuantizationError: ONNX Runtime refuses the float model.
    """
    if not samples:
        raise DataError("no samples to calibrate with", remedy="calibrate with at least one sample")
    observers: dict[str, RangeObserver] = {}
    for values in _values(graph, names, samples):
        for name, array in values.items():
            if array.dtype.kind == "f":
                observer = observers.setdefault(name, RangeObserver(method, bits))
                observer.add(array)
    return {name: observer.range() for name, observer in observers.items() if observer.has_values}


def input_moments(
    graph: OnnxGraph, layers: Sequence[OnnxLayer], samples: Sequence[Arrays]
) -> dict[str, InputMoments]:
    """Compute the moments of each layer's inputs.

    Args:
        graph: Float model.
        layers: Layers of the model.
        samples: Inputs by name; at most 64 are used.

    Returns:
        Moments by node name, without transposed and three-dimensional convolutions, embeddings,
        and layers with very many inputs.
    """
    nodes = {node.name: node for node in graph.graph.node}
    found: dict[str, InputMoments] = {}
    batch: dict[str, tuple[OnnxLayer, Any]] = {}
    pending = [layer for layer in layers if _has_moments(layer)]
    for layer in pending:
        found[layer.node] = InputMoments.empty(_vectors(layer), layer.fan_in)
        batch[layer.node] = (layer, nodes[layer.node])
        size = sum(found[name].second.nbytes for name in batch)
        if size >= _PASS_BYTES or layer is pending[-1]:
            _gather(graph, batch, found, samples[:_SAMPLES])
            batch = {}
    return {name: moments for name, moments in found.items() if moments.count}


def _has_moments(layer: OnnxLayer) -> bool:
    if layer.fan_in > _MOST_INPUTS or layer.slot != 1:
        return False
    if layer.kind == "Conv":
        return len(layer.shape) in (3, 4)
    return layer.kind in ("Gemm", "MatMul") and len(layer.shape) == 2


def _vectors(layer: OnnxLayer) -> int:
    return layer.groups if layer.kind == "Conv" else 1


def _gather(
    graph: OnnxGraph,
    batch: Mapping[str, tuple[OnnxLayer, Any]],
    found: dict[str, InputMoments],
    samples: Sequence[Arrays],
) -> None:
    users: dict[str, list[tuple[OnnxLayer, Any]]] = {}
    for layer, node in batch.values():
        users.setdefault(str(node.input[0]), []).append((layer, node))
    for values in _values(graph, users, samples):
        for name, array in values.items():
            for layer, node in users[name]:
                vectors = _columns if layer.kind == "Conv" else _flat
                _add(found[layer.node], vectors(layer, node, array.astype(np.float32, copy=False)))


def _add(moments: InputMoments, vectors: np.ndarray) -> None:
    """Add vectors ``[groups, inputs, number]``."""
    number = vectors.shape[2]
    moments.second += vectors @ vectors.transpose(0, 2, 1)
    moments.total += vectors.sum(axis=2, dtype=np.float64)
    moments.count += number


def _flat(layer: OnnxLayer, node: Any, array: np.ndarray) -> np.ndarray:
    flat = array.reshape(-1, array.shape[-1]).T
    return flat[None, :, :: -(-flat.shape[1] // _PLACES)]


def _columns(layer: OnnxLayer, node: Any, array: np.ndarray) -> np.ndarray:
    import torch
    from torch.nn import functional

    kernel, sizes = layer.shape[2:], array.shape[2:]
    window = window_of(node, kernel, sizes)
    image = functional.pad(torch.from_numpy(array), window.torch_padding)
    if len(kernel) == 1:
        image = image.unsqueeze(2)
    lead = [1] * (2 - len(kernel))
    strides = (*lead, *window.strides)
    if max(kernel) == 1:
        columns = image[:, :, :: strides[0], :: strides[1]].flatten(2)
    else:
        columns = functional.unfold(
            image, (*lead, *kernel), dilation=(*lead, *window.dilations), stride=strides
        )
    every = -(-columns.shape[2] * columns.shape[0] // _PLACES)
    grouped = columns.reshape(columns.shape[0], layer.groups, layer.fan_in, -1)
    return grouped.permute(1, 2, 0, 3).flatten(2)[:, :, ::every].numpy()
