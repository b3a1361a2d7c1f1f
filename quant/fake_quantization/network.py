"""Node-by-node execution of a program, with replaceable operators."""

from __future__ import annotations

import contextlib
import copy
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.fx import Graph, Node

from edgesdk.errors import InputSpecError, QuantizationError
from edgesdk.frontend.side_effects import generators_kept
from edgesdk.quant.fake_quantization.operators import refuse_quantized
from edgesdk.quant.layer_names import operator_name, tensor_names

__all__ = ["Network", "Step", "Walk", "plain", "sample_errors"]

#: Computes a node from its arguments.
Step = Callable[[Node, tuple[Any, ...], dict[str, Any]], Any]

#: Operators whose arguments may contain the batch size of the example.
_SIZED = frozenset({"expand", "reshape", "view"})


def plain(node: Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Compute the operator itself."""
    return node.target(*args, **kwargs)


@contextlib.contextmanager
def sample_errors() -> Iterator[None]:
    """Translate torch's errors on a sample, and restore random generators afterwards.

    Raises:
        InputSpecError: The sample has the wrong shape or dtype.
    """
    try:
        with generators_kept():
            yield
    except RuntimeError as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputSpecError(
            f"a sample does not fit the program: {first}",
            remedy="give samples with the shapes and dtypes that it was captured with",
        ) from error


class Network:
    """Exported program in functional form, computable for any batch size.

    Args:
        program: Captured in evaluation mode.

    Attributes:
        graph: Operators; weights are placeholders.
        inputs: Placeholders of the inputs, in order.
        constants: Names of parameters, buffers and constants by placeholder.
        outputs: Names of the outputs, in order.
        names: See :func:`edgesdk.quant.layer_names.tensor_names`.
        nodes: All nodes, in order.
        returned: Returned nodes.
        last_use: Nodes last read by each node.
        batch: Captured batch size; None unless all inputs have the same fixed one.

    Raises:
        QuantizationError: The program is quantized already.
    """

    def __init__(self, program: ExportedProgram) -> None:
        refuse_quantized(program)
        signature = program.graph_signature
        self.program = program
        self.graph = _functional(program.graph)
        placeholders = {node.name: node for node in self.graph.nodes if node.op == "placeholder"}
        constants = {
            **signature.inputs_to_parameters,
            **signature.inputs_to_buffers,
            **signature.inputs_to_lifted_tensor_constants,
        }
        self.constants = {placeholders[name]: path for name, path in constants.items()}
        self.inputs = tuple(placeholders[str(name)] for name in signature.user_inputs)
        self.names = tensor_names(self.graph.nodes)
        output = next(node for node in self.graph.nodes if node.op == "output")
        count = len(signature.user_outputs)
        given = list(output.args[0])[-count:] if count else []
        self.returned = tuple(node for node in given if isinstance(node, Node))
        self.outputs = _output_names(program, len(self.returned))
        self.nodes = tuple(self.graph.nodes)
        self.last_use = _last_use(self.graph)
        self.batch = self._captured_batch()

    def values(self) -> dict[Node, Tensor]:
        """Return the program's parameters, buffers and constants by placeholder."""
        found: dict[Node, Tensor] = {}
        for node, path in self.constants.items():
            value = self.program.state_dict.get(path)
            value = self.program.constants.get(path) if value is None else value
            if not isinstance(value, Tensor):
                raise QuantizationError(
                    f"the program has no value for {path}", remedy="capture the model again"
                )
            found[node] = value.detach()
        return found

    def compute(
        self,
        inputs: Sequence[Tensor],
        constants: Mapping[Node, Tensor],
        step: Step = plain,
        *,
        until: Node | None = None,
    ) -> list[Tensor]:
        """Run the operators in order.

        Args:
            inputs: One tensor per input.
            constants: Value of each of :attr:`constants`.
            step: Computes each operator.
            until: Last operator to compute; None for all.

        Returns:
            The outputs; none with ``until``.
        """
        walk = Walk(self, inputs, constants, step)
        if until is None:
            return walk.finish()
        walk.advance(until)
        walk.step_over()
        return []

    def _captured_batch(self) -> int | None:
        """Return the fixed batch size of all inputs; None if they have none."""
        found = set()
        for node in self.inputs:
            shape: Any = getattr(node.meta.get("val"), "shape", ())
            found.add(shape[0] if len(shape) else None)
        batch = found.pop() if len(found) == 1 else None
        return batch if isinstance(batch, int) else None


class Walk:
    """Run of a network that can pause before any operator.

    Args:
        network: Network to compute.
        inputs: One tensor per input.
        constants: Value of each of the network's constants.
        step: Computes each operator.
    """

    def __init__(
        self,
        network: Network,
        inputs: Sequence[Tensor],
        constants: Mapping[Node, Tensor],
        step: Step,
    ) -> None:
        self._network, self._step = network, step
        self._values: dict[Node, Any] = dict(zip(network.inputs, inputs, strict=True))
        self._values.update(constants)
        self._size = inputs[0].shape[0] if inputs and inputs[0].ndim else None
        self._place = 0

    @property
    def next(self) -> Node:
        """Next operator."""
        return self._network.nodes[self._place]

    def fork(self, step: Step) -> Walk:
        """Return a copy that continues from here with another step."""
        other = copy.copy(self)
        other._step, other._values = step, dict(self._values)
        return other

    def advance(self, to: Node) -> None:
        """Compute all operators in front of ``to``."""
        while self._network.nodes[self._place] is not to:
            self.step_over()

    def finish(self) -> list[Tensor]:
        """Compute the remaining operators and return the outputs."""
        while self._place < len(self._network.nodes):
            self.step_over()
        return [self._values[node] for node in self._network.returned]

    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments of the next operator."""
        node = self._network.nodes[self._place]
        args = torch.fx.map_arg(node.args, self._values.__getitem__)
        kwargs = torch.fx.map_arg(node.kwargs, self._values.__getitem__)
        return self._for_batch(node, args), dict(kwargs)

    def step_over(self) -> None:
        """Compute the next operator, and release values that are not needed any more."""
        node = self._network.nodes[self._place]
        if node.op == "placeholder":
            # Arguments other than tensors were fixed at capture.
            self._values.setdefault(node, node.meta.get("val"))
        elif node.op == "get_attr":
            self._values[node] = self._attribute(str(node.target))
        elif node.op == "call_function":
            self._values[node] = self._step(node, *self.arguments())
        for released in self._network.last_use.get(node, ()):
            del self._values[released]
        self._place += 1

    def _attribute(self, path: str) -> Any:
        value: Any = self._network.program.graph_module
        for name in path.split("."):
            value = getattr(value, name)
        return value

    def _for_batch(self, node: Node, args: tuple[Any, ...]) -> tuple[Any, ...]:
        captured = self._network.batch
        if self._size is None or self._size == captured or operator_name(node) not in _SIZED:
            return args
        given = list(args)
        sizes = given[1] if len(given) > 1 else None
        if isinstance(sizes, list | tuple) and sizes and sizes[0] == captured:
            given[1] = [self._size, *sizes[1:]]
        return tuple(given)


def _functional(original: Graph) -> Graph:
    """Return a copy of the graph without in-place operators."""
    graph = Graph()
    copied: dict[Node, Node] = {}
    result = graph.graph_copy(original, copied)
    # graph_copy does not copy the output node.
    graph.output(result)
    for old, new in copied.items():
        # Copying would rename nodes with names of Python builtins, such as "input".
        new.name, new.meta = old.name, dict(old.meta)
    for node in list(graph.nodes):
        other = _out_of_place(node)
        if other is not None:
            _made_functional(node, other)
    graph.eliminate_dead_code()
    return graph


def _made_functional(node: Node, other: Any) -> None:
    """Compute a write as a new value that later readers of its tensor and of its views read."""
    later = set(_after(node))
    changed = node.args[0]
    node.target = other
    if not isinstance(changed, Node):
        return
    views = _views_up_to_base(changed)
    base, value = (views[0].args[0], node) if views else (changed, node)
    assert isinstance(base, Node)
    graph = node.graph
    last = node
    if views:
        steps = tuple((view.target, tuple(view.args[1:]), dict(view.kwargs)) for view in views)
        with graph.inserting_after(node):
            value = last = graph.call_function(written_back, (base, node, steps))
        value.name = f"{base.name}_written_by_{node.name}"
        value.meta = {**node.meta, "val": base.meta.get("val")}
    # Views that were taken before the write show the new value too.
    fresh = {base: value}
    for view in list(graph.nodes):
        if view in later or view is value or not _is_view(view) or view.args[0] not in fresh:
            continue
        if view not in views and not any(user in later for user in _users_of_views(view)):
            continue
        with graph.inserting_after(last):
            last = graph.call_function(
                view.target, (fresh[view.args[0]], *view.args[1:]), dict(view.kwargs)
            )
        last.meta = dict(view.meta)
        fresh[view] = last
    if views:
        # The result of the write is that view: later writes reach it too.
        node.replace_all_uses_with(
            fresh[changed], delete_user_cb=lambda user: user in later and user is not value
        )
    for old, new in fresh.items():
        old.replace_all_uses_with(new, delete_user_cb=lambda user: user in later)


def _after(node: Node) -> Iterator[Node]:
    while node.op != "output":
        node = node.next
        yield node


def _users_of_views(view: Node) -> Iterator[Node]:
    """Yield all readers of a view and of its own views."""
    for user in view.users:
        yield user
        if _is_view(user):
            yield from _users_of_views(user)


def _is_view(node: Node) -> bool:
    """Return True if a tensor may share the memory of its first argument, unchanged."""
    if node.op != "call_function" or not node.args or not isinstance(node.args[0], Node):
        return False
    if node.target is operator.getitem:
        return True
    schema = getattr(node.target, "_schema", None)
    return (
        schema is not None
        and not schema.is_mutable
        and any(result.alias_info is not None for result in schema.returns)
    )


def _views_up_to_base(node: Node) -> list[Node]:
    """Return the views between a tensor and the one that owns its memory, the owner's first."""
    views: list[Node] = []
    while _is_view(node):
        views.insert(0, node)
        node = node.args[0]
    return views


def written_back(base: Tensor, value: Tensor, views: Sequence[tuple[Any, ...]]) -> Tensor:
    """Return a copy of a tensor in which a view, taken by these steps, holds a value."""
    result = base.clone()
    part: Any = result
    for step, args, kwargs in views:
        part = step(part, *args, **kwargs)
    part.copy_(value)
    return result


def _out_of_place(node: Node) -> Any:
    """Return the out-of-place form of an in-place operator; None for other operators."""
    name = operator_name(node)
    if not name.endswith("_") or name.endswith("__"):
        return None
    namespace = getattr(torch.ops, str(node.target).split(".")[0])
    packet = getattr(namespace, name.rstrip("_"), None)
    overload = getattr(node.target, "_overloadname", "default")
    return getattr(packet, overload, None) if packet is not None else None


def _output_names(program: ExportedProgram, count: int) -> tuple[str, ...]:
    structure = program.call_spec.out_spec
    if structure is not None and structure.num_leaves == count:
        tree = structure.unflatten(list(range(count)))
        if isinstance(tree, dict) and list(tree.values()) == list(range(count)):
            return tuple(str(name) for name in tree)
    return tuple(f"output_{index}" if count > 1 else "output" for index in range(count))


def _last_use(graph: Graph) -> dict[Node, tuple[Node, ...]]:
    """Return the nodes last read by each node."""
    last: dict[Node, Node] = {}
    for node in graph.nodes:
        last[node] = node
        for given in node.all_input_nodes:
            last[given] = node
    released: dict[Node, list[Node]] = {}
    for node, user in last.items():
        if user.op != "output" and node.op != "output":
            released.setdefault(user, []).append(node)
    return {user: tuple(nodes) for user, nodes in released.items()}
