"""Apply rewrite rules to a captured program, at the operators that they name and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from torch import fx
from torch._subclasses.fake_tensor import unset_fake_temporarily
from torch.export import ExportedProgram

from edgesdk.converters.conversion import Rewrite
from edgesdk.converters.rewriting.rule import Rule
from edgesdk.converters.rewriting.surgery import Surgery, values_of
from edgesdk.frontend.provenance import module_path, where

__all__ = ["apply_rules"]

# A replacement may hold an operator that another rule rewrites; no chain of ours is longer.
_MAX_ROUNDS = 4


def apply_rules(
    program: ExportedProgram, rules: Iterable[Rule]
) -> tuple[ExportedProgram, tuple[Rewrite, ...]]:
    """Rewrite the operators of a program that the rules name.

    Args:
        program: The program; not changed.
        rules: Tried in order; the first that applies to an operator rewrites it.

    Returns:
        The program itself where no rule applies, else a rewritten copy; and the rewrites made,
        several of one line once.
    """
    by_operator: dict[str, list[Rule]] = {}
    for rule in rules:
        for name in rule.operators:
            by_operator.setdefault(name, []).append(rule)
    if not any(_matches(program.graph, by_operator)):
        return program, ()
    surgery = Surgery(program)
    made: dict[Rewrite, None] = {}
    for _ in range(_MAX_ROUNDS):
        found = list(_matches(surgery.graph, by_operator))
        for node, rule in found:
            stack = node.meta.get("nn_module_stack")
            name = ".".join(str(node.target).split(".")[:2])
            made.setdefault(Rewrite(name, module_path(stack), where(node), rule.reason))
            args, kwargs = values_of(node)
            with unset_fake_temporarily():
                constants = rule.constants(*args, **kwargs)
            surgery.replace(node, rule.replacement, constants)
        if not found:
            break
    return surgery.finished(), tuple(made)


def _matches(
    graph: fx.Graph, by_operator: Mapping[str, list[Rule]]
) -> Iterator[tuple[fx.Node, Rule]]:
    for node in list(graph.nodes):
        if node.op != "call_function" or _reads_further_results(node):
            continue
        for rule in by_operator.get(str(node.target), ()):
            args, kwargs = values_of(node)
            if rule.applies(*args, **kwargs):
                yield node, rule
                break


def _reads_further_results(node: fx.Node) -> bool:
    """Return True if a result other than the first is read, such as the places of maxima."""
    schema = getattr(node.target, "_schema", None)
    several = schema is not None and len(schema.returns) > 1
    return several and any(user.args[1:] != (0,) and user.users for user in node.users)
