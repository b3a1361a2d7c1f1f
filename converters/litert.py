"""LiteRT converter: Google's litert-torch, with named inputs and outputs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from edgesdk.converters.conversion import (
    Conversion,
    ConversionRequest,
    QuantizedConversion,
    check_free_dimensions,
    narrowed,
)
from edgesdk.converters.error_locations import conversion_error, locate, unsupported_operator
from edgesdk.converters.quantization_plan import (
    plan_for,
    save_simulated,
    temporary_float_artefact,
    with_int8_io,
)
from edgesdk.converters.rewriting.library import rewrite_for
from edgesdk.errors import DynamicShapeError, UnsupportedOperatorError
from edgesdk.frontend.named_forward import named_forward
from edgesdk.frontend.pt2.reader import load_program

__all__ = ["convert"]

# The converter uses 32-bit types throughout.
_NARROW = {"int64": "int32", "float64": "float32"}
_PREFIX = "STABLEHLO_"


def convert(request: ConversionRequest) -> Conversion:
    """Convert one program.

    Raises:
        UnsupportedOperatorError: An operator has no lowering, or only one to StableHLO.
        DynamicShapeError: A free dimension cannot be kept.
        ConversionError: The converter failed.
    """
    import litert_torch

    program, rewrites = rewrite_for("litert", request.variant, load_program(request.program))
    free = any(spec.dynamic for spec in request.inputs)
    names = [spec.name for spec in request.inputs]
    floats = request.output
    if request.quantization is not None:
        floats = request.output.with_suffix(f".float{request.output.suffix}")
    args, kwargs = program.example_inputs
    tensors = dict(zip(names, (*args, *kwargs.values()), strict=True))
    shapes = {"dynamic_shapes": _dynamic_shapes(request)} if free else {}
    try:
        # The converter keeps the names of keyword arguments only.
        edge_model = litert_torch.convert(_keyed(program, names), sample_kwargs=tensors, **shapes)
        edge_model.export(str(floats))
    except Exception as error:
        failure = conversion_error(program, "litert", error)
        if free and not isinstance(failure, UnsupportedOperatorError):
            raise DynamicShapeError(
                f"litert cannot keep {_free_names(request)} free: "
                f"{(str(error).splitlines() or [type(error).__name__])[0][:200]}",
                remedy="export litert without --dynamic, one artefact per shape; "
                "the other targets keep it free",
            ) from error
        raise failure from error
    facts = _read(floats)
    stable = sorted(name for name in facts.operators if name.startswith(_PREFIX))
    if stable and (stable := _without_kernel(floats, stable)):
        floats.unlink()
        raise _stablehlo_error(program, stable)
    check_free_dimensions("litert", request.inputs, facts.sizes)
    signature = (request.inputs, request.outputs)
    quantized: QuantizedConversion | None = None
    remarks: tuple[str, ...] = ()
    if request.quantization is not None:
        from edgesdk.quant.litert.quantizer import quantize

        with temporary_float_artefact(floats):
            found = quantize(floats, request.output, plan_for(request, program))
        quantized, remarks = save_simulated(request, program, found), found.notes
        signature = with_int8_io(*signature, found.io_scales)
    coverage = None
    if request.coverage:
        from edgesdk.converters.coverage.litert import cover_litert

        coverage = cover_litert(request.output, program)
    notes = [
        f"input {spec.name!r} is {_NARROW[spec.dtype]} in the artefact, {spec.dtype} in the model"
        for spec in request.inputs
        if spec.dtype in _NARROW
    ]
    return Conversion(
        tuple(narrowed(spec, _NARROW) for spec in signature[0]),
        tuple(narrowed(spec, _NARROW) for spec in signature[1]),
        notes=(*notes, *remarks),
        coverage=coverage,
        quantized=quantized,
        rewrites=rewrites,
    )


def _free_names(request: ConversionRequest) -> str:
    return ", ".join(sorted({dim.name for spec in request.inputs for dim in spec.dynamic.values()}))


def _keyed(program: Any, names: list[str]) -> Any:
    import torch

    class Keyed(torch.nn.Module):
        forward = named_forward(names, lambda self, tensors: self.program(*tensors))

    # Written into every operator's name: it stays as it was, so that a move changes no artefact.
    Keyed.__module__ = "converters.litert"
    keyed = Keyed()
    keyed.program = program.module(check_guards=False)
    # Exported programs have no modes, yet report training mode.
    keyed.training = False
    return keyed


def _dynamic_shapes(request: ConversionRequest) -> dict[str, Any]:
    import torch

    dims: dict[str, Any] = {}
    shapes: dict[str, Any] = {}
    for spec in request.inputs:
        axes: dict[int, Any] = {}
        for axis, dim in spec.dynamic.items():
            if dim.name not in dims:
                dims[dim.name] = torch.export.Dim(dim.name, min=dim.min, max=dim.max)
            axes[axis] = dims[dim.name]
        shapes[spec.name] = axes
    return shapes


class _Facts:
    def __init__(self, sizes: dict[str, list[int]], operators: set[str]) -> None:
        self.sizes = sizes
        self.operators = operators


def _read(path: Path) -> _Facts:
    """Read the input sizes by signature name (-1: free) and the operator names of a flatbuffer."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    names = {
        code: name
        for name, code in vars(schema.BuiltinOperator).items()
        if not name.startswith("_")
    }
    operators = {
        names.get(max(code.builtinCode, code.deprecatedBuiltinCode), "CUSTOM")
        for code in model.operatorCodes
    }
    graph = model.subgraphs[0]
    sizes: dict[str, list[int]] = {}
    for entry in (model.signatureDefs or [None])[0].inputs if model.signatureDefs else ():
        tensor = graph.tensors[entry.tensorIndex]
        shape = tensor.shapeSignature if tensor.shapeSignature is not None else tensor.shape
        sizes[entry.name.decode()] = [int(size) for size in (shape if shape is not None else ())]
    return _Facts(sizes, operators)


def _without_kernel(path: Path, operators: list[str]) -> list[str]:
    """Return the operators that the interpreter has no kernel for; it has some of StableHLO."""
    from ai_edge_litert.interpreter import Interpreter

    try:
        Interpreter(model_path=str(path), num_threads=1).allocate_tensors()
    except (RuntimeError, ValueError) as error:
        named = [name for name in operators if f"'{name}'" in str(error)]
        return named or operators
    return []


#: Torch operators that become a StableHLO operator, the likeliest first.
_ORIGINS = {
    "SORT": ("sort", "argsort", "topk", "msort", "median"),
    "IOTA": ("eye", "arange", "linspace"),
    "COMPOSITE": ("scaled_dot_product_attention", "layer_norm", "group_norm"),
    "GATHER": ("index", "gather", "index_select", "grid_sampler_2d"),
    "SCATTER": ("index_put", "scatter", "scatter_add"),
    "RNG_BIT_GENERATOR": ("rand", "randn", "rand_like", "randn_like", "bernoulli"),
    "WHILE": ("while_loop", "cumsum", "cumprod"),
    "CUSTOM_CALL": ("grid_sampler_2d", "upsample_bilinear2d"),
}


def _stablehlo_error(program: Any, operators: list[str]) -> UnsupportedOperatorError:
    """Return the error for a flatbuffer with StableHLO operators."""
    # Operators bring helpers, as a sort its comparison: name the operator of the model.
    for name in sorted(operators, key=lambda name: name.removeprefix(_PREFIX) not in _ORIGINS):
        plain = name.removeprefix(_PREFIX)
        for origin in (*_ORIGINS.get(plain, ()), re.sub(r"_v\d+$", "", plain.lower())):
            if locate(program, origin) != ("", ""):
                why = f"it becomes {name}, for which LiteRT has no kernel"
                return unsupported_operator(program, f"aten.{origin}", "litert", why)
    return unsupported_operator(
        program, operators[0], "litert", "LiteRT has no kernel for it; several operators produce it"
    )
