"""Load the SOURCE of a model to prune, with example inputs to trace its channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgesdk import models
from edgesdk.errors import InputSpecError, UsageError
from edgesdk.frontend.edgemodel.file import ModelSignature, read_model_file
from edgesdk.frontend.random_inputs import random_inputs
from edgesdk.frontend.source import load
from edgesdk.frontend.tensor_specs import torch_dtype
from edgesdk.spec import TensorSpec, parse_input
from edgesdk.training.classification import build_classifier, signature_of
from edgesdk.training.data.splits import DataSplits

__all__ = ["PrunableModel", "load_for_pruning", "prunable_model"]


@dataclass(frozen=True)
class PrunableModel:
    """A model with the data that pruning needs.

    Attributes:
        model: Model to prune.
        architecture: Zoo name of the model; None for any other model.
        inputs: Example inputs: a tensor, a tuple or a dictionary.
        signature: Signature to save with the pruned model.
    """

    model: nn.Module
    architecture: str | None
    inputs: Any
    signature: ModelSignature | None


def prunable_model(
    model: nn.Module, inputs: Any, data: DataSplits | None, architecture: str | None, seed: int
) -> PrunableModel:
    """Add inputs and a signature to a model in memory.

    Args:
        model: Model to prune.
        inputs: Example inputs; None to make them for the data.
        data: Labelled images.
        architecture: Zoo name of the model, if it is a model of the zoo.
        seed: Seed of random inputs.

    Raises:
        InputSpecError: There are neither inputs nor data.
    """
    signature = None if data is None else signature_of(data)
    if inputs is None:
        inputs = _random(() if signature is None else signature.inputs, seed)
    return PrunableModel(model, architecture, inputs, signature)


def load_for_pruning(
    source: str,
    weights: Path | None = None,
    input_specs: Sequence[str] = (),
    data: DataSplits | None = None,
    seed: int = 0,
    *,
    inputs: Any = None,
) -> PrunableModel:
    """Load a model to prune, in evaluation mode.

    Args:
        source: SOURCE of the model; a network of the zoo is built for ``data``, if given.
        weights: File with weights to load.
        input_specs: Inputs as ``NAME:1x3x224x224``, if neither SOURCE nor data define them.
        data: Labelled images.
        seed: Seed of random inputs, and of the weights of an untrained network of the zoo.
        inputs: Example inputs; None to take those of the SOURCE or random ones.

    Raises:
        UsageError: The SOURCE is a captured program, whose layers cannot be cut.
        InputSpecError: The inputs of the model are unknown.
        EdgeSdkError: See :func:`edgesdk.frontend.source.load`.
    """
    if source.endswith(".pt2"):
        raise UsageError(
            f"{source} is a captured program, whose layers cannot be cut",
            remedy="name the code that builds the model: path/file.py:factory",
        )
    architecture = source if source in models.names() else None
    signature: ModelSignature | None = None
    example: Any = None
    specs: tuple[TensorSpec, ...] = ()
    if source.rstrip("/").endswith(".edgemodel") and Path(source).is_dir():
        saved = read_model_file(Path(source))
        if saved.architecture is None:
            raise UsageError(
                f"{source} holds a captured program, whose layers cannot be cut",
                remedy="prune the model from its code: path/file.py:factory",
            )
        architecture, signature = saved.architecture, saved.signature
        specs = signature.inputs if signature is not None else ()
    if data is not None and architecture == source:
        model = build_classifier(source, data, seed, weights)[0].eval()
    else:
        loaded = load(source, weights)
        model, example = loaded.model, loaded.example
        specs = specs or loaded.inputs
    if data is not None:
        specs, example, signature = signature_of(data).inputs, None, signature_of(data)
    if input_specs:
        specs, example = tuple(map(parse_input, input_specs)), None
    if inputs is not None:
        example = inputs
    if example is None:
        example = _random(specs, seed)
    return PrunableModel(model.eval(), architecture, example, signature)


def _random(specs: Sequence[TensorSpec], seed: int) -> Any:
    if not specs:
        raise InputSpecError(
            "the inputs of the model are unknown", remedy="give --input NAME:1x3x224x224, or --data"
        )
    arrays = random_inputs(list(specs), seed=seed)
    tensors = tuple(torch.from_numpy(arrays[s.name]).to(torch_dtype(s.dtype)) for s in specs)
    return tensors[0] if len(tensors) == 1 else tensors
