"""Many styles in one small network: an app blends them by a vector.

Dumoulin, Shlens and Kudlur, "A Learned Representation for Artistic Style", ICLR 2017
(arXiv:1610.07629): styles share every convolution and differ in scale and shift of the
normalisations alone; the body works at an eighth of the size in inverted residuals (Sandler et
al., CVPR 2018); nearest upsampling in front of a convolution, which leaves no checkerboard (Odena
et al., Distill 2016). Built from what mobile delegates take whole: no reflection padding, no fused
instance normalisation, no resizing operator, and values that half precision holds.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from edgesdk.errors import UsageError
from edgesdk.models.architecture import as_lists, check_lengths, check_width
from edgesdk.models.initialisation import initialise
from edgesdk.models.style import DepthwiseUpsample, instance_normalised

__all__ = ["MultiStyleNet", "StyleNorm"]


class StyleNorm(nn.Module):
    """Instance normalisation whose scale and shift a style vector chooses.

    Args:
        width: Channels.
        styles: Length of the style vector.
        eps: Added to the variance.
    """

    def __init__(self, width: int, styles: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        # 1x1 convolutions rather than a matrix product: delegates need no reshape for them.
        self.scale = nn.Conv2d(styles, width, 1, bias=False)
        self.shift = nn.Conv2d(styles, width, 1, bias=False)

    def reset(self) -> None:
        """Every style begins as the plain instance normalisation."""
        nn.init.ones_(self.scale.weight)
        nn.init.zeros_(self.shift.weight)

    def forward(self, x: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        """Map ``[N, width, H, W]`` and the style ``[N or 1, styles, 1, 1]`` to the first shape."""
        normal = instance_normalised(x, self.eps)
        return normal * self.scale(style) + self.shift(style)


class _Layer(nn.Module):
    """A convolution, or a depthwise and a pointwise one, normalised; optionally ReLU6 behind."""

    def __init__(
        self,
        in_width: int,
        width: int,
        styles: int,
        *,
        stride: int = 1,
        upsample: bool = False,
        separable: bool = True,
    ) -> None:
        super().__init__()
        self.upsample = DepthwiseUpsample(in_width) if upsample else nn.Identity()
        self.depthwise: nn.Module = nn.Identity()
        if separable:
            self.depthwise = nn.Conv2d(in_width, in_width, 3, stride, 1, groups=in_width)
            self.pointwise = nn.Conv2d(in_width, width, 1, bias=False)
        else:
            self.pointwise = nn.Conv2d(in_width, width, 3, stride, 1, bias=False)
        self.norm = StyleNorm(width, styles)
        self.activation = nn.ReLU6()

    def forward(self, x: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        x = self.pointwise(self.depthwise(self.upsample(x)))
        return self.activation(self.norm(x, style))


class _Block(nn.Module):
    """An inverted residual, normalised where it is narrow."""

    def __init__(self, width: int, expanded: int, styles: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(width, expanded, 1)
        self.depthwise = nn.Conv2d(expanded, expanded, 3, padding=1, groups=expanded)
        self.project = nn.Conv2d(expanded, width, 1, bias=False)
        self.activation = nn.ReLU6()
        self.norm = StyleNorm(width, styles)

    def forward(self, x: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        inner = self.activation(self.depthwise(self.activation(self.expand(x))))
        return x + self.norm(self.project(inner), style)


class MultiStyleNet(nn.Module):
    """Paints a picture in a blend of the styles it was trained on.

    Args:
        styles: How many.
        encoder_widths: Channels at a half, a quarter and an eighth of the size.
        expanded_widths: Channels inside each inverted residual; as many blocks as elements.
        decoder_widths: Channels of the two upsampling layers, at a quarter and a half of the size;
            the whole is left to the convolution that paints.
        channels: Channels of the picture, in and out.

    Raises:
        UsageError: Lists of another length, or a width that is not a positive whole number.
    """

    def __init__(
        self,
        styles: int = 12,
        encoder_widths: list[int] | None = None,
        expanded_widths: list[int] | None = None,
        decoder_widths: list[int] | None = None,
        channels: int = 3,
    ) -> None:
        super().__init__()
        encoder_widths = encoder_widths or [16, 32, 64]
        expanded_widths = [160] * 6 if expanded_widths is None else expanded_widths
        decoder_widths = decoder_widths or [40, 16]
        self.config: dict[str, Any] = as_lists(
            {
                "styles": styles,
                "encoder_widths": encoder_widths,
                "expanded_widths": expanded_widths,
                "decoder_widths": decoder_widths,
                "channels": channels,
            }
        )
        check_lengths(3, encoder_widths=encoder_widths)
        check_lengths(2, decoder_widths=decoder_widths)
        for key, value in self.config.items():
            check_width(key, value)
        first, second, width = encoder_widths
        self.encoder = nn.ModuleList(
            [
                _Layer(channels, first, styles, stride=2, separable=False),
                _Layer(first, second, styles, stride=2),
                _Layer(second, width, styles, stride=2),
            ]
        )
        self.blocks = nn.ModuleList(_Block(width, inner, styles) for inner in expanded_widths)
        before = (width, *decoder_widths[:-1])
        self.decoder = nn.ModuleList(
            _Layer(into, out, styles, upsample=True)
            for into, out in zip(before, decoder_widths, strict=True)
        )
        self.enlarge = DepthwiseUpsample(decoder_widths[-1])
        self.paint = nn.Conv2d(decoder_widths[-1], channels, 3, padding=1)
        initialise(self)
        for module in self.modules():
            if isinstance(module, StyleNorm):
                module.reset()

    def forward(self, picture: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        """Paint.

        Args:
            picture: ``[N, channels, H, W]``, 0..1; H and W multiples of 8, at least 16.
            style: ``[N or 1, styles, 1, 1]``, the share of each style; they sum to 1.

        Returns:
            ``[N, channels, H, W]``, 0..1.

        Raises:
            UsageError: A style of another length.
        """
        if style.shape[1] != self.config["styles"]:
            raise UsageError(
                f"a style has {self.config['styles']} shares, not {style.shape[1]}",
                remedy="give one number for each style the network was trained on",
            )
        x = picture - 0.5
        for layer in (*self.encoder, *self.blocks, *self.decoder):
            x = layer(x, style)
        return torch.sigmoid(self.paint(self.enlarge(x)))
