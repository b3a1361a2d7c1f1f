"""``edgesdk stylize --upscale network``: paintings enlarged by the network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from edgesdk.errors import UsageError, WeightsError
from edgesdk.models.guided_upscale import GuidedUpscale, guided_upscale_bytes
from edgesdk.video import KeyFrameUpscaler
from edgesdk.video.colour_transfer import colour_painter
from edgesdk.video.downscale import shrunk_picture
from edgesdk.video.stylize import stylize

pytest.importorskip("av")
pytestmark = pytest.mark.usefixtures("native_library")

Run = Callable[..., int]
Picture = NDArray[np.uint8]


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    """Two pictures of 80 x 60."""
    folder = tmp_path / "frames"
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(2):
        small = random.integers(0, 255, (15, 20, 3), dtype=np.uint8)
        large = Image.fromarray(small).resize((80, 60), Image.Resampling.BICUBIC)
        large.save(folder / f"{number}.png")
    return folder


@pytest.fixture
def sunset(tmp_path: Path) -> Path:
    path = tmp_path / "sunset.png"
    ramp = np.linspace(0, 1, 32)[:, None, None]
    colours = ramp * np.array([250, 160, 60]) + (1 - ramp) * np.array([90, 20, 40])
    Image.fromarray(np.repeat(colours, 32, axis=1).astype(np.uint8)).save(path)
    return path


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = GuidedUpscale(width=4, inner_widths=[4], refine_width=4, hidden_width=8)
    torch.nn.init.normal_(model.refine_second.weight, std=0.1)
    path = tmp_path / "w.safetensors"
    path.write_bytes(guided_upscale_bytes(model))
    return path


def pixels(path: Path) -> Picture:
    return np.asarray(Image.open(path).convert("RGB"))


def test_key_frames_are_enlarged_by_the_network(
    here: Run, frames: Path, sunset: Path, weights: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shared = ("--colour", str(sunset), "--max-size", "32", "--keyframes", "1")
    ran = here(
        *("stylize", str(frames), "-o", str(out), *shared, "--upscale-weights", str(weights))
    )
    assert ran == 0
    painter, smoother = colour_painter(sunset), KeyFrameUpscaler(weights)
    for number in range(2):
        picture = pixels(frames / f"{number}.png")
        small = shrunk_picture(picture, 32, 24)
        wanted = smoother(painter(small), picture)
        # Threads may round differently.
        assert np.abs(pixels(out / f"{number}.png").astype(int) - wanted).max() <= 1
    plain = tmp_path / "plain"
    assert here("stylize", str(frames), "-o", str(plain), *shared) == 0
    assert not np.array_equal(pixels(plain / "0.png"), pixels(out / "0.png"))


def test_the_packages_own_weights(here: Run, frames: Path, sunset: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ran = here(
        *("stylize", str(frames), "-o", str(out), "--colour", str(sunset)),
        *("--max-size", "40", "--upscale", "network", "--stream"),
    )
    assert ran == 0
    full = colour_painter(sunset)(pixels(frames / "0.png")).astype(int)
    assert np.abs(pixels(out / "0.png") - full).mean() < 12


def test_what_cannot_be_smoothed_is_refused_before_anything_is_painted(
    here: Run, frames: Path, sunset: Path, weights: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shared = ("stylize", str(frames), "-o", str(out), "--colour", str(sunset))
    (tmp_path / "not.safetensors").write_bytes(b"nothing")
    for name, code in (("not.safetensors", 6), ("absent.safetensors", 2)):
        assert here(*shared, "--max-size", "32", "--upscale-weights", str(tmp_path / name)) == code
    painted: list[Picture] = []

    def painter(picture: Picture) -> Picture:
        painted.append(picture)
        return picture

    with pytest.raises(WeightsError):
        stylize(
            frames,
            out,
            painter=painter,
            upscale="network",
            upscale_weights=tmp_path / "absent.safetensors",
        )
    # 60 rows shown as 12 would do, but a video of 1920 shown as 80 would not.
    with pytest.raises(UsageError, match="raise max_size"):
        KeyFrameUpscaler(weights).check(1920, 1080, 80)
    KeyFrameUpscaler(weights).check(1920, 1080, 512)
    KeyFrameUpscaler(weights).check(854, 480, None)
    assert not painted and not out.exists()


def test_pictures_that_are_none_are_refused(weights: Path) -> None:
    smoother = KeyFrameUpscaler(weights)
    small, full = np.zeros((8, 8, 3), np.uint8), np.zeros((16, 16, 3), np.uint8)
    assert smoother(small, full).shape == (16, 16, 3)
    for painted, original in (
        (small, full[:, :8]),
        (full, small),
        (small.astype(np.float32), full),
        (small[..., 0], full),
        (np.zeros((8, 8, 4), np.uint8), full),
        (small[:0], full),
        (None, full),
        (small, np.zeros((80, 80, 3), np.uint8)),
    ):
        with pytest.raises(UsageError):
            smoother(painted, original)
