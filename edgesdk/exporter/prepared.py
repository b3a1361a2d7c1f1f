"""Prepare a model for conversion: the model, its signature, programs and examples."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from edgesdk.errors import InputSpecError, UsageError
from edgesdk.frontend.capture import Capture, capture
from edgesdk.frontend.evaluation_mode import evaluate, training_layers
from edgesdk.frontend.flatten import flat_example, takes_positions_only
from edgesdk.frontend.random_inputs import random_inputs
from edgesdk.frontend.signature import FlatModel
from edgesdk.frontend.source import LoadedModel, load, require_float_module
from edgesdk.frontend.tensor_specs import spec_of, torch_dtype
from edgesdk.spec import DynamicDim, ImageSpec, TensorSpec, parse_image
from edgesdk.style_names import model_style_names

__all__ = [
    "CaptureSpec",
    "PreparedModel",
    "prepare",
]


@dataclass(frozen=True)
class CaptureSpec:
    """The program that a target needs.

    Attributes:
        dynamic: Dynamic dimensions by axis name (``batch``, ``height``, ``width``).
        planes: True if an image input arrives as planes of 0..255 instead of camera bytes.
    """

    dynamic: tuple[tuple[str, DynamicDim], ...] = ()
    planes: bool = False


@dataclass
class PreparedModel:
    """A model that is ready to be captured for any target.

    Attributes:
        loaded: The model with the metadata of its source.
        specs: Inputs of the model itself, all dimensions static.
        tensors: Example tensors of these inputs.
        structure: Tree structure that turns flat inputs into the model's arguments.
        image: Index and preprocessing of the input that takes camera bytes.
        styles: Names of the styles; empty if the model names none.
    """

    loaded: LoadedModel
    specs: tuple[TensorSpec, ...]
    tensors: tuple[Tensor, ...]
    structure: pytree.TreeSpec | None
    image: tuple[int, ImageSpec] | None = None
    styles: tuple[str, ...] = ()
    _captures: dict[CaptureSpec, Capture] = field(default_factory=dict)

    def input_specs(self, capture_spec: CaptureSpec) -> tuple[TensorSpec, ...]:
        """Return the inputs that an app passes to a captured program.

        Raises:
            InputSpecError: The example lies outside a dynamic dimension's range, or inputs disagree
                on its size.
        """
        specs = list(self.specs)
        if self.image is not None:
            index, image = self.image
            model_input = specs[index]
            batch, channels, height, width = model_input.shape
            if capture_spec.planes:
                specs[index] = replace(model_input, dtype="float32", layout="NCHW")
            else:
                specs[index] = replace(
                    model_input,
                    shape=(batch, height, width, channels),
                    dtype="uint8",
                    layout="NHWC",
                    image=image,
                )
        specs_with_dims = tuple(_with_dynamic(spec, dict(capture_spec.dynamic)) for spec in specs)
        _check_same_sizes(specs_with_dims)
        return specs_with_dims

    def capture(self, capture_spec: CaptureSpec) -> Capture:
        """Capture the model; each spec is captured once."""
        if capture_spec not in self._captures:
            specs = self.input_specs(capture_spec)
            self._captures[capture_spec] = capture(
                self.loaded.model,
                specs,
                self._input_tensors(specs),
                self.structure,
                self.image,
                planes=capture_spec.planes,
            )
        return self._captures[capture_spec]

    def flat_model(self) -> FlatModel:
        """Return the model with flat inputs, as an app would call it."""
        names = [spec.name for spec in self.specs]
        return FlatModel(self.loaded.model, names, self.structure, self.image)

    def _input_tensors(self, specs: Sequence[TensorSpec]) -> list[Tensor]:
        tensors = list(self.tensors)
        if self.image is not None:
            index, _ = self.image
            spec = specs[index]
            array = random_inputs([spec], seed=1)[spec.name]
            if spec.dtype != "uint8":
                array = np.abs(array) * 80
            tensors[index] = torch.from_numpy(array)
        return tensors

    def example(self) -> dict[str, np.ndarray]:
        """Return example arrays by input name, as an app would pass them."""
        tensors = self._input_tensors(self.input_specs(CaptureSpec()))
        pairs = zip(self.specs, tensors, strict=True)
        return {spec.name: tensor.detach().numpy() for spec, tensor in pairs}

    def backgrounds(self) -> tuple[dict[str, np.ndarray], ...]:
        """Return the example inputs that go with a photograph: :meth:`example`, once per style.

        Apps paint in one style at a time, and each style scales activations differently: ranges
        from a blend of all styles would clip every single one.
        """
        example = self.example()
        if not _blends_styles(self.loaded.model):
            return (example,)
        from edgesdk.exporter.paintings import single_styles

        styles = single_styles(self.specs)
        return tuple({**example, **style} for style in styles) or (example,)


def _blends_styles(model: nn.Module) -> bool:
    """Return True for a model with an attribute ``style_names``, even an empty one."""
    return hasattr(model, "style_names")


def _with_dynamic(spec: TensorSpec, dims: Mapping[str, DynamicDim]) -> TensorSpec:
    axes: dict[int, DynamicDim] = {}
    if "batch" in dims and spec.shape:
        axes[0] = dims["batch"]
    if len(spec.shape) == 4 and spec.layout:
        first = 1 if spec.layout == "NHWC" else 2
        for offset, name in enumerate(("height", "width")):
            if name in dims:
                axes[first + offset] = dims[name]
    for axis, dim in axes.items():
        size = spec.shape[axis]
        if not dim.min <= size <= dim.max or size % dim.multiple:
            raise InputSpecError(
                f"input {spec} has {dim.name} {size}, outside {dim.min}..{dim.max}"
                + (f" in multiples of {dim.multiple}" if dim.multiple > 1 else ""),
                remedy=f"widen the range, for instance --dynamic "
                f"{'batch' if dim.name == 'batch' else 'hw'}=1..{max(size, dim.max)}",
            )
    return replace(spec, dynamic=axes)


def _check_same_sizes(specs: Sequence[TensorSpec]) -> None:
    """Check that dynamic dimensions of one name have the same size in every example."""
    first: dict[str, tuple[str, int]] = {}
    for spec in specs:
        for axis, dim in spec.dynamic.items():
            name, size = first.setdefault(dim.name, (spec.name, spec.shape[axis]))
            if size != spec.shape[axis]:
                raise InputSpecError(
                    f"inputs {name!r} and {spec.name!r} have the {dim.name} {size} and "
                    f"{spec.shape[axis]}; a dynamic dimension has one size",
                    remedy=f"give both the same {dim.name}, or leave it static",
                )


def prepare(
    source: str | nn.Module,
    example: Any = None,
    *,
    inputs: Sequence[TensorSpec] = (),
    image: ImageSpec | str | None = None,
    weights: Path | None = None,
) -> PreparedModel:
    """Load a model and determine its inputs.

    Args:
        source: SOURCE, or the model itself.
        example: Example arguments; see :func:`edgesdk.frontend.flatten.flat_example`.
        inputs: Input specs in place of an example.
        image: Preprocessing to bake into the artefact; a text as for
            :func:`edgesdk.spec.parse_image`, or ``auto`` for the source's own.
        weights: Weights to load into the model.

    Raises:
        InputSpecError: Inputs are unknown, or do not fit the model.
        UsageError: Both an example and specs were given, or ``style_names`` is invalid.
        EdgeSdkError: See :func:`edgesdk.frontend.source.load`.
    """
    if isinstance(source, str):
        loaded = load(source, weights)
    else:
        if weights is not None:
            raise UsageError("load the weights into the model first, or give a SOURCE")
        loaded = _from_python(source)
    if example is not None and inputs:
        raise UsageError("both an example and input specs were given", remedy="give one of them")
    if example is None and not inputs:
        example, inputs = loaded.example, loaded.inputs
    if example is not None:
        names, tensors, structure = flat_example(loaded.model, example)
        specs = tuple(spec_of(name, tensor) for name, tensor in zip(names, tensors, strict=True))
    elif inputs:
        specs, tensors, structure = _from_specs(loaded.model, inputs)
    else:
        raise InputSpecError(
            f"the inputs of {loaded.name} are unknown",
            remedy=f"--input {_first_parameter(loaded.model)}:1x3x224x224",
        )
    baked = _preprocessing(loaded, image)
    return PreparedModel(
        loaded,
        specs,
        tuple(tensors),
        structure,
        _image_input(specs, baked) if baked is not None else None,
        model_style_names(loaded.model),
    )


def _preprocessing(loaded: LoadedModel, image: ImageSpec | str | None) -> ImageSpec | None:
    if image != "auto":
        return parse_image(image) if isinstance(image, str) else image
    if loaded.image is None:
        raise InputSpecError(
            f"the image preprocessing of {loaded.name} is unknown",
            remedy="name it: --image imagenet, or --image range=0..1,mean=a/b/c,std=a/b/c",
        )
    return loaded.image


def _from_python(model: nn.Module) -> LoadedModel:
    if not isinstance(model, nn.Module):
        raise UsageError(
            f"expected a model, got {type(model).__name__}",
            remedy="pass program.module()"
            if isinstance(model, torch.export.ExportedProgram)
            else "pass an nn.Module or a SOURCE string",
        )
    require_float_module(model)
    name = type(model).__name__
    notes: tuple[str, ...] = ()
    if training_layers(model):
        try:
            # Leave the user's object in training mode: training may continue after the export.
            model = copy.deepcopy(model)
        except Exception as error:
            raise UsageError(
                f"the model is in training mode and cannot be copied: {error}",
                remedy="call model.eval() before the export",
            ) from error
        notes = (
            f"{evaluate(model)} in training mode; a copy was switched to evaluation (dropout off, "
            "batch norm fixed)",
        )
    return LoadedModel(model, name, name, notes=notes)


def _first_parameter(model: nn.Module) -> str:
    return next(iter(_named_parameters(model)), "x")


def _from_specs(
    model: nn.Module, inputs: Sequence[TensorSpec]
) -> tuple[tuple[TensorSpec, ...], list[Tensor], pytree.TreeSpec | None]:
    names = [spec.name for spec in inputs]
    if len(set(names)) != len(names):
        raise InputSpecError(
            "two inputs have the same name", remedy="name them: --input left:1x3 --input right:1x3"
        )
    arrays = random_inputs(inputs, seed=0)
    if _blends_styles(model):
        from edgesdk.exporter.paintings import even_styles

        arrays |= even_styles(inputs)
    tensors = [
        torch.from_numpy(arrays[name]).to(torch_dtype(s.dtype))
        for name, s in zip(names, inputs, strict=True)
    ]
    parameters = _named_parameters(model)
    specs = tuple(
        replace(spec, layout=spec.layout or spec_of(spec.name, tensor).layout)
        for spec, tensor in zip(inputs, tensors, strict=True)
    )
    if all(name in parameters for name in names):
        # Use the order of forward(), not that of the command line.
        ordered, tensors, structure = flat_example(model, dict(zip(names, tensors, strict=True)))
        by_name = {spec.name: spec for spec in specs}
        call = None if takes_positions_only(model) else structure
        return tuple(by_name[name] for name in ordered), tensors, call
    for place, name in enumerate(names):
        if name in parameters and parameters.index(name) != place:
            wrong = next(other for other in names if other not in parameters)
            raise InputSpecError(
                f"the model has no input {wrong!r}",
                remedy=f"name all inputs as forward() does, or none: {', '.join(parameters)}",
            )
    flat_example(model, tuple(tensors))
    return specs, tensors, None


def _named_parameters(model: nn.Module) -> list[str]:
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = inspect.signature(model.forward).parameters.values()
    return [parameter.name for parameter in parameters if parameter.kind in named]


def _image_input(specs: Sequence[TensorSpec], image: ImageSpec) -> tuple[int, ImageSpec]:
    for index, spec in enumerate(specs):
        if len(spec.shape) == 4 and spec.shape[1] == image.channels and spec.dtype == "float32":
            return index, image
    raise InputSpecError(
        f"the model has no input for images of {image.channels} channels: "
        + ", ".join(str(spec) for spec in specs),
        remedy="--image needs a float32 input of shape 1x3xHxW (1x1xHxW for grey)",
    )
