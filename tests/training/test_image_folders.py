"""Folders of images: found and skipped files, decoding, refusals."""

from __future__ import annotations

import importlib
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from edgesdk.errors import DataError, InputNotFoundError, UsageError
from edgesdk.training import open_data

#: The module; its package offers the function of the same name.
opening = importlib.import_module("edgesdk.training.data.open_data")


def picture(path, color=(200, 10, 10), size=(12, 10), **kwargs):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path, **kwargs)


@pytest.fixture
def folder(tmp_path):
    """Eight red and eight blue pictures."""
    for index in range(8):
        picture(tmp_path / "red" / f"{index}.png")
        picture(tmp_path / "blue" / "deeper" / f"{index}.png", (10, 10, 200))
    return tmp_path


def test_classes_are_the_folders_in_order(folder):
    (folder / ".cache").mkdir()
    (folder / "red" / ".hidden.png").write_bytes(b"no picture")
    (folder / "red" / "notes.txt").write_text("no picture")
    (folder / "README").write_text("no class")
    splits = open_data(folder, validation=0.25)
    assert splits.classes == ("blue", "red")
    assert splits.image_shape == (3, 10, 12)
    assert len(splits.train) + len(splits.validation) == 16
    assert splits.validation.labels.bincount().tolist() == [2, 2]
    for image, label in (splits.train[0], splits.train[-1]):
        assert image[:, 4, 4].tolist() == ([10, 10, 200], [200, 10, 10])[label]


def test_parts_of_their_own(tmp_path):
    for part, count in (("train", 4), ("val", 2), ("test", 3)):
        for name in ("a", "b"):
            for index in range(count):
                picture(tmp_path / part / name / f"{index}.png")
    splits = open_data(tmp_path)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [8, 4, 6]
    picture(tmp_path / "test" / "c" / "0.png")
    with pytest.raises(DataError, match="other classes than the training set: c"):
        open_data(tmp_path)


def test_a_test_part_alone(tmp_path):
    for name in ("a", "b"):
        for index in range(10):
            picture(tmp_path / "test" / name / f"{index}.png")
    with pytest.raises(DataError, match="no train/"):
        open_data(tmp_path)
    assert len(open_data(tmp_path, only="test").train) == 18


def test_sizes_are_made_equal(folder):
    picture(folder / "red" / "wide.png", size=(40, 10))
    with pytest.raises(DataError, match="2 different sizes"):
        open_data(folder)
    assert open_data(folder, image_size=16).image_shape == (3, 16, 16)


def test_grey_pictures_have_one_channel(folder):
    for file in folder.rglob("*.png"):
        Image.open(file).convert("L").save(file)
    assert open_data(folder).image_shape[0] == 1
    assert open_data(folder, channels=3).image_shape[0] == 3


def test_pictures_stand_upright(folder):
    # Orientation 6: the camera was turned, so the file's left edge is the top.
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("red", "blue"):
        pixels = np.zeros((12, 10, 3), np.uint8)
        pixels[:, :5] = 255
        Image.fromarray(pixels).save(folder / name / "turned.png", exif=exif)
    splits = open_data(folder, validation=0)
    assert splits.image_shape == (3, 10, 12)
    turned = next(image for image, _ in splits.train if image[0, 0, 0] in (0, 255))
    assert turned[0, 0].unique().tolist() == [255]
    assert turned[0, -1].unique().tolist() == [0]


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_corrupted_picture_is_named(folder, monkeypatch, in_memory):
    if not in_memory:
        monkeypatch.setattr(opening, "_IN_MEMORY", 0)
    file = folder / "red" / "3.png"
    file.write_bytes(file.read_bytes()[:-30])
    with pytest.raises(DataError, match=r"3\.png") as caught:
        splits = open_data(folder, validation=0)
        splits.train.batch(range(16))
    assert caught.value.remedy is not None


def test_a_file_that_is_no_picture(folder):
    (folder / "red" / "3.png").write_text("not at all")
    with pytest.raises(DataError, match=r"3\.png"):
        open_data(folder)
    with pytest.raises(DataError, match=r"3\.png"):
        open_data(folder, image_size=16, channels=3)


def test_pictures_that_stay_in_their_files(folder, monkeypatch):
    held = open_data(folder, validation=0.25)
    monkeypatch.setattr(opening, "_IN_MEMORY", 0)
    read = open_data(folder, validation=0.25)
    assert held.train.in_memory
    assert not read.train.in_memory
    assert (read.mean, read.std) == (held.mean, held.std)
    again = pickle.loads(pickle.dumps(read.train))  # noqa: S301 - our own bytes
    for first, second, third in zip(held.train, read.train, again, strict=True):
        assert torch.equal(first[0], second[0])
        assert torch.equal(first[0], third[0])
        assert first[1] == second[1] == third[1]


def test_mean_and_std_of_the_training_set(folder):
    splits = open_data(folder, validation=0)
    assert splits.mean == pytest.approx([105 / 255, 10 / 255, 105 / 255])
    # Green is the same everywhere: it is only centred.
    assert splits.std == pytest.approx([95 / 255, 1, 95 / 255])


def test_folders_that_cannot_be_trained_on(tmp_path):
    with pytest.raises(DataError, match="has no class folders"):
        open_data(tmp_path)
    picture(tmp_path / "only" / "0.png")
    with pytest.raises(DataError, match="single class, 'only'"):
        open_data(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty has no images"):
        open_data(tmp_path)
    with pytest.raises(InputNotFoundError, match="no such folder"):
        open_data(tmp_path / "absent")
    with pytest.raises(DataError, match="is a file"):
        open_data(tmp_path / "only" / "0.png")


def test_too_few_pictures_to_hold_any_out(tmp_path):
    for name in ("a", "b"):
        picture(tmp_path / name / "0.png")
    with pytest.raises(DataError, match="cannot be held out"):
        open_data(tmp_path)
    assert len(open_data(tmp_path, validation=0).train) == 2


@pytest.mark.parametrize(
    "options",
    [{"image_size": 0}, {"channels": 2}, {"validation": 1.0}, {"only": "train"}],
)
def test_options_out_of_range(folder, options):
    with pytest.raises(UsageError):
        open_data(folder, **options)
