"""Names of a network's styles: what may be one, and which a model says it has."""

from __future__ import annotations

from collections.abc import Sequence

from edgesdk.errors import UsageError

__all__ = ["MAX_STYLES", "MAX_STYLE_NAME", "check_style_names", "model_style_names"]

#: More styles than this are no vector that anybody blends.
MAX_STYLES = 4096
#: Characters of a name.
MAX_STYLE_NAME = 64

# `A:0.3,B:0.7` must be able to write every name.
_MARKS = ":,"


def check_style_names(names: Sequence[str], *, count: int | None = None) -> list[str]:
    """Require names that a blend can be written with, a list or tuple of them.

    Args:
        names: In the order of the shares: each of 1 to 64 printable characters, without colon and
            comma, without space at its ends, and no two alike.
        count: How many styles there are; None where the names alone tell.

    Returns:
        The names.

    Raises:
        UsageError: They are something else.
    """
    if not isinstance(names, list | tuple):
        raise UsageError(
            f"a {type(names).__name__} is no list of names of styles",
            remedy="give a list of texts, one a style",
        )
    if count is not None and len(names) != count:
        raise UsageError(
            f"{len(names)} names of {count} styles", remedy="give one name for each style"
        )
    if len(names) > MAX_STYLES:
        raise UsageError(
            f"{len(names)} names of styles", remedy=f"name at most {MAX_STYLES} styles"
        )
    seen: set[str] = set()
    for name in names:
        if not _is_name(name):
            raise UsageError(
                f"{_shown(name)} is no name of a style",
                remedy=f"give 1 to {MAX_STYLE_NAME} printable characters without colon and comma, "
                "and no space at the ends",
            )
        if name in seen:
            raise UsageError(f"two styles have the name {name!r}", remedy="give each its own")
        seen.add(name)
    return list(names)


def model_style_names(model: object) -> tuple[str, ...]:
    """Names of the styles a model paints in: its attribute ``style_names``.

    Returns:
        In the order of the shares; empty where the model has no such attribute, or it is None.

    Raises:
        UsageError: The attribute holds something else.
    """
    names = getattr(model, "style_names", None)
    if names is None:
        return ()
    try:
        return tuple(check_style_names(names))
    except UsageError as error:
        error.message = f"style_names of {type(model).__name__}: {error.message}"
        raise


def _is_name(name: object) -> bool:
    return (
        isinstance(name, str)
        and 0 < len(name) <= MAX_STYLE_NAME
        and name == name.strip()
        and name.isprintable()
        and not any(mark in name for mark in _MARKS)
    )


def _shown(name: object) -> str:
    text = repr(name)
    return text if len(text) <= MAX_STYLE_NAME else f"{text[:MAX_STYLE_NAME]}..."
