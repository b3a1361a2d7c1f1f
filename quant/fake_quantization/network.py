"""A program that is computed node by node, so that values can be changed on the way."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.fx import Graph, Node

from edgesdk.errors import InputSpecError, QuantizationError
from edgesdk.quant.layer_names import operator_name, tensor_names

__all__ = ["Network", "Step", "Walk", "plain", "sample_errors"]

#: Computes a node from its arguments.
Step = Callable[[Node, tuple[Any, ...], dict[str, Any]], Any]

#: Operators that spell out the batch an example had.
_SIZED = frozenset({"expand", "reshape", "view"})


def plain(node: Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The operator itself."""
    return node.target(*args, **kwargs)


@contextlib.contextmanager
def sample_errors() -> Iterator[None]:
    """Say of what torch raises on a sample that the sample does not fit.

    Raises:
        InputSpecError: Torch refused a shape or a dtype.
    """
    try:
        yield
    except RuntimeError as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputSpecError(
            f"the program does not take a sample: {first}",
            remedy="give samples of the shapes and dtypes that it was captured with",
        ) from error


class Network:
    """An exported program without operators in place, which can be computed for any batch.

    Args:
        program: Captured in evaluation mode.

    Attributes:
        graph: Its operators; weights are placeholders.
        inputs: Placeholders of the tensors it is given, in order.
        constants: Names of its parameters, buffers and constants by placeholder.
        outputs: Names of its outputs, in order.
        names: See :func:`edgesdk.quant.layer_names.tensor_names`.
        nodes: All nodes, in order.
        returned: The nodes that are returned.
        last_use: What nobody reads any more, by the node after which that is so.
        batch: How many samples it was captured with, where all inputs have the same fixed number.

    Raises:
        QuantizationError: It is quantized already.
    """

    def __init__(self, program: ExportedProgram) -> None:
        _refuse_quantized(program)
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
        """The program's own parameters, buffers and constants by placeholder."""
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
            inputs: One tensor an input.
            constants: A value for each of :attr:`constants`.
            step: Computes each operator.
            until: The last operator that is computed.

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
        """The number of samples that all inputs were captured with, where it is a fixed one."""
        found = set()
        for node in self.inputs:
            shape: Any = getattr(node.meta.get("val"), "shape", ())
            found.add(shape[0] if len(shape) else None)
        batch = found.pop() if len(found) == 1 else None
        return batch if isinstance(batch, int) else None


class Walk:
    """A network on its way through its operators, which can stop before any of them.

    Args:
        network: What is computed.
        inputs: See :meth:`Network.compute`, as for the arguments below.
        constants: A value for each of the network's constants.
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
        """The operator it stands before."""
        return self._network.nodes[self._place]

    def fork(self, step: Step) -> Walk:
        """A walk that goes on from here in another way; this one stays where it is."""
        other = copy.copy(self)
        other._step, other._values = step, dict(self._values)
        return other

    def advance(self, to: Node) -> None:
        """Compute everything in front of an operator."""
        while self._network.nodes[self._place] is not to:
            self.step_over()

    def finish(self) -> list[Tensor]:
        """Compute the rest; the outputs."""
        while self._place < len(self._network.nodes):
            self.step_over()
        return [self._values[node] for node in self._network.returned]

    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What the next operator takes."""
        node = self._network.nodes[self._place]
        args = torch.fx.map_arg(node.args, self._values.__getitem__)
        kwargs = torch.fx.map_arg(node.kwargs, self._values.__getitem__)
        return self._for_batch(node, args), dict(kwargs)

    def step_over(self) -> None:
        """Compute the next operator, and forget what nobody reads any more."""
        node = self._network.nodes[self._place]
        if node.op == "placeholder":
            # An argument that is no tensor was fixed when the program was captured.
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


def _refuse_quantized(program: ExportedProgram) -> None:
    for node in program.graph.nodes:
        name = str(node.target)
        if node.op == "call_function" and name.startswith(("quantized", "torchao.")):
            raise QuantizationError(
                f"the model is quantized already: it holds {name.removesuffix('.default')}",
                remedy="give the float model",
            )


def _functional(original: Graph) -> Graph:
    """A copy in which no operator changes what it was given."""
    graph = Graph()
    copied: dict[Node, Node] = {}
    result = graph.graph_copy(original, copied)
    # Unlike all other nodes, the output is not copied by it.
    graph.output(result)
    for old, new in copied.items():
        # A name such as "input" is one that Python has too, which copying would avoid.
        new.name, new.meta = old.name, dict(old.meta)
    order = {node: place for place, node in enumerate(graph.nodes)}
    for node in list(graph.nodes):
        other = _out_of_place(node)
        if other is None:
            continue
        changed, place = node.args[0], order[node]
        if isinstance(changed, Node):
            # Whoever reads the tensor later reads what has become of it.
            changed.replace_all_uses_with(
                node, delete_user_cb=lambda user, place=place: order[user] > place
            )
        node.target = other
    graph.eliminate_dead_code()
    return graph


def _out_of_place(node: Node) -> Any:
    """The operator that computes the same into a new tensor; None where this one does."""
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
    """What nobody reads any more, by the node after which that is so."""
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
