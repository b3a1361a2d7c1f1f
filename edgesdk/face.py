"""The face of a model: flat, named tensors in and out, whatever its own signature is.

Artefacts know neither nested arguments nor dictionaries of outputs, and an app wants to pass camera
bytes. :class:`FaceModel` wraps a model so that what is captured has exactly that face.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from converters.named_forward import named_forward
from edgesdk.errors import InputSpecError, ModelOutputError
from edgesdk.spec import DTYPES, ImageSpec, TensorSpec

__all__ = [
    "FaceModel",
    "ImagePreprocessing",
    "dtype_name",
    "flat_example",
    "name_outputs",
    "spec_of",
    "torch_dtype",
]


def torch_dtype(name: str) -> torch.dtype:
    """The torch dtype of one of :data:`edgesdk.spec.DTYPES`."""
    return cast(torch.dtype, getattr(torch, name))


def dtype_name(dtype: torch.dtype) -> str:
    """The name of a torch dtype as the specs use it.

    Raises:
        InputSpecError: No target can pass this dtype.
    """
    name = str(dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise InputSpecError(
            f"tensors of {name} cannot pass the face of an artefact",
            remedy=f"convert them in the model to one of {', '.join(DTYPES)}",
        )
    return name


class ImagePreprocessing(nn.Module):
    """From camera bytes to what the model was trained on.

    Computes ``(value / 255 * (high - low) + low - mean) / std`` a channel, as one multiplication
    and one addition.

    Args:
        spec: The preprocessing.
        planes: False takes ``uint8 [n, h, w, c]``; True takes ``float32 [n, c, h, w]`` in 0..255,
            which is how Core ML hands an image to a model.
    """

    scale: Tensor
    offset: Tensor

    def __init__(self, spec: ImageSpec, *, planes: bool = False) -> None:
        super().__init__()
        std = torch.tensor(spec.std, dtype=torch.float64).view(1, -1, 1, 1)
        mean = torch.tensor(spec.mean, dtype=torch.float64).view(1, -1, 1, 1)
        self.planes = planes
        self.swap = spec.color != spec.model_color
        self.register_buffer("scale", ((spec.high - spec.low) / 255.0 / std).float())
        self.register_buffer("offset", ((spec.low - mean) / std).float())

    def forward(self, image: Tensor) -> Tensor:
        """``uint8 [n, h, w, c]`` or planes to ``float32 [n, c, h, w]``."""
        # In float first: delegates transpose floats, and leave bytes to a slow kernel.
        planes = image if self.planes else image.to(torch.float32).permute(0, 3, 1, 2)
        if self.swap:
            planes = torch.cat((planes[:, 2:3], planes[:, 1:2], planes[:, 0:1]), dim=1)
        return planes * self.scale + self.offset


class FaceModel(nn.Module):
    """A model behind flat, named tensors.

    Args:
        model: The user's model, in evaluation mode.
        names: Names of the inputs, in the order of the flattened arguments.
        structure: How the flat inputs become ``(args, kwargs)``; None passes them in order.
        image: Index of the input that takes camera bytes, with its preprocessing.
        planes: See :class:`ImagePreprocessing`.
    """

    def __init__(
        self,
        model: nn.Module,
        names: Sequence[str],
        structure: pytree.TreeSpec | None = None,
        image: tuple[int, ImageSpec] | None = None,
        *,
        planes: bool = False,
    ) -> None:
        super().__init__()
        self.model = model
        self.image_index = image[0] if image else None
        if image:
            self.preprocessing = ImagePreprocessing(image[1], planes=planes)
        self._structure = structure
        # torch.export names the inputs of a program after the parameters of forward.
        forward = named_forward(names, FaceModel.call)
        self.__class__ = cast(Any, type("FaceModel", (FaceModel,), {"forward": forward}))

    def call(self, flat: Sequence[Tensor]) -> dict[str, Tensor]:
        """Run the model on the flat inputs and name its flat outputs."""
        tensors = list(flat)
        if self.image_index is not None:
            tensors[self.image_index] = self.preprocessing(tensors[self.image_index])
        if self._structure is None:
            result = self.model(*tensors)
        else:
            args, kwargs = pytree.tree_unflatten(tensors, self._structure)
            result = self.model(*args, **kwargs)
        return name_outputs(result)


def _identifier(path: str) -> str:
    name = re.sub(r"\W+", "_", path).strip("_")
    return f"output_{name}" if not name or name[0].isdigit() else name


def name_outputs(result: Any) -> dict[str, Tensor]:
    """Flatten what a model returns into named tensors.

    A single tensor is called ``output``; a sequence ``output_0``, ``output_1``...; entries of a
    dictionary, a named tuple or a registered dataclass keep their keys. An output that is there
    twice is copied, because runtimes refuse an output with two names.

    Raises:
        ModelOutputError: Something that is no tensor, or no tensor at all.
    """
    leaves, _ = pytree.tree_flatten_with_path(result)
    named: dict[str, Tensor] = {}
    seen: set[int] = set()
    for path, leaf in leaves:
        if leaf is None:
            continue
        label = pytree.keystr(path)
        if not isinstance(leaf, Tensor):
            raise ModelOutputError(
                f"the model returns a {type(leaf).__name__}"
                + (f" at {label}" if label else "")
                + "; an artefact can only return tensors",
                remedy="return tensors only, for instance torch.tensor(value)",
            )
        name = _identifier(label) if label else "output"
        while name in named:
            name += "_"
        named[name] = leaf.clone() if id(leaf) in seen else leaf
        seen.add(id(leaf))
    if not named:
        raise ModelOutputError(
            "the model returns no tensor", remedy="return its result from forward()"
        )
    return named


def flat_example(
    model: nn.Module, example: Any
) -> tuple[list[str], list[Tensor], pytree.TreeSpec | None]:
    """Names, tensors and structure of an example.

    Args:
        model: The model it is an example for.
        example: A tensor, a tuple of positional arguments, or a dictionary of keyword arguments;
            arguments may be nested.

    Returns:
        Input names (parameter names of ``forward``, with the path of a nested tensor), the tensors,
        and the structure that :class:`FaceModel` needs.

    Raises:
        InputSpecError: An argument that is no tensor, or no tensor at all.
    """
    if isinstance(example, Tensor):
        example = (example,)
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    if isinstance(example, Mapping):
        kwargs = dict(example)
    elif isinstance(example, (tuple, list)):
        args = tuple(example)
    else:
        raise InputSpecError(
            f"an example cannot be a {type(example).__name__}",
            remedy="pass a tensor, a tuple of arguments or a dictionary of keyword arguments",
        )
    parameters = _parameter_names(model, len(args))
    leaves, structure = pytree.tree_flatten_with_path((args, kwargs))
    names: list[str] = []
    tensors: list[Tensor] = []
    for path, leaf in leaves:
        if not isinstance(leaf, Tensor):
            raise InputSpecError(
                f"the example holds a {type(leaf).__name__} at {pytree.keystr(path)}",
                remedy="pass only tensors; fix other arguments in a wrapping module",
            )
        dtype_name(leaf.dtype)
        _, entry, *rest = path
        position = getattr(entry, "idx", None)
        head = str(entry.key) if position is None else parameters[position]
        name = _identifier(head + pytree.keystr(tuple(rest)))
        while name in names:
            name += "_"
        names.append(name)
        tensors.append(leaf)
    if not tensors:
        raise InputSpecError(
            "the example holds no tensor", remedy="a model without inputs cannot be converted"
        )
    return names, tensors, structure


def _parameter_names(model: nn.Module, count: int) -> list[str]:
    names: list[str] = []
    for parameter in inspect.signature(model.forward).parameters.values():
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            names += [f"{parameter.name}_{index}" for index in range(count - len(names))]
        elif parameter.kind is not inspect.Parameter.VAR_KEYWORD:
            names.append(parameter.name)
    if count > len(names):
        raise InputSpecError(
            f"the model takes {len(names)} inputs ({', '.join(names)}), {count} were given",
            remedy="give one --input for each argument of forward()",
        )
    return names


def spec_of(name: str, tensor: Tensor) -> TensorSpec:
    """The spec of an example tensor."""
    layout = "NCHW" if tensor.ndim == 4 and tensor.shape[1] in (1, 3, 4) else ""
    return TensorSpec(name, tuple(tensor.shape), dtype_name(tensor.dtype), layout=layout)
