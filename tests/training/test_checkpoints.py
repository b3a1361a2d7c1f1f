"""Checkpoints: killed anywhere, a run goes on and ends with the same bits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, safe_open, save_file

from edgesdk.errors import CheckpointError, StorageError, TrainingError
from edgesdk.training import fit

ROOT = Path(__file__).resolve().parents[2]
FILE = "checkpoint.safetensors"


def weights(model) -> bytes:
    return b"".join(value.numpy().tobytes() for value in model.state_dict().values())


def rows(history) -> list:
    return [(row.loss, row.top1, row.validation_loss, row.learning_rate) for row in history.epochs]


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("steps", [1, 6, 8])
def test_a_stopped_run_goes_on_exactly(tiny_net, images, short, tmp_path, optimizer, steps):
    recipe = short.changed(optimizer=optimizer, learning_rate=0.01)
    whole = tiny_net(dropout=0.3)
    expected = fit(whole, images, recipe, validation=images)
    first = fit(
        tiny_net(dropout=0.3),
        images,
        recipe,
        validation=images,
        checkpoint=tmp_path,
        stop_after_steps=steps,
    )
    assert (first.finished, first.steps) == (False, steps)
    model = tiny_net(dropout=0.3)
    with torch.no_grad():
        model.head.weight.fill_(7)
    second = fit(model, images, recipe, validation=images, checkpoint=tmp_path)
    assert (second.finished, second.resumed_at) == (True, steps)
    assert weights(model) == weights(whole)
    assert rows(second) == rows(expected)


def test_a_finished_run_is_given_back(tiny_net, images, short, tmp_path):
    first = tiny_net()
    expected = fit(first, images, short, checkpoint=tmp_path)
    model = tiny_net()
    history = fit(model, images, short, checkpoint=tmp_path)
    assert weights(model) == weights(first)
    assert (history.finished, history.resumed_at) == (True, 12)
    assert history.epochs == expected.epochs
    assert json.loads((tmp_path / "history.json").read_text())["steps"] == 12


def test_a_run_can_begin_afresh(tiny_net, images, short, tmp_path):
    fit(tiny_net(), images, short, checkpoint=tmp_path, stop_after_steps=3)
    history = fit(tiny_net(), images, short.changed(seed=9), checkpoint=tmp_path, resume=False)
    assert (history.resumed_at, history.finished) == (0, True)


def test_asked_to_stop(tiny_net, images, short, tmp_path):
    asked = iter([False, False, True])
    history = fit(tiny_net(), images, short, checkpoint=tmp_path, stop=lambda: next(asked))
    assert (history.steps, history.finished) == (3, False)
    assert fit(tiny_net(), images, short, checkpoint=tmp_path).resumed_at == 3


SCRIPT = """
import sys, torch
from pathlib import Path
from torch import nn
torch.set_num_threads(1)
from edgesdk.training import LabelledImages, Recipe, fit
generator = torch.Generator().manual_seed(0)
images = LabelledImages(
    torch.randint(0, 256, (60, 1, 8, 8), generator=generator, dtype=torch.uint8),
    torch.arange(60) % 3, ("a", "b", "c"))
torch.manual_seed(0)
model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2),
                      nn.Flatten(), nn.Linear(288, 3))
recipe = Recipe(epochs=4, batch_size=8, optimizer="sgd", learning_rate=0.05, ema_decay=0.9,
                mixup=0.3, augmentation={"flip": 0.5, "crop": 1}, seed=2)
def told(progress):
    print(progress.step, flush=True)
    if len(sys.argv) > 3:
        sys.stdin.readline()
history = fit(model, images, recipe, validation=images, mean=[0.5], std=[0.3],
              checkpoint=Path(sys.argv[1]) if sys.argv[1] else None, on_progress=told,
              checkpoint_every_steps=1)
from safetensors.torch import save_file
save_file(model.state_dict(), sys.argv[2])
print(repr([(row.loss, row.validation_loss) for row in history.epochs]), history.resumed_at)
"""


def start(*arguments: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_killed_in_mid_training_and_resumed_the_weights_are_the_same(tmp_path, monkeypatch, capsys):
    folder, out = tmp_path / "checkpoint", tmp_path / "killed.safetensors"
    killed = start(str(folder), str(out), "step by step")
    # Eight steps an epoch: the twelfth is in the middle of the second. Nothing says whether the
    # kill meets the program before, in or after writing the checkpoint of the step it is at.
    for step in range(1, 13):
        assert killed.stdout.readline() == f"{step}\n"
        killed.stdin.write("\n")
        killed.stdin.flush()
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert not out.exists()
    resumed = start(str(folder), str(out))
    told = resumed.communicate()[0].splitlines()[-1]
    assert resumed.returncode == 0
    # One that nobody ended, in a process that has done other things before.
    monkeypatch.setattr(sys, "argv", ["", "", str(tmp_path / "whole.safetensors")])
    with torch.random.fork_rng():
        exec(SCRIPT, {})
    told_whole = capsys.readouterr().out.splitlines()[-1]
    (rows_resumed, _, at), (rows_whole, _, _) = (
        line.rpartition(" ") for line in (told, told_whole)
    )
    assert int(at) in (11, 12, 13)
    assert rows_resumed == rows_whole
    assert out.read_bytes() == (tmp_path / "whole.safetensors").read_bytes()


def test_what_a_killed_writer_left_is_cleared(tiny_net, images, short, tmp_path):
    leftover = tmp_path / f".{FILE}.0a1b2c3d.partial"
    leftover.write_bytes(b"half")
    fit(tiny_net(), images, short, checkpoint=tmp_path, stop_after_steps=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == [FILE, "history.json"]


@pytest.fixture
def stopped(tiny_net, images, short, tmp_path):
    fit(tiny_net(), images, short, checkpoint=tmp_path, stop_after_steps=3)
    return tmp_path


def test_another_recipe_is_refused_by_the_field_that_differs(tiny_net, images, short, stopped):
    other = short.changed(learning_rate=0.5, augmentation={"crop": 3})
    with pytest.raises(TrainingError) as caught:
        fit(tiny_net(), images, other, checkpoint=stopped)
    assert "learning_rate is 0.05 there and 0.5 here" in str(caught.value)
    assert "augmentation.crop is 1 there and 3 here" in str(caught.value)
    assert "resume=False" in str(caught.value)


def test_another_model_is_refused(tiny_net, images, short, stopped):
    with pytest.raises(
        TrainingError, match=r"another model: head\.bias is 'torch\.float32 \(3,\)'"
    ):
        fit(tiny_net(classes=4), images, short, checkpoint=stopped)


def test_other_data_are_refused(tiny_net, images, short, stopped):
    with pytest.raises(TrainingError, match="samples is 42 there and 30 here"):
        fit(tiny_net(), images.select(range(30)), short, checkpoint=stopped)
    with pytest.raises(TrainingError, match="mean is None there"):
        fit(tiny_net(), images, short, mean=[0.5], std=[1.0], checkpoint=stopped)


def damaged(path: Path, kind: str) -> None:
    content = path.read_bytes()
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif kind == "other":
        save_file({"x": torch.zeros(1)}, path)
    else:
        with safe_open(path, "pt") as file:
            run = json.loads(file.metadata()["run"])
        if kind == "version":
            run["version"] = 99
        elif kind == "position":
            run["position"] = {"steps": 3}
        elif kind == "kind of position":
            run["position"]["step"] = "many"
        elif kind == "negative position":
            run["position"]["step"] = -1
        elif kind == "history":
            run["history"] = {"epochs": [{}]}
        elif kind == "description":
            run = []
        tensors = load_file(path)
        if kind == "optimizer":
            tensors = {
                key.replace("optimizer/0", "optimizer/x"): value for key, value in tensors.items()
            }
        if kind == "key":
            tensors["elsewhere/x"] = torch.zeros(1)
        save_file(tensors, path, metadata={"run": json.dumps(run)})


@pytest.mark.parametrize(
    "kind",
    [
        "empty",
        "cut",
        "other",
        "version",
        "position",
        "kind of position",
        "negative position",
        "history",
        "description",
        "optimizer",
        "key",
    ],
)
def test_a_damaged_checkpoint_is_refused_and_the_model_stays(
    tiny_net, images, short, stopped, kind
):
    damaged(stopped / FILE, kind)
    model = tiny_net()
    with pytest.raises(TrainingError, match=r"damaged|format 99") as caught:
        fit(model, images, short, checkpoint=stopped)
    assert isinstance(caught.value, CheckpointError) == (kind != "version")
    assert weights(model) == weights(tiny_net())


@pytest.mark.parametrize("task", ["classifier", "stylizer", "smoothing"])
def test_a_checkpoint_of_the_first_format_is_refused(tiny_net, images, short, tmp_path, task):
    content = (Path(__file__).parent / "old_checkpoints" / f"{task}.safetensors").read_bytes()
    (tmp_path / FILE).write_bytes(content)
    model = tiny_net()
    with pytest.raises(CheckpointError, match="has format 1, an older one") as caught:
        fit(model, images, short, checkpoint=tmp_path)
    assert "version of edgesdk that wrote it" in caught.value.remedy
    assert "--no-resume" in caught.value.remedy
    assert caught.value.exit_code == 6
    assert weights(model) == weights(tiny_net())
    assert (tmp_path / FILE).read_bytes() == content
    assert fit(model, images, short, checkpoint=tmp_path, resume=False).finished


def test_a_folder_that_cannot_be_written(tiny_net, images, short, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        fit(tiny_net(), images, short, checkpoint=tmp_path / "file" / "checkpoint")
