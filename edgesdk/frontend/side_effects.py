"""Side effects of a model: changed buffers, changed inputs, random draws.

An artefact keeps no state between calls and has no generator of random numbers. A model with either
answers otherwise at every call, so no artefact can equal it.
"""

from __future__ import annotations

import contextlib
import operator
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import fx, nn
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from edgesdk.errors import CaptureError
from edgesdk.frontend.provenance import where

__all__ = [
    "attributes_kept",
    "changed_inputs",
    "copied",
    "generators_kept",
    "require_no_state",
    "state_kept",
    "stateful_buffers",
    "written",
]

# An operator with a seed draws nothing if one of these arguments has this value.
_SILENT_IF = {"train": False, "training": False, "p": 0.0, "dropout_p": 0.0}


# A message names so many buffers at most.
_MOST_NAMES = 4

_Snapshot = list[tuple[str, nn.Module, dict[str, Any], dict[str, torch.Tensor]]]


@contextlib.contextmanager
def state_kept(model: nn.Module) -> Iterator[list[str]]:
    """Run a model inside without lasting effects on its state or on random numbers.

    Buffers, attributes of modules and the generators among them are restored, and so are the global
    generators of torch, NumPy and Python. Inputs are not: pass them through :func:`copied`.

    Yields:
        A list that holds, once the context ends, the paths of the buffers that were changed.
    """
    snapshot = _snapshot(model)
    changed: list[str] = []
    with generators_kept(model), attributes_kept(model):
        try:
            yield changed
        finally:
            changed += _restored(snapshot)


@contextlib.contextmanager
def generators_kept(model: nn.Module | None = None) -> Iterator[None]:
    """Restore the global generators of torch, NumPy and Python afterwards.

    Args:
        model: Also restore generators that its modules hold, and of GPUs only those of its
            parameters; None for all GPUs.
    """
    modules = () if model is None else tuple(model.modules())
    held = [value for module in modules for value in vars(module).values()]
    states = [state for value in held if (state := _generator_state(value)) is not None]
    devices = None
    if model is not None:
        used = {p.device.index for p in model.parameters() if p.is_cuda}
        devices = sorted(index for index in used if index is not None)
    python, numbers = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numbers)
        for restore, state in states:
            restore(state)


def _generator_state(value: Any) -> tuple[Callable[[Any], Any], Any] | None:
    """Return a generator's state with the function that restores it; None for other values."""
    if isinstance(value, torch.Generator):
        return value.set_state, value.get_state()
    if isinstance(value, random.Random):
        return value.setstate, value.getstate()
    if isinstance(value, np.random.RandomState):
        return value.set_state, value.get_state()
    if isinstance(value, np.random.Generator):
        bits = value.bit_generator
        return lambda state: setattr(bits, "state", state), bits.state
    return None


def copied(inputs: Any) -> Any:
    """Return nested inputs with copies of all tensors, for models that write into them."""
    return pytree.tree_map(
        lambda leaf: leaf.detach().clone() if isinstance(leaf, torch.Tensor) else leaf, inputs
    )


@contextlib.contextmanager
def attributes_kept(model: nn.Module) -> Iterator[None]:
    """Restore attributes that a pass sets on modules, such as counters and caches."""
    before = [
        (module, dict(vars(module)), _contents(module))
        for module in model.modules()
        if not isinstance(module, torch.jit.ScriptModule)
    ]
    try:
        yield
    finally:
        for module, attributes, contents in before:
            now = vars(module)
            if now.keys() != attributes.keys() or any(
                now[name] is not value for name, value in attributes.items()
            ):
                now.clear()
                now.update(attributes)
            for container, content in contents:
                _refill(container, content)


def _contents(module: nn.Module) -> list[tuple[Any, Any]]:
    return [
        (value, value.copy()) for value in vars(module).values() if isinstance(value, dict | list)
    ]


def _refill(container: Any, content: Any) -> None:
    if isinstance(container, dict):
        same = list(container) == list(content) and all(
            container[key] is value for key, value in content.items()
        )
        if not same:
            container.clear()
            container.update(content)
    elif len(container) != len(content) or any(
        one is not other for one, other in zip(container, content, strict=True)
    ):
        container[:] = content


def _snapshot(model: nn.Module) -> _Snapshot:
    return [
        (
            path,
            module,
            dict(module._buffers),
            {name: value.clone() for name, value in module._buffers.items() if value is not None},
        )
        for path, module in model.named_modules()
        if module._buffers
    ]


def _restored(snapshot: _Snapshot) -> list[str]:
    """Give modules their buffers and the values again; return the paths of changed ones."""
    changed = []
    for path, module, buffers, copies in snapshot:
        for name, value in copies.items():
            now = module._buffers.get(name)
            if now is None or not _equal(now, value):
                changed.append(f"{path}.{name}".strip("."))
            if not _equal(buffers[name], value):
                with torch.no_grad():
                    buffers[name].copy_(value)
        module._buffers.update(buffers)
    return changed


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Return True if shapes and values agree; NaN equals NaN."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    same = one == other
    if one.is_floating_point() or one.is_complex():
        same |= one.isnan() & other.isnan()
    return bool(same.all())


def stateful_buffers(
    model: nn.Module, run: Callable[[], Mapping[str, torch.Tensor]]
) -> tuple[Mapping[str, torch.Tensor], list[str]]:
    """Run a model twice on one input, and find the buffers that carry state between the calls.

    A buffer that the first call fills and the second leaves, with the same outputs, is a cache,
    such as a table of positions: it stays filled. State is restored.

    Args:
        model: The model.
        run: Run the model once and return its outputs.

    Returns:
        Outputs of the first run, and the paths of the buffers that are state.
    """
    snapshot = _snapshot(model)
    with generators_kept(model):
        outputs = run()
    if all(_holds(module, copies) for _, module, _, copies in snapshot):
        return outputs, []
    with state_kept(model) as changed:
        again = run()
    if not changed and all(_equal(outputs[name], again[name]) for name in outputs):
        return outputs, []
    return outputs, sorted({*changed, *_restored(snapshot)})


def _holds(module: nn.Module, values: Mapping[str, torch.Tensor]) -> bool:
    now = module._buffers
    return all(
        (found := now.get(name)) is not None and _equal(found, value)
        for name, value in values.items()
    )


def require_no_state(program: ExportedProgram, changed: Sequence[str] = ()) -> None:
    """Check that a program neither changes a buffer nor draws random numbers.

    Args:
        program: The program.
        changed: Buffers that carry state, see :func:`stateful_buffers`. An assignment to a buffer
            of an inner module leaves no operator in the program.

    Raises:
        CaptureError: It does; names the buffer or the operator, and the user's line.
    """
    buffers = program.graph_signature.inputs_to_buffers
    writes = [(node, root) for node, root in written(program.graph) if root.name in buffers]
    paths = {*changed, *(buffers[root.name] for _, root in writes)}
    if paths:
        names = sorted(path.removeprefix("model.") for path in paths)
        raise CaptureError(
            f"forward() changes the buffer{'s' * (len(names) > 1)} "
            f"{', '.join(map(repr, names[:_MOST_NAMES]))}{_more(names)}, "
            "and an artefact keeps no state between calls",
            where=next((line for node, _ in writes if (line := _line(node))), None),
            remedy="take the state as an input of forward() and return its new value",
        )
    for node in program.graph.nodes:
        if node.op == "call_function" and _draws(node):
            name = ".".join(str(node.target).split(".")[:2])
            raise CaptureError(
                f"forward() draws random numbers ({name}), so that two runs on one input differ",
                where=where(node) or None,
                remedy="take the random numbers as an input of forward()",
            )


def _more(names: Sequence[str]) -> str:
    return f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""


def changed_inputs(program: ExportedProgram) -> tuple[str, ...]:
    """Return the names of the inputs that ``forward()`` writes into."""
    inputs = set(program.graph_signature.user_inputs)
    roots = (root.name for _, root in written(program.graph))
    return tuple(dict.fromkeys(name for name in roots if name in inputs))


def written(graph: fx.Graph) -> Iterator[tuple[fx.Node, fx.Node]]:
    """Yield every operator that writes into an input of the program, with that input."""
    for node in graph.nodes:
        schema = getattr(node.target, "_schema", None)
        if node.op != "call_function" or schema is None or not schema.is_mutable:
            continue
        for argument, given in zip(schema.arguments, node.args, strict=False):
            alias = argument.alias_info
            if alias is not None and alias.is_write and isinstance(given, fx.Node):
                root = _root(given)
                if root.op == "placeholder":
                    yield node, root


def _root(node: fx.Node) -> fx.Node:
    """Return the tensor that a view shows, or that an operator has written into and returned."""
    while node.op == "call_function":
        schema = getattr(node.target, "_schema", None)
        aliased = schema is not None and any(r.alias_info is not None for r in schema.returns)
        # Parts of a chunk or split come out of a list.
        aliased |= node.target is operator.getitem
        if not aliased or not node.args or not isinstance(node.args[0], fx.Node):
            break
        node = node.args[0]
    return node


def _line(node: fx.Node) -> str | None:
    """Return the user's line of a write; an assignment to a buffer has that of its value."""
    values = [node, *(other for other in node.all_input_nodes if other.op == "call_function")]
    return next((place for other in values if (place := where(other))), None)


def _draws(node: fx.Node) -> bool:
    tags = getattr(node.target, "tags", ())
    if torch.Tag.nondeterministic_seeded not in tags:
        return False
    given = dict(node.kwargs)
    for index, argument in enumerate(node.target._schema.arguments):
        value = node.args[index] if index < len(node.args) else argument.default_value
        given.setdefault(argument.name, value)
    return not any(name in given and given[name] == value for name, value in _SILENT_IF.items())
