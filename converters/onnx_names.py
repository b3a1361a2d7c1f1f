"""Unique names for the outputs of an ONNX graph."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

__all__ = ["name_outputs"]


def name_outputs(graph: Any, names: Sequence[str]) -> None:
    """Name the outputs, and rename inner values that have one of these names.

    The exporter does not rename inner values: a model whose output shares the name of an operator
    would become a file with that name twice.

    Args:
        graph: Main graph, changed in place; no input has one of the names.
        names: Distinct names, one per output.
    """
    import onnx

    values = {name for part in _with_subgraphs(graph) for name in _defined(part)}
    renamed: dict[str, str] = {}
    copies = []
    fixed = {value.name for value in (*graph.input, *graph.initializer)}
    for value, name in zip(graph.output, names, strict=True):
        if value.name in fixed or value.name in renamed:
            copies.append((value.name, name))
        else:
            renamed[value.name] = name
    for name in names:
        if name in values and name not in renamed:
            fresh = f"{name}_value"
            while fresh in values or fresh in names:
                fresh += "_"
            renamed[name] = fresh
    for part in _with_subgraphs(graph):
        _rename(part, renamed)
    for value, name in zip(graph.output, names, strict=True):
        value.name = name
    for source, name in copies:
        node = onnx.helper.make_node("Identity", [renamed.get(source, source)], [name])
        graph.node.append(node)


def _with_subgraphs(graph: Any) -> Iterator[Any]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                if body.node:
                    yield from _with_subgraphs(body)


def _defined(graph: Any) -> Iterator[str]:
    for value in (*graph.input, *graph.initializer):
        yield value.name
    for node in graph.node:
        yield from node.output


def _rename(graph: Any, renamed: dict[str, str]) -> None:
    for value in (*graph.input, *graph.initializer, *graph.value_info, *graph.output):
        value.name = renamed.get(value.name, value.name)
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [renamed.get(name, name) for name in names]
