"""Quantization-aware training: train a model with simulated quantization.

The forward pass rounds weights and activations; gradients ignore the rounding (Jacob et
al., "Quantization and training of neural networks for efficient integer-arithmetic-only inference",
CVPR 2018, section 3). The weights themselves stay floats: quantizing the trained model rounds them
to the grid they were trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node
from torch.utils import _pytree as pytree

from edgesdk.errors import DataError, InputSpecError, QuantizationError, UnknownNameError
from edgesdk.quant.fake_quantization.fake_quantize import (
    fake_quantize_dynamic,
    fake_quantize_weight,
)
from edgesdk.quant.fake_quantization.group_step import (
    GroupStep,
    choose_groups,
    tensors_to_round,
    with_weights,
)
from edgesdk.quant.fake_quantization.module_program import Example, program_of
from edgesdk.quant.fake_quantization.network import Network, plain
from edgesdk.quant.fake_quantization.operator_groups import (
    OperatorGroup,
    find_groups,
    norm_factor,
    over_outputs,
)
from edgesdk.quant.fake_quantization.operators import NORMS, arguments
from edgesdk.quant.float_norms import with_float_norms
from edgesdk.quant.layer_names import lies_below, operator_name
from edgesdk.quant.learned_ranges import LearnedRanges
from edgesdk.quant.spec import QuantSpec
from edgesdk.quant.trainable import require_trainable

__all__ = ["QatModel", "QatResult", "finish_qat", "prepare_qat"]

_DROPOUTS = frozenset({"alpha_dropout", "dropout", "feature_alpha_dropout", "feature_dropout"})
#: Smallest divisor of a folded weight.
_SMALLEST_FACTOR = 1e-6


@dataclass(frozen=True)
class QatResult:
    """Result of quantization-aware training.

    Attributes:
        model: The original model with trained float weights, in evaluation mode.
        ranges: Ranges of activations by tensor name
            (:func:`edgesdk.quant.layer_names.tensor_names`); empty if the recipe is not static.
    """

    model: nn.Module
    ranges: dict[str, tuple[float, float]]


def prepare_qat(
    model: nn.Module, spec: QuantSpec, example: Example, *, freeze_after: int | None = None
) -> QatModel:
    """Wrap a model so that its forward pass simulates quantization.

    The wrapper runs the model's program of evaluation mode; normalization and dropout follow the
    current mode, other code that depends on ``self.training`` does not run.

    Args:
        model: Model whose parameters are trained.
        spec: Recipe it will be quantized with.
        example: Batch of inputs with at least two samples.
        freeze_after: Training steps after which normalization freezes its statistics and uses
            them, as the quantized network does; None for never.

    Raises:
        CaptureError: ``torch.export`` cannot trace the model.
        QuantizationError: The model has no layer to quantize, or is quantized already.
        UnknownNameError: ``spec.float_layers`` holds an unknown layer.
        UnsupportedRecipeError: The recipe has no integer weights.
    """
    require_trainable(spec)
    program = program_of(model, example)
    spec = with_float_norms(spec, program)
    network = Network(program)
    groups = find_groups(network)
    for path in spec.float_layers:
        if not any(lies_below(group.path, (path,)) for group in groups):
            raise UnknownNameError("layer", path, [group.path for group in groups])
    chosen = choose_groups(
        network,
        groups,
        static=spec.static,
        wanted=lambda group: not spec.keeps_float(group.path),
    )
    if not any(group.weight is not None for group in chosen):
        raise QuantizationError(
            "the model has no convolution and no linear layer to quantize",
            remedy="train it without quantization, or keep fewer layers float",
        )
    return QatModel(model, spec, network, chosen, freeze_after)


def finish_qat(prepared: QatModel) -> QatResult:
    """Unwrap the trained model.

    Args:
        prepared: Result of :func:`prepare_qat`.

    Raises:
        DataError: The recipe is static and the model saw no batch in training mode.
    """
    ranges = prepared.ranges()
    if prepared.spec.static and not ranges:
        raise DataError(
            "the model was not trained, so its activations have no ranges",
            remedy="call it in training mode, or calibrate the float model instead",
        )
    return QatResult(prepared.model.eval(), ranges)


class QatModel(nn.Module):
    """Model in quantization-aware training; made by :func:`prepare_qat`.

    Its state holds the model's state, and the ranges and steps so far under the recipe's name, so
    checkpoints of other recipes do not load.

    Args:
        model: Model to train.
        spec: Recipe.
        network: Program of the model.
        chosen: Quantized groups.
        freeze_after: See :func:`prepare_qat`.
    """

    def __init__(
        self,
        model: nn.Module,
        spec: QuantSpec,
        network: Network,
        chosen: Sequence[OperatorGroup],
        freeze_after: int | None,
    ) -> None:
        super().__init__()
        self.model = model
        self.spec = spec
        self.chosen = tuple(chosen)
        self._network = network
        self._freeze_after = freeze_after
        state = nn.Module()
        state.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        if spec.static:
            assert spec.activations is not None
            names = [network.names[node] for node in tensors_to_round(chosen)]
            state.add_module("ranges", LearnedRanges(names, spec.activations.bits, spec.ranges))
        self.quantization = nn.ModuleDict({spec.name.replace(".", "_"): state})
        self._state = (state,)
        self._owners = self._find_owners()
        self.train(model.training)

    @property
    def steps(self) -> int:
        """Training steps so far."""
        return int(self._state[0].steps)

    @property
    def frozen(self) -> bool:
        """True if normalization uses its frozen statistics."""
        return self._freeze_after is not None and self.steps > self._freeze_after

    @property
    def learned(self) -> LearnedRanges:
        """Learned ranges of activations; static recipes only."""
        return self._state[0].ranges

    def ranges(self) -> dict[str, tuple[float, float]]:
        """Return ranges by tensor name; empty before any batch or if the recipe needs none."""
        return self.learned.ranges() if self.spec.static else {}

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the model's outputs under quantization.

        Raises:
            InputSpecError: The number of tensors differs from the example.
        """
        tensors = pytree.tree_leaves((args, kwargs))
        if len(tensors) != len(self._network.inputs):
            raise InputSpecError(
                f"the model was prepared for {len(self._network.inputs)} tensors, "
                f"{len(tensors)} were given",
                remedy="prepare it with an example of the same form",
            )
        if self.training:
            self._state[0].steps += 1
        constants = {node: getattr(owner, name) for node, owner, name in self._owners}
        found = self._network.compute(tensors, constants, _Training(self, constants))
        structure = self._network.program.call_spec.out_spec
        return structure.unflatten(found)

    def norm_module(self, node: Node) -> nn.Module | None:
        """Return the module that holds the statistics of a normalization."""
        mean = arguments(node)["running_mean"]
        return next((owner for known, owner, _ in self._owners if known is mean), None)

    def _find_owners(self) -> list[tuple[Node, nn.Module, str]]:
        """Find the module and attribute of each constant, to look it up on each use."""
        values = self._network.values()
        own = {
            *dict(self.model.named_parameters(remove_duplicate=False)),
            *dict(self.model.named_buffers(remove_duplicate=False)),
        }
        found = []
        for index, (node, path) in enumerate(self._network.constants.items()):
            owner, _, name = path.rpartition(".")
            if path in own:
                found.append((node, self.model.get_submodule(owner), name))
                continue
            name = f"constant_{index}"
            self.register_buffer(name, values[node].clone(), persistent=False)
            found.append((node, self, name))
        return found


class _Training(GroupStep):
    """One forward pass in quantization-aware training."""

    def __init__(self, prepared: QatModel, constants: dict[Node, Tensor]) -> None:
        spec = prepared.spec
        super().__init__(prepared._network, prepared.chosen, static=spec.static)
        self._prepared, self._constants = prepared, constants
        self._learns = prepared.training
        self._norm_learns = prepared.training and not prepared.frozen
        self._bits = spec.activations.bits if spec.activations is not None else 0

    def head(self, group: OperatorGroup, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if group.weight is None:
            return plain(group.head, args, kwargs)
        bias = self._constants[group.bias] if group.bias is not None else None
        given, named = with_weights(args, kwargs, self._weight(group), bias)
        return plain(group.head, given, named)

    def other(self, node: Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        name = operator_name(node)
        if self._learns and name in _DROPOUTS:
            return torch.ops.aten.__getattr__(name).default(args[0], args[1], True)
        if self._norm_learns and name in NORMS:
            return self._norm(node, args, kwargs)
        return plain(node, args, kwargs)

    def round_static(self, node: Node, value: Tensor) -> Tensor:
        name = self._network.names[node]
        if self._learns:
            self._prepared.learned.observe(name, value)
        return self._prepared.learned.round(name, value)

    def round_input(self, group: OperatorGroup, node: Node, value: Tensor) -> Tensor:
        if not self._prepared.spec.dynamic or group.weight is None:
            return value
        return fake_quantize_dynamic(value, bits=self._bits)

    def _weight(self, group: OperatorGroup) -> Tensor:
        """Return the rounded weights, before normalization."""
        quant = self._prepared.spec.weights
        assert quant is not None and group.weight is not None
        weight = self._constants[group.weight]
        # Grids per channel or block scale with the channel's normalization factor, so rounding
        # and folding commute. A grid per tensor does not scale with it.
        if group.norm is None or quant.granularity != "tensor":
            return fake_quantize_weight(
                weight, quant, transposed=group.transposed, groups=group.groups
            )
        factor, _ = norm_factor(group.norm, self._constants)
        factor = factor.detach()
        factor = torch.where(factor < 0, -1.0, 1.0) * factor.abs().clamp(min=_SMALLEST_FACTOR)
        spread = over_outputs(factor, group, weight)
        folded = fake_quantize_weight(
            weight * spread, quant, transposed=group.transposed, groups=group.groups
        )
        return folded / spread

    def _norm(self, node: Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Normalize by the batch and update the running statistics."""
        names = [item.name for item in node.target._schema.arguments]
        given = {**arguments(node), **dict(zip(names, args, strict=False)), **kwargs}
        if given["running_mean"] is None:
            return plain(node, args, kwargs)
        module = self._prepared.norm_module(node)
        batches = getattr(module, "num_batches_tracked", None)
        if batches is not None:
            batches += 1
            if getattr(module, "momentum", 0.0) is None:
                given["momentum"] = 1.0 / float(batches)
        return node.target(**{**given, "training": True})
