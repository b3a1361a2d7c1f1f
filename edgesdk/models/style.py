"""The feed-forward style network, as published and in a form that mobile delegates support.

Johnson, Alahi and Fei-Fei, "Perceptual Losses for Real-Time Style Transfer and
Super-Resolution", ECCV 2016; instance normalisation after Ulyanov et al., 2016 (arXiv
1607.08022); nearest upsampling in front of a convolution after Odena et al., Distill 2016.

Mobile delegates do not support reflection padding, instance normalisation and nearest upsampling:
they split the ``textbook`` form into dozens of partitions. The ``mobile`` form computes the same
from operators they support. Both forms have the same parameters under the same names.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from edgesdk.errors import UsageError
from edgesdk.models.architecture import check_choice, check_lengths, checked_config
from edgesdk.models.initialisation import initialise

__all__ = [
    "DepthwiseUpsample",
    "JohnsonNet",
    "MomentNorm",
    "SlicedReflectionPad",
    "instance_normalised",
    "to_mobile",
]


class SlicedReflectionPad(nn.Module):
    """Reflection padding as a concatenation of rows and columns.

    Args:
        padding: Pixels above and to the left, fewer than the image has.
        after: Pixels below and to the right; None for ``padding``.
    """

    def __init__(self, padding: int, after: int | None = None) -> None:
        super().__init__()
        self.padding = padding
        self.after = padding if after is None else after

    def _reflect(self, x: torch.Tensor, axis: int) -> torch.Tensor:
        last = x.shape[axis] - 1
        before = [x.narrow(axis, step, 1) for step in range(self.padding, 0, -1)]
        after = [x.narrow(axis, last - step, 1) for step in range(1, self.after + 1)]
        return torch.cat([*before, x, *after], dim=axis)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``[N, C, H, W]`` to ``[N, C, H + padding + after, W + padding + after]``."""
        return self._reflect(self._reflect(x, 2), 3)


def instance_normalised(x: torch.Tensor, eps: float) -> torch.Tensor:
    """Apply instance normalisation without scale and shift, computed from explicit means.

    Args:
        x: ``[N, C, H, W]``.
        eps: Added to the variance.
    """
    centred = x - x.mean(dim=(2, 3), keepdim=True)
    variance = (centred * centred).mean(dim=(2, 3), keepdim=True)
    return centred / torch.sqrt(variance + eps)


class MomentNorm(nn.Module):
    """Instance normalisation computed from explicit means.

    Args:
        width: Channels.
        eps: Added to the variance.
    """

    def __init__(self, width: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``[N, width, H, W]`` to the same shape."""
        normal = instance_normalised(x, self.eps)
        return normal * self.weight.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)


class DepthwiseUpsample(nn.Module):
    """Nearest upsampling by 2, as a transposed convolution that copies each pixel four times.

    Args:
        width: Channels.
    """

    kernel: torch.Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        # Not persistent, so that both forms have the same state dict.
        self.register_buffer("kernel", torch.ones(width, 1, 2, 2), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``[N, width, H, W]`` to ``[N, width, 2 H, 2 W]``."""
        return functional.conv_transpose2d(x, self.kernel, stride=2, groups=self.width)


def _reflection_pad(form: str, padding: int) -> nn.Module:
    return nn.ReflectionPad2d(padding) if form == "textbook" else SlicedReflectionPad(padding)


def _instance_norm(form: str, width: int) -> nn.Module:
    return nn.InstanceNorm2d(width, affine=True) if form == "textbook" else MomentNorm(width)


def _upsample(form: str, width: int) -> nn.Module:
    return nn.Upsample(scale_factor=2) if form == "textbook" else DepthwiseUpsample(width)


class _PaddedConv(nn.Module):
    """Optional upsampling, reflection padding, convolution, normalisation and ReLU."""

    def __init__(
        self,
        form: str,
        in_width: int,
        width: int,
        kernel_size: int,
        *,
        stride: int = 1,
        upsample: bool = False,
        norm: bool = True,
        activation: bool = True,
    ) -> None:
        super().__init__()
        self.upsample = _upsample(form, in_width) if upsample else nn.Identity()
        self.pad = _reflection_pad(form, kernel_size // 2)
        self.conv = nn.Conv2d(in_width, width, kernel_size, stride=stride)
        self.norm = _instance_norm(form, width) if norm else nn.Identity()
        self.activation = nn.ReLU() if activation else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.activation(self.norm(self.conv(self.pad(self.upsample(x)))))


class _Residual(nn.Module):
    """Two 3x3 convolutions and the input, without an activation behind the sum."""

    def __init__(self, form: str, width: int, inner_width: int) -> None:
        super().__init__()
        self.first = _PaddedConv(form, width, inner_width, 3)
        self.second = _PaddedConv(form, inner_width, width, 3, activation=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.second(self.first(x))


class JohnsonNet(nn.Module):
    """Two strided convolutions, residual blocks, two upsampling convolutions.

    Args:
        form: ``textbook`` or ``mobile``.
        encoder_widths: Channels of the 9x9 convolution and of the two strided ones.
        inner_widths: Channels inside each residual block, one element per block.
        decoder_widths: Channels of the two upsampling convolutions.
        output: ``linear``, or ``tanh`` for ``150 * tanh`` as in the authors' code.
        channels: Channels of the image, in and out.

    Raises:
        UsageError: An unknown form or output, lists of another length, or a width that is not a
            positive whole number.
    """

    def __init__(
        self,
        form: str = "textbook",
        encoder_widths: list[int] | None = None,
        inner_widths: list[int] | None = None,
        decoder_widths: list[int] | None = None,
        output: str = "linear",
        channels: int = 3,
    ) -> None:
        super().__init__()
        check_choice("form", form, ("textbook", "mobile"))
        check_choice("output", output, ("linear", "tanh"))
        encoder_widths = encoder_widths or [32, 64, 128]
        inner_widths = [128] * 5 if inner_widths is None else inner_widths
        decoder_widths = decoder_widths or [64, 32]
        check_lengths(3, encoder_widths=encoder_widths)
        check_lengths(2, decoder_widths=decoder_widths)
        self.config = checked_config(JohnsonNet, locals())

        first, second, width = encoder_widths
        self.encoder = nn.Sequential(
            _PaddedConv(form, channels, first, 9),
            _PaddedConv(form, first, second, 3, stride=2),
            _PaddedConv(form, second, width, 3, stride=2),
        )
        self.blocks = nn.Sequential(*(_Residual(form, width, inner) for inner in inner_widths))
        third, fourth = decoder_widths
        self.decoder = nn.Sequential(
            _PaddedConv(form, width, third, 3, upsample=True),
            _PaddedConv(form, third, fourth, 3, upsample=True),
            _PaddedConv(form, fourth, channels, 9, norm=False, activation=False),
        )
        self.bounded = output == "tanh"
        initialise(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map images ``[N, channels, H, W]`` in 0..255 to stylized ones of the same shape.

        H and W are multiples of 4 and at least 12. The result is not clipped.
        """
        x = self.decoder(self.blocks(self.encoder(x)))
        return 150 * torch.tanh(x) if self.bounded else x


def to_mobile(model: JohnsonNet) -> JohnsonNet:
    """Rewrite a textbook style network for mobile delegates.

    Args:
        model: A network of the ``textbook`` form, trained or not; not changed.

    Returns:
        A network of the ``mobile`` form with the same weights, in the same mode, whose outputs
        are equal up to rounding.

    Raises:
        UsageError: ``model`` is not a :class:`JohnsonNet`.
    """
    if not isinstance(model, JohnsonNet):
        raise UsageError(
            f"to_mobile takes a JohnsonNet, not a {type(model).__name__}",
            remedy="build a JohnsonNet with create('johnson') and load the weights into it",
        )
    rewritten = JohnsonNet(**{**model.config, "form": "mobile"})
    rewritten.load_state_dict(model.state_dict())
    return rewritten.train(model.training)
