"""Find the first operator at which an artefact deviates from the model.

The program is converted again with intermediate values as outputs, evenly spread over its
operators. The first wrong value limits the search to the operators before it, and so on until one
is left. With sixteen values per round, three conversions find one operator among a thousand, using
the artefact's own converter and runtime.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import fx

from edgesdk.bundle.bundle import Bundle
from edgesdk.bundle.manifest import ArtefactRecord, GateRecord, OutputParity, artefact_name
from edgesdk.bundle.samples import Samples
from edgesdk.converters.conversion import Conversion, ConversionRequest
from edgesdk.converters.isolation import ConversionFailed, Converter, Limits
from edgesdk.converters.registry import parse_target
from edgesdk.errors import UsageError
from edgesdk.frontend.provenance import module_path, where
from edgesdk.frontend.pt2.reader import load_program
from edgesdk.runtime.isolated import open_isolated
from edgesdk.spec import TensorSpec
from edgesdk.verification.bisection.artefact_diff import first_altered_value
from edgesdk.verification.bisection.intermediates import ProgramValues
from edgesdk.verification.bisection.result import Deviation
from edgesdk.verification.parity import OutputComparison, meets
from edgesdk.verification.verify_bundle import TIMEOUT, Tolerances

__all__ = ["Deviation", "bisect"]

# Number of intermediate values per conversion.
_TAPS = 16


def bisect(
    bundle: Bundle,
    artefact: ArtefactRecord,
    *,
    gates: Tolerances | None = None,
    limits: Limits | None = None,
    on_progress: Callable[[str, str], None] | None = None,
) -> Deviation:
    """Name the first operator at which an artefact deviates from the model.

    Args:
        bundle: A bundle with its program.
        artefact: Record of the artefact.
        gates: Bounds that replace the default ones.
        limits: Resource limits of each conversion.
        on_progress: Called with target and step.

    Raises:
        UsageError: The bundle was written without its program, or the artefact is quantized.
        EdgeSdkError: The runtime or the converter failed.
    """
    if artefact.quantized is not None:
        name = artefact_name(artefact.target, artefact.quantization)
        raise UsageError(
            f"{name} differs from the model at every operator",
            remedy="`edgesdk quantize-report` lists the error of each operator and layer",
        )
    path = bundle.program_path()
    if path is None:
        raise UsageError(
            "the bundle does not contain its program",
            remedy="export it again without --no-reference",
        )
    search = _Search(
        bundle,
        artefact,
        load_program(path),
        (gates or Tolerances()).gate(artefact.precision),
        limits or Limits(),
        on_progress or (lambda target, step: None),
    )
    return search.run()


def _compare(expected: np.ndarray, actual: np.ndarray) -> OutputParity:
    comparison = OutputComparison("value")
    comparison.add(expected, actual)
    return comparison.record()


def _plain_spec(name: str, tensor: torch.Tensor) -> TensorSpec:
    return TensorSpec(name, tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))


class _Search:
    def __init__(
        self,
        bundle: Bundle,
        artefact: ArtefactRecord,
        program: torch.export.ExportedProgram,
        gate: GateRecord,
        limits: Limits,
        on_progress: Callable[[str, str], None],
    ) -> None:
        self._bundle = bundle
        self._artefact = artefact
        self._gate = gate
        self._limits = limits
        self._on_progress = on_progress
        self._target, self._variant = parse_target(artefact.target)
        self._module = program.module(check_guards=False)
        self._nodes = {node.name: node for node in self._module.graph.nodes}
        self._conversions = 0

    def run(self) -> Deviation:
        samples = self._bundle.samples()
        index = self._worst_sample(samples)
        if index is None:
            return Deviation(
                self._artefact.target,
                found=False,
                stage="none",
                explanation="every sample is within the gate: no operator deviates",
            )
        inputs, expected = samples.inputs[index], samples.expected[index]
        self._on_progress(self._artefact.target, f"looking into {samples.names[index]}")
        interpreter = ProgramValues(self._module)
        with torch.inference_mode():
            interpreter.run(*self._tensors(inputs))
        captured = self._capture_deviation(inputs, expected)
        if captured is not None:
            return captured
        values = interpreter.kept
        return self._narrow(self._candidates(values), values, inputs)

    def _worst_sample(self, samples: Samples) -> int | None:
        """Return the index of the worst sample outside the gate; None if all are within it."""
        worst: tuple[float, int] | None = None
        usual = {name: array.shape for name, array in samples.inputs[0].items()}
        with open_isolated(
            self._bundle.path_of(self._artefact),
            inputs=self._artefact.inputs,
            outputs=self._artefact.outputs,
            timeout=TIMEOUT,
        ) as session:
            for index, inputs in enumerate(samples.inputs):
                if {name: array.shape for name, array in inputs.items()} != usual:
                    continue
                actual = session.run(inputs)
                for name, wanted in samples.expected[index].items():
                    record = _compare(wanted, actual[name])
                    error = record.max_abs if record.max_abs is not None else float("inf")
                    if not meets(record, self._gate) and (worst is None or error > worst[0]):
                        worst = (error, index)
        return None if worst is None else worst[1]

    def _tensors(self, inputs: Mapping[str, np.ndarray]) -> list[torch.Tensor]:
        tensors = []
        for node in self._module.graph.nodes:
            if node.op == "placeholder":
                # A copy: a program may write into its inputs.
                tensor = torch.from_numpy(np.array(inputs[node.name], order="C"))
                dtype = getattr(node.meta.get("val"), "dtype", None)
                # The program takes planes of numbers where the app passes camera bytes.
                if tensor.dtype == torch.uint8 and dtype == torch.float32:
                    tensor = tensor.permute(0, 3, 1, 2).to(torch.float32).contiguous()
                tensors.append(tensor)
        return tensors

    def _capture_deviation(
        self, inputs: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]
    ) -> Deviation | None:
        with torch.inference_mode():
            outputs = self._module(*self._tensors(inputs))
        for name, wanted in expected.items():
            record = _compare(wanted, outputs[name].detach().numpy())
            if not meets(record, self._gate):
                return Deviation(
                    self._artefact.target,
                    found=True,
                    stage="capture",
                    max_abs=record.max_abs,
                    cosine=record.cosine,
                    explanation=f"the captured program itself differs from the model at output "
                    f"{name!r}: forward() does something that tracing froze, such as a Python "
                    "number read from a tensor or a random draw",
                )
        return None

    def _candidates(self, values: Mapping[str, np.ndarray]) -> list[fx.Node]:
        return [
            node
            for node in self._module.graph.nodes
            if node.name in values and values[node.name].size and len(node.users)
        ]

    def _narrow(
        self,
        candidates: Sequence[fx.Node],
        values: Mapping[str, np.ndarray],
        inputs: Mapping[str, np.ndarray],
    ) -> Deviation:
        low, high = -1, len(candidates)
        deviation: OutputParity | None = None
        while high - low > 1:
            inside = list(range(low + 1, min(high + 1, len(candidates))))
            step = max(1, -(-len(inside) // _TAPS))
            picked = inside[step - 1 :: step]
            if inside[-1] not in picked:
                picked.append(inside[-1])
            self._on_progress(
                self._artefact.target,
                f"conversion {self._conversions + 1}: {len(inside)} candidates",
            )
            found = self._tapped([candidates[index] for index in picked], inputs)
            wrong = [
                (index, record)
                for index, actual in zip(picked, found, strict=True)
                if not meets(record := _compare(values[candidates[index].name], actual), self._gate)
            ]
            if not wrong:
                if high == len(candidates):
                    return self._not_reproduced(inputs)
                return self._interplay(candidates[low + 1 : high + 1], deviation)
            first, deviation = wrong[0]
            before = [index for index in picked if index < first]
            low, high = (before[-1] if before else low), first
        return self._operator(candidates[high], deviation)

    def _tapped(
        self, nodes: Sequence[fx.Node], inputs: Mapping[str, np.ndarray]
    ) -> list[np.ndarray]:
        """Compute the target's values at some nodes, by converting with them as outputs."""
        self._conversions += 1
        graph = fx.Graph()
        copies: dict[fx.Node, fx.Node] = {}
        for node in self._module.graph.nodes:
            if node.op != "output":
                copies[node] = graph.node_copy(node, lambda old: copies[old])
        names = [f"tap_{index}" for index in range(len(nodes))]
        # Some runtimes refuse an input as an output, or a value twice.
        graph.output({name: copies[node] for name, node in zip(names, nodes, strict=True)})
        graph.eliminate_dead_code()
        tapped = fx.GraphModule(self._module, graph)
        tensors = self._tensors(inputs)
        placeholders = [node.name for node in self._module.graph.nodes if node.op == "placeholder"]
        with torch.no_grad():
            program = torch.export.export(tapped, tuple(tensors), strict=False)
        with tempfile.TemporaryDirectory(prefix="edgesdk-bisect-") as folder:
            path = Path(folder) / "tapped.pt2"
            torch.export.save(program, path)
            given = {spec.name: spec for spec in self._artefact.inputs}
            specs = tuple(map(_plain_spec, placeholders, tensors))
            with torch.inference_mode():
                values = tapped(*tensors)
            request = ConversionRequest(
                target=self._target.name,
                variant=self._variant,
                program=path,
                output=Path(folder) / f"tapped{self._target.suffix}",
                inputs=specs,
                outputs=tuple(_plain_spec(name, values[name]) for name in names),
                app_inputs=tuple(
                    given[spec.name] if given[spec.name].image is not None else spec
                    for spec in specs
                ),
                coverage=False,
            )
            conversion = self._convert(request)
            fed = {
                spec.name: inputs[spec.name]
                if app_input.image is not None
                else tensor.numpy().astype(spec.dtype)
                for spec, app_input, tensor in zip(specs, request.app_inputs, tensors, strict=True)
            }
            used = {spec.name for spec in conversion.inputs}
            with open_isolated(
                request.output,
                inputs=conversion.inputs,
                outputs=conversion.outputs,
                timeout=TIMEOUT,
            ) as session:
                outputs = session.run({name: fed[name] for name in fed if name in used})
            return [outputs[name] for name in names]

    def _operator(self, node: fx.Node, record: OutputParity | None) -> Deviation:
        operator = str(node.target)
        place = where(node)
        return Deviation(
            self._artefact.target,
            found=True,
            stage="operator",
            operator=operator,
            node=node.name,
            where=place,
            module=module_path(node.meta.get("nn_module_stack")),
            max_abs=record.max_abs if record else None,
            cosine=record.cosine if record else None,
            explanation=f"{operator} is the first whose value differs",
            conversions=self._conversions,
        )

    def _interplay(self, nodes: Sequence[fx.Node], record: OutputParity | None) -> Deviation:
        first, last = nodes[0], nodes[-1]
        return replace(
            self._operator(last, record),
            stage="interplay",
            explanation=f"the operators from {first.name} ({where(first)}) to {last.name} "
            f"({where(last)}) differ together and agree one by one: the converter's or the "
            "delegate's optimisation across them is to blame",
        )

    def _not_reproduced(self, inputs: Mapping[str, np.ndarray]) -> Deviation:
        found = Deviation(
            self._artefact.target,
            found=True,
            stage="artefact",
            explanation="converting the program again gives right values everywhere: this "
            "artefact was altered, or made by another version of the converter; export it again",
            conversions=self._conversions,
        )
        return self._altered_value(found, inputs) if self._target.name == "onnx" else found

    def _altered_value(self, found: Deviation, inputs: Mapping[str, np.ndarray]) -> Deviation:
        self._on_progress(self._artefact.target, "comparing with a new conversion")
        manifest = self._bundle.manifest
        with tempfile.TemporaryDirectory(prefix="edgesdk-bisect-") as folder:
            request = ConversionRequest(
                target=self._target.name,
                variant=self._variant,
                program=self._bundle.path_of(manifest.reference.program)
                if manifest.reference.program
                else Path(),
                output=Path(folder) / "again.onnx",
                inputs=tuple(manifest.inputs),
                outputs=tuple(manifest.outputs),
                app_inputs=tuple(manifest.inputs),
                coverage=False,
            )
            self._convert(request)
            value = first_altered_value(
                self._bundle.path_of(self._artefact),
                request.output,
                self._artefact,
                inputs,
                self._gate,
                self._nodes,
                TIMEOUT,
            )
        if value is None:
            return found
        return replace(
            found,
            operator=value.operator,
            node=value.name,
            where=value.where,
            module=value.module,
            max_abs=value.parity.max_abs,
            cosine=value.parity.cosine,
            explanation=f"{found.explanation}. {value.operator} is the first that differs from a "
            "new conversion",
            conversions=self._conversions + 1,
        )

    def _convert(self, request: ConversionRequest) -> Conversion:
        try:
            return Converter(request, self._limits).run()[0]
        except ConversionFailed as failed:
            raise failed.error from failed
