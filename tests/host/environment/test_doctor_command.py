from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgesdk.cli import main


def test_a_quick_look_is_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--quick", "--json"]) == 0
    captured = capsys.readouterr()
    examination = json.loads(captured.out)
    assert examination["exit_code"] == 0
    assert {"core", "executorch", "coreml", "litert", "onnx"} <= {
        backend["name"] for backend in examination["backends"]
    }
    assert "reading the metadata" in captured.err
    assert {"executorch", "onnx"} <= set(examination["can"]["convert"])
    assert examination["can"]["sentences"][0].startswith("This machine can convert to: executorch")


def test_people_get_tables_with_the_brackets_of_extras(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A variable that names no NDK is a finding on any machine.
    monkeypatch.setenv("ANDROID_NDK_HOME", str(tmp_path / "[red]nowhere[/red]"))
    monkeypatch.setenv("COLUMNS", "300")
    assert main(["doctor", "--quick", "--quiet"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert "[red]nowhere[/red]" in captured.out
    assert "1 warning" in captured.out
    first, second, third, *_ = captured.out.splitlines()
    assert first.startswith("This machine can convert to: executorch, ")
    assert second.startswith("It can run: ")
    assert third.startswith("Video: ")
    assert "nothing was imported" in captured.out


@pytest.mark.slow
def test_a_broken_backend_ends_with_3(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "onnxscript").mkdir()
    (tmp_path / "onnxscript" / "__init__.py").write_text("raise ValueError('not today')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "300")
    assert main(["doctor", "--quiet"]) == 3
    captured = capsys.readouterr()
    assert "ValueError: not today" in captured.out
    assert "1 error" in captured.out


@pytest.mark.parametrize(
    "arguments", [["--quik"], ["--timeout", "0"], ["--timeout", "soon"], ["x"]]
)
def test_a_wrong_call_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", *arguments]) == 2
    assert capsys.readouterr().err.startswith("error: ")
