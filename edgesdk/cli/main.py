"""The command ``edgesdk``: verbs, exit codes, error messages."""

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
from edgesdk.cli.help_page import HelpGroup, examples_text
from edgesdk.cli.interruption import Interruption, ignore_ctrl_c, take_signals
from edgesdk.cli.models import models
from edgesdk.cli.profile import profile
from edgesdk.cli.prune import prune
from edgesdk.cli.quantize_report import quantize_report
from edgesdk.cli.report import report
from edgesdk.cli.stylize import stylize
from edgesdk.cli.train import train
from edgesdk.cli.verb import Verb
from edgesdk.cli.verify import verify
from edgesdk.errors import EdgeSdkError, StorageError, UsageError
from edgesdk.near_names import nearest
from edgesdk.version import __version__

__all__ = ["app", "main"]

#: Verbs by panel, in the order of the job.
_PANELS: dict[str, tuple[Verb | typer.Typer, ...]] = {
    "Set up": (doctor, models),
    "Make small": (train, cost, prune, quantize_report),
    "Convert and prove": (export, verify),
    "Run and measure": (profile, report, stylize),
}

#: Options by names that other tools use for them, without dashes.
_MEANT = {
    "backend": ("to", "target"),
    "backends": ("to", "target"),
    "checkpoint": ("weights",),
    "format": ("to", "target"),
    "int8": ("quantize",),
    "model": ("onnx",),
    "out": ("output",),
    "precision": ("quantize",),
    "shape": ("input",),
    "size": ("image-size", "input"),
    "target": ("to",),
    "targets": ("to", "target"),
    "to": ("target",),
}

_EPILOG = """
Exit codes:
   0  success
   1  a gate was missed: an artefact differs from the model
   2  wrong usage
   3  the machine lacks a package, a program or disk space
   4  a device or worker failed or went away
   5  the model or its data cannot be loaded, captured or converted
   6  a file is damaged or unsafe
  70  a bug of the SDK"""


class _Edgesdk(HelpGroup):
    order = tuple(
        (one.run.__name__ if isinstance(one, Verb) else "train").replace("_", "-")
        for verbs in _PANELS.values()
        for one in verbs
    )


app = typer.Typer(
    name="edgesdk",
    help="Convert PyTorch models for phones, prove the copies equal and measure them.",
    cls=_Edgesdk,
    epilog=examples_text(
        {
            "Convert a zoo network for Android and iOS": (
                "edgesdk export efficientnet_lite0 --image auto -o lite0.edge"
            ),
            "Measure the result on this machine": "edgesdk profile lite0.edge",
        }
    )
    + "\n"
    + _EPILOG,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"edgesdk {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _edgesdk(
    context: typer.Context,
    version: bool = typer.Option(
        False, "--version", help="Print the version.", callback=_version, is_eager=True
    ),
) -> None:
    del version
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(UsageError.exit_code)


for panel, verbs in _PANELS.items():
    for one in verbs:
        if isinstance(one, Verb):
            one.add_to(app, panel)
        else:
            app.add_typer(one, name="train", rich_help_panel=panel)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        arguments: The command line without the program's name; ``sys.argv`` if None.
    """
    if arguments is not None:
        return _run(list(arguments))
    for stream in (sys.stdout, sys.stderr):
        # Terminals without a tick mark and file names that are not text get escapes.
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
        # The reader of stdout is gone. Without this the interpreter would complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        problem = StorageError(
            f"{error.strerror or error}" + (f": {error.filename}" if error.filename else ""),
            remedy="check the disk's space and permissions",
        )
        print_error(problem, json=json, debug=debug)
        return problem.exit_code
    except Exception as error:  # noqa: BLE001 - the outermost handler
        if hasattr(error, "format_message"):
            # Typer contains a private copy of click, whose classes have no public name.
            print_error(_usage(error, command), json=json, debug=debug)
            return UsageError.exit_code
        return _bug(error, json=json, debug=debug)


def _interrupted(error: BaseException, *, json: bool) -> int:
    code = error.exit_code if isinstance(error, Interruption) else 130
    message = "interrupted; nothing half-written is left"
    if json:
        result = {"error": "Interrupted", "message": message, "where": None, "remedy": None}
        print_json({**result, "exit_code": code})
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
        # Dashes are alike in all of them.
        given = error.option_name.lstrip("-")
        meant = [name for name in _MEANT.get(given, ()) if f"--{name}" in known]
        bare = meant[0] if meant else nearest(given, [name.lstrip("-") for name in known])
        close = next((name for name in known if name.lstrip("-") == bare), None)
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
