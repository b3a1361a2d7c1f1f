"""The face of a model: flat, named tensors in and out, whatever its own signature is.

Artefacts know neither nested arguments nor dictionaries of outputs, and an app wants to pass camera
bytes. :class:`FaceModel` wraps a model so that what is captured has exactly that face.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import keyword
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from converters.named_forward import named_forward
from edgesdk.errors import InputSpecError, ModelOutputError, nearest
from edgesdk.spec import DTYPES, ImageSpec, TensorSpec

__all__ = [
    "FaceModel",
    "ImagePreprocessing",
    "dtype_name",
    "evaluate",
    "evaluation_mode",
    "flat_example",
    "name_outputs",
    "spec_of",
    "takes_positions_only",
    "torch_dtype",
    "training_layers",
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


def training_layers(model: nn.Module) -> dict[str, nn.Module]:
    """The modules that are in training mode, by path; the model's own path is empty.

    An exported program in it has no modes: whether it trains is seen in its operators alone.
    """
    found: dict[str, nn.Module] = {}

    def look(module: nn.Module, path: str) -> None:
        # torch.export forbids the switch on the module itself, and leaves its flag as it was.
        if isinstance(module, torch.fx.GraphModule) and "train" in vars(module):
            return
        if module.training:
            found[path] = module
        for name, child in module.named_children():
            look(child, f"{path}.{name}".lstrip("."))

    look(model, "")
    return found


def evaluate(model: nn.Module) -> str:
    """Switch a model to evaluation mode, in place.

    Returns:
        What was in training mode, such as ``the model was``; empty where nothing was.
    """
    training = training_layers(model)
    if not training:
        return ""
    try:
        model.eval()
    except NotImplementedError:
        for module in training.values():
            module.training = False
    if "" in training:
        return "the model was"
    return "1 layer was" if len(training) == 1 else f"{len(training)} layers were"


@contextlib.contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Keep a model in evaluation mode meanwhile; afterwards every module has its own mode again."""
    training = training_layers(model).values()
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


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
        names: Names of the inputs, in the order of the flattened arguments; identifiers, and none
            of them twice.
        structure: How the flat inputs become ``(args, kwargs)``; None passes them in order.
        image: Index of the input that takes camera bytes, with its preprocessing.
        planes: See :class:`ImagePreprocessing`.

    Raises:
        InputSpecError: A name that no argument can have.
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
        _check_names(names)
        self.model = model
        self._names = tuple(names)
        self.image_index = image[0] if image else None
        if image:
            self.preprocessing = ImagePreprocessing(image[1], planes=planes)
        self._structure = structure
        # torch.export names the inputs of a program after the parameters of forward.
        forward = named_forward(names, FaceModel.call)
        self.__class__ = cast(Any, type("FaceModel", (FaceModel,), {"forward": forward}))
        # Its own flags alone: the model is in evaluation mode, and an exported program that came
        # out of a file refuses to be switched.
        for module in self.modules():
            if isinstance(module, FaceModel | ImagePreprocessing):
                module.training = False

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
        return name_outputs(result, self._names)


def _check_names(names: Sequence[str]) -> None:
    for name in names:
        if not name.isidentifier() or keyword.iskeyword(name) or name == "self":
            raise InputSpecError(
                f"an input cannot be called {name!r}",
                remedy="use letters, digits and underscores, and no word of Python's own",
            )
        if list(names).count(name) > 1:
            raise InputSpecError(
                f"two inputs are called {name!r}",
                remedy="name them: --input left:1x3 --input right:1x3",
            )


def _name(path: str) -> str:
    return re.sub(r"\W+", "_", path).strip("_")


def _output_name(path: str) -> str:
    name = _name(path)
    return name if name.isidentifier() else f"output_{name}".rstrip("_")


def _argument_name(path: str) -> str:
    name = _name(path)
    if not name.isidentifier():
        name = f"input_{name}".rstrip("_")
    return f"{name}_" if keyword.iskeyword(name) or name == "self" else name


def _without_dataclasses(result: Any) -> Any:
    """Dataclasses that nobody registered with torch, as dictionaries of their fields."""

    def opened(leaf: Any) -> Any:
        if dataclasses.is_dataclass(leaf) and not isinstance(leaf, type):
            fields = {field.name: getattr(leaf, field.name) for field in dataclasses.fields(leaf)}
            return _without_dataclasses(fields)
        return leaf

    return pytree.tree_map(opened, result)


def name_outputs(result: Any, inputs: Sequence[str] = ()) -> dict[str, Tensor]:
    """Flatten what a model returns into named tensors.

    A single tensor is called ``output``; a sequence ``output_0``, ``output_1``...; entries of a
    dictionary, a named tuple or a dataclass keep their keys, and get ``output_`` before them where
    an input has that name. An output that is there twice is copied, because runtimes refuse an
    output with two names.

    Args:
        result: What ``forward`` returned.
        inputs: Names of the inputs.

    Raises:
        ModelOutputError: Something that is no tensor, or no tensor at all.
    """
    leaves, _ = pytree.tree_flatten_with_path(_without_dataclasses(result))
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
        name = _output_name(label)
        if name in inputs:
            name = f"output_{name}"
        while name in named or name in inputs:
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
    kwargs = _in_order(model, kwargs)
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
        name = _argument_name(head + pytree.keystr(tuple(rest)))
        while name in names:
            name += "_"
        names.append(name)
        tensors.append(leaf)
    if not tensors:
        raise InputSpecError(
            "the example holds no tensor", remedy="a model without inputs cannot be converted"
        )
    return names, tensors, structure


def takes_positions_only(model: nn.Module) -> bool:
    """Whether a model is an exported program that was captured with positional arguments.

    Such a one refuses the same arguments by name, although its ``forward`` names them.
    """
    codegen = getattr(getattr(model, "graph", None), "_codegen", None)
    structure = getattr(getattr(codegen, "pytree_info", None), "in_spec", None)
    children = structure.children() if structure is not None else []
    return len(children) == 2 and children[1].num_leaves == 0


def _in_order(model: nn.Module, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Keyword arguments in the order of ``forward``, whatever the order they were given in."""
    known = inspect.signature(model.forward).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in known.values())
    named = [
        name for name, p in known.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]
    for name in kwargs:
        if name not in named and not takes_any:
            close = nearest(str(name), named)
            raise InputSpecError(
                f"the model takes no input {name!r}",
                remedy=f"did you mean {close!r}?" if close else f"it takes {', '.join(named)}",
            )
    ordered = [name for name in named if name in kwargs]
    return {name: kwargs[name] for name in (*ordered, *(n for n in kwargs if n not in named))}


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
    # One pixel is no picture but a vector: the shares of three styles look like that.
    pictured = tensor.ndim == 4 and tensor.shape[1] in (1, 3, 4) and tensor.shape[2:].numel() > 1
    layout = "NCHW" if pictured else ""
    return TensorSpec(name, tuple(tensor.shape), dtype_name(tensor.dtype), layout=layout)
