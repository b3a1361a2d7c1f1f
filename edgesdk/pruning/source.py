"""SOURCE of a model that is to be pruned, with inputs to follow its channels by."""

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

__all__ = ["PrunableSource", "load_for_pruning"]


@dataclass(frozen=True)
class PrunableSource:
    """A model with what pruning needs of it.

    Attributes:
        model: In evaluation mode.
        architecture: Its zoo name; None for any other model.
        inputs: Example inputs: a tensor, a tuple or a dictionary.
        signature: How the small model will be fed.
    """

    model: nn.Module
    architecture: str | None
    inputs: Any
    signature: ModelSignature | None


def load_for_pruning(
    source: str,
    weights: Path | None = None,
    inputs: Sequence[str] = (),
    data: DataSplits | None = None,
    seed: int = 0,
) -> PrunableSource:
    """Load a model.

    Args:
        source: SOURCE of the model; a network of the zoo is built for the data, if there are any.
        weights: Weights to load into it.
        inputs: Input specs, ``NAME:1x3x224x224``, where neither source nor data say it.
        data: Labelled images.
        seed: Of random inputs, and of the weights of an untrained network of the zoo.

    Raises:
        UsageError: A program, whose layers cannot be cut.
        InputSpecError: Nothing says what the model takes.
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
    given = tuple(parse_input(text) for text in inputs)
    if given:
        specs, example = given, None
    if example is None:
        example = _random(specs, seed)
    return PrunableSource(model.eval(), architecture, example, signature)


def _random(specs: Sequence[TensorSpec], seed: int) -> Any:
    if not specs:
        raise InputSpecError(
            "nothing says what the model takes",
            remedy="give --input NAME:1x3x224x224, or --data",
        )
    arrays = random_inputs(list(specs), seed=seed)
    tensors = tuple(
        torch.from_numpy(arrays[spec.name]).to(torch_dtype(spec.dtype)) for spec in specs
    )
    return tensors[0] if len(tensors) == 1 else tensors
