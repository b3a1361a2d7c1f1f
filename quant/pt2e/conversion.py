"""torchao's PT2E flow on an exported program: observe, calibrate, convert, export again."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node

from edgesdk.errors import DataError, EdgeSdkError, QuantizationError
from edgesdk.quant.plan import Arrays, IoScale, QuantPlan
from edgesdk.quant.pt2e.folding import folded_module
from edgesdk.quant.pt2e.observers import ActivationObserver

__all__ = ["Reference", "export_again", "quantize_pt2e", "vendor_errors"]

_ops = torch.ops.quantized_decomposed


@dataclass(frozen=True)
class Reference:
    """A program with explicit quantize and dequantize operators.

    Attributes:
        module: Graph module with integer weights, and float inputs and outputs.
        program: The exported program, with inputs, outputs and origins of the float program.
        io_scales: Scales of the int8 inputs and outputs of ``program``.
    """

    module: GraphModule
    program: ExportedProgram
    io_scales: tuple[IoScale, ...] = ()


@contextmanager
def vendor_errors(what: str, remedy: str) -> Iterator[None]:
    """Translate exceptions of a vendor's package to QuantizationError with their first line."""
    try:
        yield
    except EdgeSdkError:
        raise
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        first = (lines or [type(error).__name__])[0][:300]
        raise QuantizationError(f"{what}: {first}", remedy=remedy) from error


def quantize_pt2e(plan: QuantPlan, quantizer: Any) -> Reference:
    """Quantize the program of a plan with a torchao quantizer.

    Args:
        plan: Quantization plan.
        quantizer: Annotates the graph. If it has ``rewrite(module)``, that is called before; if it
            has ``fit(prepared)``, that is called after calibration, to adjust ranges.

    Raises:
        DataError: Calibration data are missing, do not fit the program or hold NaN.
        QuantizationError: The program is quantized already, or torchao failed on it.
    """
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    check_calibration(plan)
    module = folded_module(plan.program)
    remedy = "keep the layer it names float with --keep-float, or choose another recipe"
    with torch.no_grad(), vendor_errors("torchao cannot quantize the program", remedy):
        if hasattr(quantizer, "rewrite"):
            quantizer.rewrite(module)
        prepared = prepare_pt2e(module, quantizer)
        _calibrate(plan, prepared)
        if hasattr(quantizer, "fit"):
            quantizer.fit(prepared)
        converted = convert_pt2e(prepared)
        exported = converted
        io_scales: tuple[IoScale, ...] = ()
        if plan.spec.io_dtype == "int8":
            exported = copy.deepcopy(converted)
            io_scales = _int8_io(plan, exported)
        program = export_again(plan, exported, [one.name for one in io_scales])
    return Reference(converted, program, io_scales)


def check_calibration(plan: QuantPlan) -> None:
    """Check that calibration samples exist and fit the program.

    Raises:
        DataError: They are missing, do not fit, or hold NaN or infinity.
    """
    if not plan.spec.static:
        return
    if not plan.calibration:
        raise DataError(
            f"{plan.spec.name} needs calibration samples, but none were given",
            remedy="give calibration samples",
        )
    wanted = dict(zip(plan.inputs, _placeholders(plan.program), strict=True))
    for number, sample in enumerate(plan.calibration):
        for name, node in wanted.items():
            where = f"calibration sample {number}"
            if name not in sample:
                raise DataError(
                    f"{where} has no input {name!r}", remedy=f"give {', '.join(wanted)}"
                )
            array, value = sample[name], node.meta["val"]
            sizes = [size if isinstance(size, int) else None for size in value.shape]
            fits = len(sizes) == array.ndim and all(
                size in (None, given) for size, given in zip(sizes, array.shape, strict=True)
            )
            if not fits:
                raise DataError(
                    f"{name!r} of {where} has shape {list(array.shape)}, not {list(value.shape)}",
                    remedy="prepare it as for the float model",
                )
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise DataError(
                    f"{name!r} of {where} holds NaN or infinity", remedy="remove that sample"
                )


def _placeholders(program: ExportedProgram) -> list[Node]:
    named = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    return [named[str(name)] for name in program.graph_signature.user_inputs]


def _calibrate(plan: QuantPlan, prepared: GraphModule) -> None:
    watching = [m for m in prepared.modules() if isinstance(m, ActivationObserver)]
    samples = plan.calibration if plan.spec.static else _any_sample(plan)
    for sample in samples:
        prepared(*tensors(plan, sample))
        for observer in watching:
            observer.end_sample()


def tensors(plan: QuantPlan, sample: Mapping[str, np.ndarray]) -> list[torch.Tensor]:
    """Return one sample as the program's arguments."""
    return [torch.from_numpy(np.array(sample[name], order="C")) for name in plan.inputs]


def _any_sample(plan: QuantPlan) -> Sequence[Arrays]:
    """Return one sample to run the graph on, so that weight observers see the weights."""
    if plan.calibration or plan.samples:
        return [(plan.calibration or plan.samples)[0]]
    example = plan.program.example_inputs
    given = example[0] if example else [_zeros(node) for node in _placeholders(plan.program)]
    return [{name: t.numpy() for name, t in zip(plan.inputs, given, strict=True)}]


def _zeros(node: Node) -> torch.Tensor:
    value = node.meta["val"]
    shape = [size if isinstance(size, int) else size.node.hint for size in value.shape]
    return torch.zeros(shape, dtype=value.dtype)


def _int8_io(plan: QuantPlan, module: GraphModule) -> tuple[IoScale, ...]:
    """Remove the quantization of inputs and outputs from the graph; the app does it."""
    quantize, dequantize = _ops.quantize_per_tensor.default, _ops.dequantize_per_tensor.default
    io_scales = []
    inputs = [node for node in module.graph.nodes if node.op == "placeholder"]
    for name, node in zip(plan.inputs, inputs, strict=True):
        value = node.meta.get("val")
        if isinstance(value, torch.Tensor) and not value.is_floating_point():
            # Camera bytes and other integers stay as they are.
            continue
        users = list(node.users)
        scales = {user.args[1:] for user in users}
        if not users or any(user.target is not quantize for user in users) or len(scales) != 1:
            raise _no_int8(name, "input")
        for user in users:
            user.replace_all_uses_with(node)
            module.graph.erase_node(user)
        (scale,) = scales
        io_scales.append(IoScale(name, float(scale[0]), int(scale[1])))
    (output,) = (node for node in module.graph.nodes if node.op == "output")
    results = list(output.args[0])
    for place, (name, node) in enumerate(zip(plan.outputs, results, strict=True)):
        if not isinstance(node, Node) or node.target is not dequantize:
            raise _no_int8(name, "output")
        results[place] = node.args[0]
        io_scales.append(IoScale(name, float(node.args[1]), int(node.args[2])))
    output.args = (tuple(results),)
    module.graph.eliminate_dead_code()
    module.recompile()
    return tuple(io_scales)


def _no_int8(name: str, kind: str) -> QuantizationError:
    return QuantizationError(
        f"the {kind} {name!r} cannot be int8: it is next to a float operator",
        remedy="use --io-dtype float, or quantize the layer there",
    )


def export_again(plan: QuantPlan, module: GraphModule, int8: Sequence[str] = ()) -> ExportedProgram:
    """Export a changed graph of the plan's program; operators keep their origins.

    Args:
        plan: Quantization plan.
        module: Changed graph with the program's inputs and outputs.
        int8: Names of the int8 inputs.
    """
    (sample,) = _any_sample(plan)
    given = [
        tensor.to(torch.int8) if name in int8 else tensor
        for name, tensor in zip(plan.inputs, tensors(plan, sample), strict=True)
    ]
    nodes = _placeholders(plan.program)
    program = torch.export.export(
        module, _grown(given, nodes), dynamic_shapes=_free_sizes(plan.program, nodes), strict=False
    )
    _copy_origins(module, program)
    return program


def _grown(given: Sequence[torch.Tensor], nodes: Sequence[Node]) -> tuple[torch.Tensor, ...]:
    """Enlarge free sizes of 1, which torch.export treats as constants."""
    grown = []
    for tensor, node in zip(given, nodes, strict=True):
        for axis, size in enumerate(node.meta["val"].shape):
            if not isinstance(size, int) and tensor.shape[axis] < 2:
                tensor = torch.cat([tensor, tensor], axis)
        grown.append(tensor)
    return tuple(grown)


def _free_sizes(program: ExportedProgram, nodes: Sequence[Node]) -> Any:
    """Return dynamic shapes for torch.export; None if no dimension is free."""
    free = [[not isinstance(size, int) for size in node.meta["val"].shape] for node in nodes]
    if not any(any(axes) for axes in free):
        return None
    shapes = []
    for node, axes in zip(nodes, free, strict=True):
        sizes = {}
        for axis, is_free in enumerate(axes):
            if not is_free:
                continue
            limits = program.range_constraints.get(node.meta["val"].shape[axis].node.expr)
            sizes[axis] = (
                torch.export.Dim.AUTO
                if limits is None or not limits.upper.is_number
                else torch.export.Dim.AUTO(min=int(limits.lower), max=int(limits.upper))
            )
        shapes.append(sizes)
    return tuple(shapes)


def _copy_origins(module: GraphModule, program: ExportedProgram) -> None:
    """Restore the operators' origins in the user's code, which the export replaces."""
    known = [node for node in module.graph.nodes if node.op == "call_function"]
    place = 0
    for node in program.graph.nodes:
        if node.op != "call_function":
            continue
        fitting = (i for i in range(place, len(known)) if known[i].target == node.target)
        found = next(fitting, None)
        if found is None:
            continue
        place = found + 1
        for key in ("nn_module_stack", "stack_trace"):
            origin = known[found].meta.get(key)
            if origin:
                node.meta[key] = origin
            else:
                node.meta.pop(key, None)
