"""Target-independent description of a quantization."""

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

#: Methods to choose the range of a tensor in calibration; see :mod:`edgesdk.quant.ranges`.
RANGE_METHODS = ("entropy", "min_max", "moving_average", "mse", "percentile")

#: Types of an artefact's inputs and outputs: the model's floats, or int8 numbers.
IO_DTYPES = ("float", "int8")

_FORMS = ("linear", "palette")
_GRANULARITIES = ("block", "channel", "tensor")
_WHEN = ("dynamic", "static")


@dataclass(frozen=True)
class WeightQuant:
    """Storage of constant weights.

    Attributes:
        bits: Bits per weight, 1 to 8.
        form: ``linear``: an integer times a scale, symmetric around zero; ``palette``: an index
            into a table of ``2 ** bits`` values for each tensor.
        granularity: Extent of a scale: the ``tensor``, an output ``channel``, or a ``block`` of
            ``block`` consecutive inputs of one output channel.
        block: Number of inputs in a block; 0 unless scales are per block.
    """

    bits: int
    form: str = "linear"
    granularity: str = "channel"
    block: int = 0

    def __post_init__(self) -> None:
        if self.form not in _FORMS:
            raise UnknownNameError("weight form", self.form, _FORMS)
        if self.granularity not in _GRANULARITIES:
            raise UnknownNameError("granularity", self.granularity, _GRANULARITIES)
        if not 1 <= self.bits <= 8 or (self.form == "linear" and self.bits < 2):
            raise UsageError(
                f"weights cannot have {self.bits} bits",
                remedy="use 2 to 8 bits, or 1 to 8 for palettes",
            )
        if (self.granularity == "block") != (self.block > 0):
            raise UsageError(
                f"a block size of {self.block} does not fit granularity {self.granularity!r}",
                remedy="set block if granularity is 'block', and only then",
            )

    @property
    def largest(self) -> int:
        """Largest integer, ``2 ** (bits - 1) - 1``; the smallest is its negative."""
        return 2 ** (self.bits - 1) - 1


@dataclass(frozen=True)
class ActivationQuant:
    """Quantization of the tensors between operators.

    Attributes:
        bits: 8 or 16.
        when: ``static``: ranges come from calibration; ``dynamic``: each operator measures the
            range of its input at run time, and returns floats.
    """

    bits: int = 8
    when: str = "static"

    def __post_init__(self) -> None:
        if self.when not in _WHEN:
            raise UnknownNameError("kind of activations", self.when, _WHEN)
        if self.bits not in (8, 16):
            raise UsageError(f"activations cannot have {self.bits} bits", remedy="use 8 or 16")


@dataclass(frozen=True)
class QuantSpec:
    """Quantization recipe, independent of the target.

    Attributes:
        name: Name of the recipe.
        weights: Storage of weights; None for floats.
        activations: Quantization of activations; None for floats.
        precision: Precision of the float parts, ``fp32`` or ``fp16``.
        ranges: One of :data:`RANGE_METHODS`, for static activations.
        float_layers: Module paths of the layers that stay float, such as ``blocks.0.conv``; a path
            includes everything below it.
        io_dtype: One of :data:`IO_DTYPES`; ``int8`` needs static activations.
        float_norms: Module paths of normalizations that stay float, see
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
            raise UnknownNameError("I/O dtype", self.io_dtype, IO_DTYPES)
        if self.io_dtype == "int8" and not self.static:
            raise UsageError(
                f"{self.name} does not support int8 inputs and outputs: it has no fixed ranges",
                remedy="use a static recipe, such as w8a8_static, or --io-dtype float",
            )

    @property
    def static(self) -> bool:
        """True if activations have ranges from calibration."""
        return self.activations is not None and self.activations.when == "static"

    @property
    def dynamic(self) -> bool:
        """True if operators measure their inputs at run time."""
        return self.activations is not None and self.activations.when == "dynamic"

    @property
    def weight_only(self) -> bool:
        """True if weights are stored in few bits and computed with as floats."""
        return self.weights is not None and self.activations is None

    def keeps_float(self, path: str) -> bool:
        """Return True if the layer at a module path stays float.

        Args:
            path: Module path, such as ``blocks.0.conv``.
        """
        return bool(self.why_float(path))

    def why_float(self, path: str) -> str:
        """Return the reason why the layer at a module path stays float; empty if it does not."""
        if lies_below(path, self.float_layers):
            return "kept float as requested"
        if lies_below(path, self.float_norms):
            return "it normalizes by statistics of its own input, which needs float"
        return ""
