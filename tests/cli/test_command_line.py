"""The frame around the verbs: help, usage, streams, signals, exit codes."""

from __future__ import annotations

import fcntl
import importlib
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading

import pytest

from edgesdk.cli.interruption import Interruption, take_signals

# ``edgesdk.cli.main`` is the function; this is its module.
app = importlib.import_module("edgesdk.cli.main")

HEAVY = ("torch", "numpy", "onnx", "coremltools", "executorch", "jax", "safetensors")
WHAT_IS_LOADED = """
import sys
from edgesdk.cli import main
code = main(sys.argv[1:])
heavy = [name for name in sys.modules if name.partition(".")[0] in {heavy!r}]
print("heavy:", sorted(set(name.partition(".")[0] for name in heavy)))
sys.exit(code)
"""


@pytest.mark.parametrize(
    ("arguments", "heavy"),
    [
        (("--help",), (*HEAVY, "pydantic")),
        (("--version",), (*HEAVY, "pydantic")),
        # Typer itself reads arguments with pydantic.
        (("export", "--help"), HEAVY),
        (("exprot",), HEAVY),
    ],
)
def test_help_and_typing_mistakes_load_nothing_heavy(edgesdk_command, arguments, heavy):
    ended = edgesdk_command(*arguments, code=WHAT_IS_LOADED.format(heavy=heavy))
    assert ended.out.splitlines()[-1] == "heavy: []"


def test_help_names_every_verb_in_one_line_each(edgesdk_command):
    ended = edgesdk_command("--help")
    assert (ended.code, ended.err) == (0, "")
    verbs = ("doctor", "models", "train", "cost", "prune", "export", "verify", "profile", "report")
    for verb in (*verbs, "stylize", "quantize-report"):
        assert re.search(rf"^│ {verb} +[A-Z][^│]+\. +│$", ended.out, re.MULTILINE), verb


def test_no_verb_shows_the_help_and_is_no_success(edgesdk_command):
    ended = edgesdk_command()
    assert ended.code == 2
    assert ended.out == ""
    assert "Usage: edgesdk" in ended.err
    assert "error" not in ended.err


def test_every_verb_prints_one_json_object(edgesdk_command, exported, copy_of):
    folder = str(copy_of(exported.path))
    for arguments, key in (
        (("models",), "models"),
        (("cost", "resnet20"), "layers"),
        (("doctor", "--quick"), "machine"),
        (("profile", folder, "--target", "onnx", "--runs", "2"), "artefacts"),
        (("report", folder), "report"),
    ):
        ended = edgesdk_command(*arguments, "--json")
        assert ended.code in (0, 1, 3), ended.err
        assert key in ended.json
        assert "\x1b" not in ended.err


def test_profile_leaves_out_what_only_an_evaluator_runs(edgesdk_command, exported, copy_of):
    folder = str(copy_of(exported.path))
    targets = ("--target", "onnx", "--target", "coreml")
    ended = edgesdk_command("profile", folder, *targets, "--runs", "2")
    assert ended.code == 0, ended.err
    header, *rows = ended.out.splitlines()[1:4]
    assert header.split() == ["target", "status", "size", "p50", "p90", "peak", "memory", "load"]
    timed = {row.split()[0]: "ms" in row or "µs" in row for row in rows}
    assert timed == {"coreml:fp16": sys.platform == "darwin", "onnx:fp32": True}
    assert "coreml:fp16: " in ended.err


def test_quiet_is_quiet(edgesdk_command, exported, copy_of):
    folder = str(copy_of(exported.path))
    for arguments in (
        ("verify", folder, "--target", "onnx"),
        ("report", folder),
        ("profile", folder, "--target", "onnx", "--runs", "1"),
    ):
        ended = edgesdk_command(*arguments, "--quiet")
        assert (ended.code, ended.err) == (0, ""), arguments
        assert ended.out


def in_terminal(command, *arguments, columns):
    """What a command writes to a terminal of so many columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environment = {"TERM": "xterm-256color", "COLUMNS": str(columns)}
    process = command.start(*arguments, environment=environment, stdout=theirs, stderr=theirs)
    os.close(theirs)
    pieces = []
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:
            # How Linux says that the other end of a terminal is closed.
            break
        if not piece:
            break
        pieces.append(piece)
    os.close(ours)
    return process.wait(60), b"".join(pieces).decode()


@pytest.mark.parametrize("columns", [80, 120])
def test_in_a_terminal_there_is_a_live_display_and_tables_fit(
    edgesdk_command, exported, copy_of, columns
):
    folder = str(copy_of(exported.path))
    targets = ("--target", "onnx", "--target", "executorch")
    code, text = in_terminal(edgesdk_command, "verify", folder, *targets, columns=columns)
    assert code == 0, text
    assert "\x1b[" in text
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    lines = [part for line in plain.splitlines() for part in line.split("\r")]
    assert max(map(len, lines)) <= columns
    assert any(line.strip().startswith("onnx:fp32") and "equal" in line for line in lines)
    # A name that is typed back into a command is in one piece.
    assert any(line.startswith("executorch:xnnpack  ✓ passed") for line in lines)


def test_a_reader_that_goes_away_is_no_error(edgesdk_command):
    process = edgesdk_command.start("models")
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(60) == 0


def test_a_terminal_that_knows_no_tick(edgesdk_command, exported, copy_of):
    folder = str(copy_of(exported.path))
    ended = edgesdk_command(
        *("verify", folder, "--target", "onnx"),
        environment={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
    )
    assert ended.code == 0, ended.err
    assert "passed" in ended.out
    assert ended.out.isascii()


def test_a_bug_is_called_a_bug(monkeypatch, capsys):
    def broken(*args, **kwargs):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(app.typer.main, "get_command", lambda _: type("C", (), {"main": broken}))
    assert app.main(["models", "--json"]) == 70
    told = capsys.readouterr()
    assert json.loads(told.out)["exit_code"] == 70
    assert "a bug of the SDK: ZeroDivisionError" in told.err
    assert "Traceback" not in told.err
    assert app.main(["models", "--debug"]) == 70
    assert "Traceback" in capsys.readouterr().err


@pytest.fixture
def taken():
    give_back = take_signals()
    yield
    give_back()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_become_interruptions(taken, number, code):
    with pytest.raises(Interruption) as caught:
        os.kill(os.getpid(), number)
        threading.Event().wait(10)
    assert caught.value.exit_code == code


def test_a_second_press_does_not_disturb_the_cleaning_up(taken):
    cleaned = False
    with pytest.raises(Interruption):
        try:
            os.kill(os.getpid(), signal.SIGINT)
            threading.Event().wait(10)
        finally:
            os.kill(os.getpid(), signal.SIGINT)
            threading.Event().wait(0.05)
            cleaned = True
    assert cleaned


def test_signals_are_given_back():
    before = signal.getsignal(signal.SIGINT)
    give_back = take_signals()
    assert signal.getsignal(signal.SIGINT) is not before
    give_back()
    assert signal.getsignal(signal.SIGINT) is before


def test_what_was_ignored_stays_ignored():
    """``nohup`` starts commands so."""
    code = (
        "import os, signal\n"
        "from edgesdk.cli.interruption import take_signals\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "take_signals()\n"
        "os.kill(os.getpid(), signal.SIGHUP)\n"
        "print('alive')\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "alive\n"
