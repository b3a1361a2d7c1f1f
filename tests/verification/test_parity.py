"""Numbers of parity, each checked against a hand-made one."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgesdk.bundle.manifest import GateRecord, OutputParity
from edgesdk.errors import UnknownNameError, UsageError
from edgesdk.verification.parity import GATES, OutputComparison, classifies, gate_for, meets


def compared(*pairs: tuple[object, object], dtype: str = "float32") -> OutputParity:
    comparison = OutputComparison("y")
    for expected, actual in pairs:
        comparison.add(np.asarray(expected, dtype), np.asarray(actual, dtype))
    return comparison.record()


def test_small_numbers_by_hand() -> None:
    # Difference (0, 1), so 1 of a range of 4; signal 25, noise 1; dot 9+16+4=... below.
    found = compared(([0.0, 3.0, 4.0], [0.0, 3.0, 5.0]))
    assert found.max_abs == 1.0
    assert found.range == 4.0
    assert found.relative_error == 0.25
    assert found.cosine == pytest.approx((9 + 20) / (5 * math.sqrt(34)), abs=1e-15)
    assert found.snr_db == pytest.approx(10 * math.log10(25 / 1), abs=1e-12)
    assert found.agreement is None
    assert found.finite


def test_equal_outputs() -> None:
    found = compared(([[1.0, 2.0]], [[1.0, 2.0]]))
    assert (found.max_abs, found.relative_error, found.cosine) == (0.0, 0.0, 1.0)
    assert (found.snr_db, found.agreement) == (None, 1.0)
    assert meets(found, GateRecord(cosine=1.0, relative_error=0.0, agreement=1.0))


def test_the_worst_sample_counts() -> None:
    found = compared(
        ([1.0, 0.0], [1.0, 0.0]), ([0.0, 2.0], [2.0, 0.0]), ([10.0, -10.0], [10.0, -10.0])
    )
    # Range over all samples: -10..10; the second sample alone is orthogonal.
    assert (found.max_abs, found.range, found.relative_error) == (2.0, 20.0, 0.1)
    assert found.cosine == 0.0
    assert found.snr_db == pytest.approx(10 * math.log10(4 / 8), abs=1e-12)


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e-45, 1.0, 1e20, 1e160, 1e300])
def test_scale_changes_neither_cosine_nor_snr(scale: float) -> None:
    expected, actual = np.array([0.0, 3.0, 4.0]) * scale, np.array([0.0, 3.0, 5.0]) * scale
    found = compared((expected, actual), dtype="float64")
    assert found.cosine == pytest.approx(29 / (5 * math.sqrt(34)), rel=1e-12)
    assert found.snr_db == pytest.approx(10 * math.log10(25), rel=1e-9)
    assert found.relative_error == pytest.approx(0.25, rel=1e-12)


def test_huge_against_small() -> None:
    found = compared(([1.0, 1.0], [1e300, 1.0]), dtype="float64")
    assert found.max_abs == 1e300
    assert found.snr_db == pytest.approx(10 * math.log10(2) - 6000, abs=1e-6)
    assert found.cosine == pytest.approx(1 / math.sqrt(2), abs=1e-12)


def test_a_difference_beyond_floats_is_unknown_and_fails() -> None:
    top = float(np.finfo(np.float64).max)
    found = compared(([top, 0.0], [-top, 0.0]), dtype="float64")
    assert found.max_abs is None
    assert not meets(found, GateRecord(cosine=-1.0, relative_error=1e308))
    wide = compared(([top, -top], [top, 0.0]), dtype="float64")
    assert math.isfinite(wide.range)
    assert not meets(wide, GateRecord(cosine=-1.0, relative_error=1e308))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_not_finite_artefact(bad: float) -> None:
    found = compared(([1.0, 2.0], [1.0, 2.0]), ([1.0, 4.0], [1.0, bad]), ([9.0, 0.0], [9.0, 0.0]))
    assert not found.finite
    assert found.max_abs is found.cosine is found.relative_error is found.snr_db is None
    assert found.range == 9.0
    assert not meets(found, GateRecord(cosine=-1.0, relative_error=1e308))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_not_finite_expectation_proves_nothing(bad: float) -> None:
    for actual in ([1.0, 5.0], [1.0, bad]):
        found = compared(([1.0, bad], actual))
        assert found.max_abs is None
        assert not meets(found, GateRecord(cosine=-1.0, relative_error=1e9))


@pytest.mark.parametrize("shape", [(3,), (1, 2), (2, 1), (), (0,)])
def test_another_shape_is_wholly_different(shape: tuple[int, ...]) -> None:
    found = compared(([1.0, 2.0], np.ones(shape)), ([1.0, 2.0], [1.0, 2.0]))
    assert found.max_abs is None
    assert found.cosine is None
    assert found.finite
    assert not meets(found, GateRecord(cosine=-1.0, relative_error=1e9))


def test_zeros() -> None:
    both = compared(([0.0, 0.0], [0.0, 0.0]))
    assert (both.cosine, both.max_abs, both.range, both.relative_error) == (1.0, 0.0, 0.0, 0.0)
    assert meets(both, GATES["fp32"])
    one = compared(([0.0, 0.0], [0.0, 0.5]))
    # Without a range the difference itself is what counts.
    assert (one.cosine, one.max_abs, one.relative_error, one.snr_db) == (0.0, 0.5, 0.5, None)
    assert not meets(one, GATES["fp32"])
    other = compared(([0.0, 0.5], [0.0, 0.0]))
    assert (other.cosine, other.relative_error, other.snr_db) == (0.0, 1.0, 0.0)


def test_empty_outputs_and_no_samples() -> None:
    assert meets(compared((np.zeros((0, 4)), np.zeros((0, 4)))), GATES["fp32"])
    nothing = OutputComparison("y").record()
    assert nothing.cosine is None
    assert not meets(nothing, GateRecord(cosine=-1.0, relative_error=1e9))


def test_integers_booleans_and_scalars() -> None:
    found = compared(([1, 2, 3], [1, 2, 5]), dtype="int64")
    assert (found.max_abs, found.range, found.relative_error) == (2.0, 2.0, 1.0)
    # Unsigned numbers must not wrap around.
    assert compared(([0, 255], [1, 254]), dtype="uint8").max_abs == 1.0
    assert compared(([True, False], [True, True]), dtype="bool").max_abs == 1.0
    scalar = compared((3.0, 2.0))
    assert (scalar.max_abs, scalar.relative_error, scalar.cosine) == (1.0, 1.0, 1.0)


def test_agreement_counts_rows() -> None:
    expected = [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    actual = [[0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    found = compared((expected, actual), (expected[:1], actual[:1]))
    assert found.agreement == 0.75
    within = GateRecord(cosine=-1.0, relative_error=2.0, agreement=0.75)
    assert meets(found, within)
    assert not meets(found, within.model_copy(update={"agreement": 0.7500001}))


@pytest.mark.parametrize(
    ("shape", "answer"), [((1, 2), True), ((5, 1000), True), ((1, 1), False), ((4,), False)]
)
def test_classifies(shape: tuple[int, ...], answer: bool) -> None:
    assert classifies(shape) is answer


def test_gates_hold_on_their_boundary() -> None:
    found = compared(([0.0, 3.0, 4.0], [0.0, 3.0, 5.0]))
    assert found.cosine is not None
    assert meets(found, GateRecord(cosine=found.cosine, relative_error=0.25))
    above = math.nextafter(found.cosine, 1)
    assert not meets(found, GateRecord(cosine=above, relative_error=0.25))
    assert not meets(found, GateRecord(cosine=0.0, relative_error=math.nextafter(0.25, 0)))


def test_gate_for_replaces_what_was_given() -> None:
    assert gate_for("fp32") == GATES["fp32"]
    assert gate_for("fp16", cosine=0.0, relative_error=0.0, agreement=0.0) == GateRecord(
        cosine=0.0, relative_error=0.0, agreement=0.0
    )
    assert gate_for("fp16", agreement=1.0) == GATES["fp16"].model_copy(update={"agreement": 1.0})


@pytest.mark.parametrize(
    "bounds",
    [
        {"cosine": 1.0001},
        {"cosine": -1.0001},
        {"cosine": math.nan},
        {"relative_error": -1e-9},
        {"relative_error": math.inf},
        {"relative_error": math.nan},
        {"agreement": 1.1},
        {"agreement": -0.1},
    ],
)
def test_bounds_outside_their_range(bounds: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="invalid gate for"):
        gate_for("fp32", **bounds)


def test_unknown_precision() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'fp16'"):
        gate_for("fp116")
