"""Photographs and paintings in folders: read and skipped files, crops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from edgesdk.errors import DataError, InputNotFoundError
from edgesdk.training.style.gram import gram_matrix
from edgesdk.training.style.paintings import as_tensor, gram_targets, read_paintings, scaled
from edgesdk.training.style.perceptual import load_perceptual
from edgesdk.training.style.photographs import Photographs


def plain(path: Path, value: object, size: tuple[int, int] = (80, 80), mode: str = "RGB") -> None:
    Image.new(mode, size, value).save(path)


def test_crops_are_functions_of_seed_and_turn(photographs_folder: Path) -> None:
    found, again = (Photographs(photographs_folder, 64) for _ in range(2))
    assert len(found) == 3
    first = found.crop(1, seed=5, turn=7)
    assert first.shape == (64, 64, 3) and first.dtype == np.uint8
    found.crop(0, seed=5, turn=6)
    # Whatever was asked for before, and whether the picture is decoded already.
    assert np.array_equal(first, again.crop(1, seed=5, turn=7))
    assert np.array_equal(first, found.crop(1, seed=5, turn=7))
    assert not np.array_equal(first, found.crop(1, seed=5, turn=8))
    assert not np.array_equal(first, found.crop(1, seed=6, turn=7))


def test_a_picture_of_the_crops_size_is_the_crop_or_its_mirror(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    found = Photographs(tmp_path, 64)
    crops = [found.crop(0, 0, turn) for turn in range(12)]
    as_is = [np.array_equal(crop, pixels) for crop in crops]
    mirrored = [np.array_equal(crop, pixels[:, ::-1]) for crop in crops]
    assert any(as_is) and any(mirrored)
    assert all(one != other for one, other in zip(as_is, mirrored, strict=True))


def test_what_cannot_be_used_is_left_out_and_told(tmp_path: Path) -> None:
    plain(tmp_path / "good.png", (200, 10, 10))
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("no picture")
    plain(tmp_path / "tiny.png", (0, 0, 0), size=(31, 200))
    whole = (tmp_path / "good.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "notes.txt").write_text("not looked at")
    found = Photographs(tmp_path, 64)
    assert len(found) == 5
    for index in range(5):
        assert (found.crop(index, 0, index) == (200, 10, 10)).all()
    assert {path.name for path in found.skipped} == {"empty.png", "text.jpg", "tiny.png", "cut.png"}
    assert "31 x 200 is too small" in found.skipped[tmp_path / "tiny.png"]


def test_pictures_smaller_than_the_crop_are_enlarged(tmp_path: Path) -> None:
    plain(tmp_path / "small.png", (10, 20, 30), size=(40, 33))
    found = Photographs(tmp_path, 64)
    assert (found.crop(0, 0, 0) == (10, 20, 30)).all()
    assert not found.skipped


def test_grey_alpha_and_sixteen_bits(tmp_path: Path) -> None:
    plain(tmp_path / "a-grey.png", 77, mode="L")
    plain(tmp_path / "b-alpha.png", (255, 0, 0, 0), mode="RGBA")
    wide = np.full((80, 80), 0x8000, np.uint16)
    Image.fromarray(wide).save(tmp_path / "c-wide.png")
    found = Photographs(tmp_path, 64)
    values = [found.crop(index, 0, 0)[0, 0].tolist() for index in range(3)]
    # What is transparent shows white, not the red that the file hides there.
    assert values == [[77] * 3, [255] * 3, [128] * 3]
    assert not found.skipped


def test_folders_without_photographs(tmp_path: Path) -> None:
    with pytest.raises(InputNotFoundError, match="no such folder"):
        Photographs(tmp_path / "absent", 64)
    with pytest.raises(DataError, match="has no pictures"):
        Photographs(tmp_path, 64)
    (tmp_path / "a.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"none of the 1 pictures .* can be used: a\.png"):
        Photographs(tmp_path, 64).crop(0, 0, 0)


def test_whole_photographs_have_sides_of_eight(photographs_folder: Path) -> None:
    whole = Photographs(photographs_folder, 64).whole(0, 100)
    assert whole.shape == (72, 96, 3)


def test_another_folder_has_another_identity(photographs_folder: Path, tmp_path: Path) -> None:
    plain(tmp_path / "a.png", (1, 2, 3))
    here, there = Photographs(photographs_folder, 64), Photographs(tmp_path, 64)
    assert here.identity() == Photographs(photographs_folder, 128).identity()
    assert here.identity() != there.identity()


def test_paintings_are_named_after_their_files(paintings_folder: Path) -> None:
    found = read_paintings(paintings_folder)
    assert found.names == ("warm-stripes", "cold-dots")
    assert not found.skipped
    assert set(found.identity()) == set(found.names)


def test_paintings_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(InputNotFoundError, match="no such folder"):
        read_paintings(tmp_path / "absent")
    with pytest.raises(DataError, match="has no usable paintings"):
        read_paintings(tmp_path)
    (tmp_path / "bad.png").write_bytes(b"broken")
    plain(tmp_path / "tiny.png", 0, size=(20, 90))
    with pytest.raises(DataError, match=r"bad\.png: bad\.png is not a readable picture"):
        read_paintings(tmp_path)
    plain(tmp_path / "One.png", (1, 1, 1))
    found = read_paintings(tmp_path)
    assert found.names == ("one",)
    assert {path.name for path in found.skipped} == {"bad.png", "tiny.png"}
    plain(tmp_path / "one.jpg", (1, 1, 1))
    with pytest.raises(DataError, match=r"two paintings .* are called one"):
        read_paintings(tmp_path)


def test_targets_are_the_mean_of_sizes(paintings_folder: Path, trunk: Path) -> None:
    net = load_perceptual(trunk)
    paintings = read_paintings(paintings_folder).paintings
    found = gram_targets(net, paintings, ["conv2_1"], [64, 80])
    assert found["conv2_1"].shape == (2, 128, 128)
    for style, painting in enumerate(paintings):
        each = [
            gram_matrix(net(as_tensor(scaled(painting, size)), ["conv2_1"])["conv2_1"])[0]
            for size in (64, 80)
        ]
        torch.testing.assert_close(found["conv2_1"][style], (each[0] + each[1]) / 2)
