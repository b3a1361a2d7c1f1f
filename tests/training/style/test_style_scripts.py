"""The scripts that trained the shipped weights, run on a few small pictures."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from edgesdk.frontend.edgemodel.file import load_model

SCRIPTS = Path(__file__).parents[3] / "scripts"
RECIPE = {
    "batch_size": 2,
    "crop": 64,
    "warmup_steps": 1,
    "content_layers": ["conv2_1"],
    "style_layers": ["conv1_1", "conv2_2"],
    "style_sizes": [64],
}
SMALL = {"encoder_widths": [4, 4, 8], "expanded_widths": [8], "decoder_widths": [4, 4]}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs and paintings as the scripts look for them."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "photos").mkdir()
    (folder / "paintings").mkdir()
    random = np.random.default_rng(0)
    named = re.findall(
        r'"([\w-]+\.(?:webp|jpg))"', (SCRIPTS / "train_shipped_styles.py").read_text()
    )
    photographs = [folder / "photos" / f"{number:02}.png" for number in range(13)]
    for path in (*photographs, *(folder / "paintings" / name for name in sorted(set(named)))):
        pixels = random.integers(0, 256, (9, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((96, 72)).save(path)
    return folder


def ran(script: str, *args: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPTS / script), *map(str, args)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=300,
        check=False,
    )


@pytest.mark.parametrize(
    ("network", "config", "size"), [("johnson", {}, 1_679_235), ("multi_style", SMALL, None)]
)
def test_a_network_of_one_style(
    data: Path,
    trunk: Path,
    tmp_path: Path,
    network: str,
    config: dict[str, object],
    size: int | None,
) -> None:
    args = (
        *("--data", data, "--work", tmp_path, "--style", "great-wave", "--network", network),
        *("--config", json.dumps(config), "--recipe", json.dumps(RECIPE), "--perceptual", trunk),
    )
    ended = ran("train_textbook_style.py", *args, "--steps", 2)
    assert ended.returncode == 0, ended.stderr
    # Every eleventh photograph of thirteen was held apart, and one painting is left.
    assert "11 photographs, 1 paintings" in ended.stdout
    assert "2 steps" in ended.stdout
    painter = load_model(tmp_path / f"{network}.edgemodel")
    if size is not None:
        assert sum(parameter.numel() for parameter in painter.parameters()) == size
    with torch.no_grad():
        picture = torch.rand(1, 3, 64, 64)
        painted = painter(255 * picture) if size else painter(picture, torch.ones(1, 1, 1, 1))
    assert painted.shape == picture.shape and bool(painted.isfinite().all())
    # A step that moves nothing ends with the weights it started from.
    still = json.dumps({**RECIPE, "learning_rate": 1e-12, "warmup_steps": 0})
    start = tmp_path / f"{network}.edgemodel"
    more = (*("--start", start, "--work", tmp_path / "more", "--recipe", still), "--steps", 1)
    went_on = ran("train_textbook_style.py", *args, *more)
    assert went_on.returncode == 0, went_on.stderr
    again = load_model(tmp_path / "more" / f"{network}.edgemodel")
    for name, value in again.state_dict().items():
        torch.testing.assert_close(value, painter.state_dict()[name], rtol=1e-4, atol=1e-6)
