"""Converting, saving and evaluating, shared by the tests of the Core ML evaluator."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

ct = pytest.importorskip("coremltools")

from edgesdk.runtime.mil import MilEvaluator  # noqa: E402

Arrays = dict[str, np.ndarray]


@pytest.fixture(scope="session")
def save(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Any], Path]:
    """Save a converted model in a folder of its own and give its path."""
    folder = tmp_path_factory.mktemp("packages")
    numbers = itertools.count()

    def save_model(model: Any) -> Path:
        path = folder / f"{next(numbers)}.mlpackage"
        model.save(str(path))
        return path

    return save_model


@pytest.fixture(scope="session")
def convert() -> Callable[..., Any]:
    """Convert an eager module through its exported program; in single precision by default."""

    def convert_module(
        module: torch.nn.Module, arguments: Sequence[torch.Tensor], **options: Any
    ) -> Any:
        dynamic_shapes = options.pop("dynamic_shapes", None)
        exported = torch.export.export(
            module.eval(), tuple(arguments), dynamic_shapes=dynamic_shapes, strict=False
        )
        options.setdefault("compute_precision", ct.precision.FLOAT32)
        return ct.convert(exported.run_decompositions({}), convert_to="mlprogram", **options)

    return convert_module


@pytest.fixture(scope="session")
def both(save: Callable[[Any], Path], convert: Callable[..., Any]) -> Callable[..., Any]:
    """Run a module eagerly and as a saved, evaluated package.

    Returns the evaluator and pairs of (evaluated, eager) outputs.
    """

    def run_both(
        module: torch.nn.Module, *arguments: torch.Tensor, **options: Any
    ) -> tuple[MilEvaluator, list[tuple[np.ndarray, np.ndarray]]]:
        evaluator = MilEvaluator(save(convert(module, arguments, **options)), threads=1)
        with torch.inference_mode():
            eager = module(*arguments)
        eager = eager if isinstance(eager, tuple) else (eager,)
        named = {
            feature.name: argument.numpy()
            for feature, argument in zip(evaluator.inputs, arguments, strict=True)
        }
        evaluated = list(evaluator.run(named).values())
        return evaluator, list(zip(evaluated, [value.numpy() for value in eager], strict=True))

    return run_both


@pytest.fixture(scope="session")
def package(save: Callable[[Any], Path]) -> Callable[..., Path]:
    """Build a program of MIL operators directly and save it.

    ``build`` takes the inputs and gives one value or a tuple of them. No pass of the converter
    runs, so the saved program holds exactly the operators that were asked for.
    """
    from coremltools.converters.mil.mil import Builder as mb
    from coremltools.converters.mil.mil import Function, Program, types

    def build_package(
        inputs: Mapping[str, np.ndarray], build: Callable[..., Any], target: Any = None
    ) -> Path:
        target = target or ct.target.iOS17
        kinds = {"f": types.fp32, "i": types.int32, "b": types.bool}
        placeholders = {
            name: mb.placeholder(shape=array.shape, dtype=kinds[array.dtype.kind])
            for name, array in inputs.items()
        }
        made = Program()
        with Function(placeholders, opset_version=target) as function:
            results = build(**function.inputs)
            function.set_outputs(list(results) if isinstance(results, (list, tuple)) else [results])
            made.add_function("main", function)
        model = ct.convert(
            made,
            convert_to="mlprogram",
            compute_precision=ct.precision.FLOAT32,
            minimum_deployment_target=target,
            pass_pipeline=ct.PassPipeline.EMPTY,
        )
        return save(model)

    return build_package


@pytest.fixture(scope="session")
def program(package: Callable[..., Path]) -> Callable[..., MilEvaluator]:
    """Build a program as ``package`` does and open it."""

    def open_program(
        inputs: Mapping[str, np.ndarray], build: Callable[..., Any], target: Any = None
    ) -> MilEvaluator:
        return MilEvaluator(package(inputs, build, target), threads=1)

    return open_program


@pytest.fixture(scope="session")
def evaluate(program: Callable[..., MilEvaluator]) -> Callable[..., list[np.ndarray]]:
    """Build, save and evaluate a program of MIL operators; its outputs in order."""

    def evaluate_program(
        inputs: Mapping[str, np.ndarray], build: Callable[..., Any], target: Any = None
    ) -> list[np.ndarray]:
        return list(program(inputs, build, target).run(dict(inputs)).values())

    return evaluate_program
