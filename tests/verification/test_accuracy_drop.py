"""What a quantized network lost, on answers made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from edgesdk.bundle.manifest import IoScaleRecord
from edgesdk.errors import DataError
from edgesdk.verification.accuracy_drop import EvaluationSet, float_answers, measure_drop
from edgesdk.verification.int8_io import float_run


def _scores(*rows: list[float]) -> tuple[dict[str, np.ndarray], ...]:
    return tuple({"logits": np.asarray([row], np.float32)} for row in rows)


def _inputs(count: int) -> tuple[dict[str, np.ndarray], ...]:
    return tuple({"x": np.asarray([index], np.float32)} for index in range(count))


EXPECTED = _scores(
    [9, 1, 0, 0, 0, 0, 0], [0, 9, 1, 0, 0, 0, 0], [0, 0, 9, 1, 0, 0, 0], [7, 6, 5, 4, 3, 2, 1]
)
ANSWERS = _scores(
    [9, 1, 0, 0, 0, 0, 0], [0, 8, 9, 0, 0, 0, 0], [0, 0, 9, 1, 0, 0, 0], [1, 2, 3, 4, 5, 6, 7]
)


def _answering(rows):
    return lambda arrays: rows[int(arrays["x"][0])]


def test_agreement_without_labels():
    record = measure_drop(_answering(ANSWERS), EvaluationSet(_inputs(4), EXPECTED), bound=0.25)
    assert record.metric == "agreement"
    assert record.agreement == 0.5
    assert record.drop == 0.5
    assert not record.passed
    # In the second the model's class is second; in the last six classes score higher.
    assert record.containment == 0.75
    assert record.top1 is None


def test_top1_with_labels():
    """A wrong answer turned right counts for the quantized network."""
    data = EvaluationSet(_inputs(4), EXPECTED, labels=(0, 2, 2, 1))
    record = measure_drop(_answering(ANSWERS), data)
    assert record.metric == "top-1"
    assert record.float_top1 == 0.5
    assert record.top1 == 0.75
    assert record.drop == -0.25
    assert record.passed


def test_an_equal_network_loses_nothing():
    record = measure_drop(_answering(EXPECTED), EvaluationSet(_inputs(4), EXPECTED), bound=0.0)
    assert (record.drop, record.agreement, record.cosine, record.snr_db) == (0.0, 1.0, 1.0, None)
    assert record.passed


def test_outputs_that_are_no_scores():
    expected = tuple({"image": np.ones((1, 1, 2, 2), np.float32)} for _ in range(2))
    answers = (
        {"image": np.ones((1, 1, 2, 2), np.float32)},
        {"image": np.array([[[[1.0, 0], [0, 0]]]])},
    )
    record = measure_drop(_answering(answers), EvaluationSet(_inputs(2), expected))
    assert record.metric == "cosine"
    # The second: (1,1,1,1) against (1,0,0,0) is a half.
    assert record.cosine == pytest.approx(0.75)
    assert record.drop == pytest.approx(0.25)
    # Signal 8, noise 3.
    assert record.snr_db == pytest.approx(10 * np.log10(8 / 3))
    assert record.agreement is None


def test_nan_loses_the_sample_not_the_comparison():
    answers = _scores([np.nan] * 7, *([[0.0, 9, 1, 0, 0, 0, 0]] * 3))
    record = measure_drop(_answering(answers), EvaluationSet(_inputs(4), EXPECTED))
    assert record.agreement is not None
    assert record.agreement <= 0.5
    assert record.cosine is not None


def test_bad_sets():
    with pytest.raises(DataError, match="no inputs for measuring"):
        EvaluationSet((), ())
    pictures = ({"image": np.zeros((1, 3, 2, 2), np.float32)},)
    with pytest.raises(DataError, match="labels do not fit any output"):
        EvaluationSet(_inputs(1), pictures, labels=(3,))
    with pytest.raises(DataError, match="NaN or infinity on sample 2"):
        float_answers(lambda arrays: {"y": np.where(arrays["x"] > 0, np.nan, 1.0)}, _inputs(2))


def test_int8_at_the_face():
    """Floats are rounded half to even, clipped, and come back as the scale says."""
    faces = [
        IoScaleRecord(name="x", scale=0.5, zero_point=-10),
        IoScaleRecord(name="y", scale=2.0, zero_point=3),
    ]
    seen = {}

    def session(arrays):
        seen.update(arrays)
        return {"y": np.array([3, 5, -128], np.int8), "other": np.array([1.5], np.float32)}

    answers = float_run(session, faces)({"x": np.array([0.25, 0.75, 1.0, 1e9, -1e9], np.float32)})
    assert seen["x"].dtype == np.int8
    assert seen["x"].tolist() == [-10, -8, -8, 127, -128]
    assert answers["y"].tolist() == [0.0, 4.0, -262.0]
    assert answers["other"].tolist() == [1.5]
    assert float_run(session, []) is session
