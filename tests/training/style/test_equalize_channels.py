"""Channels that share a range are equalized without changing the paintings."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from edgesdk import models
from edgesdk.models.any_style import AnyStyleNet
from edgesdk.models.multi_style import MultiStyleNet, StyleNorm
from edgesdk.training.style.batches import first_crops
from edgesdk.training.style.equalize_channels import equalize_channels
from edgesdk.training.style.photographs import Photographs
from edgesdk.training.style.recipe import StyleRecipe
from edgesdk.training.style.stylizer import train_stylizer

SMALL = {
    "encoder_widths": [4, 6, 8],
    "expanded_widths": [12],
    "decoder_widths": [6, 5],
    "refined_widths": [8, 0],
}


def uneven(network: MultiStyleNet) -> MultiStyleNet:
    """Styles that differ, and channels of every reach, as after a training."""
    made = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, StyleNorm):
                # What it adds to a variance is what the paintings would differ by.
                module.eps = 1e-10
                module.scale.weight.copy_(
                    1 + torch.randn(module.scale.weight.shape, generator=made) / 2
                )
                module.shift.weight.copy_(torch.randn(module.shift.weight.shape, generator=made))
            elif isinstance(module, nn.Conv2d) and module.bias is not None:
                module.bias.copy_(torch.randn(module.bias.shape, generator=made) / 4)
        network.decoder[0].pointwise.weight.mul_(torch.logspace(0, -1, 6)[:, None, None, None])
        for layer in (network.encoder[1].pointwise, network.blocks[0].project):
            layer.weight.mul_(torch.logspace(0, -1, layer.out_channels)[:, None, None, None])
    return network.eval()


def many(styles: int = 3) -> MultiStyleNet:
    torch.manual_seed(1)
    network = models.create("multi_style", styles=styles, pretrained=False, **SMALL)
    assert isinstance(network, MultiStyleNet)
    return uneven(network)


@torch.no_grad()
def reach(network: MultiStyleNet, layer: nn.Module, *args: torch.Tensor) -> torch.Tensor:
    """Of every channel that a layer takes."""
    seen: list[torch.Tensor] = []
    handle = layer.register_forward_pre_hook(lambda _, taken: seen.append(taken[0]))
    network(*args)
    handle.remove()
    return seen[0].abs().amax(dim=(0, 2, 3))


def test_the_same_is_painted_and_channels_reach_as_far() -> None:
    network = many()
    picture = torch.rand(1, 3, 32, 40, generator=torch.Generator().manual_seed(2))
    style = torch.eye(3)[:, :, None, None]
    with torch.no_grad():
        before = network(picture, style)
    layers = [network.encoder[1].norm, network.blocks[0].norm, network.decoder[1].norm]
    layers += [network.decoder[0].block.norm]
    spreads = [
        float(r.max() / r.min()) for r in (reach(network, x, picture, style) for x in layers)
    ]
    assert max(spreads) > 5
    equalize_channels(network, network, picture, style)
    with torch.no_grad():
        after = network(picture, style)
    torch.testing.assert_close(after, before, rtol=0, atol=1e-4)
    for layer in layers:
        found = reach(network, layer, picture, style)
        torch.testing.assert_close(found, torch.full_like(found, 4.0), rtol=1e-3, atol=0)
    taken = reach(network, network.decoder[0].depthwise, picture, style)
    # Resizing takes means, which reach no farther.
    assert float(taken.min()) > 2 and float(taken.max()) < 4.0001


def test_twice_is_once() -> None:
    network = many()
    picture, style = torch.rand(2, 3, 32, 32), torch.eye(3)[:, :, None, None]
    equalize_channels(network, network, picture, style)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    equalize_channels(network, network, picture, style)
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=1e-3, atol=1e-6)


def test_a_channel_without_values_stays() -> None:
    network = many()
    with torch.no_grad():
        network.blocks[0].project.weight[2] = 0
        network.decoder[0].pointwise.weight[1] = 0
        # All but nothing: it is scaled, but not without end.
        network.blocks[0].project.weight[3] *= 1e-9
    tiny = network.blocks[0].project.weight[3].detach().clone()
    equalize_channels(network, network, torch.rand(1, 3, 32, 32), torch.eye(3)[:, :, None, None])
    assert not network.blocks[0].project.weight[2].any()
    assert not network.decoder[0].pointwise.weight[1].any()
    torch.testing.assert_close(network.blocks[0].project.weight[3].detach(), 256 * tiny)
    assert all(bool(value.isfinite().all()) for value in network.state_dict().values())


def test_a_network_of_any_style_keeps_its_paintings() -> None:
    torch.manual_seed(3)
    painter = models.create("any_style", statistics=10, code=3, pretrained=False, **SMALL)
    assert isinstance(painter, AnyStyleNet)
    uneven(painter.painter)
    picture, styles = torch.rand(2, 3, 32, 32), torch.randn(70, 10, 1, 1)
    with torch.no_grad():
        before = painter(picture, styles[:1])
        equalize_channels(painter.painter, painter, picture, styles)
        after = painter(picture, styles[:1])
    torch.testing.assert_close(after, before, rtol=0, atol=1e-4)


def test_a_training_ends_with_it(
    photographs_folder: Path, paintings_folder: Path, trunk: Path, short: StyleRecipe
) -> None:
    recipe = short.model_copy(update={"steps": 4, "temporal_weight": 0.0})
    trained = train_stylizer(
        photographs_folder, paintings_folder, recipe, config=SMALL, perceptual=trunk
    )
    crops = first_crops(Photographs(photographs_folder, recipe.crop), recipe)
    shares = torch.eye(2)[:, :, None, None]
    network = trained.model
    for layer in (network.encoder[1].norm, network.blocks[0].norm, network.decoder[0].norm):
        taken = [
            reach(network, layer, crops[place : place + 1], shares[place % 2 : place % 2 + 1])
            for place in range(len(crops))
        ]
        farthest = torch.stack(taken).amax(dim=0)
        torch.testing.assert_close(farthest, torch.full_like(farthest, 4.0), rtol=0.01, atol=0)
