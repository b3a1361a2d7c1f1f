"""Stratified choices and labelled images in memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesdk.errors import DataError, UsageError
from edgesdk.training import LabelledImages, open_data
from edgesdk.training.data.splits import stratified


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=2, max_size=80), st.integers(0, 3), st.data())
def test_a_choice_keeps_every_class_in_its_share(labels, seed, data):
    count = data.draw(st.integers(1, len(labels)))
    table = np.array(labels)
    chosen, rest = stratified(table, count, seed)
    assert len(chosen) == count
    assert sorted([*chosen, *rest]) == list(range(len(labels)))
    for label in set(labels):
        due = count * (table == label).mean()
        assert abs((table[chosen] == label).sum() - due) <= 1 + 1e-9


def test_a_choice_depends_on_its_seed():
    labels = np.arange(100) % 5
    first = stratified(labels, 20, 0)[0]
    assert np.array_equal(first, stratified(labels, 20, 0)[0])
    assert not np.array_equal(first, stratified(labels, 20, 1)[0])


def test_a_subset(tmp_path, write_idx, striped):
    splits = open_data(write_idx(tmp_path, train=striped(100), t10k=striped(10)))
    small = splits.subset(20)
    assert [len(part) for part in (small.train, small.validation, small.test)] == [20, 10, 10]
    assert small.train.labels.bincount().tolist() == [10, 10]
    assert small.mean == splits.mean
    with pytest.raises(UsageError, match="fewer than the 2 classes"):
        splits.subset(1)


def test_what_is_held_out_is_not_trained_on(tmp_path, write_idx, striped):
    splits = open_data(write_idx(tmp_path, train=striped(60)), validation=0.3)
    seen = {image.numpy().tobytes() for image, _ in splits.train}
    held = {image.numpy().tobytes() for image, _ in splits.validation}
    assert (len(seen), len(held)) == (42, 18)
    assert not seen & held


@pytest.mark.parametrize(
    ("images", "labels", "classes", "message"),
    [
        (torch.zeros(2, 1, 4, 4), [0, 1], "ab", "float32"),
        (torch.zeros(2, 4, 4, dtype=torch.uint8), [0, 1], "ab", r"\(2, 4, 4\)"),
        (torch.zeros(2, 1, 4, 4, dtype=torch.uint8), [0], "ab", "one label per image"),
        (torch.zeros(0, 1, 4, 4, dtype=torch.uint8), [], "ab", "empty"),
        (torch.zeros(2, 1, 4, 4, dtype=torch.uint8), [0, 0], "a", "1 class"),
        (torch.zeros(2, 1, 4, 4, dtype=torch.uint8), [0, 2], "ab", "sample 1 has the label 2"),
        (torch.zeros(2, 1, 4, 4, dtype=torch.uint8), [-1, 0], "ab", "sample 0 has the label -1"),
    ],
)
def test_images_and_labels_that_do_not_fit(images, labels, classes, message):
    with pytest.raises(DataError, match=message):
        LabelledImages(images, torch.tensor(labels, dtype=torch.int64), tuple(classes))
