"""Read IDX files, the format of MNIST and Fashion-MNIST: big-endian sizes, then bytes."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import torch
from torch import Tensor

from edgesdk.errors import DataError

__all__ = ["find_idx", "read_idx_images", "read_idx_labels"]

_PARTS = {"train": "train", "test": "t10k"}
_KINDS = {"images": "idx3-ubyte", "labels": "idx1-ubyte"}
# Deflate's largest compression ratio; a header that claims more is a bomb or damaged.
_DEFLATE_LIMIT = 1032
_MAX_BYTES = 2**32
_MAX_SIDE = 4096


def find_idx(folder: Path) -> dict[tuple[str, str], Path]:
    """Find IDX files in a folder by part (``train``, ``test``) and kind (``images``, ``labels``).

    Both spellings are accepted (``train-images-idx3-ubyte`` and ``train-images.idx3-ubyte``),
    with or without gzip.
    """
    found: dict[tuple[str, str], Path] = {}
    for part, prefix in _PARTS.items():
        for kind, suffix in _KINDS.items():
            for joint in "-.":
                for packed in ("", ".gz"):
                    path = folder / f"{prefix}-{kind}{joint}{suffix}{packed}"
                    if path.is_file():
                        found.setdefault((part, kind), path)
    return found


def read_idx_images(path: Path) -> Tensor:
    """Read images ``uint8 [N, 1, H, W]``.

    Raises:
        DataError: The file is not an IDX file of grey images, damaged, or too large.
    """
    (count, height, width), content = _read(path, dimensions=3)
    if not (0 < height <= _MAX_SIDE and 0 < width <= _MAX_SIDE):
        raise DataError(
            f"{path} claims images of {height}x{width}", remedy="download the file again"
        )
    return torch.from_numpy(content).reshape(count, 1, height, width)


def read_idx_labels(path: Path) -> Tensor:
    """Read labels ``int64 [N]``.

    Raises:
        DataError: The file is not an IDX file of labels, damaged, or too large.
    """
    _, content = _read(path, dimensions=1)
    return torch.from_numpy(content).to(torch.int64)


def _read(path: Path, dimensions: int) -> tuple[tuple[int, ...], np.ndarray]:
    packed = path.suffix == ".gz"
    header_size = 4 + 4 * dimensions
    try:
        stored = path.stat().st_size
        with gzip.open(path) if packed else path.open("rb") as file:
            header = file.read(header_size)
            # Two zero bytes, 8 for unsigned bytes, the number of dimensions.
            if len(header) < header_size or header[:4] != bytes((0, 0, 8, dimensions)):
                kind = "images" if dimensions == 3 else "labels"
                raise DataError(
                    f"{path} is not an IDX file of {kind}: it begins with "
                    f"{header[:4].hex() or 'nothing'}, not {bytes((0, 0, 8, dimensions)).hex()}",
                    remedy="download the file again",
                )
            sizes = tuple(int(size) for size in np.frombuffer(header[4:], ">u4"))
            expected = math.prod(sizes)
            possible = stored * _DEFLATE_LIMIT if packed else stored
            if expected > min(possible, _MAX_BYTES):
                raise DataError(
                    f"{path} claims {expected:,} bytes of data in a file of {stored:,} bytes",
                    remedy="the file is truncated or damaged: download it again",
                )
            content = np.empty(expected, dtype=np.uint8)
            filled = _fill(cast(BinaryIO, file), content)
            if filled < expected or file.read(1):
                found = "more" if filled == expected else f"{filled:,}"
                raise DataError(
                    f"{path} claims {expected:,} bytes of data and holds {found}",
                    remedy="the file is truncated or damaged: download it again",
                )
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{path} cannot be read: {error}", remedy="the file is damaged: download it again"
        ) from error
    return sizes, content


def _fill(file: BinaryIO, content: np.ndarray) -> int:
    view = content.data
    filled = 0
    while filled < len(view):
        count = file.readinto(view[filled:])  # type: ignore[attr-defined]
        if not count:
            break
        filled += count
    return filled
