"""Quantization: one spec for all targets, the vendors' quantizers, and simulation of the result."""

from __future__ import annotations

from edgesdk.quant.recipes import RECIPES, parse_recipe
from edgesdk.quant.spec import ActivationQuant, QuantSpec, WeightQuant

__all__ = ["RECIPES", "ActivationQuant", "QuantSpec", "WeightQuant", "parse_recipe"]
