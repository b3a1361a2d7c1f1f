"""The rules of every target, and the one call that applies them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch.export import ExportedProgram

from edgesdk.converters.conversion import Rewrite
from edgesdk.converters.rewriting import (
    assignment,
    convolution,
    folding,
    layout,
    normalization,
    padding,
    pooling,
    reduction,
    resampling,
    sorting,
    special_functions,
    transposed_convolution,
    volume_convolution,
    volume_pooling,
)
from edgesdk.converters.rewriting.decomposition import Takes, decomposition_rule
from edgesdk.converters.rewriting.detaching import without_detaching
from edgesdk.converters.rewriting.engine import apply_rules
from edgesdk.converters.rewriting.memory_layout import plain_layout
from edgesdk.converters.rewriting.outputs import separate_outputs
from edgesdk.converters.rewriting.parameters import fold_parameters
from edgesdk.converters.rewriting.rule import Rule
from edgesdk.converters.rewriting.windows import reduce_windows

__all__ = ["RULES", "rewrite_for", "rules_of"]

Rewritten = tuple[ExportedProgram, tuple[Rewrite, ...]]

#: Every rule, in the order in which they are tried.
RULES: tuple[Rule, ...] = (
    *padding.RULES,
    *convolution.RULES,
    *folding.RULES,
    *transposed_convolution.RULES,
    *volume_convolution.RULES,
    *pooling.RULES,
    *volume_pooling.RULES,
    *resampling.RULES,
    *normalization.RULES,
    *reduction.RULES,
    *layout.RULES,
    *assignment.RULES,
    *sorting.RULES,
    *special_functions.RULES,
)


#: Rewrites of the whole program, by target.
_STEPS: dict[str, tuple[Callable[[ExportedProgram], Rewritten], ...]] = {
    "coreml": (
        partial(separate_outputs, from_inputs=True, from_each_other=False),
        reduce_windows,
    ),
    "executorch": (
        plain_layout,
        partial(separate_outputs, from_inputs=False, from_each_other=True),
    ),
    "litert": (without_detaching,),
    "onnx": (partial(separate_outputs, from_inputs=True, from_each_other=False),),
}


def rules_of(target: str, variant: str) -> tuple[Rule, ...]:
    """Return the rules that a target needs, or this variant of it alone."""
    names = {target, f"{target}:{variant}"}
    return tuple(rule for rule in RULES if names & rule.targets)


def rewrite_for(
    target: str, variant: str, program: ExportedProgram, takes: Takes | None = None
) -> Rewritten:
    """Rewrite what a target cannot take.

    Args:
        target: Its name without variant.
        variant: Its variant.
        program: The program; not changed.
        takes: Operators that the target's converter translates: torch's own decomposition
            replaces others that it has one for. None decomposes nothing.

    Returns:
        The program itself where the target takes all of it, else a rewritten copy; and the
        rewrites made.
    """
    made: list[Rewrite] = []
    for step in (*_STEPS.get(target, ()), fold_parameters):
        program, done = step(program)
        made += done
    program, done = apply_rules(program, rules_of(target, variant))
    made += done
    if takes is not None:
        program, done = _decompose_missing(program, target, variant, takes)
        made += done
    return program, tuple(made)


def _decompose_missing(
    program: ExportedProgram, target: str, variant: str, takes: Takes
) -> Rewritten:
    """Replace operators that a target lacks by torch's own decompositions, as a last resort."""
    last_resort = partial(decomposition_rule, takes=takes, target=target)
    if not any(map(last_resort, program.graph.nodes)):
        return program, ()
    # Converters see the program without operators that write in place and the like.
    plain = program.run_decompositions({})
    if not any(map(last_resort, plain.graph.nodes)):
        return program, ()
    return apply_rules(plain, rules_of(target, variant), last_resort)
