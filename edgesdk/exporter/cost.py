"""Count the cost of a model or of a SOURCE."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from edgesdk.exporter.cost_record import cost_of
from edgesdk.exporter.options import ExportOptions
from edgesdk.exporter.prepared import prepare
from edgesdk.profiling.cost import ModelCost
from edgesdk.spec import TensorSpec

__all__ = ["cost"]


def cost(
    model: str | nn.Module,
    example: Any = None,
    *,
    inputs: Sequence[TensorSpec | str] | TensorSpec | str = (),
    weights: str | os.PathLike[str] | None = None,
) -> ModelCost:
    """Count parameters, multiply-accumulates and memory by layer.

    Nothing is trained or converted.

        counted = edgesdk.cost("resnet18")
        print(counted.params, counted.macs)

    Args:
        model: The model, or a SOURCE.
        example: Example arguments: a tensor, a tuple, or a dictionary by argument name.
        inputs: Input specs in place of an example, such as ``image:1x3x224x224``.
        weights: File of weights to load.

    Raises:
        EdgeSdkError: The model cannot be loaded, or does not run on its inputs.
    """
    specs = ExportOptions(inputs=inputs).inputs
    file = None if weights is None else Path(weights)
    return cost_of(prepare(model, example, inputs=specs, weights=file))
