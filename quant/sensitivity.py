"""What quantizing each layer by itself does to the outputs: which layers do the harm."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from torch.fx import Node

from edgesdk.errors import DataError, ModelOutputError, UnknownNameError
from edgesdk.quant.fake_quantization.simulated import SimulatedQuantization
from edgesdk.quant.plan import Arrays

__all__ = ["METRICS", "LayerSensitivity", "OutputDamage", "output_damage", "rank_layers"]

#: What layers can be ranked by.
METRICS = ("agreement", "cosine", "snr_db")


@dataclass(frozen=True)
class OutputDamage:
    """How far outputs are from those of the float network; of several outputs the worst.

    Attributes:
        snr_db: Energy of the float outputs over that of the difference, over all samples, in
            decibels; infinite where they are equal.
        cosine: Mean cosine similarity of a sample's output, -1..1.
        agreement: Share of samples with the same top-1 class, 0..1; None where no output is
            ``[batch, classes]``.
    """

    snr_db: float
    cosine: float
    agreement: float | None

    def harm(self, metric: str) -> tuple[float, float]:
        """Larger is worse; ties of a coarse metric are broken by the signal-to-noise ratio."""
        if metric == "snr_db":
            return -self.snr_db, 0.0
        value = self.cosine if metric == "cosine" else self.agreement
        return (-1.0 if value is None else -value), -self.snr_db

    @property
    def noise(self) -> float:
        """Energy of the difference as a share of the outputs' energy; of small ones, it adds up."""
        return 10 ** (-self.snr_db / 10)


@dataclass(frozen=True)
class LayerSensitivity:
    """What one layer does.

    Attributes:
        path: Module path.
        operator: Operator of the program, such as ``conv2d``.
        weights: Number of weights.
        share: Of all layers' weights, 0..1.
        alone: With this layer quantized and all others float.
        spared: With this layer float and all others quantized; None where it was not asked for.
        where: File and line in the user's model.
    """

    path: str
    operator: str
    weights: int
    share: float
    alone: OutputDamage
    spared: OutputDamage | None = None
    where: str = ""


def rank_layers(
    simulated: SimulatedQuantization,
    samples: Sequence[Arrays],
    *,
    metric: str = "snr_db",
    spared: bool = False,
    locate: Callable[[Node], str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[LayerSensitivity]:
    """Quantize each layer alone and measure the outputs.

    Args:
        simulated: The network.
        samples: Inputs by name.
        metric: One of :data:`METRICS`.
        spared: Whether to measure each layer also as the only one that stays float.
        locate: Says where in the user's source a node comes from.
        progress: Is told how many of how many layers are measured.

    Returns:
        All layers, the most harmful first. Layers that the recipe keeps float do no harm.

    Raises:
        DataError: No samples.
        ModelOutputError: The float outputs are not finite, or hold no class to compare where the
            metric needs one.
        UnknownNameError: An unknown metric.
    """
    if metric not in METRICS:
        raise UnknownNameError("metric", metric, METRICS)
    if not samples:
        raise DataError("there is nothing to measure on", remedy="give samples")
    expected = simulated.answers(samples, quantized=False)
    if metric == "agreement" and output_damage(expected, expected).agreement is None:
        raise ModelOutputError(
            "no output is [batch, classes], so there is no class to agree on",
            remedy="rank layers by snr_db or cosine",
        )
    total = sum(layer.weights for layer in simulated.layers)
    found = []
    for layer, answers in simulated.alone(samples):
        without = (
            output_damage(expected, simulated.answers(samples, float_layers=[layer.path]))
            if spared
            else None
        )
        found.append(
            LayerSensitivity(
                path=layer.path,
                operator=layer.operator,
                weights=layer.weights,
                share=layer.weights / total,
                alone=output_damage(expected, answers),
                spared=without,
                where=locate(layer.nodes[0]) if locate is not None else "",
            )
        )
        if progress is not None:
            progress(len(found), len(simulated.layers))
    return sorted(found, key=lambda one: one.alone.harm(metric), reverse=True)


def output_damage(expected: Sequence[Arrays], actual: Sequence[Arrays]) -> OutputDamage:
    """Compare answers with those of the float network.

    Args:
        expected: Outputs by name, one set a sample.
        actual: Likewise.

    Raises:
        ModelOutputError: An expected output is not finite, or there is no floating output.
    """
    ratios, cosines, agreements = [], [], []
    for name, first in expected[0].items():
        if not np.issubdtype(first.dtype, np.floating):
            continue
        wanted = [answer[name].astype(np.float64) for answer in expected]
        got = [answer[name].astype(np.float64) for answer in actual]
        if not all(np.isfinite(value).all() for value in wanted):
            raise ModelOutputError(
                f"the output {name} of the float network is not finite",
                remedy="check weights and samples",
            )
        ratios.append(_ratio(wanted, got))
        cosines.append(float(np.mean([_cosine(a, b) for a, b in zip(wanted, got, strict=True)])))
        if first.ndim == 2 and first.shape[1] >= 2:
            same = [a.argmax(1) == b.argmax(1) for a, b in zip(wanted, got, strict=True)]
            agreements.append(float(np.mean(np.concatenate(same))))
    if not ratios:
        raise ModelOutputError(
            "no output holds floats to compare", remedy="give a network with floating outputs"
        )
    return OutputDamage(min(ratios), min(cosines), min(agreements, default=None))


def _ratio(expected: Sequence[np.ndarray], actual: Sequence[np.ndarray]) -> float:
    signal = sum(float(np.square(a).sum()) for a in expected)
    noise = sum(float(np.square(a - b).sum()) for a, b in zip(expected, actual, strict=True))
    if noise == 0:
        return math.inf
    if signal == 0 or not math.isfinite(noise):
        return -math.inf
    return 10 * math.log10(signal / noise)


def _cosine(expected: np.ndarray, actual: np.ndarray) -> float:
    a, b = expected.ravel(), actual.ravel()
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    if norms == 0:
        return 1.0 if not a.any() and not b.any() else 0.0
    return min(1.0, max(-1.0, float(a @ b) / norms)) if math.isfinite(norms) else -1.0
