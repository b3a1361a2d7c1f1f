"""Records of parity: how far an artefact is from the model, and the gates it met."""

from __future__ import annotations

from edgesdk.bundle.manifest.record import Items, Record, Text

__all__ = ["GateRecord", "OutputParity", "ParityRecord"]


class GateRecord(Record):
    """The bounds parity was held against.

    Attributes:
        cosine: Smallest cosine similarity, 0..1.
        relative_error: Largest ``max abs difference / range of the expected output``.
        agreement: Smallest share of samples with the same top-1 class; null where the model does
            not classify.
    """

    cosine: float
    relative_error: float
    agreement: float | None = None


class OutputParity(Record):
    """How far one output of the artefact is from the model's, worst over the samples.

    Attributes:
        name: Output name.
        max_abs: Largest absolute difference.
        range: Largest minus smallest expected value over all samples.
        relative_error: ``max_abs / range``; ``max_abs`` itself where the range is zero.
        cosine: Smallest cosine similarity over the samples.
        snr_db: Smallest signal to noise ratio in dB; null where the difference is exactly zero.
        agreement: Share of samples (rows) with the same top-1 class; null if it is no classifier.
        finite: Whether every value of the artefact is finite.
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
    """Artefact against eager on the same inputs.

    Attributes:
        passed: Whether every output met the gate.
        runtime: Runtime that executed the artefact, with version, such as ``onnxruntime 1.31.1``.
        evaluator: True where no native runtime exists here and an evaluator stood in.
        note: What the runtime or evaluator proves, in words.
        samples: Number of samples compared, of which ``real`` came from files.
        real: Number of samples from real files.
        gate: The bounds.
        outputs: One record an output.
        shapes: Further input shapes at which a dynamic artefact was run and compared.
        classes: Top-1 class of eager and artefact a real sample, where the model classifies.
        failure: Why nothing could be compared, where the runtime refused the artefact.
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
