"""Check the configuration of a network.

A configuration is JSON-able: integers, floats, booleans, strings and lists of them. Keys that
hold numbers of channels or features end in ``width`` or ``widths``. They also hold the widths of
a pruned network, so a configuration rebuilds a pruned network as well as a published one.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from edgesdk.errors import UsageError

__all__ = [
    "check_choice",
    "check_fraction",
    "check_lengths",
    "check_multiple",
    "check_width",
    "checked_config",
]


def _as_lists(value: Any) -> Any:
    """Return a deep copy with lists instead of tuples, as JSON would return it."""
    if isinstance(value, dict):
        return {key: _as_lists(element) for key, element in value.items()}
    if isinstance(value, list | tuple):
        return [_as_lists(element) for element in value]
    return value


def checked_config(
    network: type, values: Mapping[str, Any], *, zero: Collection[str] = ()
) -> dict[str, Any]:
    """Collect the options that rebuild a network, and check its numbers.

    Options annotated as ``float`` are shares; all others but texts and switches are whole numbers
    of at least 1, or lists of them.

    Args:
        network: Its class.
        values: ``locals()`` of its constructor, with every default filled in.
        zero: Options whose numbers may be 0.

    Returns:
        The options as JSON would return them. ``pretrained`` is false: the configuration describes
        the architecture, not the weights.

    Raises:
        UsageError: A number is invalid.
    """
    config: dict[str, Any] = {}
    for key, option in inspect.signature(network).parameters.items():
        config[key] = False if key == "pretrained" else _as_lists(values[key])
        if option.annotation == "float":
            check_fraction(key, values[key])
        elif "bool" not in option.annotation and "str" not in option.annotation:
            check_width(key, config[key], smallest=0 if key in zero else 1)
    return config


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def check_width(key: str, value: Any, *, smallest: int = 1) -> None:
    """Require whole numbers of at least ``smallest``: one, or lists of them at any depth.

    Args:
        key: Configuration key, for the message.
        value: An integer, or a list of integers or of such lists.
        smallest: Smallest allowed number; 0 if zero means "without this layer".

    Raises:
        UsageError: ``value`` holds anything else.
    """
    if isinstance(value, list | tuple):
        for position, element in enumerate(value):
            check_width(f"{key}[{position}]", element, smallest=smallest)
    elif not _is_int(value) or value < smallest:
        raise UsageError(
            f"{key} is {value!r}",
            remedy=f"give a whole number of at least {smallest}",
        )


def check_lengths(length: int, **lists: Sequence[Any]) -> None:
    """Require lists with one element per layer.

    Args:
        length: Number of layers.
        **lists: The lists by configuration key.

    Raises:
        UsageError: A value is not a list or has another length.
    """
    for key, values in lists.items():
        if not isinstance(values, list | tuple) or len(values) != length:
            found = f"{len(values)} elements" if isinstance(values, list | tuple) else repr(values)
            raise UsageError(f"{key} has {found}", remedy=f"give a list of {length} elements")


def check_multiple(key: str, value: int, factor: int) -> None:
    """Require a multiple of ``factor``.

    Raises:
        UsageError: ``value`` is not a multiple.
    """
    if value % factor:
        raise UsageError(f"{key} is {value}", remedy=f"give a multiple of {factor}")


def check_choice(key: str, value: object, choices: Collection[object]) -> None:
    """Require one of ``choices``.

    Raises:
        UsageError: ``value`` is not one of them.
    """
    if value not in choices:
        known = ", ".join(repr(choice) for choice in choices)
        raise UsageError(f"{key} is {value!r}", remedy=f"give one of {known}")


def check_fraction(key: str, value: object) -> None:
    """Require a number from 0 up to, not including, 1.

    Raises:
        UsageError: ``value`` is not such a number.
    """
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1:
        raise UsageError(f"{key} is {value!r}", remedy="give a number from 0 to below 1")
