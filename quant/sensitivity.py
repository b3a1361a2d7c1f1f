"""Layer sensitivity: the output error that quantizing each layer alone causes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from torch.fx import Node

from edgesdk.errors import DataError, ModelOutputError, UnknownNameError
from edgesdk.quant.fake_quantization.simulated import SimulatedQuantization
from edgesdk.quant.plan import Arrays

__all__ = ["METRICS", "LayerSensitivity", "OutputError", "output_error", "rank_layers"]

#: Metrics that layers can be ranked by.
METRICS = ("agreement", "cosine", "snr_db")


@dataclass(frozen=True)
class OutputError:
    """Error of a network's outputs against the float network; the worst of several outputs.

    Attributes:
        snr_db: Signal-to-noise ratio over all samples, in decibels: energy of the float outputs
            over that of the difference; infinite if they are equal.
        cosine: Mean cosine similarity of a sample's output, -1..1.
        agreement: Share of samples with the same top-1 class, 0..1; None if no output is
            ``[batch, classes]``.
    """

    snr_db: float
    cosine: float
    agreement: float | None

    def rank_key(self, metric: str) -> tuple[float, float]:
        """Return a sort key, larger for larger errors; the SNR breaks ties of coarse metrics."""
        if metric == "snr_db":
            return -self.snr_db, 0.0
        value = self.cosine if metric == "cosine" else self.agreement
        return (-1.0 if value is None else -value), -self.snr_db

    @property
    def noise(self) -> float:
        """Energy of the difference over that of the outputs; additive as long as it is small."""
        return 10 ** (-self.snr_db / 10)


@dataclass(frozen=True)
class LayerSensitivity:
    """Sensitivity of one layer.

    Attributes:
        path: Module path.
        operator: Operator of the program, such as ``conv2d``.
        weights: Number of weights.
        share: Share of all layers' weights, 0..1.
        alone: Output error with this layer quantized and all others float.
        leave_one_out: Output error with this layer float and all others quantized; None if not
            measured.
        where: File and line in the user's model.
    """

    path: str
    operator: str
    weights: int
    share: float
    alone: OutputError
    leave_one_out: OutputError | None = None
    where: str = ""


def rank_layers(
    simulated: SimulatedQuantization,
    samples: Sequence[Arrays],
    *,
    metric: str = "snr_db",
    leave_one_out: bool = False,
    locate: Callable[[Node], str] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[LayerSensitivity]:
    """Quantize each layer alone and measure the output error.

    Args:
        simulated: The simulated network.
        samples: Inputs by name.
        metric: One of :data:`METRICS`.
        leave_one_out: True to also measure each layer as the only float one.
        locate: Returns the file and line of a node in the user's source.
        on_progress: Called with the number of layers measured and the number in all.

    Returns:
        All layers, the most sensitive first. Layers that the recipe keeps float have no error.

    Raises:
        DataError: ``samples`` is empty.
        ModelOutputError: The float outputs are not finite, or the metric needs classes and no
            output has them.
        UnknownNameError: The metric is unknown.
    """
    if metric not in METRICS:
        raise UnknownNameError("metric", metric, METRICS)
    if not samples:
        raise DataError("no samples to measure on", remedy="give samples")
    expected = simulated.answers(samples, quantized=False)
    if metric == "agreement" and output_error(expected, expected).agreement is None:
        raise ModelOutputError(
            "no output has shape [batch, classes], so class agreement cannot be measured",
            remedy="use the metric snr_db or cosine",
        )
    total = sum(layer.weights for layer in simulated.layers)
    found = []
    for layer, answers in simulated.alone(samples):
        without = (
            output_error(expected, simulated.answers(samples, float_layers=[layer.path]))
            if leave_one_out
            else None
        )
        found.append(
            LayerSensitivity(
                path=layer.path,
                operator=layer.operator,
                weights=layer.weights,
                share=layer.weights / total,
                alone=output_error(expected, answers),
                leave_one_out=without,
                where=locate(layer.nodes[0]) if locate is not None else "",
            )
        )
        if on_progress is not None:
            on_progress(len(found), len(simulated.layers))
    return sorted(found, key=lambda one: one.alone.rank_key(metric), reverse=True)


def output_error(expected: Sequence[Arrays], actual: Sequence[Arrays]) -> OutputError:
    """Compare outputs with those of the float network.

    Args:
        expected: Outputs of the float network by name, one set per sample.
        actual: Outputs to compare with them, in the same form.

    Raises:
        ModelOutputError: An expected output is not finite, or no output holds floats.
    """
    ratios, cosines, agreements = [], [], []
    for name, first in expected[0].items():
        if not np.issubdtype(first.dtype, np.floating):
            continue
        wanted = [answer[name].astype(np.float64) for answer in expected]
        got = [answer[name].astype(np.float64) for answer in actual]
        if not all(np.isfinite(value).all() for value in wanted):
            raise ModelOutputError(
                f"output {name} of the float network holds NaN or infinity",
                remedy="check the weights and the samples",
            )
        ratios.append(_ratio(wanted, got))
        cosines.append(float(np.mean([_cosine(a, b) for a, b in zip(wanted, got, strict=True)])))
        if first.ndim == 2 and first.shape[1] >= 2:
            same = [a.argmax(1) == b.argmax(1) for a, b in zip(wanted, got, strict=True)]
            agreements.append(float(np.mean(np.concatenate(same))))
    if not ratios:
        raise ModelOutputError(
            "no output holds floats to compare", remedy="use a network with float outputs"
        )
    return OutputError(min(ratios), min(cosines), min(agreements, default=None))


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
