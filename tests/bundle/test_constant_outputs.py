"""Outputs whose parity proves nothing, found in the samples; hand-made numbers."""

from __future__ import annotations

import numpy as np
import pytest

from edgesdk.bundle.samples import Samples, constant_outputs


def samples(*outputs: dict[str, list[float]], same_inputs: bool = False) -> Samples:
    inputs = [
        {"x": np.full((1, 2), 0.0 if same_inputs else index, np.float32)}
        for index in range(len(outputs))
    ]
    arrays = [{k: np.array([v], np.float32) for k, v in output.items()} for output in outputs]
    return Samples(tuple(map(str, range(len(outputs)))), tuple(inputs), tuple(arrays), 0)


def test_an_output_equal_for_all_samples_is_constant() -> None:
    (found,) = constant_outputs(samples({"y": [3, -1]}, {"y": [3, -1]}, {"y": [3, -1]}))
    assert (found.name, found.kind, found.samples) == ("y", "constant", 3)
    assert (found.variation, found.magnitude) == (0, 3)


@pytest.mark.parametrize(
    "outputs",
    [
        # One element alone depends on the inputs: the fill value of a mask stays.
        [{"y": [1e9, 0.25, 1]}, {"y": [1e9, 0.5, 1]}],
        [{"y": [0, 0]}, {"y": [0, 1]}],
    ],
)
def test_one_living_element_is_enough(outputs) -> None:
    assert constant_outputs(samples(*outputs)) == []


def test_one_constant_output_of_several_is_named() -> None:
    found = constant_outputs(
        samples({"scores": [1, 2], "anchors": [5, 6]}, {"scores": [2, 1], "anchors": [5, 6]})
    )
    assert [output.name for output in found] == ["anchors"]


def test_equal_inputs_prove_no_constancy() -> None:
    assert constant_outputs(samples({"y": [3]}, {"y": [3]}, same_inputs=True)) == []
    assert constant_outputs(samples({"y": [3]})) == []


def test_an_output_far_below_the_activations_vanishes() -> None:
    living = samples({"y": [1e-9, 0]}, {"y": [0, 3e-9]})
    assert constant_outputs(living) == []
    (found,) = constant_outputs(living, activations=1.0)
    assert (found.kind, found.magnitude) == ("vanishing", 1.0)
    assert found.variation == pytest.approx(3e-9)
    assert constant_outputs(living, activations=1e-4) == []
