"""Multi-style transfer: one small network for many styles, which an app blends by a style vector.

- Styles share every convolution and differ in scale and shift of the normalisations only: Dumoulin,
  Shlens and Kudlur, "A Learned Representation for Artistic Style", ICLR 2017 (arXiv:1610.07629).
- The body works at 1/8 of the size in inverted residuals (Sandler et al., CVPR 2018).
- Resizing before a convolution avoids checkerboard artefacts (Odena et al., Distill 2016). Skips at
  1/2 and 1/4 of the size keep outlines (Lin et al., Feature Pyramid Networks, CVPR 2017).
- The last layer runs at 1/2 of the size and returns four pixels for each position (pixel shuffle,
  Shi et al., CVPR 2016). It starts as a convolution behind resizing.
- A binomial filter behind the body (Zhang, "Making Convolutional Networks Shift-Invariant Again",
  ICML 2019) removes the dots that trained networks otherwise leave in flat areas.
- All operators suit mobile delegates: reflection from slices, instance normalisation from means,
  bilinear resizing, and values within half precision.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from edgesdk.errors import UsageError
from edgesdk.models.architecture import check_lengths, checked_config
from edgesdk.models.initialisation import initialise
from edgesdk.models.shipped_weights import load_shipped
from edgesdk.models.style import SlicedReflectionPad, instance_normalised
from edgesdk.models.weight_cards import shipped_card
from edgesdk.style_names import check_style_names

__all__ = ["MultiStyleNet", "StyleNorm", "behind_enlarging"]

_WEIGHTS = "multi_style"


class StyleNorm(nn.Module):
    """Conditional instance normalisation: a style vector selects scale and shift.

    Args:
        width: Channels.
        styles: Length of the style vector.
        eps: Added to the variance.
    """

    def __init__(self, width: int, styles: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        # 1x1 convolutions need no reshape, unlike a matrix product.
        self.scale = nn.Conv2d(styles, width, 1, bias=False)
        self.shift = nn.Conv2d(styles, width, 1, bias=False)

    def reset(self) -> None:
        """Reset every style to plain instance normalisation."""
        nn.init.ones_(self.scale.weight)
        nn.init.zeros_(self.shift.weight)

    def forward(self, x: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        """Map ``[N, width, H, W]`` and the style ``[N or 1, styles, 1, 1]`` to the first shape."""
        normal = instance_normalised(x, self.eps)
        return normal * self.scale(style) + self.shift(style)


class _Encode(nn.Module):
    """Strided convolution, plain or depthwise separable, with normalisation and ReLU6."""

    def __init__(self, in_width: int, width: int, styles: int, *, separable: bool = True) -> None:
        super().__init__()
        # The stride skips the last row and column.
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
    """Double the size by bilinear resizing, which every delegate supports."""
    return functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


class _Block(nn.Module):
    """Inverted residual with normalisation at its narrow end."""

    def __init__(self, width: int, expanded: int, styles: int) -> None:
        super().__init__()
        self.pad = SlicedReflectionPad(1)
        self.expand = nn.Conv2d(width, expanded, 1)
        self.depthwise = nn.Conv2d(expanded, expanded, 3, groups=expanded)
        self.project = nn.Conv2d(expanded, width, 1, bias=False)
        self.activation = nn.ReLU6()
        self.norm = StyleNorm(width, styles)

    def forward(self, x: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        # Pad before the expansion: pointwise layers commute with it, and it copies less.
        inner = self.activation(self.depthwise(self.activation(self.expand(self.pad(x)))))
        return x + self.norm(self.project(inner), style)


class _Decode(nn.Module):
    """Double the size and add the encoder's features of that size.

    An optional inverted residual behind it paints detail finer than 1/8 of the size can hold.
    """

    def __init__(
        self, in_width: int, seen_width: int, width: int, styles: int, refined: int = 0
    ) -> None:
        super().__init__()
        # The pointwise layer costs a quarter at the small size.
        self.pointwise = nn.Conv2d(in_width, width, 1, bias=False)
        self.pad = SlicedReflectionPad(1)
        self.depthwise = nn.Conv2d(width, width, 3, groups=width, bias=False)
        self.lateral = nn.Conv2d(seen_width, width, 1, bias=False)
        self.norm = StyleNorm(width, styles)
        self.activation = nn.ReLU6()
        self.block = _Block(width, refined, styles) if refined else None

    def forward(self, x: torch.Tensor, skip: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        x = self.depthwise(self.pad(_twice(self.pointwise(x)))) + self.lateral(skip)
        x = self.activation(self.norm(x, style))
        return x if self.block is None else self.block(x, style)


class _Soften(nn.Module):
    """Binomial filter [1, 2, 1] / 4 along both axes, which removes alternating patterns."""

    kernel: torch.Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.pad = SlicedReflectionPad(1)
        line = torch.tensor([0.25, 0.5, 0.25])
        kernel = (line[:, None] * line).repeat(width, 1, 1, 1)
        # Not persistent, since it is constant.
        self.register_buffer("kernel", kernel, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.conv2d(self.pad(x), self.kernel, groups=self.width)


def behind_enlarging(kernel: torch.Tensor) -> torch.Tensor:
    """Return a pixel-shuffle kernel equal to ``kernel`` applied after bilinear resizing by 2.

    Each pixel of the resized picture is a weighted mean of neighbours in the small one, so one
    convolution of it equals four convolutions of the small one, one per position in 2 x 2 pixels.
    A layer initialised so starts without checkerboard artefacts (Aitken et al., arXiv:1707.02937,
    do the same for nearest neighbours).

    Args:
        kernel: ``[outputs, inputs, 3, 3]``, for the enlarged picture.

    Returns:
        ``[4 * outputs, inputs, 3, 3]``, in the order of channels that
        :func:`torch.nn.functional.pixel_shuffle` takes.
    """
    # Weights of three neighbours in each of three taps, at the even and the odd position.
    taps = kernel.new_tensor(
        [
            [[0.75, 0.25, 0.0], [0.25, 0.75, 0.0], [0.0, 0.75, 0.25]],
            [[0.25, 0.75, 0.0], [0.0, 0.75, 0.25], [0.0, 0.25, 0.75]],
        ]
    )
    return torch.einsum("oikl,aky,blx->oabiyx", kernel, taps, taps).flatten(0, 2)


class MultiStyleNet(nn.Module):
    """Paint a picture in a blend of the styles the network was trained on.

    Args:
        styles: Number of styles.
        encoder_widths: Channels at 1/2, 1/4 and 1/8 of the size.
        expanded_widths: Channels inside each inverted residual, one element per block.
        decoder_widths: Channels at 1/4 and 1/2 of the size.
        refined_widths: Channels inside an inverted residual at 1/4 and 1/2 of the size, which
            paints detail finer than 1/8 can hold; 0 leaves it out.
        channels: Channels of the picture, in and out.
        style_names: Names of the styles, see :func:`edgesdk.style_names.check_style_names`. None:
            their numbers, or, with ``pretrained``, the names of the paintings.
        pretrained: Load the package's weights of twelve styles, which fit the default widths only.
            ``config`` always holds false: it describes the architecture, not the weights.

    Raises:
        UsageError: Lists of another length, a width that is not a positive whole number, invalid
            or a wrong number of names, or ``pretrained`` with other widths.
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
            # With another number of styles, loading the weights raises a clearer error.
            style_names = shipped if len(shipped) == styles else None
        encoder_widths = encoder_widths or [16, 32, 64]
        expanded_widths = [160] * 6 if expanded_widths is None else expanded_widths
        decoder_widths = decoder_widths or [40, 16]
        refined_widths = [128, 64] if refined_widths is None else refined_widths
        check_lengths(3, encoder_widths=encoder_widths)
        self.config = checked_config(MultiStyleNet, locals(), zero=("refined_widths",))
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
        # Four pixels per position: at full size a channel would cost four times as much.
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
        """Names of the styles in the order of the style vector; empty if they have none."""
        return tuple(self.config["style_names"] or ())

    def forward(self, picture: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        """Paint pictures.

        Args:
            picture: ``[N, channels, H, W]``, 0..1; H and W multiples of 8, at least 16.
            style: ``[N or 1, styles, 1, 1]``, the weight of each style; weights sum to 1.

        Returns:
            ``[N, channels, H, W]``, 0..1.

        Raises:
            UsageError: A style vector of another length.
        """
        if style.shape[1] != self.config["styles"]:
            raise UsageError(
                f"the style must have {self.config['styles']} weights, not {style.shape[1]}",
                remedy="give one weight for each style the network was trained on",
            )
        x = picture - 0.5
        skips = []
        for layer in self.encoder:
            skips.append(x)
            x = layer(x, style)
        for block in self.blocks:
            x = block(x, style)
        x = self.soften(x)
        for layer in self.decoder:
            x = layer(x, skips.pop(), style)
        return torch.sigmoid(functional.pixel_shuffle(self.paint(self.pad(x)), 2))
