"""Candidates for the shell's completion of names; importing none of the heavy packages."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["complete_recipes", "complete_sources", "complete_styles", "complete_targets"]


def complete_sources(incomplete: str) -> list[str]:
    """Return the zoo names that begin with ``incomplete``; the shell itself adds files."""
    from edgesdk import models

    return [name for name in models.names() if name.startswith(incomplete)]


def complete_targets(incomplete: str) -> list[str]:
    """Return the targets that can continue a list separated by commas."""
    from edgesdk.converters.registry import TARGETS

    names = [
        name
        for target in TARGETS.values()
        for name in (target.name, *map(target.qualified, target.variants))
    ]
    return _in_list(names, incomplete)


def complete_recipes(incomplete: str) -> list[str]:
    """Return the quantization recipes that can continue a list separated by commas."""
    from edgesdk.quant.recipes import FLOAT, RECIPES

    return _in_list((*RECIPES, FLOAT), incomplete)


def complete_styles(incomplete: str) -> list[str]:
    """Return the styles of the zoo's networks that begin with ``incomplete``."""
    from edgesdk import models

    styles = {style for name in models.names() for style in models.entry(name).styles}
    return [style for style in sorted(styles) if style.startswith(incomplete)]


def _in_list(names: Iterable[str], incomplete: str) -> list[str]:
    before, comma, last = incomplete.rpartition(",")
    given = before.split(",")
    return [before + comma + name for name in names if name.startswith(last) and name not in given]
