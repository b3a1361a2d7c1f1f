"""Plan the evaluation of a MIL program: ordered steps, constants, last uses of values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from edgesdk.errors import SessionError
from edgesdk.runtime.error_translation import first_line
from edgesdk.runtime.mil.operators import OperatorRule, rule_of

__all__ = ["BlockPlan", "ProgramPlan", "Step", "guarded_call", "plan_program", "to_value"]

_STRUCTURAL = ("cond", "coreml_update_state", "read_state", "while_loop")


@dataclass(frozen=True)
class Step:
    """One operator, ready to run.

    Attributes:
        op_type: Operator type.
        outputs: Keys of its outputs.
        names: Names of the outputs.
        dtypes: torch type of each output; None if it is not a tensor.
        rule: Rule of the operator; None for control flow and states, which the evaluator handles.
        constants: Constant inputs, read as the rule expects them.
        variables: Keys of computed inputs; a tuple for an input that is a list.
        blocks: Nested blocks of control flow.
        frees: Keys not needed after this step.
    """

    op_type: str
    outputs: tuple[int, ...]
    names: tuple[str, ...]
    dtypes: tuple[torch.dtype | None, ...]
    rule: OperatorRule | None
    constants: Mapping[str, Any]
    variables: Mapping[str, int | tuple[int, ...]]
    blocks: tuple[BlockPlan, ...]
    frees: tuple[int, ...]


@dataclass(frozen=True)
class BlockPlan:
    """Steps of one block.

    Attributes:
        inputs: Keys of the block's own inputs.
        steps: Steps in execution order.
        outputs: Keys of its results.
    """

    inputs: tuple[int, ...]
    steps: tuple[Step, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class ProgramPlan:
    """Plan of a function.

    Attributes:
        body: Block of the function.
        constants: Value of every constant, by key.
        inputs: Key of each input, by name.
        outputs: Key of each output, by name.
        states: Key and shape of each state, by name.
        names: Names of all intermediate values.
    """

    body: BlockPlan
    constants: Mapping[int, Any]
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]
    states: Mapping[str, tuple[int, tuple[int, ...]]]
    names: frozenset[str]


def _torch_dtype(variable: Any) -> torch.dtype | None:
    """Return the torch type of a value: floats in single precision, integers in 32 bits."""
    from coremltools.converters.mil.mil import types

    kind = variable.dtype if types.is_tensor(variable.sym_type) else variable.sym_type
    if types.is_bool(kind):
        return torch.bool
    if types.is_float(kind):
        return torch.float32
    return torch.int32 if types.is_int(kind) else None


def _is_half(variable: Any) -> bool:
    from coremltools.converters.mil.mil import types

    return types.is_tensor(variable.sym_type) and variable.dtype == types.fp16


def to_value(value: Any) -> Any:
    """Convert to a tensor: floats in 32 bits, integers in 32; text stays, lists become tuples."""
    if isinstance(value, str):
        return value
    if hasattr(value, "ls"):
        return tuple(item.item() if isinstance(item, np.generic) else item for item in value.ls)
    array = np.asarray(value)
    if array.dtype.kind in "US":
        return str(array) if array.ndim == 0 else tuple(array.reshape(-1).tolist())
    if array.dtype.kind == "f":
        return torch.from_numpy(array.astype(np.float32))
    if array.dtype.kind == "b":
        return torch.from_numpy(array.copy())
    # Unsigned 32-bit numbers do not fit the signed 32-bit type.
    wide = (array.dtype.kind == "u" and array.dtype.itemsize > 2) or array.dtype.itemsize > 4
    return torch.from_numpy(array.astype(np.int64 if wide else np.int32))


class _Planner:
    def __init__(self, path: str) -> None:
        self._path = path
        self._keys: dict[int, int] = {}
        self._constants: dict[int, Any] = {}
        self._names: set[str] = set()
        self._missing: dict[str, str] = {}

    def constants(self, body: BlockPlan) -> Mapping[int, Any]:
        """Return the constants that steps look up at run time; others are in the steps."""
        needed = set(body.outputs).union(*(_used_keys(step) for step in body.steps))
        return {key: value for key, value in self._constants.items() if key in needed}

    def key(self, variable: Any) -> int:
        """Return the key of a variable; it stays valid after coremltools' program is freed."""
        return self._keys.setdefault(id(variable), len(self._keys))

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self._names)

    def refuse_missing(self) -> None:
        """Raise an error that names every operator without a rule."""
        if self._missing:
            listed = ", ".join(f"{kind} (of {name!r})" for kind, name in self._missing.items())
            raise SessionError(
                f"the evaluator has no rule for {listed}",
                where=self._path,
                remedy="run the package on a Mac, or rewrite that layer of the model",
            )

    def _constant(self, operation: Any) -> None:
        """Compute a constant once; compressed weights are decompressed here."""
        variables = operation.outputs
        if operation.op_type == "const":
            results: Sequence[Any] = [to_value(variables[0].val)]
        else:
            rule = rule_of(operation.op_type)
            if rule is None:
                self._missing.setdefault(operation.op_type, variables[0].name)
                return
            arguments, computed = self._arguments(operation, rule.readers)
            if computed:
                raise SessionError(
                    f"{operation.op_type} of {variables[0].name!r} does not depend on constants",
                    where=self._path,
                    remedy="convert the model again",
                )
            results = guarded_call(operation.op_type, variables[0].name, rule.function, arguments)
            results = results if isinstance(results, tuple) else (results,)
            # A decompressed weight has the precision declared in the program.
            results = [
                result.half().float() if _is_half(variable) else result
                for result, variable in zip(results, variables, strict=True)
            ]
        for variable, result in zip(variables, results, strict=True):
            self._constants[self.key(variable)] = result

    def _arguments(
        self, operation: Any, readers: Mapping[str, Callable[[Any], Any]]
    ) -> tuple[dict[str, Any], dict[str, int | tuple[int, ...]]]:
        constants: dict[str, Any] = {}
        computed: dict[str, int | tuple[int, ...]] = {}
        for name, source in operation.inputs.items():
            if source is None or name.startswith("_"):
                continue
            read = readers.get(name, lambda value: value)
            if isinstance(source, (list, tuple)):
                keys = tuple(self.key(item) for item in source)
                if all(key in self._constants for key in keys):
                    constants[name] = read([self._constants[key] for key in keys])
                else:
                    computed[name] = keys
            elif self.key(source) in self._constants:
                constants[name] = read(self._constants[self.key(source)])
            else:
                computed[name] = self.key(source)
        return constants, computed

    def block(self, block: Any, own_inputs: Sequence[Any]) -> BlockPlan:
        drafts = []
        for operation in block.operations:
            if operation.op_type == "const" or operation.op_type.startswith("constexpr_"):
                self._constant(operation)
            else:
                drafts.append(self._draft(operation))
        inputs = tuple(self.key(variable) for variable in own_inputs)
        outputs = tuple(self.key(variable) for variable in block.outputs)
        return BlockPlan(inputs, _with_frees(drafts, inputs, outputs), outputs)

    def _draft(self, operation: Any) -> Step:
        rule = rule_of(operation.op_type)
        if rule is None and operation.op_type not in _STRUCTURAL:
            self._missing.setdefault(operation.op_type, operation.outputs[0].name)
        blocks = tuple(self.block(nested, nested.inputs) for nested in operation.blocks)
        constants, computed = self._arguments(operation, rule.readers if rule else {})
        names = tuple(variable.name for variable in operation.outputs)
        self._names.update(names)
        return Step(
            op_type=operation.op_type,
            outputs=tuple(self.key(variable) for variable in operation.outputs),
            names=names,
            dtypes=tuple(_torch_dtype(variable) for variable in operation.outputs),
            rule=rule,
            constants=constants,
            variables=computed,
            blocks=blocks,
            frees=(),
        )


def guarded_call(
    op_type: str, name: str, function: Callable[..., Any], arguments: Mapping[str, Any]
) -> Any:
    """Call a rule; a failure becomes an error that names the operator.

    Raises:
        SessionError: The rule failed.
    """
    try:
        return function(**arguments)
    except SessionError:
        raise
    except Exception as error:
        raise SessionError(
            f"operator {op_type} of {name!r} cannot be evaluated: {first_line(error, 300)}",
            remedy="check the shapes of the inputs; if they are right, report this operator",
        ) from error


def _used_keys(step: Step) -> set[int]:
    used: set[int] = set()
    for source in step.variables.values():
        used.update(source if isinstance(source, tuple) else (source,))
    for block in step.blocks:
        used.update(block.outputs)
        for nested in block.steps:
            used |= _used_keys(nested)
    return used


def _with_frees(
    drafts: Sequence[Step], inputs: tuple[int, ...], outputs: tuple[int, ...]
) -> tuple[Step, ...]:
    """Add to each step the values of this block that are not needed after it."""
    own = set(inputs).union(*(step.outputs for step in drafts))
    later = set(outputs)
    steps = []
    for step in reversed(drafts):
        here = (_used_keys(step) | set(step.outputs)) & own
        steps.append(replace(step, frees=tuple(sorted(here - later))))
        later |= here
    return tuple(reversed(steps))


def plan_program(function: Any, path: str) -> ProgramPlan:
    """Plan the evaluation of a function of coremltools.

    Args:
        function: See :class:`edgesdk.runtime.mil.program.MilProgram`.
        path: Path of the package, for messages.

    Raises:
        SessionError: An operator has no rule, or a constant cannot be computed.
    """
    from coremltools.converters.mil.mil import types

    planner = _Planner(path)
    variables = function.inputs
    body = planner.block(function, list(variables.values()))
    planner.refuse_missing()
    states = {
        name: (planner.key(variable), tuple(map(int, variable.sym_type.wrapped_type().get_shape())))
        for name, variable in variables.items()
        if types.is_state(variable.sym_type)
    }
    return ProgramPlan(
        body=body,
        constants=planner.constants(body),
        inputs={name: planner.key(item) for name, item in variables.items() if name not in states},
        outputs={variable.name: planner.key(variable) for variable in function.outputs},
        states=states,
        names=planner.names,
    )
