"""Small folders of photographs and paintings, and a perceptual network of random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from edgesdk.training.style.recipe import StyleRecipe


def noise(seed: int, height: int, width: int, coarse: int) -> np.ndarray:
    """A colour picture of blotches."""
    random = np.random.default_rng(seed)
    cells = random.integers(0, 256, (coarse, coarse, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(cells).resize((width, height), Image.Resampling.BICUBIC))


@pytest.fixture(scope="session")
def photographs_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three photographs, one of them in a folder of its own."""
    folder = tmp_path_factory.mktemp("photographs")
    (folder / "more").mkdir()
    for index, name in enumerate(("a.png", "b.png", "more/c.png")):
        Image.fromarray(noise(index, 90, 120, 6)).save(folder / name)
    return folder


@pytest.fixture(scope="session")
def paintings_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two paintings: warm stripes and cold dots."""
    folder = tmp_path_factory.mktemp("paintings")
    rows = np.arange(96)[:, None, None]
    stripes = np.where(rows // 6 % 2, (220, 120, 30), (90, 20, 10)) + np.zeros((96, 96, 3))
    Image.fromarray(stripes.astype(np.uint8)).save(folder / "Warm Stripes.png")
    Image.fromarray(255 - noise(9, 80, 100, 40) // 2).save(folder / "cold_dots.png")
    return folder


@pytest.fixture(scope="session")
def trunk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A perceptual network down to conv2_2, of random weights."""
    made = torch.Generator().manual_seed(0)
    found = {}
    width = 3
    for name, out in (("conv1_1", 64), ("conv1_2", 64), ("conv2_1", 128), ("conv2_2", 128)):
        weight = torch.randn((out, width, 3, 3), generator=made) / (3 * width**0.5)
        found[f"{name}.weight"], found[f"{name}.bias"] = weight.numpy(), np.zeros(out, np.float32)
        width = out
    path = tmp_path_factory.mktemp("trunk") / "trunk.npz"
    np.savez(path, **found)
    return path


@pytest.fixture
def short() -> StyleRecipe:
    """A recipe of a few seconds."""
    return StyleRecipe(
        steps=12,
        batch_size=2,
        crop=64,
        learning_rate=5e-3,
        warmup_steps=2,
        content_layers=("conv2_1",),
        style_layers=("conv1_1", "conv2_2"),
        style_sizes=(64,),
        temporal_weight=10.0,
    )
