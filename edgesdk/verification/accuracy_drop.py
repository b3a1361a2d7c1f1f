"""Accuracy drop of a quantized network against the float one, on an evaluation set."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edgesdk.bundle.manifest import ArtefactRecord, DropRecord, Manifest, artefact_name
from edgesdk.bundle.samples import Samples
from edgesdk.errors import DataError, GateError
from edgesdk.quant.plan import Arrays
from edgesdk.verification.parity import classifies

__all__ = ["EvaluationSet", "SampleLoss", "float_answers", "measure_drop", "require_drop"]

_TOP = 5
#: Fewest labelled samples on which an accuracy can be compared with chance.
_FEWEST_LABELLED = 8


@dataclass(frozen=True)
class EvaluationSet:
    """Inputs for measuring the drop, with the float model's outputs.

    Attributes:
        inputs: Arrays by input name, one set per sample, as an app passes them.
        expected: The float model's outputs, by output name.
        labels: Correct class of each sample; empty if unknown.
        source: Description of the inputs' origin.
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
                "no inputs for measuring the accuracy drop", remedy="give at least one sample"
            )
        if self.labels and self.scores is None:
            raise DataError(
                "the labels do not fit any output of the model",
                remedy="measure without labels, or export the network with its class scores only",
            )

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def scores(self) -> str | None:
        """Name of the output with class scores; None if there is not exactly one."""
        return _scores(self.expected[0])


def _scores(outputs: Arrays) -> str | None:
    found = [name for name, array in outputs.items() if classifies(array.shape)]
    return found[0] if len(found) == 1 else None


def float_answers(run: Callable[[Arrays], Arrays], inputs: Sequence[Arrays]) -> tuple[Arrays, ...]:
    """Run the float model on inputs: arrays by name, one set per sample.

    Raises:
        DataError: The model outputs NaN or infinity on a sample.
    """
    answers = []
    for index, arrays in enumerate(inputs):
        outputs = run(arrays)
        if not all(np.isfinite(a).all() for a in outputs.values() if a.dtype.kind == "f"):
            raise DataError(
                f"the model outputs NaN or infinity on sample {index + 1}",
                remedy="remove the sample from the evaluation set",
            )
        answers.append(outputs)
    return tuple(answers)


def measure_drop(
    run: Callable[[Arrays], Arrays],
    data: EvaluationSet,
    *,
    bound: float | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> DropRecord:
    """Run a quantized network on an evaluation set and compare it with the float model.

    Args:
        run: The quantized network, in its runtime or simulated.
        data: The evaluation set.
        bound: Largest drop allowed, as a share.
        on_progress: Called with the number done and the number in all.

    Returns:
        The record. Its metric is ``top-1`` with labels, ``agreement`` for a classifier without
        labels, else ``cosine``.
    """
    counted = _Counts(data.scores)
    for index, (inputs, expected) in enumerate(zip(data.inputs, data.expected, strict=True)):
        label = data.labels[index] if data.labels else None
        counted.add(expected, run(inputs), label)
        if on_progress:
            on_progress(index + 1, len(data))
    return counted.record(len(data), data.source, labelled=bool(data.labels), bound=bound)


class SampleLoss:
    """Loss of a quantized artefact against the float model on the samples of its parity check.

    Pass :meth:`add` as ``on_outputs`` of
    :func:`~edgesdk.verification.verify_bundle.verify_artefact`.

    Args:
        samples: Samples with the float model's outputs.
    """

    def __init__(self, samples: Samples) -> None:
        self._samples = samples
        self._counts = _Counts(_scores(samples.expected[0]) if samples.expected else None)
        self._done = 0

    def add(self, index: int, outputs: Arrays) -> None:
        """Compare the artefact's outputs for one sample with the float model's."""
        expected = self._samples.expected[index] if index < len(self._samples) else {}
        shapes = {name: array.shape for name, array in expected.items()}
        # Parity reports other outputs; a loss cannot be computed from them.
        if not shapes or shapes != {name: array.shape for name, array in outputs.items()}:
            return
        self._counts.add(expected, outputs, None)
        self._done += 1

    def record(self) -> DropRecord | None:
        """Return the loss over all samples so far; None if none was compared."""
        if not self._done:
            return None
        real = min(self._samples.real, self._done)
        source = f"the samples of parity, {real} of them from files"
        return self._counts.record(self._done, source, labelled=False, bound=None)


class _Counts:
    def __init__(self, scores: str | None) -> None:
        self._scores = scores
        self._classes: set[int] = set()
        self._labels: set[int] = set()
        self._width = 0
        self._same = self._in_top5 = self._right = self._float_right = 0
        self._rows = 0
        self._cosines: list[float] = []
        self._signal = self._noise = 0.0

    def add(self, expected: Arrays, actual: Arrays, label: int | None) -> None:
        wide = np.concatenate([array.ravel().astype(np.float64) for array in expected.values()])
        other = np.concatenate([actual[name].ravel().astype(np.float64) for name in expected])
        # Count NaN as a wrong output instead of failing the comparison.
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
            self._classes.add(best)
            self._width = len(row)
            self._same += best == answer
            # The float model's class is contained in the top 5 if fewer than five score higher.
            self._in_top5 += int((found > found[best]).sum()) < _TOP
            if label is not None:
                self._labels.add(label)
                self._right += answer == label
                self._float_right += best == label

    def record(
        self, samples: int, source: str, *, labelled: bool, bound: float | None
    ) -> DropRecord:
        cosine = float(np.mean(self._cosines))
        noise = self._noise
        snr = 10 * math.log10(self._signal / noise) if noise and self._signal else None
        classified = self._rows > 0
        if labelled:
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
                "samples": samples,
                "source": source,
                "top1": self._right / self._rows if labelled else None,
                "float_top1": self._float_right / self._rows if labelled else None,
                "agreement": self._same / self._rows if classified else None,
                "containment": self._in_top5 / self._rows if classified else None,
                "cosine": cosine,
                "snr_db": snr,
                "degenerate": self._degenerate(labelled),
            }
        )

    def _degenerate(self, labelled: bool) -> str:
        """Explain why agreement and accuracy say little; empty if they do not."""
        if self._rows > 1 and len(self._classes) == 1:
            (only,) = self._classes
            return f"the float model gives all {self._rows} samples the same class, {only}"
        if labelled and self._rows > 1 and len(self._labels) == 1:
            (only,) = self._labels
            return f"all {self._rows} samples have the same label, {only}"
        if not labelled or self._rows < _FEWEST_LABELLED:
            return ""
        chance = 1 / self._width
        accuracy = self._float_right / self._rows
        # One standard deviation above chance is what guessing often reaches.
        if accuracy <= chance + math.sqrt(chance * (1 - chance) / self._rows):
            return (
                f"the float model is right for {accuracy:.1%} of {self._rows} samples, as guessing "
                f"one of {self._width} classes: it is untrained, or its classes have another order"
            )
        return ""


def require_drop(manifest: Manifest) -> None:
    """Check the accuracy drop of a manifest's quantized artefacts against their bounds.

    Raises:
        GateError: A drop exceeds its bound, or could not be measured although there is a bound.
    """
    failures = [
        _describe(artefact, artefact.quantized.drop)
        for artefact in manifest.artefacts
        if artefact.quantized is not None
        and artefact.quantized.drop is not None
        and not artefact.quantized.drop.passed
    ]
    if failures:
        raise GateError(
            f"{len(failures)} quantized artefact{'s' * (len(failures) > 1)} lost more than allowed"
            + "".join(f"\n  {failure}" for failure in failures),
            remedy="--accuracy-control keeps the worst layers float; or choose another recipe",
        )


def _describe(artefact: ArtefactRecord, drop: DropRecord) -> str:
    worst = ", ".join(layer.path for layer in drop.culprits[:3])
    name = artefact_name(artefact.target, artefact.quantization)
    return (
        f"{name}: {drop.drop:.2%} of {drop.metric} on "
        f"{drop.samples} samples, {drop.bound or 0:.2%} allowed"
        + (f"; worst layers: {worst}" if worst else "")
    )
