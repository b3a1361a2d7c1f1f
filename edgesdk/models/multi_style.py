"""Many styles in one small network: an app blends them by a vector.

Dumoulin, Shlens and Kudlur, "A Learned Representation for Artistic Style", ICLR 2017
(arXiv:1610.07629): styles share every convolution and differ in scale and shift of the
normalisations alone; the body works at an eighth of the size in inverted residuals (Sandler et
al., CVPR 2018); resizing in front of a convolution leaves no checkerboard (Odena et al., Distill
2016), and what the encoder saw at a half and a quarter of the size is added there (Lin et al.,
Feature Pyramid Networks, CVPR 2017), so that outlines stay. At the whole of the size there is no
layer: the last one says four pixels for each place of a half (Shi et al., CVPR 2016), and begins
as a convolution behind resizing. What the body says is softened by a
binomial filter (Zhang, "Making Convolutional Networks Shift-Invariant Again", ICML 2019): without
it the networks that were trained dotted plain areas in the finest pattern that an eighth of the
size can hold. Built from what mobile delegates take whole: reflections put together from slices,
instance normalisation from means, bilinear resizing, and values that half precision holds.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from edgesdk.errors import UsageError
from edgesdk.models.architecture import as_lists, check_lengths, check_width
from edgesdk.models.initialisation import initialise
from edgesdk.models.shipped_weights import load_shipped
from edgesdk.models.style import SlicedReflectionPad, instance_normalised
from edgesdk.models.weight_cards import shipped_card
from edgesdk.style_names import check_style_names

__all__ = ["MultiStyleNet", "StyleNorm", "behind_enlarging"]

_WEIGHTS = "multi_style"


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


class _Encode(nn.Module):
    """Halves the size: a convolution, or a depthwise and a pointwise one; normalised, ReLU6."""

    def __init__(self, in_width: int, width: int, styles: int, *, separable: bool = True) -> None:
        super().__init__()
        # Of the last row and column the stride takes nothing.
        self.pad = SlicedReflectionPad(1, after=0)
        self.depthwise: nn.Module = nn.Identity()
        if separable:
            self.depthwise = nn.Conv2d(in_width, in_width, 3, 2, groups=in_width)
            self.pointwise = nn.Conv2d(in_width, width, 1, bias=False)
        else:
            self.pointwise = nn.Conv2d(in_width, width, 3, 2, bias=False)
        self.norm = StyleNorm(width, styles)
        self.activation = nn.ReLU6()

    def forward(self, x: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        x = self.pointwise(self.depthwise(self.pad(x)))
        return self.activation(self.norm(x, style))


def _twice(x: torch.Tensor) -> torch.Tensor:
    """Twice the size, bilinear: every delegate knows it, and it leaves no checkerboard."""
    return functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


class _Block(nn.Module):
    """An inverted residual, normalised where it is narrow."""

    def __init__(self, width: int, expanded: int, styles: int) -> None:
        super().__init__()
        self.pad = SlicedReflectionPad(1)
        self.expand = nn.Conv2d(width, expanded, 1)
        self.depthwise = nn.Conv2d(expanded, expanded, 3, groups=expanded)
        self.project = nn.Conv2d(expanded, width, 1, bias=False)
        self.activation = nn.ReLU6()
        self.norm = StyleNorm(width, styles)

    def forward(self, x: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        # Padded where it is narrow: what is pointwise does not mind, and there is less to copy.
        inner = self.activation(self.depthwise(self.activation(self.expand(self.pad(x)))))
        return x + self.norm(self.project(inner), style)


class _Decode(nn.Module):
    """Doubles the size and adds what the encoder saw there: outlines that an eighth cannot hold.

    An inverted residual behind it, where there is one, paints hatching that an eighth cannot hold.
    """

    def __init__(
        self, in_width: int, seen_width: int, width: int, styles: int, refined: int = 0
    ) -> None:
        super().__init__()
        # Pointwise at the small size, where it costs a quarter.
        self.pointwise = nn.Conv2d(in_width, width, 1, bias=False)
        self.pad = SlicedReflectionPad(1)
        self.depthwise = nn.Conv2d(width, width, 3, groups=width, bias=False)
        self.lateral = nn.Conv2d(seen_width, width, 1, bias=False)
        self.norm = StyleNorm(width, styles)
        self.activation = nn.ReLU6()
        self.block = _Block(width, refined, styles) if refined else None

    def forward(self, x: torch.Tensor, seen: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        x = self.depthwise(self.pad(_twice(self.pointwise(x)))) + self.lateral(seen)
        x = self.activation(self.norm(x, style))
        return x if self.block is None else self.block(x, style)


class _Soften(nn.Module):
    """The binomial filter [1, 2, 1] / 4 along both axes: patterns of every other place vanish."""

    kernel: torch.Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.pad = SlicedReflectionPad(1)
        line = torch.tensor([0.25, 0.5, 0.25])
        kernel = (line[:, None] * line).repeat(width, 1, 1, 1)
        # Not persistent: it is no weight, and never another.
        self.register_buffer("kernel", kernel, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.conv2d(self.pad(x), self.kernel, groups=self.width)


def behind_enlarging(kernel: torch.Tensor) -> torch.Tensor:
    """The kernel that answers at a size what another answers behind bilinear enlarging by 2.

    Every pixel of the enlarged picture is a mean of its neighbours in the small one, so a
    convolution of it is four convolutions of the small one, one for each place in 2 x 2 pixels.
    A layer that begins so has no checkerboard to unlearn (Aitken et al., arXiv:1707.02937, do the
    same for nearest neighbours).

    Args:
        kernel: ``[outputs, inputs, 3, 3]``, for the enlarged picture.

    Returns:
        ``[4 * outputs, inputs, 3, 3]``, as :func:`torch.nn.functional.pixel_shuffle` takes its
        answers.
    """
    # Shares of three neighbours in what each of three taps sees, at the even and the odd place.
    taps = kernel.new_tensor(
        [
            [[0.75, 0.25, 0.0], [0.25, 0.75, 0.0], [0.0, 0.75, 0.25]],
            [[0.25, 0.75, 0.0], [0.0, 0.75, 0.25], [0.0, 0.25, 0.75]],
        ]
    )
    return torch.einsum("oikl,aky,blx->oabiyx", kernel, taps, taps).flatten(0, 2)


class MultiStyleNet(nn.Module):
    """Paints a picture in a blend of the styles it was trained on.

    Args:
        styles: How many.
        encoder_widths: Channels at a half, a quarter and an eighth of the size.
        expanded_widths: Channels inside each inverted residual; as many blocks as elements.
        decoder_widths: Channels at a quarter and at a half of the size.
        refined_widths: Channels inside an inverted residual at a quarter and at a half of the size,
            which paints hatching that an eighth cannot hold; 0 for none there.
        channels: Channels of the picture, in and out.
        style_names: What the styles are called, see
            :func:`edgesdk.style_names.check_style_names`; None: by their numbers, or, with
            ``pretrained``, as the paintings they were learnt from.
        pretrained: Load the package's weights of twelve styles, which fit the default widths only.
            ``config`` keeps this as false: it says how to rebuild the network, not where its
            weights came from.

    Raises:
        UsageError: Lists of another length, a width that is not a positive whole number, names
            that are no names of as many styles, or ``pretrained`` with other widths.
        WeightsError: The package's weights are missing or damaged.
    """

    def __init__(
        self,
        styles: int = 12,
        encoder_widths: list[int] | None = None,
        expanded_widths: list[int] | None = None,
        decoder_widths: list[int] | None = None,
        refined_widths: list[int] | None = None,
        channels: int = 3,
        style_names: list[str] | None = None,
        pretrained: bool = False,
    ) -> None:
        super().__init__()
        if pretrained and style_names is None:
            shipped = shipped_card(_WEIGHTS)["config"]["style_names"]
            # Of another number of styles the weights say more clearly that they do not fit.
            style_names = shipped if len(shipped) == styles else None
        encoder_widths = encoder_widths or [16, 32, 64]
        expanded_widths = [160] * 6 if expanded_widths is None else expanded_widths
        decoder_widths = decoder_widths or [40, 16]
        refined_widths = [128, 64] if refined_widths is None else refined_widths
        self.config: dict[str, Any] = as_lists(
            {
                "styles": styles,
                "encoder_widths": encoder_widths,
                "expanded_widths": expanded_widths,
                "decoder_widths": decoder_widths,
                "refined_widths": refined_widths,
                "channels": channels,
                "style_names": style_names,
                "pretrained": False,
            }
        )
        check_lengths(3, encoder_widths=encoder_widths)
        for key, value in self.config.items():
            if key not in ("style_names", "pretrained"):
                check_width(key, value, smallest=0 if key == "refined_widths" else 1)
        check_lengths(2, decoder_widths=decoder_widths, refined_widths=refined_widths)
        if style_names is not None:
            check_style_names(style_names, count=styles)
        first, second, width = encoder_widths
        self.encoder = nn.ModuleList(
            [
                _Encode(channels, first, styles, separable=False),
                _Encode(first, second, styles),
                _Encode(second, width, styles),
            ]
        )
        self.blocks = nn.ModuleList(_Block(width, inner, styles) for inner in expanded_widths)
        self.soften = _Soften(width)
        third, fourth = decoder_widths
        self.decoder = nn.ModuleList(
            [
                _Decode(width, second, third, styles, refined_widths[0]),
                _Decode(third, first, fourth, styles, refined_widths[1]),
            ]
        )
        self.pad = SlicedReflectionPad(1)
        # Four pixels for each place: at the whole of the size a channel costs four times as much.
        self.paint = nn.Conv2d(fourth, 4 * channels, 3)
        initialise(self)
        for module in self.modules():
            if isinstance(module, StyleNorm):
                module.reset()
        with torch.no_grad():
            every_fourth = self.paint.weight[::4]
            self.paint.weight.copy_(behind_enlarging(every_fourth))
            self.paint.bias.copy_(self.paint.bias[::4].repeat_interleave(4))
        if pretrained:
            load_shipped(self, _WEIGHTS)

    @property
    def style_names(self) -> tuple[str, ...]:
        """Names of the styles in the order of their shares; empty where they have none."""
        return tuple(self.config["style_names"] or ())

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
        seen = []
        for layer in self.encoder:
            seen.append(x)
            x = layer(x, style)
        for block in self.blocks:
            x = block(x, style)
        x = self.soften(x)
        for layer in self.decoder:
            x = layer(x, seen.pop(), style)
        return torch.sigmoid(functional.pixel_shuffle(self.paint(self.pad(x)), 2))
