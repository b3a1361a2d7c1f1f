"""A copy of a captured program whose operators are replaced one by one."""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, InputSpec, TensorArgument
from torch.func import functionalize
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree

__all__ = ["Surgery", "functional", "values_of"]

_CARRIED = ("stack_trace", "nn_module_stack", "torch_fn", "source_fn_stack")
_COPIES = frozenset(
    f"aten.{name}.default" for name in ("alias", "clone", "detach", "lift_fresh_copy")
)
_FIXED = (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR)


def values_of(
    node: fx.Node, known: Callable[[fx.Node], Tensor | None] = lambda _: None
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of a node with tensors in place of nodes.

    Args:
        node: The node.
        known: Gives real tensors; fake ones stand for those that it does not know.
    """

    def value(other: fx.Node) -> Any:
        found = known(other)
        return other.meta["val"] if found is None else found

    return fx.map_arg((node.args, node.kwargs), value)


def functional(program: ExportedProgram) -> ExportedProgram:
    """Return the program itself, or a copy whose operators write into none of their inputs."""
    mutable = any(_is_mutable(node) for node in program.graph.nodes)
    return program.run_decompositions({}) if mutable else program


def _is_mutable(node: fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return node.op == "call_function" and schema is not None and schema.is_mutable


class Surgery:
    """Replaces operators of a program, and leaves all others as they are.

    Args:
        program: Not changed; tensors are shared with it.
    """

    def __init__(self, program: ExportedProgram) -> None:
        self._program = program
        graph = copy.deepcopy(program.graph)
        for node, copied in zip(program.graph.nodes, graph.nodes, strict=True):
            # A copy renames an input called like a function of Python, such as "input".
            copied.name = node.name
        self.module = fx.GraphModule(program.graph_module, graph)
        self._signature = copy.deepcopy(program.graph_signature)
        self._constants = dict(program.constants)
        self._state = dict(program.state_dict)
        self._fake_mode = _fake_mode_of(program)

    @property
    def graph(self) -> fx.Graph:
        """The graph as it is now."""
        return self.module.graph

    def replace(
        self,
        node: fx.Node,
        compute: Callable[..., Any],
        constants: Sequence[Tensor] = (),
        *,
        parts: bool = False,
    ) -> None:
        """Put the operators of a function in the place of one node.

        Args:
            node: To be replaced.
            compute: Called with the node's own arguments, and with ``constants`` by keyword where
                there are any.
            constants: Real tensors that the function reads.
            parts: See :class:`edgesdk.converters.rewriting.rule.Rule`.
        """
        added = [self.constant(tensor) for tensor in constants]
        tensors: list[fx.Node] = []

        def hole(other: fx.Node) -> _Hole:
            tensors.append(other)
            return _Hole(len(tensors) - 1)

        arguments = fx.map_arg((node.args, node.kwargs), hole)
        count = len(tensors)

        def call(*values: Any) -> Any:
            args, kwargs = _filled(arguments, values)
            extra = {"constants": values[count:]} if added else {}
            return compute(*args, **kwargs, **extra)

        self.substitute(node, self.insert(node, call, [*tensors, *added], node.meta, parts=parts))

    def insert(
        self,
        before: fx.Node,
        compute: Callable[..., Any],
        inputs: Sequence[fx.Node],
        meta: Mapping[str, Any],
        *,
        parts: bool = False,
    ) -> Any:
        """Put the operators of a function before a node.

        Args:
            before: The node.
            compute: Called with the values of ``inputs``.
            inputs: Nodes that the function reads.
            meta: Where the operators come from; its place in the user's code is kept.
            parts: See :class:`edgesdk.converters.rewriting.rule.Rule`.

        Returns:
            The node of the result, or nodes in the structure of the result.
        """
        with self._fake_mode, torch.no_grad():
            values = [one.meta["val"] for one in inputs]
            traced = make_fx(compute, pre_dispatch=not parts)(*values)
            if any(_is_mutable(inner) for inner in traced.graph.nodes):
                traced = make_fx(functionalize(traced), pre_dispatch=not parts)(*values)
        carried = {key: meta[key] for key in _CARRIED if key in meta}
        copies: dict[fx.Node, fx.Node] = {}
        given = iter(inputs)
        result: Any = None
        with self.graph.inserting_before(before):
            for inner in traced.graph.nodes:
                if inner.op == "placeholder":
                    copies[inner] = next(given)
                elif inner.op == "output":
                    result = fx.map_arg(inner.args[0], copies.__getitem__)
                else:
                    copied = self.graph.node_copy(inner, copies.__getitem__)
                    copied.meta = {**carried, "val": inner.meta["val"]}
                    copies[inner] = copied
        # A weight that is made from weights alone is made now; what is returned stays a node.
        kept = {id(one) for one in pytree.tree_leaves(result)}
        for copied in copies.values():
            if id(copied) not in kept:
                self.fold(copied)
        return result

    def substitute(self, node: fx.Node, result: Any) -> None:
        """Let the users of a node read ``result`` and erase the node.

        Args:
            node: To be erased.
            result: A node, or one node for each result of an operator that has several.
        """
        if isinstance(result, fx.Node):
            node.replace_all_uses_with(result)
        else:
            for user in list(node.users):
                if user.target is not operator.getitem:
                    raise RuntimeError(f"{user} takes all results of {node} at once")
                if user.users:
                    user.replace_all_uses_with(result[user.args[1]])
                self.graph.erase_node(user)
        self.graph.erase_node(node)

    def fold(self, node: fx.Node) -> bool:
        """Compute a node now if it reads fixed tensors only; return whether it did."""
        if node.op != "call_function" or not node.all_input_nodes or not node.users:
            return False
        tensors = {other: self._fixed(other) for other in node.all_input_nodes}
        if any(tensor is None for tensor in tensors.values()):
            return False
        args, kwargs = fx.map_arg((node.args, node.kwargs), tensors.__getitem__)
        with unset_fake_temporarily(), torch.no_grad():
            value = node.target(*args, **kwargs)
        if not isinstance(value, Tensor):
            return False
        node.replace_all_uses_with(self.constant(value))
        self.graph.erase_node(node)
        return True

    def known(self, node: fx.Node) -> Tensor | None:
        """Return the tensor of a node that is fixed, or a copy of a fixed one; else None."""
        while node.op == "call_function" and str(node.target) in _COPIES:
            node = node.all_input_nodes[0]
        return self._fixed(node)

    def _fixed(self, node: fx.Node) -> Tensor | None:
        """The tensor of a parameter, buffer or constant that the program never changes."""
        spec = next((s for s in self._signature.input_specs if s.arg.name == node.name), None)
        if node.op != "placeholder" or spec is None or spec.kind not in _FIXED:
            return None
        if spec.target in self._signature.buffers_to_mutate.values():
            return None
        held = self._state.get(spec.target)
        found = held if isinstance(held, Tensor) else self._constants.get(spec.target)
        return found.detach() if isinstance(found, Tensor) else None

    def constant(self, tensor: Tensor) -> fx.Node:
        """Add a fixed tensor to the inputs of the program."""
        numbers = (key.removeprefix("rewritten_") for key in self._constants)
        name = f"rewritten_{1 + max((int(n) for n in numbers if n.isdecimal()), default=-1)}"
        specs = self._signature.input_specs
        at = next((i for i, s in enumerate(specs) if s.kind == InputKind.USER_INPUT), len(specs))
        placeholders = [node for node in self.graph.nodes if node.op == "placeholder"]
        following = next(node for node in self.graph.nodes if node not in placeholders[:at])
        with self.graph.inserting_before(following):
            node = self.graph.placeholder(f"c_{name}")
        kept = tensor.detach().contiguous().clone()
        node.meta["val"] = self._fake_mode.from_tensor(kept, static_shapes=True)
        specs.insert(at, InputSpec(InputKind.CONSTANT_TENSOR, TensorArgument(name=node.name), name))
        self._constants[name] = kept
        return node

    def make_contiguous(self, names: Sequence[str]) -> None:
        """Store parameters and buffers contiguously, and lay out all that follows from them."""
        kind = torch.nn.Parameter
        for name in names:
            held = self._state[name]
            plain = held.detach().contiguous()
            self._state[name] = kind(plain, held.requires_grad) if isinstance(held, kind) else plain
        places = {spec.arg.name: spec.target for spec in self._signature.input_specs}
        with self._fake_mode, torch.no_grad():
            for node in self.graph.nodes:
                if node.op == "placeholder" and places.get(node.name) in names:
                    node.meta["val"] = node.meta["val"].contiguous()
                elif node.op == "call_function":
                    args, kwargs = values_of(node)
                    node.meta["val"] = node.target(*args, **kwargs)

    def finished(self) -> ExportedProgram:
        """Return the program as it is now."""
        self.graph.eliminate_dead_code()
        self._drop_unread()
        values = next(node for node in reversed(self.graph.nodes) if node.op == "output").args[0]
        for spec, value in zip(self._signature.output_specs, values, strict=True):
            if isinstance(value, fx.Node) and hasattr(spec.arg, "name"):
                spec.arg = type(spec.arg)(name=value.name)
        self.graph.lint()
        self.module.recompile()
        program = self._program
        return ExportedProgram(
            root=self.module,
            graph=self.graph,
            graph_signature=self._signature,
            state_dict=self._state,
            range_constraints=program.range_constraints,
            module_call_graph=program.module_call_graph,
            example_inputs=program.example_inputs,
            constants=self._constants,
            verifiers=program.verifiers,
        )

    def _drop_unread(self) -> None:
        """Forget constants of ours that were folded into others."""
        nodes = {node.name: node for node in self.graph.nodes if node.op == "placeholder"}
        for spec in list(self._signature.input_specs):
            ours = spec.kind == InputKind.CONSTANT_TENSOR and spec.target not in (
                self._program.constants
            )
            if ours and not nodes[spec.arg.name].users:
                self.graph.erase_node(nodes[spec.arg.name])
                self._signature.input_specs.remove(spec)
                del self._constants[spec.target]


def _fake_mode_of(program: ExportedProgram) -> FakeTensorMode:
    for node in program.graph.nodes:
        value = node.meta.get("val")
        if isinstance(value, Tensor):
            return value.fake_mode
    return FakeTensorMode()


class _Hole:
    """The place of a tensor in the arguments of an operator."""

    def __init__(self, index: int) -> None:
        self.index = index


def _filled(arguments: Any, values: Sequence[Any]) -> Any:
    if isinstance(arguments, _Hole):
        return values[arguments.index]
    if isinstance(arguments, tuple | list):
        return type(arguments)(_filled(one, values) for one in arguments)
    if isinstance(arguments, dict):
        return {key: _filled(one, values) for key, one in arguments.items()}
    return arguments
