"""Apply rewrite rules to a captured program, at the operators that they name and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from torch import fx
from torch._subclasses.fake_tensor import unset_fake_temporarily
from torch.export import ExportedProgram

from edgesdk.converters.conversion import Rewrite
from edgesdk.converters.rewriting.rule import Rule
from edgesdk.converters.rewriting.surgery import Surgery, functional, values_of
from edgesdk.frontend.provenance import module_path, where

__all__ = ["LastResort", "apply_rules"]

#: Gives the rule of last resort for an operator, or None.
LastResort = Callable[[fx.Node], Rule | None]

# A replacement may hold an operator that another rule rewrites; no chain is longer.
_MAX_ROUNDS = 8


def apply_rules(
    program: ExportedProgram, rules: Iterable[Rule], last_resort: LastResort = lambda _: None
) -> tuple[ExportedProgram, tuple[Rewrite, ...]]:
    """Rewrite the operators of a program that the rules name.

    Args:
        program: The program; not changed.
        rules: Tried in order; the first that applies to an operator rewrites it.
        last_resort: Gives a rule for an operator that none of them rewrites, or None.

    Returns:
        The program itself where no rule applies, else a rewritten copy; and the rewrites made,
        several of one line once.
    """
    by_operator: dict[str, list[Rule]] = {}
    for rule in rules:
        for name in rule.operators:
            by_operator.setdefault(name, []).append(rule)
    given = program
    if _writes_in_place(program.graph, by_operator):
        program = functional(program)
    if not any(_matches(program.graph, by_operator, last_resort)):
        return given, ()
    surgery = Surgery(program)
    made: dict[Rewrite, None] = {}
    for _ in range(_MAX_ROUNDS):
        found = list(_matches(surgery.graph, by_operator, last_resort))
        for node, rule in found:
            stack = node.meta.get("nn_module_stack")
            name = ".".join(str(node.target).split(".")[:2])
            made.setdefault(Rewrite(name, module_path(stack), where(node), rule.reason))
            args, kwargs = values_of(node, surgery.known)
            with unset_fake_temporarily():
                constants = rule.constants(*args, **kwargs)
            surgery.replace(node, rule.replacement, constants, parts=rule.parts)
        if not found:
            break
    return surgery.finished(), tuple(made)


def _matches(
    graph: fx.Graph, by_operator: Mapping[str, list[Rule]], last_resort: LastResort
) -> Iterator[tuple[fx.Node, Rule]]:
    for node in list(graph.nodes):
        if node.op != "call_function":
            continue
        if (rule := _rule_for(node, by_operator) or last_resort(node)) is not None:
            yield node, rule


def _rule_for(node: fx.Node, by_operator: Mapping[str, list[Rule]]) -> Rule | None:
    for rule in by_operator.get(str(node.target), ()):
        if rule.first_only and _reads_further_results(node):
            continue
        if rule.if_read is not None and not _reads(node, rule.if_read):
            continue
        args, kwargs = values_of(node)
        if rule.applies(*args, **kwargs):
            return rule
    return None


def _writes_in_place(graph: fx.Graph, by_operator: Mapping[str, list[Rule]]) -> bool:
    """Return True if an operator is the form of one of the rules that writes into its input."""
    for node in graph.nodes:
        schema = getattr(node.target, "_schema", None)
        if node.op == "call_function" and schema is not None and schema.is_mutable:
            package, name, overload = str(node.target).split(".")
            if f"{package}.{name.removesuffix('_')}.{overload}" in by_operator:
                return True
    return False


def _reads(node: fx.Node, result: int) -> bool:
    return any(user.args[1:] == (result,) and user.users for user in node.users)


def _reads_further_results(node: fx.Node) -> bool:
    """Return True if a result other than the first is read, such as the places of maxima."""
    schema = getattr(node.target, "_schema", None)
    several = schema is not None and len(schema.returns) > 1
    return several and any(user.args[1:] != (0,) and user.users for user in node.users)
