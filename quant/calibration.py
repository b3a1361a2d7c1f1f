"""Calibration: ranges of a program's tensors, observed on samples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from edgesdk.errors import DataError
from edgesdk.quant.fake_quantization.network import Network, plain, sample_errors
from edgesdk.quant.ranges import RangeObserver
from edgesdk.quant.spec import QuantSpec

__all__ = ["observed_ranges"]


def observed_ranges(
    network: Network,
    constants: Mapping[Node, Tensor],
    samples: Iterable[Sequence[Tensor]],
    tensors: Sequence[Node],
    spec: QuantSpec,
) -> dict[str, tuple[float, float]]:
    """Observe the ranges of tensors of a float program.

    Args:
        network: Float program.
        constants: See :meth:`edgesdk.quant.fake_quantization.network.Network.compute`.
        samples: One tensor per input; one sample at a time, because averaged ranges need each
            sample by itself.
        tensors: Tensors to observe.
        spec: Recipe with the range method.

    Returns:
        Ranges by tensor name, float tensors only.

    Raises:
        DataError: No samples, or a tensor becomes NaN or infinite.
        InputSpecError: A sample does not fit the program.
    """
    bits = spec.activations.bits if spec.activations is not None else 8
    observers = {node: RangeObserver(spec.ranges, bits) for node in tensors}

    def watch(node: Node, value: Any) -> None:
        if node not in observers or not isinstance(value, Tensor):
            return
        if not value.is_floating_point():
            return
        try:
            observers[node].add(value.float().numpy())
        except DataError as error:
            raise DataError(
                f"{error.message}: {network.names[node]}", remedy=error.remedy
            ) from error

    def step(node: Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        value = plain(node, args, kwargs)
        watch(node, value)
        return value

    count = 0
    with torch.inference_mode(), sample_errors():
        for sample in samples:
            count += 1
            for node, value in zip(network.inputs, sample, strict=True):
                watch(node, value)
            network.compute(sample, constants, step)
    if count == 0:
        raise DataError(
            f"{spec.name} needs calibration samples, but none were given",
            remedy="give calibration data",
        )
    return {
        network.names[node]: observer.range()
        for node, observer in observers.items()
        if observer.has_values
    }
