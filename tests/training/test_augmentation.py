"""Effects of augmentation on pixels; it depends on seed, epoch and sample only."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgesdk.errors import DataError
from edgesdk.training import Augmentation
from edgesdk.training.augmentation import augmented, mixed, mixup_share, normalised
from edgesdk.training.counter_random import permutation, uniform


def random_images(count: int, channels: int = 3, height: int = 6, width: int = 5):
    generator = torch.Generator().manual_seed(0)
    shape = (count, channels, height, width)
    return torch.randint(1, 256, shape, generator=generator, dtype=torch.uint8)


def change(images, settings, *, first=0, epoch=0, seed=1, **kwargs):
    indices = np.arange(first, first + len(images))
    return augmented(
        images, Augmentation(**settings), indices=indices, seed=seed, epoch=epoch, **kwargs
    )


def test_uniform_numbers_are_uniform_and_belong_to_their_sample():
    drawn = uniform(0, "flip", 0, np.arange(20_000))
    assert drawn.min() >= 0
    assert drawn.max() < 1
    assert abs(drawn.mean() - 0.5) < 0.01
    assert abs(drawn.std() - 12**-0.5) < 0.01
    assert np.array_equal(uniform(0, "flip", 0, np.array([7, 3])), drawn[[7, 3]])
    others = [
        uniform(1, "flip", 0, np.arange(20_000)),
        uniform(0, "crop", 0, np.arange(20_000)),
        uniform(0, "flip", 1, np.arange(20_000)),
    ]
    for other in others:
        assert abs(np.corrcoef(drawn, other)[0, 1]) < 0.03


def test_a_permutation_holds_everything_once():
    order = permutation(0, "order", 0, 101)
    assert sorted(order) == list(range(101))
    assert list(order) != list(range(101))
    assert list(permutation(0, "order", 1, 101)) != list(order)


def test_nothing_asked_is_only_normalised():
    images = torch.tensor([[[[0, 51, 255]]]], dtype=torch.uint8)
    assert change(images, {}).flatten().tolist() == pytest.approx([0, 0.2, 1])
    found = change(images, {}, mean=[0.2], std=[0.5])
    assert found.flatten().tolist() == pytest.approx([-0.4, 0, 1.6])


def test_floating_images_keep_their_values():
    images = torch.tensor([[[[-3.0, 7.0]]]], dtype=torch.float64)
    found = normalised(images)
    assert torch.equal(found, images)
    assert normalised(images, [1.0], [2.0]).flatten().tolist() == [-2.0, 3.0]


def test_mean_of_another_number_of_channels():
    with pytest.raises(DataError, match="1 values"):
        normalised(random_images(2), [0.5], [0.5])


def test_flip_mirrors_the_chosen_and_no_others():
    images = random_images(400, 1)
    found = change(images, {"flip": 0.25})
    plain = images.float() / 255
    mirrored = [torch.equal(a, b.flip(-1)) for a, b in zip(found, plain, strict=True)]
    same = [torch.equal(a, b) for a, b in zip(found, plain, strict=True)]
    assert all(a != b for a, b in zip(mirrored, same, strict=True))
    assert 60 < sum(mirrored) < 140
    assert torch.equal(change(images, {"flip": 1.0}), plain.flip(-1))


def test_crop_shifts_by_at_most_the_border_and_brings_in_black():
    images = random_images(200, 2, 5, 4)
    found = change(images, {"crop": 2})
    plain = torch.nn.functional.pad(images.float() / 255, (2, 2, 2, 2))
    offsets = set()
    for image, wide in zip(found, plain, strict=True):
        places = [
            (y, x)
            for y in range(5)
            for x in range(5)
            if torch.equal(image, wide[:, y : y + 5, x : x + 4])
        ]
        assert len(places) == 1
        offsets.add(places[0])
    # All 25 windows occur among 200 samples.
    assert len(offsets) == 25


def test_cutout_is_one_square_of_the_mean_that_may_hang_over_the_edge():
    images = random_images(300, 3, 8, 8)
    found = change(images, {"cutout": 3}, mean=[0.9] * 3, std=[2.0] * 3)
    plain = normalised(images, [0.9] * 3, [2.0] * 3)
    areas = set()
    for image, before in zip(found, plain, strict=True):
        hole = (image == 0).all(0) & (before != 0).any(0)
        rows, columns = hole.any(1), hole.any(0)
        assert torch.equal(hole, rows[:, None] & columns[None])
        assert int(rows.sum()) <= 3
        assert int(columns.sum()) <= 3
        assert torch.equal(image[:, ~hole], before[:, ~hole])
        areas.add(int(hole.sum()))
    assert max(areas) == 9
    # Its centre may be in a corner: four pixels are left of it.
    assert min(areas) == 4


def test_colour_moves_brightness_within_its_strength():
    # A flat grey image knows brightness alone: contrast and saturation leave it as it is.
    images = torch.full((500, 3, 2, 2), 100, dtype=torch.uint8)
    factors = change(images, {"colour": 0.3})[:, 0, 0, 0] * 255 / 100
    assert 0.7 <= factors.min() < 0.72
    assert 1.28 < factors.max() <= 1.3
    assert float((change(images, {"colour": 0.3}).std((1, 2, 3))).max()) < 1e-6


def test_colour_stays_in_range_and_needs_bytes():
    found = change(random_images(50), {"colour": 1.0})
    assert float(found.min()) >= 0
    assert float(found.max()) <= 1
    with pytest.raises(DataError, match="uint8"):
        change(random_images(2).float(), {"colour": 0.1})


EVERYTHING = {"flip": 0.5, "crop": 2, "colour": 0.4, "cutout": 3}


def test_a_sample_is_augmented_alike_in_any_batch():
    images = random_images(12)
    whole = change(images, EVERYTHING)
    parts = torch.cat([change(images[:5], EVERYTHING), change(images[5:], EVERYTHING, first=5)])
    assert torch.equal(whole, parts)


def test_another_epoch_or_seed_is_another_augmentation():
    images = random_images(12)
    first = change(images, EVERYTHING)
    assert torch.equal(first, change(images, EVERYTHING))
    assert not torch.equal(first, change(images, EVERYTHING, epoch=1))
    assert not torch.equal(first, change(images, EVERYTHING, seed=2))


def test_global_generators_are_left_alone():
    torch.manual_seed(0)
    np.random.seed(0)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    change(random_images(4), EVERYTHING)
    mixup_share(0.2, 0, 0, 0)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])


def test_mixing_by_hand():
    images = torch.tensor([[[[0.0]]], [[[4.0]]], [[[10.0]]]])
    found = mixed(images, torch.tensor([1, 0, 2]), 0.75)
    assert found.flatten().tolist() == [1.0, 3.0, 10.0]


def test_shares_of_mixing_follow_the_beta_distribution():
    drawn = np.array([mixup_share(0.5, 3, 1, step) for step in range(3000)])
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    assert abs(drawn.mean() - 0.5) < 0.03
    # Beta(1/2, 1/2) has the variance 1/8.
    assert abs(drawn.var() - 0.125) < 0.01
    assert mixup_share(0.5, 3, 1, 7) == drawn[7]
