"""Progress of Python callers: a live display, plain lines, a log, or silence."""

from __future__ import annotations

import logging
import os
import pty
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from edgesdk.errors import UsageError
from edgesdk.host.progress import AUTO, Auto, progress_shown

ROOT = Path(__file__).resolve().parents[2]
Steps = Callable[[str, str], None]

WORK = """
from edgesdk.host.progress import AUTO, progress_shown

@progress_shown("work", lambda display: display.step)
def work(*, on_progress=AUTO):
    on_progress("onnx", "converting")
    print("printed by the caller")
    on_progress("onnx", "equal")

work()
"""


@progress_shown("work", lambda display: display.step)
def work(*, on_progress: Steps | Auto | None = AUTO) -> str:
    """Do two steps."""
    if callable(on_progress):
        on_progress("onnx", "waiting")
        on_progress("onnx", "equal")
    return "done"


def test_a_script_gets_log_records(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.INFO, "edgesdk"):
        assert work() == "done"
    assert [(one.name, one.message) for one in caplog.records] == [("edgesdk", "onnx: equal")]
    assert capsys.readouterr() == ("", "")


def test_nothing_is_shown_for_none_and_a_function_gets_every_step(
    caplog: pytest.LogCaptureFixture,
) -> None:
    seen = []
    with caplog.at_level(logging.INFO, "edgesdk"):
        work(on_progress=None)
        work(on_progress=lambda piece, step: seen.append((piece, step)))
    assert seen == [("onnx", "waiting"), ("onnx", "equal")]
    assert not caplog.records


def test_any_other_text_is_refused() -> None:
    with pytest.raises(UsageError, match="invalid on_progress: 'bar'") as caught:
        work(on_progress="bar")  # type: ignore[arg-type]
    assert "'auto', or None for silence" in str(caught.value)


def test_the_decorated_function_keeps_its_name_and_text() -> None:
    assert (work.__name__, work.__doc__) == ("work", "Do two steps.")


def test_a_terminal_gets_a_live_display_and_prints_stay_on_stdout() -> None:
    parent, child = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "80"}
    done = subprocess.run(
        [sys.executable, "-c", WORK],
        stdout=subprocess.PIPE,
        stderr=child,
        env=environment,
        cwd=ROOT,
        text=True,
        timeout=60,
        check=True,
    )
    os.close(child)
    shown = os.read(parent, 100_000).decode()
    os.close(parent)
    assert "onnx" in shown and "equal" in shown
    assert "\x1b[" in shown, "not a live display"
    assert done.stdout == "printed by the caller\n"


def test_a_notebook_without_widgets_gets_plain_lines(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shell = type("ZMQInteractiveShell", (), {})()
    ipython = types.SimpleNamespace(get_ipython=lambda: shell)
    monkeypatch.setitem(sys.modules, "IPython", ipython)  # type: ignore[arg-type]
    with caplog.at_level(logging.INFO, "edgesdk"):
        work()
    assert "onnx: equal" in capsys.readouterr().err
    assert not caplog.records
