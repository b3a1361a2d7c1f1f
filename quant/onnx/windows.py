"""Windows of ONNX convolutions and pools: explicit strides, dilations and padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgesdk.errors import QuantizationError
from edgesdk.quant.onnx.graph import attribute

__all__ = ["Window", "window_of"]


@dataclass(frozen=True)
class Window:
    """Window of a convolution or pool, one number per spatial axis.

    Attributes:
        kernel: Kernel sizes.
        strides: Strides.
        dilations: Dilations.
        before: Padding at the start.
        after: Padding at the end.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]

    @property
    def even(self) -> bool:
        """True if both sides have equal padding."""
        return self.before == self.after

    @property
    def torch_padding(self) -> list[int]:
        """Padding for :func:`torch.nn.functional.pad`, the last axis first."""
        pairs = zip(reversed(self.before), reversed(self.after), strict=True)
        return [size for pair in pairs for size in pair]


def window_of(node: Any, kernel: Sequence[int], sizes: Sequence[int]) -> Window:
    """Return the window of a convolution or pool.

    Args:
        node: Operator.
        kernel: Kernel sizes.
        sizes: Spatial sizes of its input.

    Raises:
        QuantizationError: The padding mode is unknown.
    """
    axes = len(kernel)
    strides = tuple(attribute(node, "strides", [1] * axes))
    dilations = tuple(attribute(node, "dilations", [1] * axes))
    pads = list(attribute(node, "pads", [0] * 2 * axes))
    automatic = attribute(node, "auto_pad", "NOTSET") or "NOTSET"
    if automatic in ("SAME_UPPER", "SAME_LOWER"):
        before, after = [], []
        for axis in range(axes):
            steps = -(-sizes[axis] // strides[axis])
            extent = (kernel[axis] - 1) * dilations[axis] + 1
            missing = max(0, (steps - 1) * strides[axis] + extent - sizes[axis])
            less, more = missing // 2, missing - missing // 2
            before.append(less if automatic == "SAME_UPPER" else more)
            after.append(more if automatic == "SAME_UPPER" else less)
        pads = [*before, *after]
    elif automatic == "VALID":
        pads = [0] * 2 * axes
    elif automatic != "NOTSET":
        raise QuantizationError(f"{node.op_type} has the unknown padding {automatic!r}")
    return Window(tuple(kernel), strides, dilations, tuple(pads[:axes]), tuple(pads[axes:]))
