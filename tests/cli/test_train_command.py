"""``edgesdk train classify``: from images to a model file, and back."""

from __future__ import annotations

import dataclasses
import gzip
import json
import re
import signal
import struct

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from edgesdk.cli import main
from edgesdk.frontend.edgemodel.file import load_model
from edgesdk.frontend.source import load
from edgesdk.training import evaluate, open_data

NETS = """
import torch
from torch import nn


class Small(nn.Module):
    def __init__(self, classes=3, channels=1):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
            nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(128, classes),
        )

    def forward(self, x):
        return self.layers(x)


def build():
    torch.manual_seed(0)
    print("built")
    return Small()


def of_seven():
    return Small(classes=7)


def of_colour():
    return Small(channels=3)
"""


def idx_bytes(values: np.ndarray) -> bytes:
    head = bytes((0, 0, 8, values.ndim)) + struct.pack(f">{values.ndim}I", *values.shape)
    return gzip.compress(head + values.astype(np.uint8).tobytes(), 1)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The user's folder: 120 striped images of three classes, and networks."""
    generator = np.random.default_rng(0)
    (tmp_path / "data").mkdir()
    for part, count in (("train", 120), ("t10k", 30)):
        labels = np.arange(count) % 3
        images = generator.integers(0, 120, (count, 8, 8))
        images[np.arange(count), :, 2 * labels] += 120
        (tmp_path / "data" / f"{part}-images-idx3-ubyte.gz").write_bytes(idx_bytes(images))
        (tmp_path / "data" / f"{part}-labels-idx1-ubyte.gz").write_bytes(idx_bytes(labels))
    (tmp_path / "data" / "classes.txt").write_text("left\nmiddle\nright\n")
    (tmp_path / "nets_to_train.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    yield tmp_path
    torch.set_num_threads(threads)


NET = "nets_to_train.py:build"
SHORT = ("--data", "data", "--epochs", "2", "--set", "batch_size=16", "--threads", "1")


def test_a_zoo_network_fits_the_data_and_its_file_knows_them(folder, capsys):
    code = main(["train", "classify", "resnet20", *SHORT, "-o", "a.edgemodel", "--json"])
    told = capsys.readouterr()
    assert code == 0, told.err
    result = json.loads(told.out)
    assert result["architecture"] == "resnet20"
    assert result["recipe"]["batch_size"] == 16
    assert [result["data"][part] for part in ("train", "validation", "test")] == [108, 12, 30]
    assert len(result["history"]["epochs"]) == 2
    assert result["history"]["finished"]
    model = load_model(folder / "a.edgemodel")
    assert (model.config["num_classes"], model.config["in_channels"]) == (3, 1)
    splits = open_data(folder / "data")
    found = evaluate(model, splits.test, mean=splits.mean, std=splits.std)
    assert found.top1 == result["test"]["top1"]
    loaded = load("a.edgemodel")
    assert loaded.labels == ("left", "middle", "right")
    assert loaded.image.mean == splits.mean
    assert loaded.inputs[0].shape == (1, 1, 8, 8)
    lines = [line for line in told.err.splitlines() if "val top-1" in line]
    assert [line.split("epoch ")[1][:3] for line in lines] == ["1/2", "2/2"]


def test_a_network_of_the_user_learns_and_is_saved_as_a_program(folder, capsys):
    more = ("--epochs", "6", "--set", "augmentation.crop=0", "--logs", "logs")
    code = main(["train", "classify", NET, *SHORT, *more, "-o", "b.edgemodel"])
    told = capsys.readouterr()
    assert code == 0, told.err
    assert "wrote b.edgemodel" in told.out
    # What the user's code prints is no result.
    assert "built" not in told.out
    assert list((folder / "logs").glob("events*"))
    splits = open_data(folder / "data")
    model = load("b.edgemodel").model
    found = evaluate(model, splits.test, mean=splits.mean, std=splits.std)
    assert found.top1 > 0.9
    assert f"test: top-1 {found.top1:.2%}" in told.out


def test_the_same_command_gives_the_same_weights(folder, capsys):
    for name in ("one", "two"):
        code = main(["train", "classify", NET, *SHORT, "-q", "-o", f"{name}.safetensors"])
        assert code == 0
    assert capsys.readouterr().err.count("epoch") == 0
    assert (folder / "one.safetensors").read_bytes() == (folder / "two.safetensors").read_bytes()
    assert main(["train", "classify", NET, *SHORT, "--weights", "one.safetensors"]) == 2
    more = ["--weights", "one.safetensors", "--set", "learning_rate=1e-9", "-o", "c.safetensors"]
    assert main(["train", "classify", NET, *SHORT, *more]) == 0
    before, after = load_file("one.safetensors"), load_file("c.safetensors")
    key = "layers.5.weight"
    assert torch.allclose(before[key], after[key], atol=1e-6)


def test_a_model_file_can_be_trained_on(folder, capsys):
    assert main(["train", "classify", "resnet20", *SHORT, "-o", "a.edgemodel"]) == 0
    more = ("--recipe", "finetune_adamw", "-o", "b.edgemodel", "--json")
    code = main(["train", "classify", "a.edgemodel", *SHORT, *more])
    told = capsys.readouterr()
    assert code == 0, told.err
    result = json.loads(told.out[told.out.index("{") :])
    assert result["architecture"] == "resnet20"
    assert load_model(folder / "b.edgemodel").config["num_classes"] == 3


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("resnet20", "-o", "a.tflite"), "NAME.edgemodel"),
        (("resnet20", "-o", "data"), "NAME.edgemodel"),
        (("resnett20", "-o", "a.edgemodel"), "did you mean 'resnet20'"),
        (("style_fast", "-o", "a.edgemodel"), "unknown model|not a classifier"),
        (("unet", "-o", "a.edgemodel"), "unknown model|not a classifier"),
        (("resnet20", "-o", "a.edgemodel", "--recipe", "quick"), "did you mean"),
        (("resnet20", "-o", "a.edgemodel", "--recipe", "absent.json"), "no such file: absent.json"),
        (("resnet20", "-o", "a.edgemodel", "--set", "epoch=3"), "did you mean 'epochs'"),
        (("resnet20", "-o", "a.edgemodel", "--channels", "2"), "1 for grey"),
        (("resnet20", "-o", "a.edgemodel", "--limit", "2"), "3 classes"),
        (("nets_to_train.py:of_seven", "-o", "a.edgemodel"), "tells 7 classes apart"),
        (("nets_to_train.py:of_colour", "-o", "a.edgemodel"), "does not take images of 1x8x8"),
        (("missing.py:build", "-o", "a.edgemodel"), "no such file: missing.py"),
        (("resnet20",), "--output"),
    ],
)
def test_what_cannot_be_done_is_said_before_training(folder, capsys, arguments, told):
    source, *options = arguments
    code = 5 if source.startswith("nets_to_train") else 2
    assert main(["train", "classify", source, *SHORT, *options]) == code
    error = capsys.readouterr().err
    assert re.search(told, error), error
    assert "epoch 1/" not in error
    assert not (folder / "a.edgemodel").exists()


def test_bad_data_are_exit_code_5(folder, capsys):
    (folder / "data" / "train-labels-idx1-ubyte.gz").write_bytes(b"x")
    code = main(["train", "classify", NET, *SHORT, "-o", "a.safetensors", "--json"])
    assert code == 5
    assert json.loads(capsys.readouterr().out)["error"] == "DataError"


def test_outputs_are_not_overwritten(folder, capsys):
    (folder / "a.safetensors").write_text("precious")
    arguments = ["train", "classify", NET, *SHORT, "-o", "a.safetensors"]
    assert main(arguments) == 2
    assert "exists" in capsys.readouterr().err
    assert main([*arguments, "--overwrite"]) == 0
    assert len(load_file("a.safetensors")) == 9


def test_interrupted_it_says_how_to_go_on_and_does(edgesdk_command, folder):
    command = dataclasses.replace(edgesdk_command, folder=folder)
    arguments = ("train", "classify", NET, "--data", "data", "--threads", "1")
    arguments += ("--set", "batch_size=4", "--epochs", "400", "--set", "schedule=constant")
    process = command.start(*arguments, "--checkpoint", "ck", "-o", "a.safetensors")
    lines = []
    for line in process.stderr:
        lines.append(line)
        if "epoch 2/400" in line:
            break
    process.send_signal(signal.SIGINT)
    error = process.communicate(timeout=120)[1]
    assert process.returncode == 130, "".join(lines) + error
    assert "goes on from ck" in error
    assert not (folder / "a.safetensors").exists()
    history = json.loads((folder / "ck" / "history.json").read_text())
    assert 0 < history["steps"] < 400 * 27
    # Another number of epochs is another recipe.
    code = main([*arguments, "--checkpoint", "ck", "-o", "a.safetensors", "--epochs", "1"])
    assert code == 2


def test_train_alone_shows_its_help(capsys):
    assert main(["train"]) == 2
    assert "classify" in capsys.readouterr().err
    assert main(["train", "clasify"]) == 2
    assert "did you mean 'classify'" in capsys.readouterr().err
