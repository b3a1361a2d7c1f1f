"""Windows of ONNX convolutions and pools: strides, dilations and padding in numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgesdk.errors import QuantizationError
from edgesdk.quant.onnx.graph import attribute

__all__ = ["Window", "window_of"]


@dataclass(frozen=True)
class Window:
    """How a kernel moves over an image, one number a spatial axis.

    Attributes:
        kernel: Sizes of the kernel.
        strides: Steps between two positions.
        dilations: Steps between two values of the kernel.
        before: Padding in front.
        after: Padding behind.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]

    @property
    def even(self) -> bool:
        """Whether both sides are padded alike."""
        return self.before == self.after

    @property
    def torch_padding(self) -> list[int]:
        """As :func:`torch.nn.functional.pad` wants it: the last axis first."""
        pairs = zip(reversed(self.before), reversed(self.after), strict=True)
        return [size for pair in pairs for size in pair]


def window_of(node: Any, kernel: Sequence[int], sizes: Sequence[int]) -> Window:
    """The window of a convolution or pool.

    Args:
        node: The operator.
        kernel: Sizes of its kernel.
        sizes: Spatial sizes of its input.

    Raises:
        QuantizationError: A padding that ONNX does not know.
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
