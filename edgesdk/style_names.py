"""Check the names of a network's styles and read them from a model."""

from __future__ import annotations

from collections.abc import Sequence

from edgesdk.errors import UsageError

__all__ = ["MAX_STYLES", "MAX_STYLE_NAME", "check_style_names", "model_style_names"]

#: Largest number of styles.
MAX_STYLES = 4096
#: Characters of a name.
MAX_STYLE_NAME = 64

# Every name must fit into `A:0.3,B:0.7`.
_MARKS = ":,"


def check_style_names(names: Sequence[str], *, count: int | None = None) -> list[str]:
    """Check a list or tuple of style names.

    Args:
        names: Names in the order of the shares: unique, 1 to 64 printable characters each, without
            colon, comma, and leading or trailing spaces.
        count: Number of styles; None accepts any number of names.

    Returns:
        The names as a list.

    Raises:
        UsageError: A name or the number of names is not valid.
    """
    if not isinstance(names, list | tuple):
        raise UsageError(
            f"a {type(names).__name__} is not a list of style names",
            remedy="give a list of strings, one per style",
        )
    if count is not None and len(names) != count:
        raise UsageError(
            f"{len(names)} names for {count} styles", remedy="give one name for each style"
        )
    if len(names) > MAX_STYLES:
        raise UsageError(f"{len(names)} style names", remedy=f"name at most {MAX_STYLES} styles")
    seen: set[str] = set()
    for name in names:
        if not _is_name(name):
            raise UsageError(
                f"{_shown(name)} is not a style name",
                remedy=f"give 1 to {MAX_STYLE_NAME} printable characters without colon and comma, "
                "and no space at the ends",
            )
        if name in seen:
            raise UsageError(f"two styles have the name {name!r}", remedy="give each its own")
        seen.add(name)
    return list(names)


def model_style_names(model: object) -> tuple[str, ...]:
    """Read the style names of a model from its attribute ``style_names``.

    Returns:
        Names in the order of the shares; empty if the attribute is missing or None.

    Raises:
        UsageError: The attribute does not hold style names.
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
