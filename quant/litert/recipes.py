"""Translation of a recipe to rules of ``ai_edge_quantizer``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from edgesdk.quant.spec import ActivationQuant, QuantSpec

__all__ = ["vendor_recipe", "weight_bits"]

#: Operators with kernels for 4-bit weights, by kind of activations; other operators with weights
#: have 8-bit kernels.
_FOUR_BITS = {
    "weight_only": ("BATCH_MATMUL", "CONV_2D", "EMBEDDING_LOOKUP", "FULLY_CONNECTED"),
    "dynamic": ("CONV_2D", "EMBEDDING_LOOKUP", "FULLY_CONNECTED"),
    "static": ("CONV_2D", "FULLY_CONNECTED"),
}
#: The quantizer's names that differ from the schema's.
_NAMES = {"TRANSPOSE_CONV": "CONV_2D_TRANSPOSE"}

_MEASURED = ActivationQuant(8, "dynamic")

_ALL = "*"
_EVERYWHERE = ".*"


def weight_bits(spec: QuantSpec, operator: str) -> int:
    """Return the bits of an operator's weights; 16 for half precision.

    Args:
        spec: Recipe.
        operator: Name in the schema, such as ``CONV_2D``.
    """
    if spec.weights is None:
        return 16
    fine = operator not in _FOUR_BITS[_when(spec)]
    return 8 if fine else spec.weights.bits


def _when(spec: QuantSpec) -> str:
    if spec.activations is None:
        return "weight_only"
    return spec.activations.when


def vendor_recipe(spec: QuantSpec, kept: Iterable[str] = ()) -> list[dict[str, Any]]:
    """Return the rules for the quantizer; the last matching rule of an operator applies.

    Args:
        spec: Recipe.
        kept: Names of the results of operators that stay float.
    """
    bits = 16 if spec.weights is None else spec.weights.bits
    rules = [_rule(_EVERYWHERE, _ALL, spec, 16 if bits == 16 else 8)]
    if bits < 8:
        rules += [_rule(_EVERYWHERE, operator, spec, bits) for operator in _FOUR_BITS[_when(spec)]]
    if spec.static:
        # Lookup tables have no arithmetic, so only their weights are quantized.
        stored = replace(spec, activations=_MEASURED, io_dtype="float")
        rules.append(_rule(_EVERYWHERE, "EMBEDDING_LOOKUP", stored, 8))
    if spec.io_dtype == "float":
        rules += [_float(_EVERYWHERE, operator) for operator in ("INPUT", "OUTPUT")]
    elif spec.activations is not None and spec.activations.bits != 8:
        rules += [
            _rule(_EVERYWHERE, operator, spec, 8, activation_bits=8)
            for operator in ("INPUT", "OUTPUT")
        ]
    return [*rules, *(_float(_only(name), _ALL) for name in kept)]


def _only(name: str) -> str:
    # The quantizer names an operator by its results, each followed by a semicolon.
    return f"^{re.escape(name)};$"


def _float(regex: str, operator: str) -> dict[str, Any]:
    return {
        "regex": regex,
        "operation": _NAMES.get(operator, operator),
        "algorithm_key": "no_quantize",
        "op_config": {},
    }


def _rule(
    regex: str,
    operator: str,
    spec: QuantSpec,
    bits: int,
    activation_bits: int = 0,
) -> dict[str, Any]:
    half = bits == 16
    config: dict[str, Any] = {
        "weight_tensor_config": {
            "num_bits": bits,
            "symmetric": True,
            "granularity": "TENSORWISE" if half else "CHANNELWISE",
            "dtype": "FLOAT" if half else "INT",
        },
        "compute_precision": "INTEGER" if spec.activations is not None else "FLOAT",
        "explicit_dequantize": spec.activations is None,
        "skip_checks": False,
        "min_weight_elements": 0,
    }
    if spec.static and spec.activations is not None:
        width = activation_bits or spec.activations.bits
        config["activation_tensor_config"] = {
            "num_bits": width,
            # 16-bit kernels have no zero point.
            "symmetric": width == 16,
            "granularity": "TENSORWISE",
            "dtype": "INT",
        }
    return {
        "regex": regex,
        "operation": _NAMES.get(operator, operator),
        "algorithm_key": "float_casting" if half else "min_max_uniform_quantize",
        "op_config": config,
    }
