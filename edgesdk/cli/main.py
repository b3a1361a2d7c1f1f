"""The command ``edgesdk``: verbs, exit codes, errors in words."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import typer

from edgesdk.cli.console import print_error, print_json
from edgesdk.cli.cost import cost
from edgesdk.cli.doctor import doctor
from edgesdk.cli.export import export
from edgesdk.cli.interruption import Interruption, ignore_ctrl_c, take_signals
from edgesdk.cli.models import models
from edgesdk.cli.profile import profile
from edgesdk.cli.prune import prune
from edgesdk.cli.quantize_report import quantize_report
from edgesdk.cli.report import report
from edgesdk.cli.stylize import stylize
from edgesdk.cli.train import train
from edgesdk.cli.verify import verify
from edgesdk.errors import EdgeSdkError, StorageError, UsageError, nearest
from edgesdk.version import __version__

__all__ = ["app", "main"]

app = typer.Typer(
    name="edgesdk",
    help="Take a PyTorch model to phones: convert it, prove each copy equals the original, "
    "profile it.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"edgesdk {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _edgesdk(
    context: typer.Context,
    version: bool = typer.Option(
        False, "--version", help="Show the version.", callback=_version, is_eager=True
    ),
) -> None:
    del version
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(UsageError.exit_code)


for verb in (
    doctor,
    models,
    cost,
    prune,
    export,
    verify,
    profile,
    stylize,
    report,
    quantize_report,
):
    app.command()(verb)
app.add_typer(train, name="train")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        arguments: The command line without the program's name; ``sys.argv`` if None.
    """
    if arguments is not None:
        return _run(list(arguments))
    for stream in (sys.stdout, sys.stderr):
        # A terminal that knows no tick, a file name that is no text: neither ends the command.
        with contextlib.suppress(AttributeError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    take_signals()
    code = _run(sys.argv[1:])
    ignore_ctrl_c()
    sys.exit(code)


def _run(given: list[str]) -> int:
    json, debug = "--json" in given, "--debug" in given
    command = typer.main.get_command(app)
    try:
        result = command.main(given, prog_name="edgesdk", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except EdgeSdkError as error:
        print_error(error, json=json, debug=debug)
        return error.exit_code
    except (Interruption, KeyboardInterrupt, typer.Abort) as error:
        return _interrupted(error, json=json)
    except SystemExit as end:
        if not isinstance(end.__context__, BrokenPipeError):
            raise
        # The reader of our output has gone; there is nobody left to tell, at the end neither.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        problem = StorageError(
            f"{error.strerror or error}" + (f": {error.filename}" if error.filename else ""),
            remedy="check the disk's space and permissions",
        )
        print_error(problem, json=json, debug=debug)
        return problem.exit_code
    except Exception as error:  # noqa: BLE001 - the last place before the user's eyes
        if hasattr(error, "format_message"):
            # Typer carries a copy of click inside, so that its classes have no public name.
            print_error(_usage(error, command), json=json, debug=debug)
            return UsageError.exit_code
        return _bug(error, json=json, debug=debug)


def _interrupted(error: BaseException, *, json: bool) -> int:
    code = error.exit_code if isinstance(error, Interruption) else 130
    message = "interrupted; nothing half-written is left"
    if json:
        told = {"error": "Interrupted", "message": message, "where": None, "remedy": None}
        print_json({**told, "exit_code": code})
    sys.stderr.write(f"{message}\n")
    return code


def _bug(error: Exception, *, json: bool, debug: bool) -> int:
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else None
    problem = EdgeSdkError(
        f"a bug of the SDK: {type(error).__name__}: {error}",
        where=place,
        remedy="please report it with the output of the same command and --debug",
    )
    if debug:
        traceback.print_exception(error)
    print_error(problem, json=json, debug=False)
    return problem.exit_code


def _usage(error: Any, command: Any) -> UsageError:
    message: str = error.format_message()
    context = getattr(error, "ctx", None)
    remedy = None
    if type(error).__name__ == "NoSuchOption":
        options = context.command.params if context is not None else ()
        known = [name for option in options for name in (*option.opts, *option.secondary_opts)]
        close = nearest(error.option_name, known)
        message = f"unknown option {error.option_name}"
        remedy = f"did you mean {close}?" if close else None
    elif message.startswith("No such command"):
        given = message.split("'")[1]
        known = list((context.command if context is not None else command).commands)
        close = nearest(given, known)
        message = f"unknown command {given!r}"
        remedy = f"did you mean {close!r}?" if close else f"one of: {', '.join(known)}"
    path = context.command_path if context is not None else "edgesdk"
    return UsageError(message, remedy=remedy or f"see {path} --help")
