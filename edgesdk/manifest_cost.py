"""The records of what a model costs."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, FailFast, Field

__all__ = ["CostRecord", "LayerCostRecord"]

_Count = Annotated[int, Field(ge=0)]
_Text = Annotated[str, Field(max_length=20_000)]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LayerCostRecord(_Record):
    """What one layer costs.

    Attributes:
        name: Path of the module; empty for the model's own operators.
        kind: The layer in words, such as ``Conv2d 3x3 /2``.
        output_shape: Of its last output for one sample; empty where it did not run.
        parameters: Number of its parameters; those that an earlier layer shares count there.
        macs: Multiply-accumulates for one sample.
        weight_bits: Bits a weight.
        activation_bits: Bits an activation.
        memory_bytes: Its parameters at their precision.
    """

    name: _Text
    kind: _Text
    output_shape: list[int]
    parameters: _Count
    macs: _Count
    weight_bits: int
    activation_bits: int
    memory_bytes: _Count


class CostRecord(_Record):
    """What the model costs before any conversion.

    Attributes:
        parameters: Number of parameters, shared ones once.
        macs: Multiply-accumulates for one sample.
        size_bytes: Parameters and buffers as torch stores them.
        memory_bytes: Parameters, each at its own precision.
        parameters_by_bits: Parameters by the bits each takes.
        macs_by_bits: Multiply-accumulates by the bits of the wider operand.
        layers: In the order in which they run; of very many, the dearest.
    """

    parameters: _Count
    macs: _Count
    size_bytes: _Count
    memory_bytes: _Count
    parameters_by_bits: dict[int, int] = {}
    macs_by_bits: dict[int, int] = {}
    layers: Annotated[list[LayerCostRecord], FailFast()] = []
