"""Help pages: width, panels, examples; and what a stranger must find in them."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
import typer

from edgesdk.cli.main import app, main
from edgesdk.cli.renamed_options import RENAMED, with_new_names

ROOT: Any = typer.main.get_command(app)
VERBS = [
    *((name,) for name in ROOT.commands),
    *(("train", name) for name in ROOT.commands["train"].commands),
]


@pytest.fixture
def page(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("COLUMNS", "80")

    def read(*words: str) -> str:
        assert main([*words, "--help"]) == 0
        return capsys.readouterr().out

    return read


def entry(text: str, option: str) -> str:
    """The name and the text of one option, without the borders of its panel."""
    lines = [line.strip("│").rstrip() for line in text.splitlines()]
    start = next(
        index for index, line in enumerate(lines) if option in line.replace(",", " ").split()[:2]
    )
    more = next(
        index
        for index, line in enumerate(lines[start + 1 :], start + 1)
        if not line.startswith("      ")
    )
    return " ".join(" ".join(lines[start:more]).split())


def command(words: tuple[str, ...]) -> Any:
    found = ROOT
    for word in words:
        found = found.commands[word]
    return found


@pytest.mark.parametrize("words", [(), *VERBS], ids=" ".join)
def test_a_page_fits_eighty_columns_and_has_two_examples(page: Any, words: tuple[str, ...]) -> None:
    text = page(*words)
    assert max(map(len, text.splitlines())) <= 80
    examples = text.partition("Examples:\n")[2]
    assert examples.count("\n  edgesdk ") == examples.count("  # ") == 2


@pytest.mark.parametrize("words", VERBS, ids=" ".join)
def test_every_option_has_a_panel_and_a_sentence(page: Any, words: tuple[str, ...]) -> None:
    if words == ("train",):
        return
    text = page(*words)
    assert "╭─ Options ─" not in text and "╭─ Commands ─" not in text
    for parameter in command(words).params:
        assert parameter.help[0].isupper(), parameter.name
        assert parameter.help.endswith("."), parameter.name
        if parameter.param_type_name == "option":
            assert entry(text, "/".join([parameter.opts[0], *parameter.secondary_opts]))


@pytest.mark.parametrize("words", [(), *VERBS], ids=" ".join)
def test_examples_parse(words: tuple[str, ...]) -> None:
    lines = command(words).epilog.replace("\\\n", " ").splitlines()
    for line in lines:
        if not line.startswith("  edgesdk "):
            continue
        _, *arguments = shlex.split(line)
        found, names = ROOT, []
        while getattr(found, "commands", None):
            names.append(arguments.pop(0))
            found = found.commands[names[-1]]
        with found.make_context(" ".join(names), list(arguments)):
            pass
        assert with_new_names(names[-1], arguments)[1] == []


def test_the_way_to_int8_from_camera_bytes_on_android_is_in_the_help(page: Any) -> None:
    text = page("export")
    assert "litert (Android)" in entry(text, "--to") and "iOS" in entry(text, "--to")
    assert "Android or iOS app passes camera bytes" in entry(text, "--image")
    assert "w8a8_static: int8 weights and activations" in entry(text, "--quantize")
    assert "int8 ranges" in entry(text, "--calibration")
    assert "int8" in entry(text, "--io-dtype") and "Android" in entry(text, "--io-dtype")
    assert "--quantize w8a8_static --calibration photos/" in text.partition("Examples:")[2]


def test_the_first_page_lists_the_exit_codes(page: Any) -> None:
    codes = page().partition("Exit codes:\n")[2]
    assert [line.split()[0] for line in codes.splitlines()] == [*"0123456", "70"]


def old_names() -> list[tuple[str, str, str]]:
    return [(verb, old, new) for verb, table in RENAMED.items() for old, new in table.items()]


@pytest.mark.parametrize(("verb", "old", "new"), old_names())
def test_an_old_name_works_and_names_the_new_one(
    verb: str, old: str, new: str, page: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("train", verb) if verb in ("classify", "style") else (verb,)
    known = {name for one in command(words).params for name in one.opts}
    assert new.split()[0] in known and old not in known
    assert old not in page(*words).split()
    arguments, notes = with_new_names(verb, ["a", old, "x", "--", old])
    assert arguments == ["a", *new.split(), "x", "--", old]
    assert notes == [f"{old} is now {new}"]
    assert with_new_names(verb, [f"{old}=x"])[0][0] == f"{new.split()[0]}=x" or " " in new
    # The command stops at a wrong option, after the note; --json keeps stdout to its object.
    assert main([*words, "a", old, "x", "--absent", "--json"]) == 2
    ended = capsys.readouterr()
    assert ended.err.splitlines()[0] == f"{old} is now {new}"
    assert ended.out.startswith("{") and old + " is" not in ended.out
