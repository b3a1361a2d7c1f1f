"""Trace one forward pass and count the operations of every layer.

The pass runs in evaluation mode on tensors without values, or on the inputs themselves if that
fails. Attributes that the pass sets on modules are restored afterwards.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils import _pytree as pytree
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from edgesdk.errors import InputSpecError
from edgesdk.frontend.evaluation_mode import evaluation_mode
from edgesdk.frontend.side_effects import (
    attributes_kept,
    copied,
    generators_kept,
    state_kept,
)
from edgesdk.host.quiet import quiet_torch
from edgesdk.profiling.layer_kinds import node_kind

__all__ = ["Call", "Trace", "owner", "trace"]

_PARAMETRIZATIONS = "parametrizations"


@dataclass
class Call:
    """Operations of one layer, over all its calls.

    Attributes:
        flops: Operations by operator; a multiply-accumulate counts as two.
        output_shape: Shape of its last output; empty if that contains no tensor.
        output_bits: Bits per element of that output; 0 if it contains no tensor.
        kind: Description of the layer, if the operator knows more than the module.
    """

    flops: Counter[str] = field(default_factory=Counter)
    output_shape: tuple[int, ...] = ()
    output_bits: int = 0
    kind: str = ""

    def record_output(self, output: Any) -> None:
        """Store shape and precision of an output."""
        leaves = pytree.tree_leaves(output)
        first = next((leaf for leaf in leaves if isinstance(leaf, Tensor)), None)
        if first is not None:
            self.output_shape = tuple(int(size) for size in first.shape)
            self.output_bits = first.element_size() * 8


@dataclass
class Trace:
    """Operations of every layer by path, in the order in which layers first ran."""

    calls: dict[str, Call] = field(default_factory=dict)

    def call(self, path: str) -> Call:
        """Return the entry of a layer, created on first use."""
        return self.calls.setdefault(path, Call())


def owner(path: str) -> str:
    """Return the path of the layer a module belongs to; parametrizations belong to their layer."""
    parts = path.split(".")
    if _PARAMETRIZATIONS in parts:
        parts = parts[: parts.index(_PARAMETRIZATIONS)]
    return ".".join(parts)


def trace(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Trace:
    """Run a model once on its arguments, leave it unchanged, and count its operations.

    Raises:
        InputSpecError: The model fails on them.
    """
    # Unwrap a compiled model, or torch would compile it for this one pass.
    inner = getattr(model, "_orig_mod", None)
    run = inner if isinstance(inner, nn.Module) else model
    prefix = "_orig_mod." if run is inner else ""
    with evaluation_mode(run), _without_fused_layers(), quiet_torch(), torch.no_grad():
        try:
            with attributes_kept(run), generators_kept(run):
                traced = _on_shapes(run, args, kwargs)
        except Exception:  # noqa: BLE001 - models fail in any way on tensors without values
            traced = _on_values(run, args, kwargs)
    if prefix:
        traced.calls = {f"{prefix}{path}" if path else path: c for path, c in traced.calls.items()}
    return traced


def _on_shapes(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Trace:
    # Tensors other than parameters and buffers stay real; operators get fake copies of them.
    fake = FakeTensorMode(allow_non_fake_inputs=True)

    def faked(leaf: Any) -> Any:
        return fake.from_tensor(leaf) if isinstance(leaf, Tensor) else leaf

    fakes = pytree.tree_map(faked, (args, dict(kwargs)))
    for module in model.modules():
        # Replace parameters and buffers too: in-place writes must not reach the model's own.
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                tensors[name] = faked(tensor)
    with fake:
        return _counted(model, *fakes)


def _on_values(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Trace:
    try:
        with state_kept(model):
            return _counted(model, *copied((args, dict(kwargs))))
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise InputSpecError(
            f"the model fails on the inputs: {lines[0] if lines else type(error).__name__}",
            remedy="give the shapes and dtypes it takes, such as --input NAME:1x3x224x224[:dtype]",
        ) from error


def _counted(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Trace:
    with FlopCounterMode(display=False, custom_mapping=_FORMULAS) as counter:
        if _is_program(model):
            recorder = _ProgramRecorder(model, counter)
            recorder.run(*pytree.arg_tree_leaves(*args, **kwargs), enable_io_processing=False)
            return recorder.trace
        with _Recorder(model, counter) as layers:
            model(*args, **kwargs)
        return layers.trace


class _Recorder:
    """Attributes counted operations to the modules that are running."""

    def __init__(self, model: nn.Module, counter: FlopCounterMode) -> None:
        self.trace = Trace()
        self._counter = counter
        self._paths = {module: owner(path) for path, module in model.named_modules()}
        self._thread = threading.get_ident()
        # Running modules: path, count at entry, count of nested modules.
        self._running: list[tuple[str, Counter[str], Counter[str]]] = []

    def __enter__(self) -> _Recorder:
        # Use global hooks: hooks on the model would be visible in it.
        self._hooks = [
            register_module_forward_pre_hook(self._on_enter),
            register_module_forward_hook(self._on_exit, always_call=True),
        ]
        return self

    def __exit__(self, *error: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _on_enter(self, module: nn.Module, args: Any) -> None:
        if module in self._paths and threading.get_ident() == self._thread:
            path = self._paths[module]
            self.trace.call(path)
            self._running.append((path, _flops(self._counter), Counter()))

    def _on_exit(self, module: nn.Module, args: Any, output: Any) -> None:
        if module in self._paths and threading.get_ident() == self._thread:
            path, before, inside = self._running.pop()
            total = _flops(self._counter) - before
            call = self.trace.call(path)
            call.flops += total - inside
            call.record_output(output)
            if self._running:
                self._running[-1][2].update(total)


class _ProgramRecorder(torch.fx.Interpreter):
    """Runs an exported program, whose operators know the layer they were captured in."""

    def __init__(self, model: torch.fx.GraphModule, counter: FlopCounterMode) -> None:
        super().__init__(model)
        self.trace = Trace()
        self._counter = counter

    def run_node(self, n: torch.fx.Node) -> Any:
        """Run one node and count it in the layer of its weight, or else of its code."""
        before = _flops(self._counter)
        output = super().run_node(n)
        if n.op == "call_function":
            counted = _flops(self._counter) - before
            path, kind = _origin(n)
            call = self.trace.call(path)
            call.flops += counted
            call.record_output(output)
            call.kind = node_kind(n, kind) if counted or not call.kind else call.kind
        return output


def _is_program(model: nn.Module) -> bool:
    return isinstance(model, torch.fx.GraphModule) and any(
        node.meta.get("nn_module_stack") for node in model.graph.nodes
    )


def _origin(node: torch.fx.Node) -> tuple[str, str]:
    stack: Sequence[tuple[str, Any]] = list((node.meta.get("nn_module_stack") or {}).values())
    path, kind = stack[-1] if stack else ("", "")
    # torch.export names the second call of a layer name@1.
    path = path.partition("@")[0]
    for value in node.all_input_nodes:
        if value.op == "get_attr":
            path = str(value.target).rpartition(".")[0]
            break
    name = kind if isinstance(kind, str) else getattr(kind, "__name__", "")
    return owner(path), name.rpartition(".")[2]


def _flops(counter: FlopCounterMode) -> Counter[str]:
    counts = counter.flop_counts["Global"].items()
    return Counter({str(operator).removeprefix("aten."): n for operator, n in counts})


@contextlib.contextmanager
def _without_fused_layers() -> Iterator[None]:
    """Run attention layers unfused: fused ones are one operator that is not counted."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _attention(query: Any, key: Any, value: Any, *_: Any, out_shape: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query, key, value))


def _recurrent(inputs: Any, weight: Any, recurrent: Any, *_: Any, out_shape: Any, **__: Any) -> int:
    steps = inputs[0] * inputs[1]
    return int(2 * steps * (weight[0] * weight[1] + recurrent[0] * recurrent[1]))


def _dot(left: Any, right: Any, *_: Any, out_shape: Any, **__: Any) -> int:
    return int(2 * left[0])


def _matrix_vector(matrix: Any, vector: Any, *_: Any, out_shape: Any, **__: Any) -> int:
    return int(2 * matrix[0] * matrix[1])


def _added_matrix_vector(_: Any, matrix: Any, *__: Any, out_shape: Any, **___: Any) -> int:
    return int(2 * matrix[0] * matrix[1])


def _batches_added(_: Any, left: Any, right: Any, *__: Any, out_shape: Any, **___: Any) -> int:
    return int(2 * left[0] * left[1] * left[2] * right[2])


# CPU operators without a formula in torch's own registry.
_FORMULAS = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_fused_attention_overrideable: _attention,
    torch.ops.aten.mkldnn_rnn_layer: _recurrent,
    torch.ops.aten.dot: _dot,
    torch.ops.aten.mv: _matrix_vector,
    torch.ops.aten.addmv: _added_matrix_vector,
    torch.ops.aten.addbmm: _batches_added,
}
