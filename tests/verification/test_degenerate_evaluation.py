"""Evaluations that say little about a quantized network, by hand-made numbers."""

from __future__ import annotations

import numpy as np

from edgesdk.verification.accuracy_drop import EvaluationSet, measure_drop


def evaluation(scores, labels=()):
    expected = tuple({"y": np.array([row], np.float32)} for row in scores)
    inputs = tuple({"x": np.array([[float(i)]], np.float32)} for i in range(len(scores)))
    return EvaluationSet(inputs, expected, tuple(labels))


def drop(scores, labels=()):
    data = evaluation(scores, labels)
    answers = {float(i["x"][0, 0]): e for i, e in zip(data.inputs, data.expected, strict=True)}
    return measure_drop(lambda inputs: answers[float(inputs["x"][0, 0])], data)


def test_one_class_for_all_is_named():
    assert drop([[0, 1, 0], [0, 2, 1]]).degenerate == (
        "the float model gives all 2 samples the same class, 1"
    )
    assert drop([[0, 1], [1, 0]]).degenerate == ""


def test_one_label_for_all_is_named():
    assert "all 2 samples have the same label, 0" in drop([[0, 1], [1, 0]], (0, 0)).degenerate


def test_guessing_is_named():
    rows = [[1, 0] if i % 2 else [0, 1] for i in range(8)]
    right = [0 if i % 2 else 1 for i in range(8)]
    assert drop(rows, right).degenerate == ""
    # Four of eight right is what guessing one of two classes reaches.
    half = [*right[:4], *(1 - label for label in right[4:])]
    assert "right for 50.0% of 8 samples, as guessing one of 2" in drop(rows, half).degenerate
