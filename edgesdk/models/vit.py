"""Vision transformer.

Dosovitskiy et al., "An Image is Worth 16x16 Words: Transformers for Image Recognition at
Scale", ICLR 2021; the tiny width of 192 after Touvron et al., "Training data-efficient image
transformers & distillation through attention", ICML 2021.
"""

from __future__ import annotations

import torch
from torch import nn

from edgesdk.models.architecture import check_lengths, check_multiple, check_width, checked_config
from edgesdk.models.initialisation import initialise

__all__ = ["Attention", "VisionTransformer"]


class Attention(nn.Module):
    """Multi-head self-attention.

    Args:
        width: Features of a token.
        heads: Heads; a pruned layer may have fewer than ``width / head_width``.
        head_width: Features of a head.
    """

    def __init__(self, width: int, heads: int, head_width: int) -> None:
        super().__init__()
        self.heads = heads
        self.head_width = head_width
        self.query_key_value = nn.Linear(width, 3 * heads * head_width)
        self.project = nn.Linear(heads * head_width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map tokens ``[N, T, width]`` to the same shape."""
        batch, tokens, _ = x.shape
        mixed = self.query_key_value(x)
        share = self.heads * self.head_width
        query, key, value = (
            mixed.narrow(2, part * share, share)
            .reshape(batch, tokens, self.heads, self.head_width)
            .transpose(1, 2)
            for part in range(3)
        )
        # Written out: the fused operator adds masking that mobile delegates do not support.
        weights = torch.softmax(query @ key.transpose(-2, -1) * self.head_width**-0.5, dim=-1)
        attended = weights @ value
        return self.project(attended.transpose(1, 2).reshape(batch, tokens, -1))


class _EncoderLayer(nn.Module):
    """Attention and perceptron, each with a layer normalisation before it and a residual."""

    def __init__(self, width: int, heads: int, head_width: int, mlp_width: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads, head_width)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, mlp_width), nn.GELU(), nn.Linear(mlp_width, width)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.attention_norm(x))
        return x + self.mlp(self.mlp_norm(x))


class VisionTransformer(nn.Module):
    """Patches, class token, learned positions, encoder layers.

    Args:
        image_size: Side of the square image in pixels; a multiple of ``patch_size``.
        patch_size: Side of a patch in pixels.
        width: Features of a token.
        heads: Heads of each layer, one element per layer.
        head_width: Features of a head.
        mlp_widths: Features inside the perceptron of each layer; default four times ``width``.
        num_classes: Classes.
        in_channels: Channels of the image.

    Raises:
        UsageError: Lists of different lengths, a size that is not a multiple of the patch, or a
            width that is not a positive whole number.
    """

    def __init__(
        self,
        image_size: int = 64,
        patch_size: int = 8,
        width: int = 192,
        heads: list[int] | None = None,
        head_width: int = 64,
        mlp_widths: list[int] | None = None,
        num_classes: int = 100,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        heads = heads or [3, 3, 3, 3]
        check_width("width", width)
        mlp_widths = mlp_widths or [4 * width] * len(heads)
        check_lengths(len(heads), mlp_widths=mlp_widths)
        self.config = checked_config(VisionTransformer, locals())
        check_multiple("image_size", image_size, patch_size)

        tokens = (image_size // patch_size) ** 2 + 1
        self.patches = nn.Conv2d(in_channels, width, patch_size, stride=patch_size)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, tokens, width))
        self.layers = nn.ModuleList(
            _EncoderLayer(width, count, head_width, mlp_width)
            for count, mlp_width in zip(heads, mlp_widths, strict=True)
        )
        self.norm = nn.LayerNorm(width)
        self.classifier = nn.Linear(width, num_classes)
        initialise(self)
        nn.init.normal_(self.class_token, std=0.02)
        nn.init.normal_(self.positions, std=0.02)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map images ``[N, in_channels, image_size, image_size]`` to ``[N, num_classes]``."""
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        token = self.class_token.expand(tokens.shape[0], -1, -1)
        x = torch.cat([token, tokens], dim=1) + self.positions
        for layer in self.layers:
            x = layer(x)
        return self.classifier(self.norm(x)[:, 0])
