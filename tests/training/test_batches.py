"""The batches of an epoch and their parts."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesdk.errors import DataError, TrainingError
from edgesdk.frontend.side_effects import generators_kept
from edgesdk.training.batches import batches_of_epoch, read_batches, share_of


def test_an_epoch_holds_every_sample_once():
    batches = batches_of_epoch(10, 4, seed=0, epoch=0)
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert sorted(np.concatenate(batches)) == list(range(10))


def test_a_last_sample_alone_is_dropped():
    assert [len(batch) for batch in batches_of_epoch(9, 4, seed=0, epoch=0)] == [4, 4]


def test_nothing_can_be_learnt_from_one_sample():
    with pytest.raises(TrainingError, match="at least two samples, not 1"):
        batches_of_epoch(1, 4, seed=0, epoch=0)


@settings(max_examples=100, deadline=None)
@given(st.integers(2, 40), st.integers(1, 9))
def test_processes_share_out_what_one_would_have(size, processes):
    batch = np.arange(size) * 3 + 1
    shares = [share_of(batch, process, processes) for process in range(processes)]
    counted = np.concatenate([share.indices[share.weights == 1] for share in shares])
    assert np.array_equal(counted, batch)
    alone = share_of(batch, 0, 1)
    partner_of = dict(zip(alone.indices, alone.indices[alone.partners], strict=True))
    for share in shares:
        assert share.size == size
        # Batch normalisation needs two.
        assert len(share.indices) >= 2
        for place, index in enumerate(share.indices):
            if share.weights[place]:
                assert share.indices[share.partners[place]] == partner_of[index]


def test_partners_by_hand():
    share = share_of(np.array([5, 6, 7, 8, 9]), 0, 1)
    assert share.partners.tolist() == [1, 0, 3, 2, 4]


class Noisy(torch.utils.data.Dataset):
    """A data set that draws from all three global generators."""

    def __len__(self):
        return 6

    def __getitem__(self, index):
        drawn = [torch.rand(()).item(), np.random.rand(), random.random()]
        return torch.tensor(drawn).reshape(3, 1, 1) + index, index % 2


def read(data, rows, workers=0):
    shares = [share_of(np.array(part), 0, 1) for part in rows]
    return [
        (batch.images, batch.labels)
        for batch in read_batches(data, shares, seed=1, epoch=0, workers=workers)
    ]


def test_random_data_sets_depend_on_neither_batches_nor_workers():
    with generators_kept():
        alone = torch.cat([images for images, _ in read(Noisy(), [[0, 1], [2, 3, 4, 5]])])
        again = torch.cat([images for images, _ in read(Noisy(), [[0, 1, 2], [3, 4, 5]])])
        afar = torch.cat([images for images, _ in read(Noisy(), [[0, 1, 2], [3, 4, 5]], 1)])
    assert torch.equal(alone, again)
    assert torch.equal(alone, afar)


def test_generators_are_given_back():
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)
    expected = torch.rand(()).item(), random.random(), np.random.rand()
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)
    with generators_kept():
        read(Noisy(), [[0, 1]])
    assert (torch.rand(()).item(), random.random(), np.random.rand()) == expected


@pytest.mark.parametrize(
    ("sample", "told"),
    [
        (torch.zeros(1, 2, 2), "not an image and a label"),
        ((np.zeros((1, 2, 2)), 0), "ndarray"),
        ((torch.zeros(2, 2), 0), r"\(2, 2\)"),
        ((torch.zeros(1, 2, 2), "cat"), "label of sample 1 is 'cat'"),
        ((torch.zeros(1, 3, 2), 0), "one size"),
    ],
)
def test_samples_that_are_none(sample, told):
    with generators_kept(), pytest.raises(DataError, match=told):
        read({0: (torch.zeros(1, 2, 2), 0), 1: sample}, [[0, 1]])


class Broken(torch.utils.data.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        raise DataError(f"sample {index} is broken", remedy="mend it")


@pytest.mark.parametrize("workers", [0, 1])
def test_errors_of_a_data_set_come_through_workers_as_they_are(workers):
    with generators_kept(), pytest.raises(DataError, match="sample 0 is broken") as caught:
        read(Broken(), [[0, 1]], workers)
    assert caught.value.remedy == "mend it"
