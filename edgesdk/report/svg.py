"""A builder of SVG and HTML elements that escapes everything it is given."""

from __future__ import annotations

from markupsafe import Markup, escape

__all__ = ["element", "percent"]

_VOID = frozenset({"br", "hr", "img"})


def element(name: str, *children: str, **attributes: str | float | None) -> Markup:
    """One element as markup.

    Args:
        name: Tag name, from our own code only.
        children: Text is escaped, markup is kept.
        attributes: ``class_`` stands for ``class``, an underscore within a name for a hyphen; None
            leaves the attribute out.
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
    """A position of 0..100 as an attribute, clamped: ``12.5%``."""
    return f"{_attribute(max(0.0, min(100.0, position)))}%"
