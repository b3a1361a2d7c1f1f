"""What a target's quantizer is given, and what it tells of its work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from edgesdk.quant.spec import QuantSpec

if TYPE_CHECKING:
    from torch.export import ExportedProgram

__all__ = ["Arrays", "IoScale", "QuantPlan", "Quantized", "QuantizedLayer"]

#: Arrays by input or output name.
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class QuantPlan:
    """One quantization of one program for one target.

    Attributes:
        spec: What to quantize and how.
        program: The float program; layers are named by its module paths.
        inputs: Names of its inputs, in order.
        outputs: Names of its outputs, in order.
        calibration: Inputs that ranges are taken from, by input name; empty where the spec is not
            static.
        samples: Inputs whose simulated answers are wanted.
    """

    spec: QuantSpec
    program: ExportedProgram
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    calibration: Sequence[Arrays] = ()
    samples: Sequence[Arrays] = ()


@dataclass(frozen=True)
class QuantizedLayer:
    """One operator with weights, as it came out.

    Attributes:
        path: Module path in the user's model; the node's name for a function without module.
        operator: Operator of the program, such as ``conv2d`` or ``linear``.
        weights: Number of weights.
        bits: Bits of a weight, 32 or 16 where it stayed float.
        activation_bits: Bits its input is computed with; 32 or 16 for floats.
        where: File and line in the user's model.
        reason: Why it stayed float, where it did.
    """

    path: str
    operator: str
    weights: int
    bits: int
    activation_bits: int = 32
    where: str = ""
    reason: str = ""


@dataclass(frozen=True)
class IoScale:
    """An int8 tensor at the face: ``float = (int8 - zero_point) * scale``.

    Attributes:
        name: Name of the input or output.
        scale: Positive.
        zero_point: -128..127.
    """

    name: str
    scale: float
    zero_point: int


@dataclass(frozen=True)
class Quantized:
    """What a quantizer did.

    Attributes:
        layers: Operators with weights, in the order of the program.
        float_operators: Operators without 8-bit kernel that stayed float between quantized ones, by
            name with count.
        simulated: What the quantized network answers to the plan's samples when its integers are
            decoded and computed with as floats in a second implementation: the answer the runtime
            is held against.
        io_scales: Scales of int8 inputs and outputs, by name.
        notes: What the user should know.
    """

    layers: tuple[QuantizedLayer, ...]
    float_operators: dict[str, int] = field(default_factory=dict)
    simulated: tuple[Arrays, ...] = ()
    io_scales: tuple[IoScale, ...] = ()
    notes: tuple[str, ...] = ()
