"""The examples of docs/python.md run as printed."""

from __future__ import annotations

import re
from pathlib import Path

import edgesdk

PAGE = Path(__file__).resolve().parents[1] / "docs" / "python.md"


def test_the_examples_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGESDK_CACHE", str(tmp_path / "cache"))
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert len(blocks) >= 5
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    assert (tmp_path / "net.edge" / "manifest.json").exists()


def test_the_table_names_every_function():
    rows = set(re.findall(r"`edgesdk\.(\w+)\(", PAGE.read_text("utf-8")))
    functions = {name for name in edgesdk.__all__ if name[0].islower() and name != "write_report"}
    assert functions - rows == set()
