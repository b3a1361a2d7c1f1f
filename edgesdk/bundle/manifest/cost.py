"""Records of model cost."""

from __future__ import annotations

from edgesdk.bundle.manifest.record import Count, Items, Record, Text

__all__ = ["CostRecord", "LayerCostRecord"]


class LayerCostRecord(Record):
    """Cost of one layer.

    Attributes:
        name: Path of the module; empty for the model's own operators.
        kind: The layer in words, such as ``Conv2d 3x3 /2``.
        output_shape: Shape of its last output for one sample; empty if it did not run.
        parameters: Number of parameters; shared parameters count in the earliest layer.
        macs: Multiply-accumulates for one sample.
        weight_bits: Bits per weight.
        activation_bits: Bits per activation.
        memory_bytes: Bytes of its parameters at their precision.
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
    """Cost of the model before any conversion.

    Attributes:
        parameters: Number of parameters; shared ones count once.
        macs: Multiply-accumulates for one sample.
        size_bytes: Bytes of parameters and buffers as torch stores them.
        memory_bytes: Bytes of the parameters, each at its own precision.
        parameters_by_bits: Number of parameters by bit width.
        macs_by_bits: Multiply-accumulates by the bit width of the wider operand.
        layers: Layers in execution order; only the most expensive if there are very many.
    """

    parameters: Count
    macs: Count
    size_bytes: Count
    memory_bytes: Count
    parameters_by_bits: dict[int, int] = {}
    macs_by_bits: dict[int, int] = {}
    layers: Items[LayerCostRecord] = []
