"""The shipped style networks: weights, cards, and paintings."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from edgesdk import models
from edgesdk.errors import UsageError, WeightsError
from edgesdk.frontend.edgemodel.file import read_model_file, save_model
from edgesdk.models import photos, shipped_weights, weight_cards
from edgesdk.models.multi_style import MultiStyleNet
from edgesdk.models.weight_cards import shipped_card, shipped_path


@pytest.fixture(scope="module")
def network() -> MultiStyleNet:
    net = models.create("multi_style")
    assert isinstance(net, MultiStyleNet)
    return net


def picture(path: Path, side: int = 192) -> torch.Tensor:
    with Image.open(path) as opened:
        pixels = np.array(opened.convert("RGB").resize((side, side)))
    return torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255


def painted(net: MultiStyleNet, photograph: torch.Tensor) -> torch.Tensor:
    """Paint in every style, ``[S, 3, H, W]``."""
    shares = torch.eye(len(net.style_names))[:, :, None, None]
    with torch.no_grad():
        return torch.cat([net(photograph, share[None]) for share in shares])


def test_the_card_says_how_the_weights_were_made() -> None:
    card = shipped_card("multi_style")
    assert card["command"].startswith("python scripts/train_shipped_styles.py --data DIR")
    words = shlex.split(card["command"])
    asked = json.loads(words[words.index("--recipe") + 1])
    assert asked.items() <= card["recipe"].items()
    assert isinstance(card["recipe"]["seed"], int) and card["recipe"]["temporal_weight"] > 0
    config = json.loads(words[words.index("--config") + 1])
    assert config.items() <= card["config"].items()
    assert {"machine", "data", "losses", "started_from"} <= set(card)
    earliest = card
    while "started_from" in earliest:
        earliest = earliest["started_from"]
    first, last = earliest["losses"]["first"], card["losses"]["last"]
    assert last["losses"]["style"] < 0.2 * first["losses"]["style"]
    styles = card["styles"]
    assert len(styles) >= 10
    assert [style["name"] for style in styles] == card["config"]["style_names"]
    for style in styles:
        assert "public domain" in style["origin"] and style["artist"] and style["year"]


def test_what_is_shipped_is_small() -> None:
    folder = shipped_path("multi_style").parent
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 2_000_000


def test_the_zoo_knows_its_styles(network: MultiStyleNet) -> None:
    entry = models.entry("multi_style")
    assert entry.styles == network.style_names == tuple(network.config["style_names"])
    assert entry.inputs[1].shape[1] == len(entry.styles)
    assert models.entry("resnet18").styles == ()
    assert network.config["pretrained"] is False


@pytest.mark.parametrize("path", photos.paths(), ids=lambda path: path.stem)
def test_styles_differ_and_keep_the_photograph(network: MultiStyleNet, path: Path) -> None:
    photograph = picture(path)
    found = painted(network, photograph)
    assert torch.isfinite(found).all() and found.min() >= 0 and found.max() <= 1
    apart = torch.cdist(found.flatten(1), found.flatten(1), p=1) / found[0].numel()
    apart.fill_diagonal_(1)
    assert apart.min() > 0.02, "two styles paint alike"
    # Light and dark areas of the photograph stay light and dark.
    grey = torch.cat([photograph, found]).mean(dim=1).flatten(1)
    likeness = torch.corrcoef(grey)[0, 1:]
    assert likeness.min() > 0.5


def test_any_style_follows_the_painting_it_is_given() -> None:
    encoder, painter = models.create("style_encoder"), models.create("any_style")
    photograph = picture(photos.paths()[0], 128)
    # Photographs are pictures with colours of their own too.
    shown = [picture(path, 256) for path in photos.paths()]
    with torch.no_grad():
        statistics = [encoder(one) for one in shown]
        found = [painter(photograph, one) for one in statistics]
        again = painter(photograph, statistics[0])
        between = painter(photograph, (statistics[0] + statistics[1]) / 2)
    assert torch.equal(found[0], again)
    assert statistics[0].shape == (1, 320, 1, 1)
    for place, one in enumerate(found):
        assert torch.isfinite(one).all()
        for other in found[place + 1 :]:
            assert (one - other).abs().mean() > 0.005
    across = (found[0] - found[1]).abs().mean()
    assert (between - found[0]).abs().mean() < across
    card = shipped_card("any_style")
    assert len(card["data"]["paintings held apart"]) == 6
    assert models.entry("any_style").styles == ()
    for name in ("style_encoder", "any_style"):
        assert models.create(name).config["pretrained"] is False


def test_no_frame_is_painted(network: MultiStyleNet) -> None:
    """A flat picture stays flat at its borders: padding does not paint a frame."""
    plain = torch.full((1, 3, 128, 128), 0.5)
    found = painted(network, plain)
    border = torch.cat([found[..., :4, 4:-4].flatten(1), found[..., -4:, 4:-4].flatten(1)], dim=1)
    inner = found[..., 32:-32, 32:-32].flatten(1)
    assert (border.mean(dim=1) - inner.mean(dim=1)).abs().max() < 0.08


@pytest.mark.parametrize("period", [2, 4, 8, 16])
def test_no_lattice_is_painted(network: MultiStyleNet, period: int) -> None:
    """Beside outlines nothing repeats with the places of the grids inside the network."""
    rows, columns = torch.meshgrid(torch.arange(320), torch.arange(320), indexing="ij")
    photograph = torch.full((3, 320, 320), 0.78)
    photograph[:, (columns - 0.6 * rows - 60).abs() < 14] = 0.16
    photograph[:, (columns - 230) ** 2 + (rows - 90) ** 2 < 50**2] = 0.4
    grey = painted(network, photograph[None]).mean(dim=1)
    grey = grey - grey.mean(dim=(1, 2), keepdim=True)
    places = grey.unflatten(2, (-1, period)).unflatten(1, (-1, period)).mean(dim=(1, 3))
    shares = places.var(dim=(1, 2)) / grey.var(dim=(1, 2))
    # Trained and painted without the filter behind the body they are 0.004 in the mean and 0.008 at
    # most, at the period of 16.
    assert shares.mean() < 1e-3 and shares.max() < 2e-3


def test_a_blend_lies_between(network: MultiStyleNet) -> None:
    photograph = picture(photos.paths()[0], 96)
    ends = painted(network, photograph)[:2]
    half = torch.zeros(1, len(network.style_names), 1, 1)
    half[0, :2] = 0.5
    with torch.no_grad():
        between = network(photograph, half)
    across = (ends[0] - ends[1]).abs().mean()
    for end in ends:
        assert (between[0] - end).abs().mean() < across


def test_a_saved_copy_has_its_own_weights(network: MultiStyleNet, tmp_path: Path) -> None:
    path = save_model(network, "multi_style", tmp_path / "mine.edgemodel")
    again = read_model_file(path).model
    for name, value in network.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    assert again.style_names == network.style_names
    few = models.create("multi_style", styles=2, style_names=["a", "b"], pretrained=False)
    # Files from before the zoo had weights do not mention them.
    path = save_model(few, "multi_style", tmp_path / "old.edgemodel")
    text = json.loads((path / "model.json").read_text())
    del text["config"]["pretrained"]
    (path / "model.json").write_text(json.dumps(text))
    assert read_model_file(path).model.config["styles"] == 2


@pytest.mark.parametrize(
    "options",
    [{"styles": 3}, {"decoder_widths": [40, 24]}, {"expanded_widths": [160] * 5}],
    ids=str,
)
def test_other_networks_are_refused_the_weights(options: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="pretrained=False"):
        models.create("multi_style", **options)
    assert models.create("multi_style", pretrained=False, **options)


def test_other_names_can_be_given() -> None:
    names = [f"style {number}" for number in range(12)]
    assert models.create("multi_style", style_names=names).config["style_names"] == names


def test_damaged_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "multi_style.safetensors"
    monkeypatch.setattr(shipped_weights, "shipped_path", lambda name: file)
    for content in (b"", b"no weights"):
        file.write_bytes(content)
        with pytest.raises(WeightsError, match=r"multi_style\.safetensors"):
            models.create("multi_style")
    tensors = load_file(shipped_path("multi_style"))
    tensors["paint.bias"][0] = torch.nan
    save_file(tensors, file)
    with pytest.raises(WeightsError, match=r"paint\.bias has values that are not finite"):
        models.create("multi_style")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"config": 3}'])
def test_damaged_cards_are_refused(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "multi_style.json").write_text(content)
    monkeypatch.setattr(weight_cards, "_FOLDER", tmp_path)
    weight_cards.shipped_card.cache_clear()
    try:
        with pytest.raises(WeightsError, match=r"multi_style\.json"):
            shipped_card("multi_style")
        with pytest.raises(WeightsError, match=r"absent\.json"):
            shipped_card("absent")
    finally:
        weight_cards.shipped_card.cache_clear()
