"""Quantization recipes. Names read: ``w`` weights, ``a`` activations, their bits, and the kind.

=====================  =============================================================================
``fp16``               weights and arithmetic in half precision
``w8_only``            8-bit weights, a scale per output channel; arithmetic in float
``w4_only``            the same with 4-bit weights
``w4_only_block32``    4-bit weights, a scale for every 32 inputs of an output channel
``w8a32_dynamic``      8-bit weights; operators take floats and measure their range at run time
``w4a32_dynamic``      the same with 4-bit weights
``w8a8_static``        8-bit weights, 8-bit activations with calibrated ranges
``w8a16_static``       8-bit weights, 16-bit activations with calibrated ranges
``w4a8``               4-bit weights, 8-bit activations with calibrated ranges
``palette8`` .. ``1``  weights as indices of that many bits into a table per tensor
=====================  =============================================================================
"""

from __future__ import annotations

from collections.abc import Iterable

from edgesdk.errors import UnknownNameError, UsageError
from edgesdk.quant.spec import ActivationQuant, QuantSpec, WeightQuant

__all__ = ["FLOAT", "RECIPES", "parse_recipe", "parse_recipes"]

#: Name for artefacts that are not quantized.
FLOAT = "fp32"

_STATIC8, _STATIC16 = ActivationQuant(8), ActivationQuant(16)
_DYNAMIC8 = ActivationQuant(8, "dynamic")
_W8, _W4 = WeightQuant(8), WeightQuant(4)

#: Every recipe by name.
RECIPES: dict[str, QuantSpec] = {
    spec.name: spec
    for spec in (
        QuantSpec("fp16", precision="fp16"),
        QuantSpec("w8_only", _W8),
        QuantSpec("w4_only", _W4),
        QuantSpec("w4_only_block32", WeightQuant(4, granularity="block", block=32)),
        QuantSpec("w8a32_dynamic", _W8, _DYNAMIC8),
        QuantSpec("w4a32_dynamic", _W4, _DYNAMIC8),
        QuantSpec("w8a8_static", _W8, _STATIC8),
        QuantSpec("w8a16_static", _W8, _STATIC16),
        QuantSpec("w4a8", _W4, _STATIC8),
        *(
            QuantSpec(f"palette{bits}", WeightQuant(bits, "palette", "tensor"))
            for bits in (8, 6, 4, 2, 1)
        ),
    )
}


#: Names that other tools use.
_MEANT = {
    "int8": "w8a8_static",
    "i8": "w8a8_static",
    "8bit": "w8a8_static",
    "ptq": "w8a8_static",
    "qint8": "w8a8_static",
    "quint8": "w8a8_static",
    "uint8": "w8a8_static",
    "int8_static": "w8a8_static",
    "int16": "w8a16_static",
    "w8": "w8_only",
    "weights": "w8_only",
    "w4": "w4_only",
    "4bit": "w4_only_block32",
    "palettize": "palette4",
    "f16": "fp16",
    "w8a8": "w8a8_static",
    "static": "w8a8_static",
    "dynamic": "w8a32_dynamic",
    "int8_dynamic": "w8a32_dynamic",
    "int4": "w4_only_block32",
    "float16": "fp16",
    "half": "fp16",
    "float": "fp32",
    "float32": "fp32",
    "f32": "fp32",
    "none": "fp32",
}


def parse_recipe(text: str) -> QuantSpec:
    """Return the recipe of a name.

    Raises:
        UnknownNameError: The recipe is unknown; the message suggests the nearest.
    """
    name = text.strip()
    if name not in RECIPES:
        raise UnknownNameError("recipe", name, (*RECIPES, FLOAT), _MEANT)
    return RECIPES[name]


def parse_recipes(texts: Iterable[str]) -> list[QuantSpec | None]:
    """Parse several recipes; a text may hold several, separated by commas.

    Returns:
        Recipes in the order given; None for ``fp32``, which means float.

    Raises:
        UnknownNameError: See :func:`parse_recipe`.
        UsageError: A recipe is given twice.
    """
    names = [name.strip() for text in texts for name in text.split(",") if name.strip()]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"recipe {name} is given twice", remedy="name each recipe once")
    return [None if name == FLOAT else parse_recipe(name) for name in names]
