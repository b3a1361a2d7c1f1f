"""The decorator of every verb: shared options, examples, output and exit code."""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import sys
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import typer

from edgesdk.cli import options as opt
from edgesdk.cli.console import Output
from edgesdk.cli.help_page import HelpCommand, examples_text
from edgesdk.cli.interruption import Interruption
from edgesdk.cli.renamed_options import with_new_names
from edgesdk.errors import EdgeSdkError
from edgesdk.host.quiet import quiet as without_remarks

__all__ = ["Verb", "verb"]

_SHARED = {"json": opt.JsonOption, "quiet": opt.QuietOption, "debug": opt.DebugOption}


class _Command(HelpCommand):
    """A command that accepts the old names of its options."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Replace old names, then parse; see :class:`typer.core.TyperCommand`."""
        args, notes = with_new_names(self.name or "", args)
        if not ctx.resilient_parsing:
            sys.stderr.writelines(f"{note}\n" for note in notes)
        return super().parse_args(ctx, args)


@dataclass(frozen=True)
class Verb:
    """A verb of the command line.

    Attributes:
        run: The function as Typer sees it, with the shared options.
        epilog: Text below its help.
    """

    run: Callable[..., int]
    epilog: str

    def add_to(self, app: typer.Typer, panel: str | None = None) -> None:
        """Register the verb.

        Args:
            app: The application.
            panel: Panel of the application's help that lists the verb.
        """
        app.command(cls=_Command, epilog=self.epilog, rich_help_panel=panel)(self.run)


def verb(
    examples: dict[str, str], *, distributed: bool = False
) -> Callable[[Callable[..., int | None]], Verb]:
    """Make a verb of a function ``function(out, **options)``.

    The function gets an :class:`~edgesdk.cli.console.Output` in place of ``--json``, ``--quiet``
    and ``--debug``. The exit code is that of the problem given to ``out.result``, which is
    printed at the end, else the number the function returns, else 0::

        @verb({"List the zoo": "edgesdk models"})
        def models(out: Output) -> None:
            out.line("resnet18")

    Args:
        examples: Two command lines by purpose, for the help page.
        distributed: True if launchers start the verb in several processes at once. Process 0
            prints; the others print errors alone.
    """

    def decorate(function: Callable[..., int | None]) -> Verb:
        checks = _checks(function)

        @functools.wraps(function)
        def run(*, json: bool, quiet: bool, debug: bool, **options: Any) -> int:
            muted = distributed and os.environ.get("RANK", "0") != "0"
            out = Output(json=json, quiet=quiet, debug=debug, muted=muted)
            try:
                for name, check in checks.items():
                    check(options[name])
                with contextlib.nullcontext() if debug else without_remarks():
                    code = function(out, **options)
            except (EdgeSdkError, Interruption) as error:
                if not muted:
                    raise
                if isinstance(error, EdgeSdkError):
                    sys.stderr.write(f"error: {error.on_command_line()}\n")
                return error.exit_code
            if out.problem is None:
                return code or 0
            sys.stderr.write(f"error: {out.problem}\n")
            return out.problem.exit_code

        _describe(run, function)
        return Verb(run, examples_text(examples))

    return decorate


def _checks(function: Callable[..., Any]) -> dict[str, Callable[[Any], object]]:
    """Return the checks of :func:`edgesdk.cli.options.checked` by parameter."""
    hints = typing.get_type_hints(function, include_extras=True)
    found = {}
    for name, parameter in inspect.signature(function).parameters.items():
        for info in (parameter.default, *getattr(hints.get(name), "__metadata__", ())):
            check = getattr(info, "check", None)
            if check is not None:
                found[name] = check
    return found


def _describe(run: Callable[..., int], function: Callable[..., Any]) -> None:
    """Give ``run`` the signature of ``function``, without ``out``, with the shared options."""
    parameters: Sequence[inspect.Parameter] = list(inspect.signature(function).parameters.values())
    hints = typing.get_type_hints(function, include_extras=True)
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=kind)
        for name, kind in _SHARED.items()
    ]
    own = [parameter.replace(annotation=hints[parameter.name]) for parameter in parameters[1:]]
    run.__signature__ = inspect.Signature([*own, *shared])  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in (*own, *shared)}
    # Typer would follow the link to the function that has no shared options.
    del run.__wrapped__  # type: ignore[attr-defined]
