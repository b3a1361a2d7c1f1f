"""What is quantized and how finely, in words that no target owns."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgesdk.errors import UnknownNameError, UsageError
from edgesdk.quant.layer_names import lies_below

__all__ = [
    "IO_DTYPES",
    "RANGE_METHODS",
    "ActivationQuant",
    "QuantSpec",
    "WeightQuant",
]

#: How the range of a tensor is chosen from what calibration saw of it; see
#: :mod:`edgesdk.quant.ranges`.
RANGE_METHODS = ("entropy", "min_max", "moving_average", "mse", "percentile")

#: What an app passes and gets: the model's own floats, or the int8 numbers behind them.
IO_DTYPES = ("float", "int8")

_FORMS = ("linear", "palette")
_GRANULARITIES = ("block", "channel", "tensor")
_WHEN = ("dynamic", "static")


@dataclass(frozen=True)
class WeightQuant:
    """How constant weights are stored.

    Attributes:
        bits: Bits a weight, 1 to 8.
        form: ``linear``: an integer times a scale, symmetric around zero; ``palette``: an index
            into a table of ``2 ** bits`` values for each tensor.
        granularity: What shares a scale: the ``tensor``, an output ``channel``, or a ``block`` of
            ``block`` consecutive inputs of one output channel.
        block: Inputs in a block; 0 where scales are not by block.
    """

    bits: int
    form: str = "linear"
    granularity: str = "channel"
    block: int = 0

    def __post_init__(self) -> None:
        if self.form not in _FORMS:
            raise UnknownNameError("form of weights", self.form, _FORMS)
        if self.granularity not in _GRANULARITIES:
            raise UnknownNameError("granularity", self.granularity, _GRANULARITIES)
        if not 1 <= self.bits <= 8 or (self.form == "linear" and self.bits < 2):
            raise UsageError(
                f"weights cannot have {self.bits} bits", remedy="give 2 to 8; palettes take 1 too"
            )
        if (self.granularity == "block") != (self.block > 0):
            raise UsageError(
                f"a block of {self.block} does not go with one scale a {self.granularity}",
                remedy="give the size of a block with granularity='block', and only then",
            )

    @property
    def largest(self) -> int:
        """The largest integer, ``2 ** (bits - 1) - 1``; the smallest is its negative."""
        return 2 ** (self.bits - 1) - 1


@dataclass(frozen=True)
class ActivationQuant:
    """How the tensors between operators are computed.

    Attributes:
        bits: 8 or 16.
        when: ``static``: with ranges from calibration; ``dynamic``: an operator measures the range
            of its own input each time it runs, and gives floats.
    """

    bits: int = 8
    when: str = "static"

    def __post_init__(self) -> None:
        if self.when not in _WHEN:
            raise UnknownNameError("time of quantization", self.when, _WHEN)
        if self.bits not in (8, 16):
            raise UsageError(f"activations cannot have {self.bits} bits", remedy="give 8 or 16")


@dataclass(frozen=True)
class QuantSpec:
    """One quantization, for any target that can do it.

    Attributes:
        name: Name of the recipe it comes from.
        weights: How weights are stored; None for floats.
        activations: How activations are computed; None for floats.
        precision: What stays float is ``fp32`` or ``fp16``.
        ranges: One of :data:`RANGE_METHODS`, for static activations.
        float_layers: Module paths of the layers that stay float, such as ``blocks.0.conv``; a path
            stands for everything below it.
        face: One of :data:`IO_DTYPES`; ``int8`` needs static activations.
        float_norms: Module paths that stay float without being asked to, see
            :mod:`edgesdk.quant.float_norms`.
    """

    name: str
    weights: WeightQuant | None = None
    activations: ActivationQuant | None = None
    precision: str = "fp32"
    ranges: str = "min_max"
    float_layers: tuple[str, ...] = field(default=())
    io_dtype: str = "float"
    float_norms: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if self.ranges not in RANGE_METHODS:
            raise UnknownNameError("range method", self.ranges, RANGE_METHODS)
        if self.io_dtype not in IO_DTYPES:
            raise UnknownNameError("face", self.io_dtype, IO_DTYPES)
        if self.io_dtype == "int8" and not self.static:
            raise UsageError(
                f"{self.name} has no int8 face: nothing fixes its ranges",
                remedy="use a static recipe, such as w8a8_static, or leave the face float",
            )

    @property
    def static(self) -> bool:
        """Whether activations have ranges from calibration."""
        return self.activations is not None and self.activations.when == "static"

    @property
    def dynamic(self) -> bool:
        """Whether operators measure their inputs as they run."""
        return self.activations is not None and self.activations.when == "dynamic"

    @property
    def weight_only(self) -> bool:
        """Whether weights are stored small and computed with as floats."""
        return self.weights is not None and self.activations is None

    def keeps_float(self, path: str) -> bool:
        """Whether the layer at a module path stays float.

        Args:
            path: Module path, such as ``blocks.0.conv``.
        """
        return bool(self.why_float(path))

    def why_float(self, path: str) -> str:
        """Why the layer at a module path stays float, in words; empty where it does not."""
        if lies_below(path, self.float_layers):
            return "kept float as asked"
        if lies_below(path, self.float_norms):
            return "normalises by moments of its own input, which fixed ranges do not hold"
        return ""
