"""Small data in the forms the SDK reads, and a network that learns them in a second."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgesdk.training import LabelledImages, Recipe


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums in one order, and no waiting for other threads on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def idx_bytes(values: np.ndarray) -> bytes:
    head = bytes((0, 0, 8, values.ndim)) + struct.pack(f">{values.ndim}I", *values.shape)
    return head + values.astype(np.uint8).tobytes()


def striped(count: int, classes: int = 2, side: int = 8, seed: int = 0) -> tuple:
    """Images whose class is the column that is bright, with noise; labels cycle."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    images = generator.integers(0, 120, (count, side, side))
    images[np.arange(count), :, labels] += 120
    return images.astype(np.uint8), labels.astype(np.uint8)


@pytest.fixture(name="striped")
def _striped() -> Callable[..., tuple]:
    return striped


@pytest.fixture
def write_idx() -> Callable[..., Path]:
    """Writes MNIST-like files: ``write_idx(folder, train=(images, labels), t10k=...)``."""

    def write(folder: Path, *, packed: bool = True, **parts: tuple) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for part, (images, labels) in parts.items():
            for kind, form, values in (("images", 3, images), ("labels", 1, labels)):
                content = idx_bytes(values)
                name = f"{part}-{kind}-idx{form}-ubyte"
                if packed:
                    (folder / f"{name}.gz").write_bytes(gzip.compress(content, 1))
                else:
                    (folder / name).write_bytes(content)
        return folder

    return write


@pytest.fixture
def images() -> LabelledImages:
    """Forty-two striped images of three classes."""
    pixels, labels = striped(42, 3)
    return LabelledImages(
        torch.from_numpy(pixels)[:, None], torch.from_numpy(labels), ("a", "b", "c")
    )


class TinyNet(nn.Module):
    """A convolution, batch normalisation if asked for, dropout if asked for, a linear layer."""

    def __init__(self, classes: int = 3, norm: bool = True, dropout: float = 0.0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1, bias=not norm)
        self.norm = nn.BatchNorm2d(4) if norm else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(4 * 8 * 8, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.dropout(self.norm(self.conv(x)).relu().flatten(1)))


@pytest.fixture
def tiny_net() -> Callable[..., nn.Module]:
    """Builds a :class:`TinyNet` with the same weights every time."""

    def build(**options: object) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(5)
            return TinyNet(**options)  # type: ignore[arg-type]

    return build


@pytest.fixture
def short() -> Recipe:
    """Two epochs of six steps on :func:`images`, with everything random switched on."""
    return Recipe(
        epochs=2,
        batch_size=8,
        optimizer="sgd",
        learning_rate=0.05,
        schedule="cosine",
        warmup_epochs=0.5,
        label_smoothing=0.1,
        ema_decay=0.9,
        mixup=0.4,
        augmentation={"flip": 0.5, "crop": 1, "colour": 0.2, "cutout": 2},
        clip_gradient=5.0,
        seed=3,
    )
