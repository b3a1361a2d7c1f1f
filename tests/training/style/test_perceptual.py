"""The perceptual network: file formats, features, damaged files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from edgesdk.errors import InputNotFoundError, UnknownNameError, UsageError, WeightsError
from edgesdk.training.style.gram import gram_matrix
from edgesdk.training.style.perceptual import LAYERS, load_perceptual

Weights = dict[str, torch.Tensor]
MEAN = torch.tensor((104.00699, 116.66877, 122.67892)).view(1, 3, 1, 1)


@pytest.fixture
def weights() -> Weights:
    """Of the first three convolutions."""
    made = torch.Generator().manual_seed(0)
    shapes = {"conv1_1": (64, 3), "conv1_2": (64, 64), "conv2_1": (128, 64)}
    found: Weights = {}
    for name, (out, width) in shapes.items():
        found[f"{name}.weight"] = torch.randn((out, width, 3, 3), generator=made) / width
        found[f"{name}.bias"] = torch.randn((out,), generator=made)
    return found


def write_npz(weights: Weights, path: Path) -> Path:
    np.savez(path, **{name: value.numpy() for name, value in weights.items()})
    return path


def test_layers_are_those_of_vgg16() -> None:
    assert len(LAYERS) == 13
    assert LAYERS[:3] == ("conv1_1", "conv1_2", "conv2_1") and LAYERS[-1] == "conv5_3"


def test_features_equal_the_definition(weights: Weights, tmp_path: Path) -> None:
    network = load_perceptual(write_npz(weights, tmp_path / "trunk.npz"))
    assert network.layers == ("conv1_1", "conv1_2", "conv2_1")
    pictures = torch.rand(2, 3, 9, 7)
    found = network(pictures, ["conv2_1", "conv1_1"])
    x = 255 * pictures[:, [2, 1, 0]] - MEAN
    first = functional.conv2d(x, weights["conv1_1.weight"], weights["conv1_1.bias"], padding=1)
    # Another memory layout sums in another order.
    torch.testing.assert_close(found["conv1_1"], first.relu(), rtol=1e-5, atol=1e-4)
    second = functional.conv2d(
        first.relu(), weights["conv1_2.weight"], weights["conv1_2.bias"], padding=1
    )
    pooled = functional.max_pool2d(second.relu(), 2)
    third = functional.conv2d(pooled, weights["conv2_1.weight"], weights["conv2_1.bias"], padding=1)
    torch.testing.assert_close(found["conv2_1"], third.relu(), rtol=1e-5, atol=1e-4)
    assert set(found) == {"conv1_1", "conv2_1"}
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_keras_files_give_the_same(weights: Weights, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    places = {"conv1_1": "block1/layers/conv2d", "conv1_2": "block1/layers/conv2d_1"}
    places["conv2_1"] = "block2/layers/conv2d"
    with h5py.File(tmp_path / "trunk.weights.h5", "w") as file:
        for name, place in places.items():
            file[f"{place}/vars/0"] = weights[f"{name}.weight"].permute(2, 3, 1, 0).numpy()
            file[f"{place}/vars/1"] = weights[f"{name}.bias"].numpy()
        file["dsn1/vars/0"] = np.zeros((1, 1, 64, 1), np.float32)
    pictures = torch.rand(1, 3, 8, 8)
    ours = load_perceptual(tmp_path / "trunk.weights.h5")(pictures, ["conv2_1"])
    same = load_perceptual(write_npz(weights, tmp_path / "a.npz"))(pictures, ["conv2_1"])
    torch.testing.assert_close(ours["conv2_1"], same["conv2_1"])


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_torchvision_files_are_prepared_their_way(
    weights: Weights, tmp_path: Path, suffix: str
) -> None:
    renamed = {"conv1_1": 0, "conv1_2": 2, "conv2_1": 5}
    theirs = {
        f"features.{place}.{part}": weights[f"{name}.{part}"]
        for name, place in renamed.items()
        for part in ("weight", "bias")
    } | {"classifier.0.bias": torch.zeros(4)}
    path = tmp_path / f"vgg16{suffix}"
    if suffix == ".pth":
        torch.save(theirs, path)
    else:
        save_file(theirs, path)
    network = load_perceptual(path)
    pictures = torch.rand(1, 3, 8, 8)
    x = pictures - torch.tensor((0.485, 0.456, 0.406)).view(1, 3, 1, 1)
    x = x / torch.tensor((0.229, 0.224, 0.225)).view(1, 3, 1, 1)
    first = functional.conv2d(x, weights["conv1_1.weight"], weights["conv1_1.bias"], padding=1)
    torch.testing.assert_close(network(pictures, ["conv1_1"])["conv1_1"], first.relu())


def test_gradients_reach_the_picture_alone(weights: Weights, tmp_path: Path) -> None:
    network = load_perceptual(write_npz(weights, tmp_path / "trunk.npz"))
    pictures = torch.rand(1, 3, 8, 8, requires_grad=True)
    network(pictures, ["conv2_1"])["conv2_1"].sum().backward()
    assert pictures.grad is not None and pictures.grad.abs().max() > 0


def test_layers_behind_a_slash_see_pictures_made_smaller(weights: Weights, tmp_path: Path) -> None:
    network = load_perceptual(write_npz(weights, tmp_path / "trunk.npz"))
    pictures = torch.rand(2, 3, 16, 24)
    found = network(pictures, ["conv2_1", "conv2_1/2", "conv1_1/2", "conv1_2/4"])
    halved = pictures.unflatten(2, (8, 2)).unflatten(4, (12, 2)).mean(dim=(3, 5))
    torch.testing.assert_close(
        found["conv2_1/2"], network(halved, ["conv2_1"])["conv2_1"], rtol=1e-5, atol=1e-4
    )
    torch.testing.assert_close(
        found["conv1_1/2"], network(halved, ["conv1_1"])["conv1_1"], rtol=1e-5, atol=1e-4
    )
    assert found["conv2_1"].shape == (2, 128, 8, 12) and found["conv1_2/4"].shape == (2, 64, 4, 6)
    assert len(found) == 4


def test_colours_are_the_pictures_own(weights: Weights, tmp_path: Path) -> None:
    network = load_perceptual(write_npz(weights, tmp_path / "trunk.npz"))
    picture = torch.zeros(1, 3, 4, 4)
    picture[:, 0] = 1
    picture[:, 2, :, 2:] = 0.5
    found = network(picture, ["colours", "colours/4"])
    assert found["colours"].shape == (1, 4, 4, 4)
    # Red is 1, green -1, blue -1 on the left and 0 on the right: -0.5 on average.
    gram = gram_matrix(found["colours"])[0] * 4
    wanted = [[1, -1, -0.5, 1], [-1, 1, 0.5, -1], [-0.5, 0.5, 0.5, -0.5], [1, -1, -0.5, 1]]
    torch.testing.assert_close(gram, torch.tensor(wanted))
    assert found["colours/4"].flatten().tolist() == [1, -1, -0.5, 1]


def test_bad_requests_are_refused(weights: Weights, tmp_path: Path) -> None:
    network = load_perceptual(write_npz(weights, tmp_path / "trunk.npz"))
    with pytest.raises(UnknownNameError, match="conv1_2"):
        network(torch.rand(1, 3, 8, 8), ["conv1_3"])
    with pytest.raises(UnknownNameError, match="did you mean 'conv1_1/"):
        network(torch.rand(1, 3, 8, 8), ["conv1_1/3"])
    with pytest.raises(UnknownNameError, match="conv9_1"):
        network(torch.rand(1, 3, 8, 8), ["conv9_1/2"])
    with pytest.raises(UsageError, match="2 pixels"):
        network(torch.rand(1, 3, 1, 8), ["conv2_1"])
    with pytest.raises(UsageError, match=r"\[N, 3, H, W\]"):
        network(torch.rand(1, 1, 8, 8), ["conv1_1"])
    assert network(torch.rand(1, 3, 8, 8), []) == {}


class Hostile:
    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("this must not run",))


def test_bad_files_are_refused(
    weights: Weights, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputNotFoundError, match="no such file"):
        load_perceptual(tmp_path / "absent.npz")
    with pytest.raises(UsageError, match="npz"):
        load_perceptual(tmp_path / "trunk.txt")
    damaged = write_npz(weights, tmp_path / "damaged.npz")
    damaged.write_bytes(damaged.read_bytes()[:2000])
    with pytest.raises(WeightsError, match="cannot be read"):
        load_perceptual(damaged)
    np.savez(tmp_path / "objects.npz", **{"conv1_1.weight": np.array([Hostile()], object)})
    with pytest.raises(WeightsError):
        load_perceptual(tmp_path / "objects.npz")
    torch.save({"a": Hostile()}, tmp_path / "hostile.pth")
    with pytest.raises(WeightsError):
        load_perceptual(tmp_path / "hostile.pth")
    assert "must not run" not in capsys.readouterr().out
    for change in (
        {"conv1_2.bias": None},
        {"conv1_2.weight": torch.zeros(64, 3, 3, 3)},
        {"conv1_1.bias": torch.full((64,), float("nan"))},
        {"conv1_1.weight": None},
        {"conv3_1.weight": torch.zeros(256, 128, 3, 3)},
    ):
        changed = {k: v for k, v in (weights | change).items() if v is not None}
        with pytest.raises(WeightsError):
            load_perceptual(write_npz(changed, tmp_path / "changed.npz"))
