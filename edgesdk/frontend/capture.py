"""Capture a model as a ``torch.export`` program; every failure names the user's own line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils import _pytree as pytree

from edgesdk.errors import CaptureError, EdgeSdkError, FactoryError, InputSpecError
from edgesdk.frontend.capture_errors import (
    capture_error,
    first_line,
    of_the_wrapper,
    user_location,
)
from edgesdk.frontend.nonfinite import first_not_finite
from edgesdk.frontend.program_digest import program_digest
from edgesdk.frontend.provenance import is_preprocessing, where
from edgesdk.frontend.side_effects import (
    changed_inputs,
    require_no_state,
    state_kept,
    stateful_buffers,
)
from edgesdk.frontend.signature import FlatModel
from edgesdk.frontend.tensor_specs import dtype_name
from edgesdk.host.quiet import quiet_torch
from edgesdk.spec import DynamicDim, ImageSpec, TensorSpec

__all__ = [
    "Capture",
    "capture",
    "dynamic_shapes",
    "first_not_finite",
    "program_digest",
    "run_eager",
    "user_location",
]


@dataclass(frozen=True)
class Capture:
    """A model with its program.

    Attributes:
        flat_model: The model behind flat, named tensors; parity is measured against it.
        program: Its ``torch.export`` program.
        inputs: Specs of its inputs.
        outputs: Specs of its outputs.
    """

    flat_model: FlatModel
    program: torch.export.ExportedProgram
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def parameters(self) -> int:
        """Number of the model's parameters."""
        return sum(parameter.numel() for parameter in self.flat_model.model.parameters())

    @property
    def operators(self) -> int:
        """Number of operators of the program."""
        return sum(node.op == "call_function" for node in self.program.graph.nodes)


def _capture_inputs(specs: Sequence[TensorSpec], tensors: Sequence[torch.Tensor]) -> list[Any]:
    # torch.export treats a size of 1 as a constant, so a free dimension is captured at 2 or more.
    grown = []
    for spec, tensor in zip(specs, tensors, strict=True):
        for axis, dim in spec.dynamic.items():
            if tensor.shape[axis] < 2:
                tensor = tensor.repeat_interleave(max(2, dim.multiple), dim=axis)
        grown.append(tensor)
    return grown


def dynamic_shapes(specs: Sequence[TensorSpec], *, stepped: bool = False) -> dict[str, Any] | None:
    """Return the ``dynamic_shapes`` argument of ``torch.export`` for the free dimensions.

    Args:
        specs: The inputs.
        stepped: Declare sizes as multiples of their step. Some networks need this (a skip
            connection over four halvings), but several converters fail on it.
    """
    if not any(spec.dynamic for spec in specs):
        return None
    dims: dict[str, Any] = {}
    shapes: dict[str, Any] = {}
    for spec in specs:
        axes: dict[int, Any] = {}
        for axis, dim in sorted(spec.dynamic.items()):
            if dim.name not in dims:
                step = dim.multiple if stepped else 1
                base = torch.export.Dim(
                    dim.name if step == 1 else f"{dim.name}_steps",
                    min=dim.smallest // step if stepped else dim.min,
                    max=dim.largest // step if stepped else dim.max,
                )
                dims[dim.name] = base if step == 1 else step * base
            axes[axis] = dims[dim.name]
        shapes[spec.name] = axes
    return shapes


def _strip_wrapper(program: torch.export.ExportedProgram) -> None:
    """Remove the wrapper from every node's origin, so that only the user's model remains."""
    for module in program.graph_module.modules():
        if not isinstance(module, torch.fx.GraphModule):
            continue
        for node in module.graph.nodes:
            stack = node.meta.get("nn_module_stack")
            if stack:
                kept = {}
                for key, (path, kind) in stack.items():
                    if path == "":
                        continue
                    inner = path.removeprefix("model").removeprefix(".")
                    kept[key] = (inner, kind)
                node.meta["nn_module_stack"] = kept
            trace = node.meta.get("stack_trace")
            if trace:
                node.meta["stack_trace"] = _without_wrapper(trace)


def _restore_origins(program: torch.export.ExportedProgram, model: nn.Module) -> None:
    """Restore the source lines of a loaded program, which capturing again replaces by torch's."""
    if not isinstance(model, torch.fx.GraphModule):
        return
    known = [node for node in model.graph.nodes if node.op == "call_function"]
    for node in reversed(program.graph.nodes):
        # Aligned from the end, because the wrapper's own operators come first.
        if is_preprocessing(node.meta.get("nn_module_stack")):
            break
        if known and node.op == "call_function" and node.target == known[-1].target:
            origin = known.pop()
            for key in ("stack_trace", "nn_module_stack"):
                if origin.meta.get(key):
                    node.meta[key] = origin.meta[key]


def _without_wrapper(trace: str) -> str:
    kept: list[str] = []
    skipping = False
    for text in trace.splitlines():
        if text.lstrip().startswith('File "'):
            skipping = of_the_wrapper(text.split('"')[1])
        if not skipping:
            kept.append(text)
    return "\n".join(kept)


def capture(
    model: nn.Module,
    specs: Sequence[TensorSpec],
    tensors: Sequence[torch.Tensor],
    structure: pytree.TreeSpec | None = None,
    image: tuple[int, ImageSpec] | None = None,
    *,
    planes: bool = False,
) -> Capture:
    """Capture a model as a program.

    Args:
        model: In evaluation mode.
        specs: One spec per input; free dimensions stay free.
        tensors: Example tensors of these specs.
        structure: See :class:`edgesdk.frontend.signature.FlatModel`.
        image: Index of the input that takes camera bytes, with its preprocessing.
        planes: See :class:`edgesdk.frontend.preprocessing.ImagePreprocessing`.

    Raises:
        CaptureError: The model cannot be traced, keeps state or draws random numbers.
        FactoryError: ``forward()`` has a fault that no input would avoid.
        InputSpecError: The model refuses these shapes or dtypes, or an input name is invalid.
        ModelOutputError: The model returns something other than tensors.
    """
    flat_model = FlatModel(model, [spec.name for spec in specs], structure, image, planes=planes)
    grown = _capture_inputs(specs, tensors)
    example, state = _try_inputs(flat_model, specs, tensors)
    program = _export(flat_model, grown, specs)
    changed = changed_inputs(program)
    if changed:
        # Runtimes share the memory of inputs with the app: the model gets copies to write into.
        flat_model.copied = frozenset(changed)
        program = _export(flat_model, grown, specs)
    _strip_wrapper(program)
    _restore_origins(program, model)
    _refuse_training_operators(program)
    require_no_state(program, state)
    return Capture(flat_model, program, tuple(specs), _output_specs(program, specs, example))


def _export(
    flat_model: FlatModel, tensors: Sequence[torch.Tensor], specs: Sequence[TensorSpec]
) -> torch.export.ExportedProgram:
    def trace(specs: Sequence[TensorSpec], *, stepped: bool = True) -> torch.export.ExportedProgram:
        with quiet_torch(), torch.no_grad(), state_kept(flat_model):
            return torch.export.export(
                flat_model,
                tuple(tensors),
                dynamic_shapes=dynamic_shapes(specs, stepped=stepped),
                strict=False,
            )

    steps = any(dim.multiple > 1 for spec in specs for dim in spec.dynamic.values())
    try:
        return trace(specs, stepped=False)
    except EdgeSdkError:
        raise
    except Exception as error:
        if not steps:
            raise capture_error(error, specs, trace) from error
    try:
        return trace(specs)
    except Exception as error:
        raise capture_error(error, specs, trace) from error


_CODE_ERRORS = (AttributeError, NameError, ImportError, NotImplementedError)


def _try_inputs(
    flat_model: FlatModel, specs: Sequence[TensorSpec], tensors: Sequence[torch.Tensor]
) -> tuple[Mapping[str, torch.Tensor], list[str]]:
    """Run the model; return its outputs and the buffers that carry state between calls."""
    try:
        with torch.no_grad():
            return stateful_buffers(flat_model, lambda: flat_model(*(t.clone() for t in tensors)))
    except EdgeSdkError:
        raise
    except _CODE_ERRORS as error:
        raise FactoryError(
            f"forward() raised {type(error).__name__}: {first_line(error)}",
            where=user_location(error),
            remedy="correct the code; --debug shows the whole traceback",
        ) from error
    except Exception as error:
        shown = ", ".join(map(str, specs))
        raise InputSpecError(
            f"the model refuses the input {shown}: {first_line(error)}",
            where=user_location(error),
            remedy=_other_weights(flat_model, specs)
            or "give the shape and dtype it accepts with --input NAME:1x3x224x224[:dtype]",
        ) from error


def _other_weights(model: nn.Module, specs: Sequence[TensorSpec]) -> str:
    """Return a remedy if the weights have another float type than the inputs; else empty."""
    floats = (one.dtype for one in model.parameters() if one.is_floating_point())
    weights = {str(dtype).removeprefix("torch.") for dtype in floats}
    inputs = {spec.dtype for spec in specs if spec.dtype.startswith("float")}
    if not inputs or not weights or weights & inputs:
        return ""
    return f"the weights are {', '.join(sorted(weights))}: call model.float()"


# Index of each operator's training flag among its arguments.
_TRAIN_ARGUMENT = {
    "alpha_dropout": 2,
    "batch_norm": 5,
    "dropout": 2,
    "feature_alpha_dropout": 2,
    "feature_dropout": 2,
    "native_dropout": 2,
    "rrelu": 3,
}


def _trains(node: torch.fx.Node) -> bool:
    name = str(node.target).removeprefix("aten.").split(".")[0]
    place = _TRAIN_ARGUMENT.get(name, len(node.args))
    if place >= len(node.args) or node.args[place] is not True:
        return False
    if name == "batch_norm":
        # Without running statistics it uses batch statistics in evaluation mode too.
        return node.args[3] is not None
    # Some models switch dropout off by setting its probability to 0.
    return name == "rrelu" or node.args[1] != 0


def _refuse_training_operators(program: torch.export.ExportedProgram) -> None:
    """Refuse a program captured in training mode: its mode can no longer be changed."""
    for module in program.graph_module.modules():
        nodes = module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ()
        for node in nodes:
            if node.op == "call_function" and _trains(node):
                raise CaptureError(
                    "the program was captured in training mode "
                    f"({str(node.target).split('.')[1]} trains)",
                    where=where(node) or None,
                    remedy="call model.eval() before torch.export.export; in forward(), write "
                    "dropout(x, training=self.training)",
                )


def _output_specs(
    program: torch.export.ExportedProgram,
    inputs: Sequence[TensorSpec],
    example: Mapping[str, torch.Tensor],
) -> tuple[TensorSpec, ...]:
    # torch invents symbols for free sizes; map them back to our names.
    symbols: dict[str, DynamicDim] = {}
    placeholders = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    for spec, name in zip(inputs, program.graph_signature.user_inputs, strict=True):
        value = placeholders[str(name)].meta["val"]
        for axis, dim in spec.dynamic.items():
            symbols[str(value.shape[axis])] = dim
    output_node = next(node for node in program.graph.nodes if node.op == "output")
    flat = [node for node in output_node.args[0] if node is not None]
    names = list(program.call_spec.out_spec.unflatten([None] * len(flat)))
    result = []
    count = len(program.graph_signature.user_outputs)
    for name, node in zip(names, flat[-count:], strict=True):
        value = node.meta["val"]
        free = {
            axis: symbols.get(str(size)) or DynamicDim(f"{name}_{axis}", 1, 2**31 - 1)
            for axis, size in enumerate(value.shape)
            if not isinstance(size, int)
        }
        # The program was captured at a larger size where the example has size 1.
        shape = tuple(example[name].shape)
        result.append(TensorSpec(name, shape, dtype_name(value.dtype), free))
    return tuple(result)


def run_eager(flat_model: FlatModel, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Run the model in eager mode.

    Args:
        flat_model: The model.
        inputs: One array per input, by name.

    Raises:
        InputSpecError: The model refuses these inputs.
    """
    # Copies: forward() may write into its inputs.
    tensors = {name: torch.from_numpy(np.array(a, order="C")) for name, a in inputs.items()}
    try:
        with torch.inference_mode(), state_kept(flat_model):
            outputs = flat_model(**tensors)
    except EdgeSdkError:
        raise
    except Exception as error:
        raise InputSpecError(
            f"the model fails on a sample: {first_line(error)}",
            where=user_location(error),
            remedy="give samples that the model accepts with --samples",
        ) from error
    return {name: tensor.detach().numpy().copy() for name, tensor in outputs.items()}
