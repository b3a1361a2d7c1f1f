"""The rules of every target, and the one call that applies them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch.export import ExportedProgram

from edgesdk.converters.conversion import Rewrite
from edgesdk.converters.rewriting import (
    convolution,
    folding,
    layout,
    normalization,
    padding,
    pooling,
    reduction,
    resampling,
    transposed_convolution,
    volume_pooling,
)
from edgesdk.converters.rewriting.engine import apply_rules
from edgesdk.converters.rewriting.memory_layout import plain_layout
from edgesdk.converters.rewriting.outputs import separate_outputs
from edgesdk.converters.rewriting.parameters import fold_parameters
from edgesdk.converters.rewriting.rule import Rule

__all__ = ["RULES", "rewrite_for", "rules_of"]

Rewritten = tuple[ExportedProgram, tuple[Rewrite, ...]]

#: Every rule, in the order in which they are tried.
RULES: tuple[Rule, ...] = (
    *padding.RULES,
    *convolution.RULES,
    *folding.RULES,
    *transposed_convolution.RULES,
    *pooling.RULES,
    *volume_pooling.RULES,
    *resampling.RULES,
    *normalization.RULES,
    *reduction.RULES,
    *layout.RULES,
)


#: Rewrites of the whole program, by target.
_STEPS: dict[str, tuple[Callable[[ExportedProgram], Rewritten], ...]] = {
    "coreml": (partial(separate_outputs, from_inputs=True, from_each_other=False),),
    "executorch": (
        plain_layout,
        partial(separate_outputs, from_inputs=False, from_each_other=True),
    ),
    "onnx": (partial(separate_outputs, from_inputs=True, from_each_other=False),),
}


def rules_of(target: str, variant: str) -> tuple[Rule, ...]:
    """Return the rules that a target needs, or this variant of it alone."""
    names = {target, f"{target}:{variant}"}
    return tuple(rule for rule in RULES if names & rule.targets)


def rewrite_for(target: str, variant: str, program: ExportedProgram) -> Rewritten:
    """Rewrite what a target cannot take.

    Args:
        target: Its name without variant.
        variant: Its variant.
        program: The program; not changed.

    Returns:
        The program itself where the target takes all of it, else a rewritten copy; and the
        rewrites made.
    """
    made: list[Rewrite] = []
    for step in (*_STEPS.get(target, ()), fold_parameters):
        program, done = step(program)
        made += done
    program, done = apply_rules(program, rules_of(target, variant))
    return program, (*made, *done)
