"""Tables on terminals of every width, and in files: no word is cut and no cell is lost."""

from __future__ import annotations

import re

import pytest
from rich.text import Text

from edgesdk.cli.console import Output
from edgesdk.cli.tables import plain_table

ROWS = (
    ("executorch:xnnpack", "✓ passed", "0.999999", "converts; runs only in the evaluator"),
    ("coreml", "✗ failed", "0.12", "one\ntwo"),
)
TITLES = ("target", "status", "cosine", "note")


def shown(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    columns: int | None,
    *,
    no_wrap: bool = False,
) -> list[str]:
    """Lines of the table on a terminal of so many columns; None: in a file."""
    if columns is not None:
        monkeypatch.setenv("TTY_COMPATIBLE", "1")
        monkeypatch.setenv("COLUMNS", str(columns))
    table = plain_table(*TITLES, rows=ROWS)
    for column in table.columns:
        column.no_wrap = no_wrap
    Output().table(table)
    return re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()


def test_a_file_gets_whole_rows_whatever_columns_says(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    table = plain_table("name", "text", rows=[("a" * 60, "word " * 60), ("b", "c")])
    Output().table(table)
    title, first, second = capsys.readouterr().out.splitlines()
    assert title == f"name{' ' * 58}text"
    assert first == f"{'a' * 60}  {'word ' * 60}".rstrip()
    assert second == f"b{' ' * 61}c"


@pytest.mark.parametrize("no_wrap", [False, True])
def test_a_wide_terminal_gets_each_row_in_a_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, no_wrap: bool
) -> None:
    lines = shown(capsys, monkeypatch, 120, no_wrap=no_wrap)
    assert len(lines) == 4
    assert lines[1].split() == " ".join(ROWS[0]).split()


@pytest.mark.parametrize("no_wrap", [False, True])
def test_a_narrow_terminal_breaks_between_words_and_shortens_none(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, no_wrap: bool
) -> None:
    for columns in (60, 70, 80):
        lines = shown(capsys, monkeypatch, columns, no_wrap=no_wrap)
        assert max(map(len, lines)) <= columns
        assert "…" not in "".join(lines)
        # The narrow columns stay in one line each; the note goes on below.
        assert lines[1].startswith("executorch:xnnpack  ✓ passed  0.999999  converts;")
        words = " ".join(lines).split()
        assert sorted(words) == sorted(" ".join([*TITLES, *map(" ".join, ROWS)]).split())


def test_where_words_do_not_fit_side_by_side_each_row_is_a_list(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shown(capsys, monkeypatch, 40, no_wrap=True) == [
        "executorch:xnnpack",
        "  status  ✓ passed",
        "  cosine  0.999999",
        "  note    converts; runs only in the evaluator",
        "coreml",
        "  status  ✗ failed",
        "  cosine  0.12",
        "  note    one, two",
    ]


def test_empty_cells_are_left_out_of_lists(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "10")
    table = plain_table("name", "value", rows=[(Text("classification"), "")])
    Output().table(table)
    assert capsys.readouterr().out.splitlines() == ["classification"]
