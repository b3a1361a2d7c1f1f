"""The records of what a model costs."""

from __future__ import annotations

from typing import Annotated

from pydantic import FailFast

from edgesdk.bundle.manifest.record import Count, Record, Text

__all__ = ["CostRecord", "LayerCostRecord"]


class LayerCostRecord(Record):
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

    name: Text
    kind: Text
    output_shape: list[int]
    parameters: Count
    macs: Count
    weight_bits: int
    activation_bits: int
    memory_bytes: Count


class CostRecord(Record):
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

    parameters: Count
    macs: Count
    size_bytes: Count
    memory_bytes: Count
    parameters_by_bits: dict[int, int] = {}
    macs_by_bits: dict[int, int] = {}
    layers: Annotated[list[LayerCostRecord], FailFast()] = []
