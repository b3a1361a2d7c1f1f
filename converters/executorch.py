"""ExecuTorch converter: lower a program, delegate it to the variant's backend, write a .pte."""

from __future__ import annotations

from typing import Any

from edgesdk.converters.conversion import Conversion, ConversionRequest
from edgesdk.converters.error_locations import conversion_error, unsupported_operator
from edgesdk.converters.quantization_plan import plan_for, save_simulated, with_int8_io
from edgesdk.converters.rewriting.library import rewrite_for
from edgesdk.errors import EdgeSdkError
from edgesdk.frontend.pt2.reader import load_program

__all__ = ["convert"]


def _partitioners(variant: str) -> list[Any]:
    if variant == "xnnpack":
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner

        return [XnnpackPartitioner()]
    if variant == "coreml":
        from executorch.backends.apple.coreml.partition import CoreMLPartitioner

        return [CoreMLPartitioner()]
    if variant == "vulkan":
        from executorch.backends.vulkan.partitioner.vulkan_partitioner import VulkanPartitioner

        return [VulkanPartitioner()]
    return []


def convert(request: ConversionRequest) -> Conversion:
    """Convert one program.

    Raises:
        UnsupportedOperatorError: The runtime has no kernel for an undelegated operator; without
            this check the loader on the phone would fail with ``0x14``.
        ConversionError: The lowering failed.
    """
    from executorch.exir import to_edge_transform_and_lower

    program, rewrites = rewrite_for("executorch", request.variant, load_program(request.program))
    given, found = program, None
    if request.quantization is not None:
        from edgesdk.quant.executorch.program import quantize_program

        program, found = quantize_program(plan_for(request, given), request.variant)
    try:
        lowered = to_edge_transform_and_lower(program, partitioner=_partitioners(request.variant))
        coverage = None
        if request.coverage:
            from edgesdk.converters.coverage.executorch import cover_executorch

            coverage = cover_executorch(program, lowered, request.variant)
        manager = lowered.to_executorch()
    except EdgeSdkError:
        raise
    except Exception as error:
        raise conversion_error(program, "executorch", error) from error
    _refuse_missing_kernels(program, manager)
    with request.output.open("wb") as file:
        manager.write_to_file(file)
    if coverage is not None:
        coverage = coverage.model_copy(update={"planned_bytes": _planned_bytes(manager)})
    notes = []
    if request.variant in ("coreml", "vulkan"):
        notes.append(f"the {request.variant} backend runs on phones only")
    quantized, signature = None, (request.inputs, request.outputs)
    if found is not None:
        from edgesdk.quant.executorch.artefact import read_back

        found = read_back(found, request.output)
        quantized = save_simulated(request, given, found)
        signature = with_int8_io(*signature, found.io_scales)
        notes += found.notes
    return Conversion(
        *signature, notes=tuple(notes), coverage=coverage, quantized=quantized, rewrites=rewrites
    )


def _planned_bytes(manager: Any) -> int:
    plans = manager.executorch_program.execution_plan
    # The first entry is always 0, a placeholder of the format.
    return max(sum(plan.non_const_buffer_sizes) for plan in plans)


def _refuse_missing_kernels(program: Any, manager: Any) -> None:
    from executorch.extension.pybindings import portable_lib

    registered = set(portable_lib._get_operator_names())
    for plan in manager.executorch_program.execution_plan:
        for operator in plan.operators:
            name = f"{operator.name}.{operator.overload}" if operator.overload else operator.name
            if name not in registered:
                raise unsupported_operator(
                    program, name, "executorch", "the runtime has no kernel for it"
                )
