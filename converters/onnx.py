"""ONNX converter: torch's dynamo exporter, one file, named inputs and outputs."""

from __future__ import annotations

from typing import Any

from edgesdk.converters.conversion import (
    Conversion,
    ConversionRequest,
    QuantizedConversion,
    check_free_dimensions,
)
from edgesdk.converters.error_locations import conversion_error
from edgesdk.converters.onnx_names import name_outputs
from edgesdk.converters.quantization_plan import (
    plan_for,
    save_simulated,
    temporary_float_artefact,
    with_int8_io,
)
from edgesdk.converters.rewriting.library import rewrite_for
from edgesdk.frontend.pt2.reader import load_program

__all__ = ["convert"]

# Metadata with paths of this machine, useless on the phone.
_PRIVATE_METADATA = ("pkg.torch.onnx.stack_trace", "pkg.torch.onnx.class_hierarchy")


def convert(request: ConversionRequest) -> Conversion:
    """Convert one program.

    Raises:
        UnsupportedOperatorError: The exporter has no translation for an operator.
        DynamicShapeError: A free dimension became fixed.
        ConversionError: The exporter failed.
    """
    import onnx
    import torch

    program, rewrites = rewrite_for("onnx", request.variant, load_program(request.program))
    try:
        exported = torch.onnx.export(
            program,
            (),
            dynamo=True,
            verbose=False,
            input_names=[spec.name for spec in request.inputs],
        )
    except Exception as error:
        raise conversion_error(program, "onnx", error) from error
    model = exported.model_proto
    name_outputs(model.graph, [spec.name for spec in request.outputs])
    _name_free_dimensions(model, request)
    signature = (request.inputs, request.outputs)
    quantized: QuantizedConversion | None = None
    remarks: tuple[str, ...] = ()
    if request.quantization is not None:
        from edgesdk.quant.onnx.quantizer import quantize

        floats = request.output.with_suffix(f".float{request.output.suffix}")
        onnx.save(model, floats)
        with temporary_float_artefact(floats):
            found = quantize(floats, request.output, plan_for(request, program))
        model = onnx.load(request.output)
        quantized, remarks = save_simulated(request, program, found), found.notes
        signature = with_int8_io(*signature, found.io_scales)
    coverage = None
    if request.coverage:
        from edgesdk.converters.coverage.onnx import cover_onnx

        # The coverage needs the source lines, which are stripped from the artefact afterwards.
        onnx.save(model, request.output)
        coverage = cover_onnx(request.output)
    _strip(model)
    onnx.save(model, request.output)
    sizes = {
        value.name: [
            dim.dim_value if dim.HasField("dim_value") else dim.dim_param
            for dim in value.type.tensor_type.shape.dim
        ]
        for value in model.graph.input
    }
    check_free_dimensions("onnx", request.inputs, sizes)
    return Conversion(
        *signature, notes=remarks, coverage=coverage, quantized=quantized, rewrites=rewrites
    )


def _name_free_dimensions(model: Any, request: ConversionRequest) -> None:
    """Replace torch's symbols of free dimensions by the user's names."""
    renamed: dict[str, str] = {}
    specs = {spec.name: spec for spec in request.inputs}
    for value in model.graph.input:
        dims = value.type.tensor_type.shape.dim
        for axis, dim in specs[value.name].dynamic.items():
            if dims[axis].dim_param:
                renamed[dims[axis].dim_param] = dim.name
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in renamed:
                dim.dim_param = renamed[dim.dim_param]


def _strip(model: Any) -> None:
    for node in model.graph.node:
        kept = [entry for entry in node.metadata_props if entry.key not in _PRIVATE_METADATA]
        if len(kept) != len(node.metadata_props):
            del node.metadata_props[:]
            node.metadata_props.extend(kept)
