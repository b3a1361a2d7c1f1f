"""Records of parity: differences between an artefact and the model, and the gates."""

from __future__ import annotations

from edgesdk.bundle.manifest.record import Items, Record, Text

__all__ = ["GateRecord", "OutputParity", "ParityRecord"]


class GateRecord(Record):
    """Bounds of the parity check.

    Attributes:
        cosine: Smallest cosine similarity, 0..1.
        relative_error: Largest ``max abs difference / range of the expected output``.
        agreement: Smallest share of samples with the same top-1 class; null if the model does not
            classify.
    """

    cosine: float
    relative_error: float
    agreement: float | None = None


class OutputParity(Record):
    """Difference between one output of the artefact and the model's, worst over the samples.

    Attributes:
        name: Output name.
        max_abs: Largest absolute difference.
        range: Largest minus smallest expected value over all samples.
        relative_error: ``max_abs / range``; ``max_abs`` itself if the range is zero.
        cosine: Smallest cosine similarity over the samples.
        snr_db: Smallest signal to noise ratio in dB; null if the difference is exactly zero.
        agreement: Share of samples (rows) with the same top-1 class; null if not a classifier.
        finite: True if every value of the artefact is finite.
    """

    name: str
    max_abs: float | None
    range: float
    relative_error: float | None
    cosine: float | None
    snr_db: float | None
    agreement: float | None
    finite: bool = True


class ParityRecord(Record):
    """Comparison of an artefact with the eager model on the same inputs.

    Attributes:
        passed: True if every output met the gate.
        runtime: Runtime that executed the artefact, with version, such as ``onnxruntime 1.31.1``.
        evaluator: True if an evaluator replaced a native runtime that does not exist here.
        note: Significance of the result for this runtime or evaluator.
        samples: Number of samples compared.
        real: Number of samples from real files.
        gate: The bounds.
        outputs: One record per output.
        shapes: Further input shapes at which a dynamic artefact was run and compared.
        classes: Top-1 class of eager model and artefact per real sample, if the model classifies.
        failure: Reason why the runtime refused the artefact, so that nothing was compared.
        samples_sha256: Digest of the inputs and expected outputs.
    """

    passed: bool
    runtime: str
    evaluator: bool = False
    note: Text = ""
    samples: int
    real: int
    gate: GateRecord
    outputs: Items[OutputParity] = []
    shapes: Items[str] = []
    classes: Items[tuple[str, str, str]] = []
    failure: Text | None = None
    samples_sha256: str = ""
