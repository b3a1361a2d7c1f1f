"""Simulation of quantized ``.tflite`` models: integers decoded, arithmetic in floats.

The interpreter is not involved. Torch computes every operator on decoded floats, and rounds its
result to the scale in the file. A wrong kernel or a lost scale shows as a difference between the
two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgesdk.errors import DataError, QuantizationError
from edgesdk.quant.litert.file import ABSENT, LitertModel, LitertOperator, LitertTensor, read_model

if TYPE_CHECKING:
    from torch import Tensor

    from edgesdk.quant.plan import Arrays

__all__ = ["Simulation", "missing_operators", "simulate"]

#: Operators that quantize float inputs if their weights are integers.
_PRODUCTS = frozenset(
    {"BATCH_MATMUL", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"}
)
#: Positions of the quantized input and of the weight.
_PLACES = {"TRANSPOSE_CONV": (2, 1)}
#: Operators that multiply matrices.
_BY_ROW = frozenset({"BATCH_MATMUL", "FULLY_CONNECTED"})


class Simulation:
    """Simulation of one quantized model.

    Args:
        path: The ``.tflite`` file.

    Raises:
        MissingBackendError: ``ai_edge_litert`` is not installed.
        QuantizationError: The file is not a LiteRT model, or an operator is not supported.
    """

    def __init__(self, path: Path) -> None:
        import torch

        from edgesdk.quant.litert import grid
        from edgesdk.quant.litert.convolutions import CONVOLUTIONS
        from edgesdk.quant.litert.operators import OPERATORS, cast

        self._grid = grid
        self._cast = cast
        self._functions = {**OPERATORS, **CONVOLUTIONS}
        self.model = read_model(path)
        missing = missing_operators(self.model)
        if missing:
            raise QuantizationError(
                f"{path.name} holds {', '.join(missing)}, which the simulation does not support",
                remedy="keep the layers around it float, or rewrite it in the model",
            )
        self._constants = {
            tensor.index: torch.from_numpy(np.array(tensor.values()))
            for tensor in self.model.tensors
            if tensor.constant
        }
        self._last_use = _last_use(self.model)

    def run(self, inputs: Mapping[str, np.ndarray], *, keep_all: bool = False) -> Arrays:
        """Simulate one sample.

        Args:
            inputs: Arrays by input name, as for the float model; those of int8 inputs are rounded.
            keep_all: True to return every computed tensor by name, not only the outputs.

        Returns:
            Outputs by name in the signature; quantized ones are decoded.

        Raises:
            DataError: An input is missing.
            QuantizationError: The form of an operator is not supported.
        """
        import torch

        values: dict[int, Tensor] = dict(self._constants)
        for name, index in self.model.inputs.items():
            if name not in inputs:
                raise DataError(
                    f"the sample has no input {name!r}", remedy="give every input of the model"
                )
            given = torch.from_numpy(np.ascontiguousarray(inputs[name]))
            values[index] = self._grid.on_grid(self.model.tensors[index], given)
        kept: Arrays | None = {} if keep_all else None
        with torch.inference_mode():
            for operator in self.model.operators:
                self._step(operator, values)
                if kept is not None:
                    for index in operator.outputs:
                        kept[self.model.tensors[index].name] = values[index].numpy()
                for released in self._last_use[operator.index]:
                    values.pop(released, None)
        if kept is not None:
            return kept
        return {name: values[index].numpy() for name, index in self.model.outputs.items()}

    def _step(self, operator: LitertOperator, values: dict[int, Tensor]) -> None:
        taken = [values[index] if index != ABSENT else None for index in operator.inputs]
        if operator.name in _PRODUCTS:
            self._round_dynamically(operator, taken)
            if self.model.tensors[operator.outputs[0]].quantized:
                # Double precision makes sums of products of integers exact, as in the kernels.
                taken = [_exact(value) for value in taken]
        function: Callable[..., Tensor | list[Tensor]]
        if operator.name == "CAST":
            dtype = self.model.tensors[operator.outputs[0]].dtype
            function = lambda _, value: self._cast(dtype, value)  # noqa: E731
        else:
            function = self._functions[operator.name]
        try:
            results = function(operator.options, *taken)
        except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
            raise QuantizationError(
                f"{operator.name} {operator.index} cannot be simulated: "
                f"{(str(error).splitlines() or [type(error).__name__])[0][:200]}"
            ) from error
        listed = results if isinstance(results, list) else [results]
        for index, result in zip(operator.outputs, listed, strict=True):
            tensor = self.model.tensors[index]
            values[index] = self._grid.put_result(self.model, operator, tensor, result)

    def _round_dynamically(self, operator: LitertOperator, taken: list[Tensor | None]) -> None:
        place, weight = _PLACES.get(operator.name, (0, 1))
        tensors = [self.model.tensors[operator.inputs[slot]] for slot in (place, weight)]
        value = taken[place]
        if value is not None and tensors[0].dtype == "FLOAT32" and tensors[1].quantized:
            width = value.shape[-1] if _by_row(operator, tensors[1]) else value[0].numel()
            rows = self._grid.rounded_rows(value.reshape(-1, width))
            taken[place] = rows.reshape(value.shape)


def _exact(value: Tensor | None) -> Tensor | None:
    return value.double() if value is not None and value.is_floating_point() else value


def _by_row(operator: LitertOperator, weight: LitertTensor) -> bool:
    """Return True if each row of an operator's input has its own range, not each sample."""
    if operator.name != "CONV_2D":
        return operator.name in _BY_ROW
    # XNNPACK computes 1x1 convolutions of stride 1 as matrix products, except with 4-bit weights,
    # which the interpreter's own kernel computes.
    options = operator.options
    whole = weight.shape[1:3] == (1, 1) and (options.strideH, options.strideW) == (1, 1)
    return whole and weight.bits == 8


def missing_operators(model: LitertModel) -> tuple[str, ...]:
    """Return the operators of a model that the simulation lacks, sorted."""
    from edgesdk.quant.litert.convolutions import CONVOLUTIONS
    from edgesdk.quant.litert.operators import OPERATORS

    known = {"CAST", *OPERATORS, *CONVOLUTIONS}
    return tuple(sorted({operator.name for operator in model.operators} - known))


def simulate(path: Path, inputs: Mapping[str, np.ndarray], *, keep_all: bool = False) -> Arrays:
    """Simulate one sample with a quantized model; see :meth:`Simulation.run`.

    Args:
        path: The ``.tflite`` file.
        inputs: Arrays by input name.
        keep_all: True to return every computed tensor by name, not only the outputs.
    """
    return Simulation(path).run(inputs, keep_all=keep_all)


def _last_use(model: LitertModel) -> list[list[int]]:
    """Return the tensors last used by each operator."""
    last = {
        tensor: operator.index
        for operator in model.operators
        for tensor in (*operator.present, *operator.outputs)
    }
    released: list[list[int]] = [[] for _ in model.operators]
    kept = set(model.outputs.values())
    for tensor, operator in last.items():
        if tensor not in kept:
            released[operator].append(tensor)
    return released
