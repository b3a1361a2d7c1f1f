"""Simulation of a quantized network in floats, with each layer switchable to float."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.fx import Node

from edgesdk.errors import InputSpecError, QuantizationError, UnknownNameError
from edgesdk.quant.calibration import observed_ranges
from edgesdk.quant.fake_quantization.fake_quantize import fake_quantize_weight
from edgesdk.quant.fake_quantization.group_step import choose_groups, tensors_to_round
from edgesdk.quant.fake_quantization.network import Network, Walk, plain, sample_errors
from edgesdk.quant.fake_quantization.operator_groups import (
    Folded,
    OperatorGroup,
    find_groups,
    fold_norm,
)
from edgesdk.quant.fake_quantization.step import Choice, Range, SimulatedStep, halved
from edgesdk.quant.layer_names import layer_path, lies_below
from edgesdk.quant.plan import Arrays
from edgesdk.quant.spec import QuantSpec

__all__ = ["QuantizedWalk", "SimulatedLayer", "SimulatedQuantization"]

#: Samples computed at a time.
_BATCH = 16


@dataclass(frozen=True)
class SimulatedLayer:
    """A layer of the simulated network.

    Attributes:
        path: Path of its module; see :func:`edgesdk.quant.layer_names.layer_path`.
        operator: Operator of the program, such as ``conv2d``.
        weights: Number of weights.
        nodes: Its operators; several if the module is called again or calls functions itself.
    """

    path: str
    operator: str
    weights: int
    nodes: tuple[Node, ...]


class QuantizedWalk:
    """Pausable run of a quantized network on one batch.

    Args:
        walk: Run of the network.
        step: Computes its operators.
    """

    def __init__(self, walk: Walk, step: SimulatedStep) -> None:
        self._walk, self._step = walk, step

    def advance(self, to: Node) -> None:
        """Compute all operators in front of ``to``."""
        with torch.inference_mode(), sample_errors():
            self._walk.advance(to)

    def peek(self) -> Tensor:
        """Return the result of the next operator before rounding, without advancing."""
        shown: list[Tensor] = []
        self._step.watch = lambda node, value: shown.append(value)
        try:
            with torch.inference_mode(), sample_errors():
                self._step(self._walk.next, *self._walk.arguments())
        finally:
            self._step.watch = None
        return shown[0]


class SimulatedQuantization:
    """Simulate a program with weights and activations rounded by a recipe.

    Weights of convolutions and linear layers are rounded once, with batch normalization folded in.
    A static recipe rounds every tensor between operators with an integer form to its calibrated
    range, after a following clamp; a dynamic recipe measures the input of each such layer per
    sample. Target-specific choices (operators left float, tensors that share a scale) are not
    simulated.

    Args:
        program: Float program.
        spec: Recipe; layers in its ``float_layers`` are never quantized.
        calibration: Calibration samples by input name, for a static recipe.
        ranges: Ranges by tensor name (:func:`edgesdk.quant.layer_names.tensor_names`) in place of
            calibration, such as learned ones.
        inputs: Names of the inputs; None for the program's own.
        outputs: Names of the outputs; None for the program's own.

    Attributes:
        layers: Layers with weights, in order.
        ranges: Ranges by tensor name.
        folded: Rounded weights and float biases by group.

    Raises:
        DataError: A static recipe has no calibration samples, or they hold NaN.
        InputSpecError: A sample lacks an input or does not fit the program.
        QuantizationError: The program has nothing to quantize, or is quantized already.
        UnknownNameError: ``float_layers`` holds an unknown layer.
    """

    def __init__(
        self,
        program: ExportedProgram,
        spec: QuantSpec,
        *,
        calibration: Iterable[Arrays] = (),
        ranges: Mapping[str, Range] | None = None,
        inputs: Sequence[str] | None = None,
        outputs: Sequence[str] | None = None,
    ) -> None:
        self.spec = spec
        self.network = Network(program)
        self.inputs = tuple(inputs or (node.name for node in self.network.inputs))
        self.outputs = tuple(outputs or self.network.outputs)
        self.groups = find_groups(self.network)
        self._values = self.network.values()
        self.layers = self._layers()
        if not self.layers:
            raise QuantizationError(
                "the program has no convolution and no linear layer with constant weights",
                remedy="export it without --quantize",
            )
        self._check_paths(spec.float_layers)
        self._batched: bool | None = None
        self.folded = {group: self._fold(group) for group in self.groups if group.weight}
        self.ranges: dict[str, Range] = dict(ranges or {})
        if spec.static and ranges is None:
            self.ranges = self._calibrate(calibration)
        self._choices: dict[tuple[Any, ...], Choice] = {}

    @property
    def paths(self) -> tuple[str, ...]:
        """Paths of all layers with weights, in order."""
        return tuple(layer.path for layer in self.layers)

    def run(
        self,
        inputs: Arrays,
        *,
        float_layers: Collection[str] = (),
        only: Collection[str] | None = None,
        watch: Callable[[Node, Tensor], None] | None = None,
        until: Node | None = None,
    ) -> Arrays:
        """Compute one batch.

        Args:
            inputs: Arrays by input name.
            float_layers: Module paths that stay float, including everything below.
            only: The only layers to quantize; None for all.
            watch: Called with every operator and its result before rounding.
            until: Last operator to compute; None for all.

        Returns:
            Outputs by name; none with ``until``.

        Raises:
            InputSpecError: An input is missing or does not fit the program.
            UnknownNameError: A path is not in the program.
        """
        chosen = self._chosen(tuple(float_layers), None if only is None else tuple(only))
        return self._compute(inputs, self._step(chosen, watch), until)

    def run_float(
        self,
        inputs: Arrays,
        *,
        watch: Callable[[Node, Tensor], None] | None = None,
        until: Node | None = None,
    ) -> Arrays:
        """Compute one batch with the float program; see :meth:`run`."""

        def step(node: Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            value = plain(node, args, kwargs)
            if watch is not None:
                watch(node, value)
            return value

        return self._compute(inputs, step, until)

    def answers(
        self,
        samples: Sequence[Arrays],
        *,
        float_layers: Collection[str] = (),
        only: Collection[str] | None = None,
        quantized: bool = True,
    ) -> list[Arrays]:
        """Compute the outputs of several samples, in batches if the program allows.

        Args:
            samples: Samples, each as for :meth:`run`.
            float_layers: See :meth:`run`.
            only: See :meth:`run`.
            quantized: False for the float program's outputs.
        """
        found: list[Arrays] = []
        for batch in self.batches(samples):
            joined = _joined(batch)
            answer = (
                self.run(joined, float_layers=float_layers, only=only)
                if quantized
                else self.run_float(joined)
            )
            found += [answer] if len(batch) == 1 else _parted(answer, batch)
        return found

    def alone(self, samples: Sequence[Arrays]) -> Iterator[tuple[SimulatedLayer, list[Arrays]]]:
        """Yield each layer and the outputs with that layer alone quantized.

        Operators in front of a layer are computed once for all later layers.

        Args:
            samples: Samples, each as for :meth:`run`.
        """
        batches = self.batches(samples)
        choices = {layer: self._chosen((), (layer.path,)) for layer in self.layers}
        place = {node: index for index, node in enumerate(self.network.nodes)}

        def start(layer: SimulatedLayer) -> Node:
            rounded = {group.head for group in choices[layer].groups} | choices[layer].halved
            return min((*rounded, layer.nodes[0]), key=place.__getitem__)

        with torch.inference_mode(), sample_errors():
            tensors = [self._tensors(_joined(batch)) for batch in batches]
            walks = [Walk(self.network, given, self._values, plain) for given in tensors]
        for layer in sorted(self.layers, key=lambda one: place[start(one)]):
            found: list[Arrays] = []
            with torch.inference_mode(), sample_errors():
                for walk, batch in zip(walks, batches, strict=True):
                    walk.advance(start(layer))
                    results = walk.fork(self._step(choices[layer])).finish()
                    answer = self._named(results)
                    found += [answer] if len(batch) == 1 else _parted(answer, batch)
            yield layer, found

    def walks(self, batches: Sequence[Arrays]) -> list[QuantizedWalk]:
        """Start one pausable run of the quantized network per batch.

        Later changes of biases in :attr:`folded` take effect in these runs.
        """
        step = [self._step(self._chosen((), None)) for _ in batches]
        return [
            QuantizedWalk(Walk(self.network, self._tensors(batch), self._values, one), one)
            for batch, one in zip(batches, step, strict=True)
        ]

    def batches(self, samples: Sequence[Arrays]) -> list[list[Arrays]]:
        """Combine samples to batches if the program computes batches correctly."""
        alike = len({_shapes(sample) for sample in samples}) == 1
        size = _BATCH if alike and len(samples) > 1 and self._takes_batches(samples) else 1
        return [list(samples[start : start + size]) for start in range(0, len(samples), size)]

    def _takes_batches(self, samples: Sequence[Arrays]) -> bool:
        if self._batched is None:
            self._batched = self._batches_agree(samples[:2])
        return self._batched

    def _batches_agree(self, pair: Sequence[Arrays]) -> bool:
        sizes = {len(value) if value.ndim else 0 for value in pair[0].values()}
        if len(sizes) != 1 or 0 in sizes:
            return False
        apart = [self.run_float(sample) for sample in pair]
        try:
            together = self.run_float(_joined(pair))
        except InputSpecError:
            return False
        for name, value in together.items():
            expected = np.concatenate([np.atleast_1d(answer[name]) for answer in apart])
            if value.shape != expected.shape:
                return False
            max_abs = float(np.abs(expected).max(initial=0))
            if not np.allclose(value, expected, rtol=1e-3, atol=1e-4 * max_abs):
                return False
        return True

    def _layers(self) -> tuple[SimulatedLayer, ...]:
        by_path: dict[str, list[OperatorGroup]] = {}
        for group in self.groups:
            if group.weight is not None:
                by_path.setdefault(group.path, []).append(group)
        layers = []
        for path, groups in by_path.items():
            # A module that is called twice has one set of weights.
            weights = {group.weight for group in groups if group.weight is not None}
            count = sum(self._values[weight].numel() for weight in weights)
            nodes = tuple(group.head for group in groups)
            layers.append(SimulatedLayer(path, groups[0].operator, count, nodes))
        return tuple(layers)

    def _fold(self, group: OperatorGroup) -> Folded:
        folded = fold_norm(group, self._values)
        quant = self.spec.weights
        if quant is not None:
            folded.weight = fake_quantize_weight(
                folded.weight, quant, transposed=group.transposed, groups=group.groups
            )
        elif self.spec.precision == "fp16":
            folded.weight = halved(folded.weight)
        return folded

    def _calibrate(self, samples: Iterable[Arrays]) -> dict[str, Range]:
        tensors = (self._tensors(sample) for sample in samples)
        wanted = tensors_to_round(self.groups)
        return observed_ranges(self.network, self._values, tensors, wanted, self.spec)

    def _chosen(self, float_layers: tuple[str, ...], only: tuple[str, ...] | None) -> Choice:
        key = (frozenset(float_layers), None if only is None else frozenset(only))
        if key not in self._choices:
            self._check_paths((*float_layers, *(only or ())))
            self._choices[key] = self._choose(float_layers, only)
        return self._choices[key]

    def _choose(self, float_layers: tuple[str, ...], only: tuple[str, ...] | None) -> Choice:
        def wanted(path: str) -> bool:
            if self.spec.keeps_float(path) or lies_below(path, float_layers):
                return False
            return only is None or lies_below(path, only)

        groups = choose_groups(
            self.network,
            self.groups,
            static=self.spec.static,
            wanted=lambda group: wanted(group.path),
        )
        if self.spec.precision != "fp16":
            return Choice(groups)
        nodes = self.network.nodes
        return Choice(groups, frozenset(node for node in nodes if wanted(layer_path(node))))

    def _check_paths(self, paths: Iterable[str]) -> None:
        known = [group.path for group in self.groups]
        for path in paths:
            if not any(lies_below(other, (path,)) for other in known):
                raise UnknownNameError("layer", path, known)

    def _compute(self, inputs: Arrays, step: Any, until: Node | None) -> Arrays:
        tensors = self._tensors(inputs)
        with torch.inference_mode(), sample_errors():
            found = self.network.compute(tensors, self._values, step, until=until)
        return {} if until is not None else self._named(found)

    def _named(self, outputs: Sequence[Tensor]) -> Arrays:
        return {name: value.numpy() for name, value in zip(self.outputs, outputs, strict=True)}

    def _step(
        self, choice: Choice, watch: Callable[[Node, Any], None] | None = None
    ) -> SimulatedStep:
        return SimulatedStep(self.network, self.spec, choice, self.folded, self.ranges, watch)

    def _tensors(self, inputs: Arrays) -> list[Tensor]:
        missing = [name for name in self.inputs if name not in inputs]
        if missing:
            raise InputSpecError(
                f"a sample has no input {missing[0]!r}",
                remedy=f"the program takes {', '.join(self.inputs)}",
            )
        return [torch.from_numpy(np.asarray(inputs[name], order="C")) for name in self.inputs]


def _shapes(sample: Arrays) -> tuple[Any, ...]:
    return tuple(sorted((name, value.shape, str(value.dtype)) for name, value in sample.items()))


def _joined(samples: Sequence[Arrays]) -> Arrays:
    if len(samples) == 1:
        return samples[0]
    return {name: np.concatenate([sample[name] for sample in samples]) for name in samples[0]}


def _parted(answer: Arrays, batch: Sequence[Arrays]) -> list[Arrays]:
    """Split the outputs of a batch into samples."""
    ends = np.cumsum([len(next(iter(sample.values()))) for sample in batch])[:-1]
    parts = {name: np.split(value, ends) for name, value in answer.items()}
    return [{name: pieces[place] for name, pieces in parts.items()} for place in range(len(batch))]
