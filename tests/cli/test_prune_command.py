"""``edgesdk prune``: from a model to a smaller one, and what is told."""

from __future__ import annotations

import gzip
import json
import struct

import numpy as np
import pytest
import torch

from edgesdk.cli import main
from edgesdk.frontend.edgemodel.file import read_model_file
from edgesdk.training import open_data

FEW = ("--set", "warmup_epochs=0", "--epochs", "1")


def idx_bytes(values: np.ndarray) -> bytes:
    head = bytes((0, 0, 8, values.ndim)) + struct.pack(f">{values.ndim}I", *values.shape)
    return gzip.compress(head + values.astype(np.uint8).tobytes(), 1)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with 90 and 30 images of three classes."""
    random = np.random.default_rng(0)
    (tmp_path / "data").mkdir()
    for part, count in (("train", 90), ("t10k", 30)):
        labels = np.arange(count) % 3
        images = random.integers(0, 80, (count, 16, 16)) + 60 * labels[:, None, None]
        (tmp_path / f"data/{part}-images-idx3-ubyte.gz").write_bytes(idx_bytes(images))
        (tmp_path / f"data/{part}-labels-idx1-ubyte.gz").write_bytes(idx_bytes(labels))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_budget_in_words_and_as_json(folder, capsys):
    assert main(["prune", "resnet20", "--flops", "-50%", "-o", "small.edgemodel"]) == 0
    told = capsys.readouterr().out
    assert "stages.0.0.body.0.conv" in told and "left alone" in told and "-50.0" in told
    arguments = ["prune", "resnet20", "--params", "0.4x", "-o", "less.edgemodel", "--json"]
    assert main([*arguments, "--round-to", "8", "--protect", "stages.2"]) == 5
    capsys.readouterr()
    assert main([*arguments, "--round-to", "8"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert abs(result["after"]["params"] / result["before"]["params"] - 0.4) <= 0.01
    assert {group["kept"] % 8 for group in result["groups"]} == {0}
    assert result["left_alone"] and result["retrained"] == "none"
    saved = read_model_file(folder / "less.edgemodel")
    assert saved.pruning["after"] == result["after"]
    assert saved.architecture == "resnet20"


@pytest.mark.parametrize(
    "method",
    [
        ("ucp", "--gate-threshold", "1.0"),
        ("ucp", "--flops", "-50%", "--retrain", "finetune", "--gate-place", "norm"),
        (
            "acp",
            "--epsilon",
            "0.01",
            "--particles",
            "2",
            "--cycles",
            "1",
            "--candidate-epochs",
            "0",
        ),
        ("l1", "--flops", "-50%"),
    ],
    ids=lambda given: "-".join(given[:2]),
)
def test_methods_that_train(folder, capsys, method):
    command = ["prune", "resnet20", "--data", "data", "--method", *method, *FEW]
    assert main([*command, "-o", "small.edgemodel", "--checkpoint", "work", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["after"]["macs"] < result["before"]["macs"]
    assert 0 <= result["top1_after"] <= 1
    saved = read_model_file(folder / "small.edgemodel")
    assert saved.signature.classes == ("0", "1", "2")
    assert saved.signature.image.mean == open_data(folder / "data").mean
    with torch.no_grad():
        assert saved.model(torch.zeros(1, 1, 16, 16)).shape == (1, 3)
    # What was kept on the way gives the same network again.
    assert main([*command, "-o", "again.edgemodel", "--checkpoint", "work", "--json"]) == 0
    again = read_model_file(folder / "again.edgemodel").model.state_dict()
    for key, value in saved.model.state_dict().items():
        assert torch.equal(value, again[key])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("resnet20", "--flops", "-50%", "-o", "small.pth"), "NAME.edgemodel"),
        (("resnet20", "--flops", "half", "-o", "a.edgemodel"), "--flops"),
        (("resnet20", "-o", "a.edgemodel"), "no budget was given"),
        (("resnet20", "--method", "upc", "--flops", "-5%", "-o", "a.edgemodel"), "'ucp'"),
        (("resnet2O", "--flops", "-50%", "-o", "a.edgemodel"), "did you mean"),
        (("resnet20", "--flops", "-99.9%", "-o", "a.edgemodel"), "the nearest is"),
        (("resnet20", "--flops", "-50%", "--protect", "stem2", "-o", "a.edgemodel"), "stem"),
        (("resnet20", "--method", "ucp", "--flops", "-50%", "-o", "a.edgemodel"), "--data"),
        (("resnet20", "--latency", "onnx", "-40%", "-o", "a.edgemodel"), "names no device"),
        (("net.pt2", "--flops", "-50%", "-o", "a.edgemodel"), "no such file: net.pt2"),
        (
            (
                "resnet20",
                "--method",
                "acp",
                "--flops",
                "-50%",
                "--data",
                "data",
                "--processes",
                "1",
                "--dask",
                "tcp://127.0.0.1:9",
                "-o",
                "a.edgemodel",
            ),
            "several places",
        ),
    ],
)
def test_wrong_use_is_told_and_nothing_is_written(folder, capsys, arguments, words):
    assert main(["prune", *arguments]) == (5 if words == "the nearest is" else 2)
    assert words in capsys.readouterr().err
    assert [path.name for path in folder.iterdir()] == ["data"]


def test_a_captured_program_cannot_be_cut(folder, capsys):
    (folder / "net.pt2").write_bytes(b"")
    assert main(["prune", "net.pt2", "--flops", "-50%", "-o", "a.edgemodel"]) == 2
    assert "cannot be cut" in capsys.readouterr().err
    assert not (folder / "a.edgemodel").exists()


def test_a_trained_model_is_pruned_and_goes_on_to_a_runtime(folder, capsys):
    train = ["train", "classify", "resnet20", "--data", "data", "-o", "big.edgemodel", *FEW]
    assert main(train) == 0
    cut = ["prune", "big.edgemodel", "--flops", "-50%", "--data", "data", *FEW, "--json"]
    assert main([*cut, "-o", "small.edgemodel"]) == 0
    capsys.readouterr()
    assert main([*cut, "--retrain", "none", "-o", "cut.edgemodel"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["retrained"] == "none"
    trained = read_model_file(folder / "big.edgemodel").model.state_dict()
    cut_state = read_model_file(folder / "cut.edgemodel").model.state_dict()
    # Untouched layers keep their trained weights to the bit.
    assert torch.equal(trained["classifier.weight"], cut_state["classifier.weight"])
    export = ["export", "small.edgemodel", "--to", "onnx", "--image", "auto", "-o", "small.edge"]
    assert main([*export, "--json"]) == 0
    manifest = json.loads(capsys.readouterr().out)
    [artefact] = manifest["artefacts"]
    assert artefact["parity"]["passed"]
    again = ["prune", "small.edgemodel", "--params", "-20%", "-o", "smaller.edgemodel"]
    assert main(again) == 0
    assert (
        main(
            [
                "prune",
                "big.edgemodel",
                "--weights",
                "nothing.safetensors",
                "--flops",
                "-5%",
                "-o",
                "x.edgemodel",
            ]
        )
        == 2
    )


def test_no_scheduler_is_a_device_that_failed(folder, capsys, monkeypatch):
    from edgesdk.pruning import workers

    monkeypatch.setattr(workers, "_SECONDS_TO_CONNECT", 1)
    command = ["prune", "resnet20", "--method", "acp", "--flops", "-50%", "--data", "data"]
    assert main([*command, "--dask", "tcp://127.0.0.1:9", "-o", "a.edgemodel"]) == 4
    assert "no Dask scheduler answers" in capsys.readouterr().err


def test_an_existing_output_stays(folder, capsys):
    (folder / "small.edgemodel").mkdir()
    assert main(["prune", "resnet20", "--flops", "-50%", "-o", "small.edgemodel"]) == 2
    assert "exists" in capsys.readouterr().err
