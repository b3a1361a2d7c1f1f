"""Two processes learn what one learns."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]

SCRIPT = """
import json, sys, torch
from pathlib import Path
from torch import nn
torch.set_num_threads(1)
from edgesdk.training import LabelledImages, Recipe, fit

generator = torch.Generator().manual_seed(0)
labels = torch.arange(227) % 3
pixels = torch.randint(0, 120, (227, 1, 8, 8), generator=generator)
for index, label in enumerate(labels):
    pixels[index, 0, :, label] += 120
images = LabelledImages(pixels.to(torch.uint8), labels, ("a", "b", "c"))
folder = Path(sys.argv[1])
recipe = Recipe(epochs=4, batch_size=32, optimizer="sgd", learning_rate=0.02, ema_decay=0.9,
                mixup=0.2, label_smoothing=0.1, clip_gradient=1.0,
                augmentation={"flip": 0.5, "crop": 1, "cutout": 2}, seed=2)
found = {}
for name in ("plain", "norm"):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 8, 3),
                          nn.BatchNorm2d(8) if name == "norm" else nn.Identity(),
                          nn.ReLU(), nn.Flatten(), nn.Linear(288, 3))
    history = fit(model, images, recipe, validation=images, mean=[0.5], std=[0.3],
                  checkpoint=folder / name, logs=folder / "logs" / name)
    found[name] = {
        "loss": [row.loss for row in history.epochs],
        "top1": [row.top1 for row in history.epochs],
        "validation": [row.validation_loss for row in history.epochs],
        "norm": model[-1].weight.norm().item(),
        "state": [value.double().sum().item() for value in model.state_dict().values()],
    }
from accelerate import PartialState
state = PartialState()
found["processes"] = state.num_processes
(folder / f"found{state.process_index}.json").write_text(json.dumps(found))
"""


def found(folder: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob("found*.json"))]


def run_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict:
    folder.mkdir(exist_ok=True)
    script = folder / "script.py"
    script.write_text(SCRIPT)
    monkeypatch.setattr(sys, "argv", [str(script), str(folder)])
    with torch.random.fork_rng():
        runpy.run_path(str(script))
    (alone,) = found(folder)
    return alone


def run_launched(folder: Path) -> list[dict]:
    folder.mkdir()
    script = folder / "script.py"
    script.write_text(SCRIPT)
    launcher = ["-m", "accelerate.commands.accelerate_cli", "launch", "--multi_gpu"]
    launcher += ["--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no"]
    launcher += ["--dynamo_backend", "no", "--main_process_port", "0"]
    done = subprocess.run(
        [sys.executable, *launcher, str(script), str(folder)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return found(folder)


def test_two_processes_give_the_curve_of_one(tmp_path, monkeypatch):
    alone = run_alone(tmp_path / "one", monkeypatch)
    first, second = run_launched(tmp_path / "two")
    assert (alone["processes"], first["processes"], second["processes"]) == (1, 2, 2)
    # Both processes hold the same model and tell the same story.
    assert first == second
    # Without batch normalisation there is nothing but the order of sums.
    for key in ("loss", "validation", "norm"):
        assert first["plain"][key] == pytest.approx(alone["plain"][key], rel=1e-4), key
    assert first["plain"]["top1"] == pytest.approx(alone["plain"]["top1"], abs=1e-6)
    # Each process normalises its own half of the batch.
    assert first["norm"]["loss"] == pytest.approx(alone["norm"]["loss"], rel=0.05)
    assert first["norm"]["loss"] != alone["norm"]["loss"]
    assert first["norm"]["loss"][-1] < 0.85 * first["norm"]["loss"][0]
    # One process alone writes.
    assert len(list((tmp_path / "two" / "logs" / "norm").glob("events*"))) == 1
    # What two processes saved, one goes on from: here from the end of the run.
    for path in (tmp_path / "two").glob("found*.json"):
        path.unlink()
    again = run_alone(tmp_path / "two", monkeypatch)
    assert again["norm"]["state"] == first["norm"]["state"]
