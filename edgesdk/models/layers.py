"""Layers that several model families share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn import functional

from edgesdk.models.architecture import check_choice

__all__ = [
    "ACTIVATIONS",
    "ConvNormAct",
    "SamePadding",
    "SqueezeExcite",
    "convolutions",
    "make_divisible",
]

#: Activations by their name in a configuration; ``linear`` is the identity.
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "gelu": nn.GELU,
    "hardsigmoid": nn.Hardsigmoid,
    "hardswish": nn.Hardswish,
    "linear": nn.Identity,
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
}


def make_divisible(value: float, divisor: int = 8) -> int:
    """Round to a multiple of ``divisor``, by at most 10 % downwards and never below ``divisor``.

    The MobileNet papers scale numbers of channels by this rule to suit SIMD kernels.
    """
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded if rounded >= 0.9 * value else rounded + divisor


class SamePadding(nn.Module):
    """TensorFlow's ``SAME`` zero padding: an odd pixel goes right and below.

    With a stride of 2 and an even image it differs from torch's symmetric padding by one pixel,
    so weights trained in TensorFlow need it. Delegates support this explicit pad in front of an
    unpadded convolution.

    Args:
        kernel_size: Side of the kernel of the convolution that follows.
        stride: Stride of that convolution.
    """

    def __init__(self, kernel_size: int, stride: int) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = stride

    def _ends(self, size: int) -> tuple[int, int]:
        rest = size % self.stride
        total = max(self.kernel_size - (rest if rest else self.stride), 0)
        return total // 2, total - total // 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pad ``[N, C, H, W]`` so that the convolution returns ``ceil(H / stride)`` rows."""
        top, bottom = self._ends(x.shape[-2])
        left, right = self._ends(x.shape[-1])
        return functional.pad(x, (left, right, top, bottom))


class ConvNormAct(nn.Module):
    """Convolution without bias, batch normalisation, activation.

    Args:
        in_width: Input channels.
        width: Output channels.
        kernel_size: Side of the kernel.
        stride: Stride in both directions.
        groups: 1, or ``in_width`` for a depthwise convolution.
        activation: A key of :data:`ACTIVATIONS`.
        eps: Added to the variance by the normalisation.
        momentum: Weight of the newest batch in the running statistics.
        padding: ``symmetric`` (half the kernel on each side) or ``same`` (see
            :class:`SamePadding`).
    """

    def __init__(
        self,
        in_width: int,
        width: int,
        kernel_size: int = 1,
        *,
        stride: int = 1,
        groups: int = 1,
        activation: str = "relu",
        eps: float = 1e-5,
        momentum: float = 0.1,
        padding: str = "symmetric",
    ) -> None:
        super().__init__()
        check_choice("activation", activation, ACTIVATIONS)
        # At stride 1 both rules pad an odd kernel symmetrically.
        explicit = padding == "same" and stride > 1
        self.pad = SamePadding(kernel_size, stride) if explicit else nn.Identity()
        self.conv = nn.Conv2d(
            in_width,
            width,
            kernel_size,
            stride=stride,
            padding=0 if explicit else kernel_size // 2,
            groups=groups,
            bias=False,
        )
        self.norm = nn.BatchNorm2d(width, eps=eps, momentum=momentum)
        self.activation = ACTIVATIONS[activation]()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``[N, in_width, H, W]`` to ``[N, width, H / stride, W / stride]``."""
        return self.activation(self.norm(self.conv(self.pad(x))))


def convolutions(in_width: int, widths: Sequence[int], stride: int = 1) -> nn.Sequential:
    """Build a chain of 3x3 :class:`ConvNormAct` with these output channels."""
    before = [in_width, *widths[:-1]]
    return nn.Sequential(
        *(ConvNormAct(*pair, 3, stride=stride) for pair in zip(before, widths, strict=True))
    )


class SqueezeExcite(nn.Module):
    """Rescale every channel by a gate computed from the means of all channels.

    Hu et al., "Squeeze-and-Excitation Networks", CVPR 2018.

    Args:
        width: Channels in and out.
        squeezed_width: Features between the two layers of the gate.
        gate: ``sigmoid``, or ``hardsigmoid`` as in MobileNetV3.
    """

    def __init__(self, width: int, squeezed_width: int, gate: str = "sigmoid") -> None:
        super().__init__()
        check_choice("gate", gate, ("sigmoid", "hardsigmoid"))
        self.reduce = nn.Conv2d(width, squeezed_width, 1)
        self.expand = nn.Conv2d(squeezed_width, width, 1)
        self.activation = nn.ReLU()
        self.gate = ACTIVATIONS[gate]()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``[N, width, H, W]`` to the same shape."""
        gate = x.mean((2, 3), keepdim=True)
        gate = self.gate(self.expand(self.activation(self.reduce(gate))))
        return x * gate
