"""Error of every operator's result in a quantized network, against the float network."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.fx import Node

from edgesdk.bundle.manifest import OperatorErrorRecord
from edgesdk.frontend.provenance import module_path, where
from edgesdk.quant.fake_quantization.simulated import SimulatedQuantization
from edgesdk.quant.plan import Arrays

__all__ = ["operator_errors"]


def operator_errors(
    simulated: SimulatedQuantization,
    samples: Sequence[Arrays],
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[OperatorErrorRecord]:
    """Run both networks on the same samples and compare every result.

    A result includes the errors of earlier operators; ``lost_db`` is the operator's own share.

    Args:
        simulated: The network.
        samples: Inputs by name; samples run one by one, so that few results are kept at a time.
        on_progress: Called with the number of samples done and the number in all.

    Returns:
        One record per operator with a floating-point result, in the order of the program.
    """
    signal: dict[Node, float] = {}
    noise: dict[Node, float] = {}
    for index, inputs in enumerate(samples):
        expected: dict[Node, Tensor] = {}

        def keep(node: Node, value: Tensor, kept: dict[Node, Tensor] = expected) -> None:
            if _measurable(value):
                kept[node] = value

        def compare(node: Node, value: Tensor, kept: dict[Node, Tensor] = expected) -> None:
            wanted = kept.pop(node, None)
            if wanted is None or not _measurable(value) or value.shape != wanted.shape:
                return
            wide = wanted.double()
            signal[node] = signal.get(node, 0.0) + float(wide.square().sum())
            noise[node] = noise.get(node, 0.0) + float((wide - value.double()).square().sum())

        simulated.run_float(inputs, watch=keep)
        simulated.run(inputs, watch=compare)
        if on_progress is not None:
            on_progress(index + 1, len(samples))
    ratios = {node: _decibel(signal[node], noise[node]) for node in signal}
    return [
        OperatorErrorRecord(
            name=node.name,
            operator=str(node.target).removesuffix(".default"),
            path=module_path(node.meta.get("nn_module_stack")),
            where=where(node),
            snr_db=ratio,
            lost_db=_lost(node, ratios),
        )
        for node, ratio in ratios.items()
    ]


def _measurable(value: object) -> bool:
    return isinstance(value, Tensor) and value.dtype == torch.float32 and value.numel() > 1


def _decibel(signal: float, noise: float) -> float | None:
    if noise <= 0 or signal <= 0 or not math.isfinite(signal) or not math.isfinite(noise):
        return None
    return 10 * math.log10(signal / noise)


def _lost(node: Node, ratios: dict[Node, float | None]) -> float | None:
    own = ratios[node]
    before = [ratio for one in node.all_input_nodes if (ratio := ratios.get(one)) is not None]
    return None if own is None or not before else min(before) - own
