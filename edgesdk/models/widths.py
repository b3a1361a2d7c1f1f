"""Read the configuration of a pruned network from its layers.

After pruning, ``config`` still holds the widths the network was built with. The actual widths are
in its layers; as a configuration they can be rebuilt, edited and compared.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from edgesdk.models.efficientnet_lite import EfficientNetLite
from edgesdk.models.googlenet import GoogLeNet, Inception
from edgesdk.models.layers import ConvNormAct, SqueezeExcite
from edgesdk.models.mobilenet_v2 import MobileNetV2
from edgesdk.models.mobilenet_v3 import MobileNetV3
from edgesdk.models.resnet import CifarResNet, ResNet
from edgesdk.models.vgg import VGG

__all__ = ["config_from_layers"]


def config_from_layers(model: nn.Module) -> dict[str, Any] | None:
    """Return the configuration that builds a network with the widths of ``model``.

    Args:
        model: A network of the zoo, as built or with channels removed.

    Returns:
        The options of its class as plain JSON; None for an unsupported class.
    """
    read = _READERS.get(type(model))
    config = getattr(model, "config", None)
    if read is None or not isinstance(config, dict):
        return None
    return {**config, **read(model)}


def _made(layer: nn.Module) -> int:
    """Return the output channels of a convolution with normalisation."""
    return int(layer.get_submodule("conv").out_channels)


def _vgg(model: Any) -> dict[str, Any]:
    return {
        "widths": [[_made(layer) for layer in stage] for stage in model.stages],
        "head_widths": [m.out_features for m in model.hidden if isinstance(m, nn.Linear)],
    }


def _resnet(model: Any) -> dict[str, Any]:
    inner = []
    for stage in model.stages:
        widths = [[_made(layer) for layer in block.body][:-1] for block in stage]
        inner.append([width[0] if len(width) == 1 else width for width in widths])
    return {
        "stem_width": _made(model.stem),
        "widths": [_made(stage[-1].body[-1]) for stage in model.stages],
        "inner_widths": inner,
    }


def _inverted(model: Any) -> dict[str, Any]:
    blocks = list(model.blocks)
    return {
        "stem_width": _made(model.stem),
        "expanded_widths": [
            _made(block.expand) if isinstance(block.expand, ConvNormAct) else 0 for block in blocks
        ],
        "widths": [_made(block.project) for block in blocks],
        "residuals": [bool(block.residual) for block in blocks],
    }


def _mobilenet_v2(model: Any) -> dict[str, Any]:
    return {**_inverted(model), "head_width": _made(model.head)}


def _mobilenet_v3(model: Any) -> dict[str, Any]:
    gates = [block.squeeze_excite for block in model.blocks]
    return {
        **_inverted(model),
        "squeezed_widths": [
            gate.reduce.out_channels if isinstance(gate, SqueezeExcite) else 0 for gate in gates
        ],
        "tail_width": _made(model.tail),
        "head_width": model.head.out_features,
    }


def _googlenet(model: Any) -> dict[str, Any]:
    inceptions = [module for module in model.body if isinstance(module, Inception)]
    return {
        "stem_widths": [_made(layer) for layer in model.stem if isinstance(layer, ConvNormAct)],
        "inception_widths": [
            [_made(layer) for layer in module.modules() if isinstance(layer, ConvNormAct)]
            for module in inceptions
        ],
    }


_READERS: dict[type[nn.Module], Callable[[Any], dict[str, Any]]] = {
    CifarResNet: _resnet,
    EfficientNetLite: _mobilenet_v2,
    GoogLeNet: _googlenet,
    MobileNetV2: _mobilenet_v2,
    MobileNetV3: _mobilenet_v3,
    ResNet: _resnet,
    VGG: _vgg,
}
