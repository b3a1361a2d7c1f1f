"""Names of a package that are imported on first use, and packages that can be called."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

__all__ = ["lazy_exports", "make_callable"]


def lazy_exports(
    package: str, names: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Make the ``__getattr__`` and ``__dir__`` of a package that imports its names on first use.

    Args:
        package: ``__name__`` of the package.
        names: The names of each module; modules of the package itself begin with a dot.

    Returns:
        Both functions, to be assigned at the top of the package (PEP 562).
    """
    homes = {name: module for module, offered in names.items() for name in offered}

    def resolve(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = importlib.import_module(homes[name], package)
        # The import may have bound a package of that name, see make_callable.
        return vars(sys.modules[package]).get(name) or getattr(module, name)

    def listed() -> list[str]:
        return sorted(homes)

    return resolve, listed


def make_callable(package: str, function: Callable[..., Any]) -> None:
    """Let a package be called like one of its functions.

    Importing a package binds it in its parent, over a function of that name; so both are one.

    Args:
        package: ``__name__`` of the package, which is being imported.
        function: The function.
    """

    class CallablePackage(ModuleType):
        __call__ = staticmethod(function)

    sys.modules[package].__class__ = CallablePackage
