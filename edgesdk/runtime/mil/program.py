"""Read a saved ``.mlpackage`` as a program of MIL operators."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgesdk.errors import MissingBackendError, SessionError
from edgesdk.host.quiet import quiet
from edgesdk.runtime.error_translation import first_line
from edgesdk.runtime.mil.features import MilFeature, input_feature, output_feature
from edgesdk.runtime.mil.package import ModelPackage, damaged_package, open_package

__all__ = ["MilProgram", "load"]


@dataclass(frozen=True)
class MilProgram:
    """One function of an ML Program.

    Attributes:
        path: Path of the package.
        function: The function in coremltools' classes: ``operations``, ``inputs``, ``outputs``.
        inputs: Inputs in the model's order.
        outputs: Outputs in the model's order.
        specification_version: Version of the model format.
        metadata: Metadata of the converter, such as its version.
    """

    path: Path
    function: Any
    inputs: tuple[MilFeature, ...]
    outputs: tuple[MilFeature, ...]
    specification_version: int
    metadata: dict[str, str]


def _read_model(package: ModelPackage) -> Any:
    try:
        with quiet():
            from coremltools import proto
    except ImportError as error:
        raise MissingBackendError("coremltools", "coreml") from error
    model = proto.Model_pb2.Model()
    try:
        model.ParseFromString(package.model.read_bytes())
    except Exception as error:
        # The class of protobuf's DecodeError differs by version.
        raise damaged_package(package.path, "the model file of the package is damaged") from error
    if model.WhichOneof("Type") != "mlProgram":
        kind = model.WhichOneof("Type") or "nothing"
        raise damaged_package(
            package.path,
            f"the package holds {kind}, not an ML Program",
            'convert with coremltools.convert(..., convert_to="mlprogram")',
        )
    return model


def _check_weights(package: ModelPackage, model: Any) -> None:
    """Refuse a program whose weight files are missing; name the first."""
    for function in model.mlProgram.functions.values():
        for block in function.block_specializations.values():
            for name in sorted(set(_weight_files(block))):
                # coremltools also uses only the last part of the name.
                file = package.weights / name if package.weights else None
                if file is None or not file.is_file():
                    raise damaged_package(
                        package.path, f"the weight file {name!r} of the package is missing"
                    )


def _weight_files(block: Any) -> Iterator[str]:
    for operation in block.operations:
        values = [*operation.attributes.values()]
        for argument in operation.inputs.values():
            values += [b.value for b in argument.arguments if b.WhichOneof("binding") == "value"]
        for value in values:
            if value.WhichOneof("value") == "blobFileValue":
                yield value.blobFileValue.fileName.rsplit("/", 1)[-1]
        for nested in operation.blocks:
            yield from _weight_files(nested)


def _transcribe(package: ModelPackage, model: Any) -> Any:
    try:
        with quiet():
            from coremltools.converters.mil.frontend.milproto.load import load as load_milproto

            return load_milproto(
                model,
                specification_version=model.specificationVersion,
                file_weights_dir=str(package.weights or package.path),
            )
    except Exception as error:
        # A damaged program may fail any assertion in coremltools; the cause stays attached.
        raise damaged_package(
            package.path, f"the program in the package cannot be read: {first_line(error, 300)}"
        ) from error


def _known_sizes(variable: Any) -> list[int | None]:
    from coremltools.converters.mil.mil import types
    from coremltools.converters.mil.mil.types.symbolic import is_symbolic

    if not types.is_tensor(variable.sym_type):
        return []
    return [None if is_symbolic(size) else int(size) for size in variable.shape]


def _describe(
    package: ModelPackage, description: Any, function: Any
) -> tuple[tuple[MilFeature, ...], tuple[MilFeature, ...]]:
    from coremltools.converters.mil.mil import types

    inputs = tuple(input_feature(item) for item in description.input)
    computed = {variable.name: variable for variable in function.outputs}
    taken = {feature.name: len(feature.ranges) for feature in inputs}
    for name, variable in function.inputs.items():
        declared = taken.pop(name, None)
        if declared is None and not types.is_state(variable.sym_type):
            raise _inconsistent(package, f"input {name!r} is not described")
        if declared is not None and declared != variable.rank:
            raise _inconsistent(package, f"input {name!r} has two different ranks")
    if taken:
        raise _inconsistent(package, f"input {min(taken)!r} is not in the program")
    outputs = []
    for item in description.output:
        if item.name not in computed:
            raise _inconsistent(package, f"output {item.name!r} is not in the program")
        outputs.append(output_feature(item, _known_sizes(computed[item.name])))
    return inputs, tuple(outputs)


def _inconsistent(package: ModelPackage, message: str) -> SessionError:
    return damaged_package(package.path, f"the package is inconsistent: {message}")


def load(path: str | Path, function: str | None = None) -> MilProgram:
    """Read a saved ``.mlpackage`` without Apple's runtime.

    >>> program = load("net.mlpackage")  # doctest: +SKIP
    >>> program.inputs  # doctest: +SKIP

    Args:
        path: Folder of the package.
        function: Function of a multifunction model; default: the one the model names.

    Raises:
        MissingBackendError: coremltools is not installed.
        SessionError: The package is damaged or unsafe, lacks weights, is not an ML Program, or has
            no such function.
    """
    package = open_package(Path(path))
    model = _read_model(package)
    _check_weights(package, model)
    program = _transcribe(package, model)
    chosen = function or model.description.defaultFunctionName or "main"
    if chosen not in program.functions:
        raise damaged_package(
            package.path,
            f"the package has no function {chosen!r}",
            f"one of: {', '.join(sorted(program.functions))}",
        )
    description = model.description
    for candidate in description.functions:
        if candidate.name == chosen:
            description = candidate
    body = program.functions[chosen]
    inputs, outputs = _describe(package, description, body)
    return MilProgram(
        path=package.path,
        function=body,
        inputs=inputs,
        outputs=outputs,
        specification_version=int(model.specificationVersion),
        metadata=dict(model.description.metadata.userDefined),
    )
