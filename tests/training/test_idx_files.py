"""IDX files: MNIST and Fashion-MNIST, whole and damaged."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest
import torch

from edgesdk.errors import DataError
from edgesdk.training import open_data
from edgesdk.training.data.idx import read_idx_images, read_idx_labels


def test_an_image_by_hand(tmp_path):
    file = tmp_path / "two"
    file.write_bytes(bytes.fromhex("00000803 00000002 00000001 00000003 010203 fdfeff"))
    images = read_idx_images(file)
    assert images.dtype == torch.uint8
    assert images.tolist() == [[[[1, 2, 3]]], [[[253, 254, 255]]]]


def test_labels_by_hand(tmp_path):
    file = tmp_path / "labels.gz"
    file.write_bytes(gzip.compress(bytes.fromhex("00000801 00000003 00 09 ff")))
    assert read_idx_labels(file).tolist() == [0, 9, 255]


@pytest.mark.parametrize("packed", [True, False])
def test_a_folder_of_both_parts(tmp_path, write_idx, striped, packed):
    write_idx(tmp_path, packed=packed, train=striped(60), t10k=striped(20, seed=1))
    splits = open_data(tmp_path, validation=0.2)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [48, 12, 20]
    assert splits.classes == ("0", "1")
    assert splits.image_shape == (1, 8, 8)
    assert splits.validation.labels.bincount().tolist() == [6, 6]
    pixels, labels = striped(20, seed=1)
    image, label = splits.test[3]
    assert np.array_equal(image[0].numpy(), pixels[3])
    assert label == labels[3]
    assert splits.test[-1][1] == labels[-1]
    with pytest.raises(IndexError):
        splits.test[20]


def test_other_sizes_and_channels(tmp_path, write_idx, striped):
    write_idx(tmp_path, train=striped(20))
    splits = open_data(tmp_path, image_size=16, channels=3)
    assert splits.image_shape == (3, 16, 16)
    image, _ = splits.train[0]
    assert torch.equal(image[0], image[2])
    assert len(splits.mean) == 3


def test_classes_get_their_names_from_a_file(tmp_path, write_idx, striped):
    write_idx(tmp_path, train=striped(20))
    (tmp_path / "classes.txt").write_text("trousers\nbag\n")
    assert open_data(tmp_path).classes == ("trousers", "bag")
    (tmp_path / "classes.txt").write_text("trousers\n")
    with pytest.raises(DataError, match="names 1 classes"):
        open_data(tmp_path)


def test_test_files_alone_are_named_and_can_be_asked_for(tmp_path, write_idx, striped):
    write_idx(tmp_path, t10k=striped(40))
    with pytest.raises(DataError, match=r"no train-images-idx3-ubyte\.gz[\s\S]*split=\"test\""):
        open_data(tmp_path)
    splits = open_data(tmp_path, only="test")
    assert (len(splits.train), len(splits.validation), splits.test) == (36, 4, None)
    assert "test files" in splits.notes[0]


def test_a_file_without_its_partner(tmp_path, write_idx, striped):
    write_idx(tmp_path, train=striped(20))
    (tmp_path / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match=r"no train-labels-idx1-ubyte\.gz"):
        open_data(tmp_path)


def test_other_numbers_of_images_and_labels(tmp_path, write_idx, striped):
    pixels, labels = striped(20)
    write_idx(tmp_path, train=(pixels, labels[:19]))
    with pytest.raises(DataError, match=r"20 images.*19 labels"):
        open_data(tmp_path)


def test_a_single_class(tmp_path, write_idx, striped):
    pixels, labels = striped(20)
    write_idx(tmp_path, train=(pixels, labels * 0))
    with pytest.raises(DataError, match="1 class"):
        open_data(tmp_path)


def test_labels_out_of_range(tmp_path, write_idx, striped):
    pixels, labels = striped(20)
    labels[4] = 200
    write_idx(tmp_path, train=(pixels, labels))
    with pytest.raises(DataError, match="label 200 is out of range"):
        open_data(tmp_path)


def test_labels_of_the_test_set_that_training_does_not_know(tmp_path, write_idx, striped):
    write_idx(tmp_path, train=striped(20), t10k=striped(20, classes=3))
    with pytest.raises(DataError, match="label 2, which is out of range for 2 classes"):
        open_data(tmp_path)


def test_empty_files(tmp_path, write_idx, striped):
    write_idx(tmp_path, train=(np.zeros((0, 8, 8)), np.zeros(0)))
    with pytest.raises(DataError, match="empty"):
        open_data(tmp_path)


IMAGE = bytes.fromhex("00000803 00000001 00000002 00000002 01020304")
BOMB = bytes.fromhex("00000803") + struct.pack(">3I", 2**20, 32, 32)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a", b"", "nothing"),
        ("a", IMAGE[:10], "not an IDX file of images"),
        ("a", b"\x00\x00\x08\x01" + IMAGE[4:], "00000801"),
        ("a", b"\x00\x00\x0d\x03" + IMAGE[4:], "00000d03"),
        ("a", IMAGE[:-1], "holds 3|claims"),
        ("a", IMAGE + b"\0", "holds more"),
        ("a", IMAGE[:8] + b"\0\0\0\0" + IMAGE[12:16], "0x2"),
        ("a.gz", IMAGE, "cannot be read"),
        ("a.gz", gzip.compress(IMAGE)[:-9], "cannot be read"),
        ("a.gz", gzip.compress(IMAGE)[:20] + b"\xff" * 30, "cannot be read|claims"),
        ("a.gz", gzip.compress(BOMB), "claims 1,073,741,824 bytes"),
        ("a.gz", gzip.compress(IMAGE + b"\0" * 10_000_000), "holds more"),
    ],
    ids=[f"damage {number}" for number in range(12)],
)
def test_damaged_files(tmp_path, name, content, message):
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_idx_images(file)


def test_a_size_that_would_wrap_around(tmp_path):
    file = tmp_path / "a"
    file.write_bytes(bytes.fromhex("00000803") + b"\xff" * 12 + b"\1" * 64)
    with pytest.raises(DataError, match="claims"):
        read_idx_images(file)
