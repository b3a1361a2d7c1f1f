"""Input and result of a target's quantizer."""

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
    """Input of a quantizer: one program, one recipe, one target.

    Attributes:
        spec: Recipe.
        program: Float program; its module paths name the layers.
        inputs: Names of its inputs, in order.
        outputs: Names of its outputs, in order.
        calibration: Calibration inputs by input name; may be empty if the recipe is not static.
        samples: Inputs to simulate.
    """

    spec: QuantSpec
    program: ExportedProgram
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    calibration: Sequence[Arrays] = ()
    samples: Sequence[Arrays] = ()


@dataclass(frozen=True)
class QuantizedLayer:
    """Quantization result of one operator with weights.

    Attributes:
        path: Module path in the user's model; the node's name for functions outside modules.
        operator: Operator of the program, such as ``conv2d`` or ``linear``.
        weights: Number of weights.
        bits: Bits of a weight; 32 or 16 if it stayed float.
        activation_bits: Bits of its input; 32 or 16 for floats.
        where: File and line in the user's model.
        reason: Reason for staying float; empty if quantized.
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
    """Scale of an int8 input or output: ``float = (int8 - zero_point) * scale``.

    Attributes:
        name: Name of the input or output.
        scale: Step size, positive.
        zero_point: Integer that represents 0, -128..127.
    """

    name: str
    scale: float
    zero_point: int


@dataclass(frozen=True)
class Quantized:
    """Result of a quantizer.

    Attributes:
        layers: Operators with weights, in the order of the program.
        float_operators: Number of operators without 8-bit kernel that stayed float between
            quantized ones, by name.
        simulated: Outputs of the quantized network on the plan's samples, from a second
            implementation that decodes the integers and computes in floats; parity compares the
            runtime with these.
        io_scales: Scales of the int8 inputs and outputs.
        notes: Remarks for the user.
        not_simulated: Operators that the second implementation lacks; ``simulated`` is empty then.
    """

    layers: tuple[QuantizedLayer, ...]
    float_operators: dict[str, int] = field(default_factory=dict)
    simulated: tuple[Arrays, ...] = ()
    io_scales: tuple[IoScale, ...] = ()
    notes: tuple[str, ...] = ()
    not_simulated: tuple[str, ...] = ()
