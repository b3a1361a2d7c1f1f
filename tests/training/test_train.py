"""``edgesdk.train``: from a folder of images to a saved model."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

import edgesdk
from edgesdk.errors import InputNotFoundError, OutputExistsError, UnknownNameError, UsageError
from edgesdk.frontend.source import load
from edgesdk.training import Progress, open_data


@pytest.fixture
def data(tmp_path: Path, write_idx: Callable[..., Path], striped: Callable[..., tuple]) -> Path:
    return write_idx(tmp_path / "data", train=striped(60), t10k=striped(20, seed=1))


def test_a_model_is_trained_measured_and_saved(
    data: Path,
    tmp_path: Path,
    tiny_net: Callable[..., nn.Module],
    caplog: pytest.LogCaptureFixture,
) -> None:
    output = tmp_path / "net.edgemodel"
    net = tiny_net(classes=2)
    with caplog.at_level(logging.INFO, "edgesdk"):
        trained = edgesdk.train(
            net, data, epochs=2, settings={"batch_size": 20, "learning_rate": 0.05}, output=output
        )
    assert trained.model is net
    assert trained.history.finished and len(trained.history.epochs) == 2
    assert trained.test is not None and trained.test.samples == 20
    assert any("epoch 2/2" in record.message for record in caplog.records)
    loaded = load(str(output)).model
    image = torch.rand(2, 1, 8, 8)
    assert torch.equal(loaded(image), net(image))


def test_opened_data_and_a_callback_are_taken(
    data: Path, tiny_net: Callable[..., nn.Module], caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[Progress] = []
    splits = open_data(data)
    with caplog.at_level(logging.INFO, "edgesdk"):
        edgesdk.train(
            tiny_net(classes=2),
            splits,
            epochs=1,
            settings={"warmup_epochs": 0},
            limit=20,
            on_progress=seen.append,
        )
    assert seen and seen[-1].epoch == 1
    assert not caplog.records
    with pytest.raises(UsageError, match="belong to a folder"):
        edgesdk.train(tiny_net(classes=2), splits, image_size=4)


def test_bad_input_is_refused_before_the_training(
    data: Path, tmp_path: Path, tiny_net: Callable[..., nn.Module]
) -> None:
    net = tiny_net(classes=2)
    (tmp_path / "old.safetensors").write_bytes(b"")
    for arguments, kind in (
        ({"output": tmp_path / "old.safetensors"}, OutputExistsError),
        ({"output": tmp_path / "net.onnx"}, UsageError),
        ({"epochs": 0}, UsageError),
        ({"recipe": "quick_sgdd"}, UnknownNameError),
        ({"settings": ["learning_rate"]}, UsageError),
        ({"qat": "w8"}, UnknownNameError),
        ({"on_progress": "loud"}, UsageError),
    ):
        with pytest.raises(kind):
            edgesdk.train(net, data, **arguments)
    with pytest.raises(InputNotFoundError, match="no such folder"):
        edgesdk.train(net, tmp_path / "nothing")
