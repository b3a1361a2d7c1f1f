"""``edgesdk train classify --qat``: a model file like any other, trained for integers."""

from __future__ import annotations

import gzip
import json
import struct

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from edgesdk.cli import main
from edgesdk.frontend.source import load
from edgesdk.training import evaluate, open_data

NET = """
import torch
from torch import nn


def build():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(128, 3),
    )


def without_layers():
    class Bare(nn.Module):
        def __init__(self):
            super().__init__()
            self.gain = nn.Parameter(torch.ones(3))

        def forward(self, x):
            return x.mean((2, 3)) * self.gain

    return Bare()
"""


def idx_bytes(values: np.ndarray) -> bytes:
    head = bytes((0, 0, 8, values.ndim)) + struct.pack(f">{values.ndim}I", *values.shape)
    return gzip.compress(head + values.astype(np.uint8).tobytes(), 1)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The user's folder: striped images of three classes, and a network."""
    generator = np.random.default_rng(0)
    (tmp_path / "data").mkdir()
    for part, count in (("train", 120), ("t10k", 30)):
        labels = np.arange(count) % 3
        images = generator.integers(0, 120, (count, 8, 8))
        images[np.arange(count), :, 2 * labels] += 120
        (tmp_path / "data" / f"{part}-images-idx3-ubyte.gz").write_bytes(idx_bytes(images))
        (tmp_path / "data" / f"{part}-labels-idx1-ubyte.gz").write_bytes(idx_bytes(labels))
    (tmp_path / "net_for_integers.py").write_text(NET)
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    yield tmp_path
    torch.set_num_threads(threads)


NAME = "net_for_integers.py:build"
SHORT = ("--data", "data", "--epochs", "4", "--set", "batch_size=16", "--threads", "1")
PLAIN = ("--set", "augmentation.crop=0", "--set", "augmentation.flip=0")


def test_the_file_is_that_of_a_float_model_and_the_figure_that_of_the_rounded_one(folder, capsys):
    arguments = ["train", "classify", NAME, *SHORT, *PLAIN, "--qat", "w8a8_static"]
    assert main([*arguments, "-o", "a.edgemodel", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["qat"]["recipe"] == "w8a8_static"
    ranges = result["qat"]["ranges"]
    assert all(low <= 0 <= high for low, high in ranges.values())
    assert set(ranges) >= {"2:relu", "5:linear"}
    assert result["test"]["top1"] > 0.9
    splits = open_data(folder / "data")
    model = load("a.edgemodel").model
    as_float = evaluate(model, splits.test, mean=splits.mean, std=splits.std)
    assert as_float.top1 > 0.9
    # What is told is measured with rounding, so the losses differ in their last digits.
    assert as_float.loss != result["test"]["loss"]
    assert as_float.loss == pytest.approx(result["test"]["loss"], abs=0.1)


def test_weights_have_the_names_they_always_have_and_other_values(folder, capsys):
    arguments = ["train", "classify", NAME, *SHORT, "-q"]
    assert main([*arguments, "-o", "float.safetensors"]) == 0
    assert main([*arguments, "-o", "four.safetensors", "--qat", "w4a8"]) == 0
    assert "computed as w4a8" in capsys.readouterr().out
    plain, trained = load_file("float.safetensors"), load_file("four.safetensors")
    assert list(plain) == list(trained)
    assert not torch.equal(plain["5.weight"], trained["5.weight"])
    # They stay floats: nothing rounds them before a target does.
    assert len(trained["5.weight"].unique()) > 100


def test_a_trained_model_can_be_trained_on_for_integers(folder, capsys):
    arguments = ["train", "classify", NAME, *SHORT, "-q"]
    assert main([*arguments, "-o", "a.safetensors"]) == 0
    more = ["--weights", "a.safetensors", "--set", "learning_rate=1e-9", "--qat", "w8_only"]
    assert main([*arguments, *more, "-o", "b.safetensors"]) == 0
    before, after = load_file("a.safetensors"), load_file("b.safetensors")
    assert torch.allclose(before["5.weight"], after["5.weight"], atol=1e-6)


@pytest.mark.parametrize(
    ("source", "recipe", "told"),
    [
        (NAME, "fp16", "does not round to integers"),
        (NAME, "palette4", "fitted after training"),
        (NAME, "w8a8", "did you mean 'w8a8_static'|unknown recipe"),
        ("net_for_integers.py:without_layers", "w8a8_static", "no convolution"),
    ],
)
def test_what_cannot_be_trained_for_is_said_before_training(folder, capsys, source, recipe, told):
    code = main(["train", "classify", source, *SHORT, "--qat", recipe, "-o", "a.safetensors"])
    error = capsys.readouterr().err
    assert code == (5 if told == "no convolution" else 2)
    assert any(part in error for part in told.split("|")), error
    assert "epoch 1/" not in error


def test_a_checkpoint_of_a_float_run_is_refused(folder, capsys):
    arguments = ["train", "classify", NAME, *SHORT, "-q", "--checkpoint", "ck"]
    assert main([*arguments, "-o", "a.safetensors"]) == 0
    code = main([*arguments, "--qat", "w8a8_static", "-o", "b.safetensors"])
    assert code == 5
    assert "another model" in capsys.readouterr().err
