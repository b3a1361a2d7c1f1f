"""What a quantized network lost against the float one, on inputs held apart from calibration."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edgesdk.bundle.manifest import ArtefactRecord, DropRecord, Manifest
from edgesdk.errors import DataError, GateError
from edgesdk.quant.plan import Arrays
from edgesdk.verification.parity import classifies

__all__ = ["EvaluationSet", "float_answers", "measure_drop", "require_drop"]

_TOP = 5


@dataclass(frozen=True)
class EvaluationSet:
    """Inputs to measure on, with the float model's answers.

    Attributes:
        inputs: Arrays by input name, one set a sample, as the artefact's face takes them.
        expected: The float model's answers, by output name.
        labels: The right class of each sample; empty where nobody knows.
        source: Where the inputs come from, in words.
        sha256: Digest of inputs and labels.
    """

    inputs: tuple[Arrays, ...]
    expected: tuple[Arrays, ...]
    labels: tuple[int, ...] = ()
    source: str = ""
    sha256: str = ""

    def __post_init__(self) -> None:
        if not self.inputs:
            raise DataError(
                "there is nothing to measure the drop on", remedy="give at least one sample"
            )
        if self.labels and self.scores is None:
            raise DataError(
                "the labels fit no output of the model",
                remedy="measure without labels, or export the network with its scores alone",
            )

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def scores(self) -> str | None:
        """The output that holds one score a class; None where there is none, or more than one."""
        found = [name for name, array in self.expected[0].items() if classifies(array.shape)]
        return found[0] if len(found) == 1 else None


def float_answers(run: Callable[[Arrays], Arrays], inputs: Sequence[Arrays]) -> tuple[Arrays, ...]:
    """The float model's answers to a set of inputs.

    Args:
        run: The model.
        inputs: What to ask.

    Raises:
        DataError: It answers a sample with NaN or infinity.
    """
    answers = []
    for index, arrays in enumerate(inputs):
        outputs = run(arrays)
        if not all(np.isfinite(a).all() for a in outputs.values() if a.dtype.kind == "f"):
            raise DataError(
                f"the model answers sample {index + 1} with NaN or infinity",
                remedy="leave that sample out of what the drop is measured on",
            )
        answers.append(outputs)
    return tuple(answers)


def measure_drop(
    run: Callable[[Arrays], Arrays],
    data: EvaluationSet,
    *,
    bound: float | None = None,
    on_sample: Callable[[int, int], None] | None = None,
) -> DropRecord:
    """Run a quantized network over a set and compare with the float model.

    Args:
        run: The quantized network, in its runtime or simulated.
        data: What to measure on.
        bound: Largest drop allowed, as a share.
        on_sample: Called with the number done and the number in all.

    Returns:
        The record. Its metric is ``top-1`` with labels, ``agreement`` for a classifier without,
        else ``cosine``.
    """
    counted = _Counts(data.scores)
    for index, (inputs, expected) in enumerate(zip(data.inputs, data.expected, strict=True)):
        label = data.labels[index] if data.labels else None
        counted.add(expected, run(inputs), label)
        if on_sample:
            on_sample(index + 1, len(data))
    return counted.record(data, bound)


class _Counts:
    def __init__(self, scores: str | None) -> None:
        self._scores = scores
        self._same = self._held = self._right = self._float_right = 0
        self._rows = 0
        self._cosines: list[float] = []
        self._signal = self._noise = 0.0

    def add(self, expected: Arrays, actual: Arrays, label: int | None) -> None:
        wide = np.concatenate([array.ravel().astype(np.float64) for array in expected.values()])
        other = np.concatenate([actual[name].ravel().astype(np.float64) for name in expected])
        # An artefact that answers NaN has lost the sample, not the comparison.
        other = np.nan_to_num(other, nan=0.0, posinf=0.0, neginf=0.0)
        self._signal += float(wide @ wide)
        self._noise += float(((wide - other) ** 2).sum())
        norms = float(np.linalg.norm(wide) * np.linalg.norm(other))
        same = bool(np.array_equal(wide, other))
        self._cosines.append(1.0 if same else float(wide @ other) / norms if norms else 0.0)
        if self._scores is None:
            return
        for row, found in zip(expected[self._scores], actual[self._scores], strict=True):
            best, answer = int(np.argmax(row)), int(np.argmax(found))
            self._rows += 1
            self._same += best == answer
            # The float model's class counts as held where fewer than five score higher.
            self._held += int((found > found[best]).sum()) < _TOP
            if label is not None:
                self._right += answer == label
                self._float_right += best == label

    def record(self, data: EvaluationSet, bound: float | None) -> DropRecord:
        cosine = float(np.mean(self._cosines))
        noise = self._noise
        snr = 10 * math.log10(self._signal / noise) if noise and self._signal else None
        classified = self._rows > 0
        if data.labels:
            metric, drop = "top-1", (self._float_right - self._right) / self._rows
        elif classified:
            metric, drop = "agreement", 1 - self._same / self._rows
        else:
            metric, drop = "cosine", 1 - cosine
        return DropRecord.model_validate(
            {
                "metric": metric,
                "drop": drop,
                "bound": bound,
                "passed": bound is None or drop <= bound,
                "samples": len(data),
                "source": data.source,
                "top1": self._right / self._rows if data.labels else None,
                "float_top1": self._float_right / self._rows if data.labels else None,
                "agreement": self._same / self._rows if classified else None,
                "containment": self._held / self._rows if classified else None,
                "cosine": cosine,
                "snr_db": snr,
            }
        )


def require_drop(manifest: Manifest) -> None:
    """Hold the quantized artefacts of a manifest against the drop they may have.

    Raises:
        GateError: One lost more, or could not be measured though a bound was given.
    """
    told = [
        _missed(artefact, artefact.quantized.drop)
        for artefact in manifest.artefacts
        if artefact.quantized is not None
        and artefact.quantized.drop is not None
        and not artefact.quantized.drop.passed
    ]
    if told:
        raise GateError(
            f"{len(told)} quantized artefact{'s' * (len(told) > 1)} lost more than allowed\n  "
            + "\n  ".join(told),
            remedy="--repair keeps the worst layers float; or choose another recipe",
        )


def _missed(artefact: ArtefactRecord, drop: DropRecord) -> str:
    worst = ", ".join(culprit.path for culprit in drop.culprits[:3])
    return (
        f"{artefact.target} {artefact.quantization}: {drop.drop:.2%} of {drop.metric} on "
        f"{drop.samples} samples, {drop.bound or 0:.2%} allowed"
        + (f"; worst layers: {worst}" if worst else "")
    )
