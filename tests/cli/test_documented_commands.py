"""Commands in the README and in docs/ exist: each verb and each option."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest
import typer

from edgesdk.cli.main import app
from edgesdk.cli.renamed_options import RENAMED

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

_FENCE = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
#: Usage syntax around options: brackets, bars, ellipses, and quotes of texts with spaces.
_SYNTAX = re.compile(r"[\[\]()|{}\"']|\.\.\.")
_OPTION = re.compile(r"--?[A-Za-z][\w-]*")


@cache
def commands() -> dict[tuple[str, ...], frozenset[str]]:
    """Options of each command by its words; hidden ones are left out."""
    found: dict[tuple[str, ...], frozenset[str]] = {}

    def visit(command: click.Command, words: tuple[str, ...]) -> None:
        options = {"--help"}
        for parameter in command.params:
            if parameter.param_type_name == "option" and not getattr(parameter, "hidden", False):
                options.update(parameter.opts, parameter.secondary_opts)
        found[words] = frozenset(options)
        for name, inner in getattr(command, "commands", {}).items():
            visit(inner, (*words, name))

    visit(typer.main.get_command(app), ())
    return found


def joined(block: str) -> Iterator[str]:
    """Lines of a block; continued and indented ones belong to the command before them."""
    line = ""
    for raw in block.splitlines():
        continued = line.endswith("\\") or (
            line.startswith(("edgesdk ", "$ edgesdk ")) and re.match(r"\s+[\[(-]", raw)
        )
        if continued:
            line = f"{line.removesuffix(chr(92))} {raw.strip()}"
            continue
        yield line
        line = raw
    yield line


def documented(text: str) -> list[str]:
    """Command lines of ``edgesdk`` in the fenced blocks of a page, without the program's name."""
    lines = []
    for block in _FENCE.findall(text):
        for line in joined(block):
            start = re.match(r"(?:\$ )?(?:[\w.-]+ .*-m )?edgesdk (?=\S)", line)
            if start:
                lines.append(line[start.end() :].partition(" #")[0].strip())
    return lines


def problem(line: str) -> str:
    """Describe the first unknown verb or option of a command line; empty if there is none."""
    words = _SYNTAX.sub(" ", line).split()
    named: tuple[str, ...] = ()
    while words and (*named, words[0]) in commands():
        named = (*named, words.pop(0))
    options = [word.partition("=")[0] for word in words if _OPTION.fullmatch(word.split("=")[0])]
    if not named and options[:1] not in (["--help"], ["--version"]):
        return f"unknown verb: {line}"
    for option in options:
        if option not in commands()[named]:
            return f"edgesdk {' '.join(named)} has no option {option}: {line}"
    return ""


def test_commands_are_found_and_checked() -> None:
    page = """
```sh
edgesdk export net.py:build --input x:1x3x8x8 \\
    --quantize w8a8_static   # int8
edgesdk stylize IN -o OUT (--bundle NAME.edge | --onnx FILE.onnx)
        [--style NAME|NUMBER] [--json]
accelerate launch -m edgesdk train style ...
```
edgesdk nothing
"""
    lines = documented(page)
    assert [line.split()[0] for line in lines] == ["export", "stylize", "train"]
    assert lines[0].endswith("--quantize w8a8_static") and lines[1].endswith("[--json]")
    assert [problem(line) for line in lines] == ["", "", ""]
    assert "unknown verb" in problem("nothing --json")
    assert "no option --absent" in problem("export a.py:b --absent")
    assert "no option --no-absent" in problem("train style --no-resume --no-absent")


def test_old_names_do_not_count() -> None:
    for words, options in commands().items():
        old = {name for name in RENAMED.get(words[-1] if words else "", ()) if name in options}
        assert not old, words


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_documented_commands_exist(page: Path) -> None:
    problems = [found for line in documented(page.read_text("utf-8")) if (found := problem(line))]
    assert not problems


@pytest.mark.parametrize("page", ["quantize", *sorted({words[0] for words in commands() if words})])
def test_options_in_the_prose_of_a_verb_exist(page: str) -> None:
    prose = _FENCE.sub("", (ROOT / "docs" / f"{page}.md").read_text("utf-8"))
    spans = re.findall(r"`(--[^`\n]+)`", prose)
    known = frozenset().union(*commands().values())
    named = {word.partition("=")[0] for span in spans for word in span.split()}
    assert not {word for word in named if word.startswith("--") and word not in known}


def headings(page: Path) -> set[str]:
    """Anchors of a page's headings."""
    titles = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda path: path.name)
def test_links_resolve(page: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if "://" in link:
            continue
        if not target.exists() or (anchor and anchor not in headings(target)):
            broken.append(link)
    assert not broken


def test_python_names_in_the_pages_exist() -> None:
    absent = []
    for page in [*PAGES, ROOT / "CONTRIBUTING.md"]:
        for dotted in re.findall(r"`(edgesdk(?:\.\w+)+)\b", page.read_text("utf-8")):
            parts = dotted.split(".")
            for length in range(len(parts), 0, -1):
                path = ROOT.joinpath(*parts[:length])
                if path.is_dir() or path.with_suffix(".py").is_file():
                    break
            module = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
            rest = parts[length : length + 1]
            if rest and not re.search(rf"\b{rest[0]}\b", module.read_text("utf-8")):
                absent.append(f"{page.name}: {dotted}")
    assert not absent
