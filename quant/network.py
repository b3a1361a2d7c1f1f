"""A program that is computed node by node, so that values can be changed on the way."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.fx import Graph, Node

from edgesdk.errors import InputSpecError, QuantizationError
from quant.layer_names import operator_name, tensor_names

__all__ = ["Network", "Step", "plain", "sample_errors"]

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
        names: See :func:`quant.layer_names.tensor_names`.

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
        self._output = next(node for node in self.graph.nodes if node.op == "output")
        count = len(signature.user_outputs)
        returned = list(self._output.args[0])[-count:] if count else []
        self._returned: tuple[Node, ...] = tuple(
            node for node in returned if isinstance(node, Node)
        )
        self.outputs = _output_names(program, len(self._returned))
        self._batch = self._captured_batch()
        self._last_use = _last_use(self.graph)

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
        environment: dict[Node, Any] = dict(zip(self.inputs, inputs, strict=True))
        environment.update(constants)
        batch = inputs[0].shape[0] if inputs and inputs[0].ndim else None
        for node in self.graph.nodes:
            if node.op == "placeholder":
                # An argument that is no tensor was fixed when the program was captured.
                environment.setdefault(node, node.meta.get("val"))
            elif node.op == "get_attr":
                environment[node] = self._attribute(str(node.target))
            elif node.op == "call_function":
                args = torch.fx.map_arg(node.args, environment.__getitem__)
                kwargs = torch.fx.map_arg(node.kwargs, environment.__getitem__)
                environment[node] = step(node, self._for_batch(node, args, batch), dict(kwargs))
            for spent in self._last_use.get(node, ()):
                del environment[spent]
            if node is until:
                return []
        return [environment[node] for node in self._returned]

    def _attribute(self, path: str) -> Any:
        value: Any = self.program.graph_module
        for name in path.split("."):
            value = getattr(value, name)
        return value

    def _captured_batch(self) -> int | None:
        """The number of samples that all inputs were captured with, where it is a fixed one."""
        found = set()
        for node in self.inputs:
            shape: Any = getattr(node.meta.get("val"), "shape", ())
            found.add(shape[0] if len(shape) else None)
        batch = found.pop() if len(found) == 1 else None
        return batch if isinstance(batch, int) else None

    def _for_batch(self, node: Node, args: tuple[Any, ...], batch: int | None) -> tuple[Any, ...]:
        if batch is None or batch == self._batch or operator_name(node) not in _SIZED:
            return args
        given = list(args)
        sizes = given[1] if len(given) > 1 else None
        if isinstance(sizes, list | tuple) and sizes and sizes[0] == self._batch:
            given[1] = [batch, *sizes[1:]]
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
    spent: dict[Node, list[Node]] = {}
    for node, user in last.items():
        if user.op != "output" and node.op != "output":
            spent.setdefault(user, []).append(node)
    return {user: tuple(nodes) for user, nodes in spent.items()}
