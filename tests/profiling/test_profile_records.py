from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesdk.devices import Case, Figures, Measurement
from edgesdk.errors import UsageError
from edgesdk.profiling.records import operator_shares, percentiles, profile_record
from edgesdk.runtime.session import MeasuredOperator

NOON = datetime.datetime(2025, 1, 31, 12, 0, 0, 123456, tzinfo=datetime.UTC)


def record_of(**changes):
    figures = Figures(
        **{
            "runtime": "runtime 1.0",
            "evaluator": False,
            "loads_ms": (30.0, 10.0, 20.0),
            "first_runs_ms": (9.0, 7.0, 8.5),
            "latencies_ms": (4.0, 6.0),
            "peak_memory_bytes": 1000,
            **changes,
        }
    )
    measurement = Measurement(Case("onnx", Path("a.onnx"), {}), "the protocol", figures)
    return profile_record(
        measurement, figures, device="local", device_name="a box", threads=2, measured=NOON
    )


def test_percentiles_by_hand():
    # Of 11 runs 0, 10, ... 100 the p-th percentile is p.
    found = percentiles([100, 0, 90, 10, 80, 20, 70, 30, 60, 40, 50])
    assert (found.p10, found.p50, found.p90, found.min, found.max, found.mean) == (
        10, 50, 90, 0, 100, 50,
    )  # fmt: skip
    assert found.p99 == pytest.approx(99)
    # Between two runs it is interpolated: 1 + 0.1 * (3 - 1).
    assert percentiles([3, 1]).p10 == pytest.approx(1.2)
    assert set(percentiles([7.5]).model_dump().values()) == {7.5}
    with pytest.raises(UsageError):
        percentiles([])


@given(st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=50))
@settings(max_examples=50)
def test_percentiles_are_ordered_and_do_not_depend_on_the_order_of_runs(times):
    found = percentiles(times)
    row = [found.min, found.p10, found.p50, found.p90, found.p99, found.max]
    assert row == pytest.approx(sorted(row))
    assert percentiles(times[::-1]).p50 == found.p50


def test_shares_by_hand():
    rows = operator_shares(
        [
            MeasuredOperator("a", "Conv", 1.0),
            MeasuredOperator("b", "Relu", 0.0),
            MeasuredOperator("c", "MatMul", 3.0),
        ]
    )
    assert [(row.name, row.operator, row.share) for row in rows] == [
        ("c", "MatMul", 0.75),
        ("a", "Conv", 0.25),
        ("b", "Relu", 0.0),
    ]
    assert operator_shares([MeasuredOperator("a", "Conv", 0.0)])[0].share == 0
    assert operator_shares([]) == []


def test_a_record_takes_medians_and_keeps_the_rest():
    record = record_of(
        model_memory_bytes=400,
        operators=(MeasuredOperator("a", "Conv", 1.0),),
        operators_note="by the runtime",
        temperature_c=(41.0, 43.5),
    )
    assert (record.load_ms, record.first_run_ms) == (20.0, 8.5)
    assert (record.latency.p50, record.runs, record.threads) == (5.0, 2, 2)
    assert (record.peak_memory_bytes, record.model_memory_bytes) == (1000, 400)
    assert record.temperature_c == (41.0, 43.5)
    assert record.measured == "2025-01-31T12:00:00+00:00"
    assert record.protocol == "the protocol"
    assert record.operators_note == "by the runtime"
    assert record.operators[0].share == 1


def test_a_manifest_keeps_the_most_expensive_of_very_many_operators():
    many = tuple(MeasuredOperator("n" * 900, "Conv", float(cost)) for cost in range(1200))
    record = record_of(operators=many)
    assert len(record.operators) == 1000
    assert record.operators[0].milliseconds == 1199
    assert len(record.operators[0].name) == 500
    assert record.operators_note == "the 1000 most expensive of 1200"
