"""Bias correction: subtract from each bias the shift that rounding causes in the channel's mean.

Nagel et al., "Data-free quantization through weight equalization and bias correction", ICCV 2019,
section 4.2, with means measured on data (appendix D).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node

from edgesdk.errors import DataError, QuantizationError
from edgesdk.quant.fake_quantization.module_program import Example, as_arguments, program_of
from edgesdk.quant.fake_quantization.operator_groups import OperatorGroup
from edgesdk.quant.fake_quantization.operators import argument
from edgesdk.quant.fake_quantization.simulated import QuantizedWalk, SimulatedQuantization
from edgesdk.quant.plan import Arrays
from edgesdk.quant.spec import QuantSpec

__all__ = ["BiasCorrection", "correct_bias"]


@dataclass(frozen=True)
class BiasCorrection:
    """Result of :func:`correct_bias`.

    Attributes:
        model: Copy of the model with corrected biases, in the same mode.
        shifts: Shift subtracted from each output channel, by module path, in order.
        skipped: Reasons for skipped layers, by module path.
    """

    model: nn.Module
    shifts: dict[str, Tensor]
    skipped: dict[str, str]


def correct_bias(
    model: nn.Module,
    spec: QuantSpec,
    calibration: Sequence[Example],
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> BiasCorrection:
    """Correct the biases of a model before it is quantized.

    Layers are corrected in order: each layer's mean output is compared with that of the float model
    while the layers in front are quantized and corrected. The bias is the layer's own, or the shift
    of the batch normalization behind it.

    Args:
        model: Float model; not changed.
        spec: Recipe it will be quantized with.
        calibration: Batches of inputs; static ranges are taken from them too, sample by sample.
        on_progress: Called with the number of layers done and the number in all.

    Raises:
        CaptureError: ``torch.export`` cannot trace the model.
        DataError: Calibration data are missing or hold NaN.
        QuantizationError: The model has nothing to quantize, or the recipe does not round weights.
    """
    if spec.weights is None:
        raise QuantizationError(
            f"{spec.name} does not round weights to integers",
            remedy="choose a recipe with integer weights, such as w8a8_static",
        )
    if not calibration:
        raise DataError("no calibration data to measure means on", remedy="give calibration data")
    result = copy.deepcopy(model)
    program = program_of(result, calibration[0])
    names = [str(name) for name in program.graph_signature.user_inputs]
    samples = [_arrays(names, batch) for batch in calibration]
    single = (row for batch in samples for row in _rows(batch))
    simulated = SimulatedQuantization(program, spec, calibration=single)
    groups = [group for group in simulated.groups if group.weight is not None]
    wanted = _float_means(simulated, samples, groups)
    shifts: dict[str, Tensor] = {}
    skipped: dict[str, str] = {}
    parameters = dict(result.named_parameters(remove_duplicate=False))
    walks = simulated.walks(samples)
    for index, group in enumerate(groups):
        for walk in walks:
            walk.advance(group.head)
        bias = _find_bias(simulated, groups, group, parameters)
        if isinstance(bias, str):
            skipped[group.path] = bias
        else:
            shift = _quantized_mean(group, walks) - wanted[group]
            folded = simulated.folded[group]
            assert folded.bias is not None
            folded.bias = folded.bias - shift
            with torch.no_grad():
                bias.sub_(shift.to(bias.dtype))
            shifts[group.path] = shift
        if on_progress is not None:
            on_progress(index + 1, len(groups))
    return BiasCorrection(result, shifts, skipped)


def _arrays(names: Sequence[str], batch: Example) -> Arrays:
    values = as_arguments(batch)
    return {name: value.detach().cpu().numpy() for name, value in zip(names, values, strict=True)}


def _rows(batch: Arrays) -> list[Arrays]:
    """Split a batch into batches of one sample."""
    counts = {len(value) if value.ndim else 0 for value in batch.values()}
    if len(counts) != 1:
        return [batch]
    return [
        {name: value[place : place + 1] for name, value in batch.items()}
        for place in range(counts.pop())
    ]


def _find_bias(
    simulated: SimulatedQuantization,
    groups: Sequence[OperatorGroup],
    group: OperatorGroup,
    parameters: dict[str, nn.Parameter],
) -> nn.Parameter | str:
    """Return the parameter to subtract the shift from, or the reason why none exists."""
    if simulated.spec.keeps_float(group.path):
        return "the recipe keeps it float"
    if sum(group.weight is other.weight for other in groups) > 1:
        return "its weights are used more than once"
    node = group.bias if group.norm is None else argument(group.norm, "bias")
    path = simulated.network.constants.get(node) if isinstance(node, Node) else None
    if path is None or path not in parameters:
        return "it has no bias"
    return parameters[path]


class _Mean:
    """Mean of each channel over all other axes and all batches."""

    def __init__(self, axis: int) -> None:
        self._axis = axis
        self._sum: Tensor | None = None
        self._count = 0

    def add(self, value: Tensor) -> None:
        rows = value.double().movedim(self._axis, -1).flatten(0, -2)
        total = rows.sum(0)
        self._sum = total if self._sum is None else self._sum + total
        self._count += len(rows)

    def value(self) -> Tensor:
        assert self._sum is not None
        return (self._sum / self._count).float()


def _float_means(
    simulated: SimulatedQuantization, samples: Sequence[Arrays], groups: Sequence[OperatorGroup]
) -> dict[OperatorGroup, Tensor]:
    means = {group.before_clamp: _Mean(group.channel_axis) for group in groups}

    def watch(node: Node, value: Any) -> None:
        if node in means:
            means[node].add(value)

    for sample in samples:
        simulated.run_float(sample, watch=watch)
    return {group: means[group.before_clamp].value() for group in groups}


def _quantized_mean(group: OperatorGroup, walks: Sequence[QuantizedWalk]) -> Tensor:
    """Return the mean output of a quantized layer, before its output is rounded."""
    mean = _Mean(group.channel_axis)
    for walk in walks:
        mean.add(walk.peek())
    return mean.value()
