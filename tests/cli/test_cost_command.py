"""``edgesdk cost``: the table, the JSON, and sources that cannot be counted."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest


def test_the_table_of_a_network(
    here: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert here("cost", "resnet20") == 0
    ended = capsys.readouterr()
    lines = ended.out.splitlines()
    assert lines[1].split() == ["layer", "kind", "output", "32-bit", "32-bit", "kB"]
    assert lines[2].split() == [
        *("stem.conv", "Conv2d", "3x3", "1x16x32x32", "432", "442,368", "1.73"),
    ]
    assert "total" in ended.out
    assert lines[-1] == (
        "269,722 parameters, 40,551,040 multiply-accumulates, 1.08 MB of weights for "
        "image:1x3x32x32:float32"
    )
    assert max(map(len, lines[:-1])) <= 100
    assert "counting" in ended.err or "loading torch" in ended.err


def test_json_and_another_input(
    here: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert here("cost", "resnet20", "--input", "image:1x3x64x64", "--json", "--quiet") == 0
    ended = capsys.readouterr()
    found = json.loads(ended.out)
    assert (ended.err, found["inputs"]) == ("", ["image:1x3x64x64:float32"])
    # All but the last layer work on four times the pixels.
    assert found["macs"] == 4 * (40_551_040 - 640) + 640
    assert found["params"] == 269_722
    assert sum(layer["macs"] for layer in found["layers"]) == found["macs"]


def test_a_batch_costs_what_one_sample_costs(
    here: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert here("cost", "nets/tiny.py:build", "--input", "image:1x3x32x32", "--json", "-q") == 0
    one = json.loads(capsys.readouterr().out)
    assert here("cost", "nets/tiny.py:build", "--input", "image:4x3x32x32", "--json", "-q") == 0
    four = json.loads(capsys.readouterr().out)
    assert one["macs"] == four["macs"] > 0
    assert one["layers"] == four["layers"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("resnet81",), "did you mean 'resnet18'"),
        (("nets/tiny.py:build",), "the inputs of tiny are unknown"),
        (("nets/tiny.py:build", "--input", "image:1x5x32x32"), "fails on the inputs"),
        (("nets/tiny.py:build", "--input", "what"), "cannot read the input"),
        ((), "Missing argument"),
    ],
)
def test_what_cannot_be_counted(
    arguments: tuple[str, ...],
    told: str,
    here: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert here("cost", *arguments) == 2
    ended = capsys.readouterr()
    assert ended.out == "" and told in ended.err
