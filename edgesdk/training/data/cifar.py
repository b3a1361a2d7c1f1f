"""Read CIFAR-10 and CIFAR-100 in their binary version: one or two labels, three 32x32 planes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from edgesdk.errors import DataError, UnsafeFileError

__all__ = ["find_cifar", "read_cifar", "refuse_pickled_cifar"]

_PIXELS = 3 * 32 * 32
_PICKLED = ("data_batch_1", "batches.meta")
_PICKLED_100 = ("train", "test", "meta")


def find_cifar(folder: Path) -> tuple[dict[str, list[Path]], int] | None:
    """Find CIFAR's binary files in a folder.

    CIFAR-10 has ``data_batch_1.bin`` and so on with ``test_batch.bin``, CIFAR-100 has
    ``train.bin`` and ``test.bin``.

    Returns:
        Files by part (``train``, ``test``) and the number of classes; None if there are no files.
    """
    ten = {
        "train": sorted(folder.glob("data_batch_*.bin")),
        "test": sorted(folder.glob("test_batch.bin")),
    }
    if any(ten.values()):
        return ten, 10
    hundred = {part: sorted(folder.glob(f"{part}.bin")) for part in ("train", "test")}
    return (hundred, 100) if any(hundred.values()) else None


def refuse_pickled_cifar(folder: Path) -> None:
    """Refuse CIFAR's pickled Python version and name the safe one.

    Raises:
        UnsafeFileError: The folder holds pickled batches, and reading them could run code.
    """
    ten = any((folder / name).is_file() for name in _PICKLED)
    if ten or all((folder / name).is_file() for name in _PICKLED_100):
        name = "cifar-10-binary.tar.gz" if ten else "cifar-100-binary.tar.gz"
        raise UnsafeFileError(
            f"{folder} holds CIFAR's pickled Python version, and reading it could run code",
            remedy=f"download the binary version, {name}, which holds the same images",
        )


def read_cifar(files: list[Path], classes: int) -> tuple[Tensor, Tensor]:
    """Read images ``uint8 [N, 3, 32, 32]`` and labels ``int64 [N]``, the fine ones of CIFAR-100.

    Args:
        files: Binary files, read in this order.
        classes: 10, or 100 for records of a coarse and a fine label.

    Raises:
        DataError: A file has the wrong length, or a label is out of range.
    """
    heads = 2 if classes == 100 else 1
    records = []
    for path in files:
        try:
            content = np.fromfile(path, dtype=np.uint8)
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}") from error
        if len(content) == 0 or len(content) % (heads + _PIXELS):
            raise DataError(
                f"{path} has {len(content):,} bytes, which is not a multiple of the record size "
                f"{heads + _PIXELS}",
                remedy="the file is truncated or has another format: download it again",
            )
        table = content.reshape(-1, heads + _PIXELS)
        bad = np.flatnonzero(table[:, heads - 1] >= classes)
        if len(bad):
            raise DataError(
                f"{path}: record {bad[0]} has the label {table[bad[0], heads - 1]}, which is out "
                f"of range for {classes} classes",
                remedy="the file is damaged or has another format: download it again",
            )
        records.append(table)
    every = np.concatenate(records)
    labels = torch.from_numpy(every[:, heads - 1].astype(np.int64))
    images = torch.from_numpy(np.ascontiguousarray(every[:, heads:]))
    return images.reshape(-1, 3, 32, 32), labels
