"""CIFAR's binary files, and the refusal of its pickled ones."""

from __future__ import annotations

import numpy as np
import pytest

from edgesdk.errors import DataError, UnsafeFileError
from edgesdk.training import open_data


def records(labels, heads=1, seed=0):
    generator = np.random.default_rng(seed)
    pixels = generator.integers(0, 256, (len(labels), 3072))
    heading = np.repeat(np.asarray(labels)[:, None], heads, axis=1)
    if heads == 2:
        heading[:, 0] //= 5
    return np.concatenate([heading, pixels], axis=1).astype(np.uint8)


def test_cifar_10(tmp_path):
    first, second = records(np.arange(20) % 10), records(np.arange(20) % 10, seed=1)
    (tmp_path / "data_batch_1.bin").write_bytes(first.tobytes())
    (tmp_path / "data_batch_2.bin").write_bytes(second.tobytes())
    (tmp_path / "test_batch.bin").write_bytes(first[:10].tobytes())
    (tmp_path / "batches.meta.txt").write_text("\n".join(f"class {k}" for k in range(10)) + "\n\n")
    splits = open_data(tmp_path, validation=0.25)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [30, 10, 10]
    assert splits.classes[3] == "class 3"
    image, label = splits.test[7]
    assert label == 7
    # One plane of red, one of green, one of blue, row by row.
    assert image[1, 2, 5].item() == first[7, 1 + 1024 + 2 * 32 + 5]
    grey = open_data(tmp_path, channels=1).test[7][0]
    red, green, blue = image[:, 2, 5].tolist()
    assert abs(grey[0, 2, 5].item() - (0.299 * red + 0.587 * green + 0.114 * blue)) <= 0.5


def test_cifar_100_takes_the_fine_labels(tmp_path):
    (tmp_path / "train.bin").write_bytes(records(np.arange(200) % 100, heads=2).tobytes())
    splits = open_data(tmp_path, validation=0)
    assert len(splits.classes) == 100
    assert splits.train.labels[42] == 42
    assert (splits.validation, splits.test) == (None, None)


def test_labels_out_of_range(tmp_path):
    (tmp_path / "data_batch_1.bin").write_bytes(records([0, 1, 10]).tobytes())
    with pytest.raises(DataError, match=r"record 2 has the label 10.*10 classes"):
        open_data(tmp_path)


@pytest.mark.parametrize("size", [0, 3072, 3073 * 2 + 1])
def test_files_of_another_length(tmp_path, size):
    (tmp_path / "data_batch_1.bin").write_bytes(b"\1" * size)
    with pytest.raises(DataError, match="record size 3073"):
        open_data(tmp_path)


def test_classes_without_a_sample(tmp_path):
    (tmp_path / "data_batch_1.bin").write_bytes(records([0, 1] * 20).tobytes())
    with pytest.raises(DataError, match="8 of 10 classes have no training sample"):
        open_data(tmp_path)


def test_the_test_file_alone(tmp_path):
    (tmp_path / "test_batch.bin").write_bytes(records(np.arange(40) % 10).tobytes())
    with pytest.raises(DataError, match=r"no data_batch_1\.bin"):
        open_data(tmp_path)
    assert len(open_data(tmp_path, only="test").train) == 36


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("data_batch_1", "batches.meta"), "cifar-10-binary"),
        (("train", "test", "meta"), "cifar-100-binary"),
    ],
)
def test_the_pickled_version_is_not_opened(tmp_path, names, message):
    for name in names:
        (tmp_path / name).write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(UnsafeFileError, match=message):
        open_data(tmp_path)
