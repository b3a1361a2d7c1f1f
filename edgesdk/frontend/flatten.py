"""Flatten nested arguments and results into named tensors."""

from __future__ import annotations

import dataclasses
import inspect
import keyword
import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.utils import _pytree as pytree

from edgesdk.errors import InputSpecError, ModelOutputError
from edgesdk.frontend.tensor_specs import dtype_name
from edgesdk.near_names import nearest

__all__ = ["flat_example", "name_outputs", "takes_positions_only"]


def name_outputs(result: Any, inputs: Sequence[str] = ()) -> dict[str, Tensor]:
    """Flatten what a model returns into named tensors.

    A single tensor is called ``output``; a sequence ``output_0``, ``output_1``...; entries of a
    dictionary, a named tuple or a dataclass keep their keys, prefixed with ``output_`` if an input
    has that name. A tensor returned twice is copied, because runtimes refuse an output with two
    names.

    Args:
        result: Return value of ``forward``.
        inputs: Names of the inputs.

    Raises:
        ModelOutputError: The result holds no tensor, or something other than tensors.
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
                + "; artefacts can only return tensors",
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
    """Flatten example arguments into names, tensors and their structure.

    Args:
        model: The model that takes them.
        example: A tensor, a tuple of positional arguments, or a dictionary of keyword arguments;
            arguments may be nested.

    Returns:
        Input names (parameter names of ``forward``, with the path of a nested tensor), the tensors,
        and the structure that :class:`FlatModel` needs.

    Raises:
        InputSpecError: The example holds no tensor, or something other than tensors.
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
                remedy="pass only tensors; set other arguments in a wrapper module",
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
    """Return True if a model is an exported program captured with positional arguments.

    It refuses keyword arguments, although its ``forward`` names them.
    """
    codegen = getattr(getattr(model, "graph", None), "_codegen", None)
    structure = getattr(getattr(codegen, "pytree_info", None), "in_spec", None)
    children = structure.children() if structure is not None else []
    return len(children) == 2 and children[1].num_leaves == 0


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
    """Replace dataclasses that are not registered with torch by dictionaries of their fields."""

    def opened(leaf: Any) -> Any:
        if dataclasses.is_dataclass(leaf) and not isinstance(leaf, type):
            fields = {field.name: getattr(leaf, field.name) for field in dataclasses.fields(leaf)}
            return _without_dataclasses(fields)
        return leaf

    return pytree.tree_map(opened, result)


def _in_order(model: nn.Module, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Sort keyword arguments into the order of ``forward``."""
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
