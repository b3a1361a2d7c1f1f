"""Quantization of programs for ExecuTorch's XNNPACK delegate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgesdk.errors import MissingBackendError
from edgesdk.quant.plan import Quantized, QuantPlan
from edgesdk.quant.support import require_support

if TYPE_CHECKING:
    from torch.export import ExportedProgram

__all__ = ["quantize_program"]


def quantize_program(plan: QuantPlan, variant: str) -> tuple[ExportedProgram, Quantized]:
    """Quantize a program before it is lowered.

    Args:
        plan: Quantization plan.
        variant: Backend of ExecuTorch.

    Returns:
        Program to lower in place of the plan's, and the result. Bits are those of the program;
        :func:`edgesdk.quant.executorch.artefact.read_back` reads them from the lowered file.

    Raises:
        DataError: Calibration data are missing, do not fit the program or hold NaN.
        MissingBackendError: ExecuTorch is not installed.
        QuantizationError: The program cannot be quantized with this recipe.
        UnsupportedRecipeError: XNNPACK does not support the recipe.
    """
    require_support(f"executorch:{variant}", plan.spec)
    try:
        import executorch.exir  # noqa: F401 - the quantizer's own module is imported below
    except ModuleNotFoundError as error:
        raise MissingBackendError("executorch", "executorch") from error
    from edgesdk.quant.pt2e.layers import quantized_layers
    from edgesdk.quant.pt2e.simulation import simulate

    if plan.spec.precision == "fp16":
        return _half(plan)
    from edgesdk.quant.executorch.annotation import PlanQuantizer
    from edgesdk.quant.pt2e.conversion import quantize_pt2e

    quantizer = PlanQuantizer(plan)
    reference = quantize_pt2e(plan, quantizer)
    return reference.program, Quantized(
        layers=quantized_layers(reference.module, quantizer.reasons),
        float_operators=quantizer.float_operators,
        simulated=simulate(plan, reference.module),
        io_scales=reference.io_scales,
        notes=tuple(quantizer.notes),
    )


def _half(plan: QuantPlan) -> tuple[ExportedProgram, Quantized]:
    from edgesdk.quant.executorch.half import half_module
    from edgesdk.quant.pt2e.conversion import export_again, vendor_errors
    from edgesdk.quant.pt2e.layers import quantized_layers
    from edgesdk.quant.pt2e.simulation import simulate

    module = half_module(plan)
    with vendor_errors(
        "cannot convert the program to half precision", "export it without a recipe"
    ):
        program = export_again(plan, module)
        simulated = simulate(plan, module)
    return program, Quantized(layers=quantized_layers(module, {}), simulated=simulated)
