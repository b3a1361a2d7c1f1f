"""From a model to its captured program, with every failure led back to the user's own line."""

from __future__ import annotations

import hashlib
import re
import traceback
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils import _pytree as pytree

from converters.locations import frames, user_frame, where
from edgesdk.errors import CaptureError, EdgeSdkError, InputSpecError, ModelOutputError
from edgesdk.face import FaceModel, dtype_name
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
        face: The model behind flat, named tensors; the truth that parity is measured against.
        program: ``torch.export``'s program of it.
        inputs: The face's inputs.
        outputs: The face's outputs.
    """

    face: FaceModel
    program: torch.export.ExportedProgram
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def parameters(self) -> int:
        """Number of the model's parameters."""
        return sum(parameter.numel() for parameter in self.face.model.parameters())

    @property
    def operators(self) -> int:
        """Number of operators of the program."""
        return sum(node.op == "call_function" for node in self.program.graph.nodes)


def user_location(error: BaseException) -> str | None:
    """File and line in the user's code that an exception leads to, or None."""
    text = "".join(traceback.format_list(traceback.extract_tb(error.__traceback__)))
    # torch.export reports the user's stack inside the message when the frames are gone.
    frame = user_frame(text) or user_frame(str(error))
    if frame is None or _of_the_sdk(frame.file):
        match = re.search(r"\(?([\w./\-]+\.py):(\d+) in \w+\)?", str(error))
        return f"{match[1]}:{match[2]}" if match and "site-packages" not in match[1] else None
    return f"{frame}: {frame.code}" if frame.code else str(frame)


def _of_the_sdk(file: str) -> bool:
    return file.endswith(("edgesdk/face.py", "edgesdk/program.py", "converters/named_forward.py"))


def _capture_inputs(specs: Sequence[TensorSpec], tensors: Sequence[torch.Tensor]) -> list[Any]:
    # torch.export takes a size of 1 for a constant, so a free dimension is captured at 2 or more.
    grown = []
    for spec, tensor in zip(specs, tensors, strict=True):
        for axis, dim in spec.dynamic.items():
            if tensor.shape[axis] < 2:
                times = max(2, dim.multiple) if dim.max >= 2 else 1
                tensor = tensor.repeat_interleave(times, dim=axis)
        grown.append(tensor)
    return grown


def dynamic_shapes(specs: Sequence[TensorSpec], *, stepped: bool = False) -> dict[str, Any] | None:
    """What ``torch.export`` wants to be told of free dimensions.

    Args:
        specs: The inputs.
        stepped: Whether sizes are told as multiples. Some networks can only be captured so (a
            skip connection over four halvings), but several converters fail on it.
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
                    min=-(-dim.min // step),
                    max=dim.max // step,
                )
                dims[dim.name] = base if step == 1 else step * base
            axes[axis] = dims[dim.name]
        shapes[spec.name] = axes
    return shapes


def _strip_face(program: torch.export.ExportedProgram) -> None:
    """Take the wrapper out of every node's origin, so that only the user's model is seen."""
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
                node.meta["stack_trace"] = _without_face(trace)


def _without_face(trace: str) -> str:
    kept: list[str] = []
    skipping = False
    for text in trace.splitlines():
        if text.lstrip().startswith('File "'):
            skipping = _of_the_sdk(text.split('"')[1])
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
        specs: One spec an input; free dimensions are captured as such.
        tensors: Example tensors of these specs.
        structure: See :class:`edgesdk.face.FaceModel`.
        image: Index of the input that takes camera bytes, with its preprocessing.
        planes: See :class:`edgesdk.face.ImagePreprocessing`.

    Raises:
        CaptureError: ``torch.export`` cannot trace it.
        InputSpecError: The model refuses inputs of these shapes or dtypes.
        ModelOutputError: It returns something that is no tensor.
    """
    face = FaceModel(model, [spec.name for spec in specs], structure, image, planes=planes).eval()
    grown = _capture_inputs(specs, tensors)
    _try_inputs(face, specs, tensors)
    program = _export(face, grown, specs)
    _refuse_training_operators(program)
    _strip_face(program)
    return Capture(face, program, tuple(specs), _output_specs(program, specs))


def _export(
    face: FaceModel, tensors: Sequence[torch.Tensor], specs: Sequence[TensorSpec]
) -> torch.export.ExportedProgram:
    steps = any(dim.multiple > 1 for spec in specs for dim in spec.dynamic.values())
    for stepped in (False, True):
        try:
            with warnings.catch_warnings(), torch.no_grad():
                warnings.simplefilter("ignore")
                return torch.export.export(
                    face,
                    tuple(tensors),
                    dynamic_shapes=dynamic_shapes(specs, stepped=stepped),
                    strict=False,
                )
        except EdgeSdkError:
            raise
        except Exception as error:
            failure = _capture_error(error, specs)
            if stepped or not steps:
                raise failure from error
    raise CaptureError("torch.export gave neither a program nor an error")


def _try_inputs(
    face: FaceModel, specs: Sequence[TensorSpec], tensors: Sequence[torch.Tensor]
) -> None:
    try:
        with torch.inference_mode():
            face(*tensors)
    except EdgeSdkError:
        raise
    except Exception as error:
        shown = ", ".join(str(spec) for spec in specs)
        raise InputSpecError(
            f"the model refuses the input {shown}: {_first_line(error)}",
            where=user_location(error),
            remedy="give the shape and dtype it takes with --input NAME:1x3x224x224[:dtype]",
        ) from error


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _capture_error(error: BaseException, specs: Sequence[TensorSpec]) -> CaptureError:
    text = str(error)
    place = user_location(error)
    if "data-dependent" in text or "GuardOnDataDependent" in type(error).__name__:
        return CaptureError(
            "the model's control flow depends on the values of a tensor; no target can follow it",
            where=place,
            remedy="choose with torch.where(condition, a, b), or torch.cond for whole branches",
        )
    if any(spec.dynamic for spec in specs) and re.search(
        r"Constraints violated|specializ|not in range|dynamic", text
    ):
        names = sorted({dim.name for spec in specs for dim in spec.dynamic.values()})
        return CaptureError(
            f"the model fixes a dimension that should stay free ({', '.join(names)}): "
            + _constraint(text),
            where=place,
            remedy="compute sizes from the input's shape in the model, choose a range that fits "
            "(--dynamic hw=64..512/32), or export without --dynamic",
        )
    return CaptureError(
        f"torch.export cannot trace the model: {_first_line(error)}",
        where=place,
        remedy="keep forward() to tensor operations; see https://docs.pytorch.org/docs/stable/export.html",
    )


def _constraint(text: str) -> str:
    lines = [line.strip(" -") for line in text.splitlines()]
    told = [line for line in lines if "Not all values" in line or "specialized" in line]
    return (told or [line for line in lines if line])[0][:400]


def _refuse_training_operators(program: torch.export.ExportedProgram) -> None:
    """Refuse a program that was captured in training mode: it cannot be switched any more."""
    for node in program.graph.nodes:
        if node.op != "call_function":
            continue
        name = str(node.target)
        trains = (name.startswith("aten.dropout") and node.args[2] is True) or (
            name.startswith("aten.batch_norm") and node.args[5] is True
        )
        if trains:
            raise CaptureError(
                f"the program was captured in training mode ({name.split('.')[1]} trains)",
                where=where(node) or None,
                remedy="call model.eval() before torch.export.export, and do not switch layers "
                "back to training in forward()",
            )


def _output_specs(
    program: torch.export.ExportedProgram, inputs: Sequence[TensorSpec]
) -> tuple[TensorSpec, ...]:
    # torch invents its own symbols for free sizes; read back which of our names they stand for.
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
        sizes, free = [], {}
        for axis, size in enumerate(value.shape):
            if isinstance(size, int):
                sizes.append(size)
                continue
            expression = str(size)
            free[axis] = symbols.get(expression) or DynamicDim(f"{name}_{axis}", 1, 2**31 - 1)
            sizes.append(int(size.node.hint) if size.node.hint is not None else 1)
        result.append(TensorSpec(name, tuple(sizes), dtype_name(value.dtype), free))
    return tuple(result)


def run_eager(face: FaceModel, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Run the model itself.

    Args:
        face: The model.
        inputs: One array an input, by name.

    Raises:
        InputSpecError: The model refuses these inputs.
    """
    tensors = {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in inputs.items()}
    try:
        with torch.inference_mode():
            outputs = face(**tensors)
    except EdgeSdkError:
        raise
    except Exception as error:
        raise InputSpecError(
            f"the model fails on a sample: {_first_line(error)}",
            where=user_location(error),
            remedy="give samples that the model takes with --samples",
        ) from error
    return {name: tensor.detach().numpy().copy() for name, tensor in outputs.items()}


def first_not_finite(
    program: torch.export.ExportedProgram, inputs: Mapping[str, np.ndarray]
) -> ModelOutputError:
    """Find the operator that first makes NaN or infinity of finite inputs.

    Args:
        program: The captured program.
        inputs: A sample on which the model's output is not finite.

    Returns:
        The error to raise, with the operator and the line in the user's model.
    """
    found: list[tuple[str, str]] = []

    class Watch(torch.fx.Interpreter):
        def run_node(self, n: torch.fx.Node) -> Any:
            value = super().run_node(n)
            if not found and n.op == "call_function":
                for leaf in pytree.tree_leaves(value):
                    if (
                        isinstance(leaf, torch.Tensor)
                        and leaf.is_floating_point()
                        and not bool(torch.isfinite(leaf).all())
                    ):
                        found.append((str(n.target), where(n)))
                        break
            return value

    tensors = [torch.from_numpy(np.ascontiguousarray(inputs[name])) for name in inputs]
    with torch.inference_mode():
        Watch(program.module()).run(*tensors)
    operator, place = found[0] if found else ("the output", "")
    return ModelOutputError(
        f"the model answers NaN or infinity; {operator} makes the first one",
        where=place or None,
        remedy="check weights and input range; a logarithm or a division may need a floor",
    )


def program_digest(program: torch.export.ExportedProgram) -> str:
    """Content hash of a program: graph, shapes, source lines, weights and constants.

    Two programs of the same hash convert to the same artefacts.
    """
    digest = hashlib.sha256()

    def feed(text: str) -> None:
        data = text.encode()
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)

    for name, module in program.graph_module.named_modules():
        if not isinstance(module, torch.fx.GraphModule):
            continue
        feed(name)
        for node in module.graph.nodes:
            value = node.meta.get("val")
            shapes = pytree.tree_map(
                lambda leaf: (
                    (tuple(map(str, leaf.shape)), str(leaf.dtype), tuple(map(str, leaf.stride())))
                    if isinstance(leaf, torch.Tensor)
                    else str(leaf)
                ),
                value,
            )
            feed(f"{node.format_node()}|{node.args}|{node.kwargs}|{shapes}")
            lines = [str(frame) for frame in frames(node.meta.get("stack_trace") or "")]
            feed(f"{lines}|{list((node.meta.get('nn_module_stack') or {}).values())}")
    feed(str(program.graph_signature))
    feed(str(sorted((str(k), str(v)) for k, v in program.range_constraints.items())))
    for store in (program.state_dict, program.constants):
        for name in sorted(store):
            value = store[name]
            feed(name)
            if isinstance(value, torch.Tensor):
                data = value.detach().cpu().contiguous()
                feed(f"{tuple(data.shape)} {data.dtype}")
                digest.update(data.reshape(-1).view(torch.uint8).numpy().data)
            else:
                feed(repr(value))
    return digest.hexdigest()


def with_example_shapes(specs: Sequence[TensorSpec], sizes: Mapping[str, int]) -> list[TensorSpec]:
    """The specs with other sizes of their free dimensions."""
    return [
        replace(
            spec,
            shape=tuple(
                sizes.get(spec.dynamic[axis].name, size) if axis in spec.dynamic else size
                for axis, size in enumerate(spec.shape)
            ),
        )
        for spec in specs
    ]
