"""Build SVG and HTML elements with all text and attributes escaped."""

from __future__ import annotations

from markupsafe import Markup, escape

__all__ = ["element", "percent"]

_VOID = frozenset({"br", "hr", "img"})


def element(name: str, *children: str, **attributes: str | float | None) -> Markup:
    """Return one element as markup.

    Args:
        name: Tag name; must come from our own code.
        children: Text, which is escaped, or markup.
        attributes: ``class_`` means ``class``, ``x_y`` means ``x-y``; None is omitted.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_attribute(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Markup(f"<{name}{written}>")
    content = Markup("").join(children)
    return Markup(f"<{name}{written}>{content}</{name}>")


def _attribute(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")


def percent(position: float) -> str:
    """Write a position as an attribute, clamped to 0..100: ``12.5%``."""
    return f"{_attribute(max(0.0, min(100.0, position)))}%"
