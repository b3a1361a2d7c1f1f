"""What must hold for the repository as a whole, whatever is added to it."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from edgesdk.host.environment.catalogue import BACKENDS

ROOT = Path(__file__).resolve().parents[1]
#: Where the code of each package lies; the last two are links inside edgesdk/.
PACKAGES = {
    "edgesdk": ROOT / "edgesdk",
    "edgesdk.converters": ROOT / "converters",
    "edgesdk.quant": ROOT / "quant",
}

#: Modules that may stand at the top of edgesdk/; every other belongs in a room.
GROUND_FLOOR = (
    "edgesdk.version",
    "edgesdk.lazy_exports",
    "edgesdk.near_names",
    "edgesdk.option_spelling",
    "edgesdk.errors",
    "edgesdk.spec",
    "edgesdk.style_names",
)

#: Rooms from the ground up: each imports those above its own line in this list, and itself.
ROOMS = (
    "edgesdk.host",
    "edgesdk.bundle",
    "edgesdk.models",
    "edgesdk.frontend",
    "edgesdk.quant",
    "edgesdk.runtime",
    "edgesdk.converters",
    "edgesdk.video",
    "edgesdk.devices",
    "edgesdk.training",
    "edgesdk.verification",
    "edgesdk.profiling",
    "edgesdk.exporter",
    "edgesdk.pruning",
    "edgesdk.report",
    "edgesdk",  # names that are imported on first use
    "edgesdk.cli",
)
TOP = ("edgesdk.__main__",)
FLOORS = (*GROUND_FLOOR, *ROOMS, *TOP)

VAGUE_NAMES = {"common", "helper", "helpers", "misc", "tools_common", "util", "utils"}

#: Import packages that `import edgesdk` and the first lines of a command must not load.
HEAVY = {
    "ai_edge_litert",
    "coremltools",
    "executorch",
    "jax",
    "litert_torch",
    "numpy",
    "onnx",
    "onnxruntime",
    "pandas",
    "pydantic",
    "scipy",
    "torch",
    "torchao",
    "transformers",
}


def module_name(package: str, path: Path) -> str:
    parts = [package, *path.relative_to(PACKAGES[package]).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def modules() -> dict[str, Path]:
    return {
        module_name(package, path): path
        for package, folder in PACKAGES.items()
        for path in sorted(folder.rglob("*.py"))
        if not any(parent.is_symlink() for parent in path.parents)
    }


@cache
def syntax(name: str) -> ast.Module:
    return ast.parse(modules()[name].read_text("utf-8"), str(modules()[name]))


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def imports_below(node: ast.AST, lazy: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    """Imports in ``node``, those inside functions only where ``lazy``; none for type checkers."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif is_type_checking(child):
            for other in child.orelse:  # type: ignore[attr-defined]
                yield from imports_below(other, lazy)
        elif lazy or not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from imports_below(child, lazy)


def imported(name: str, lazy: bool) -> set[str]:
    """Modules of ours that the module ``name`` imports."""
    found: set[str] = set()
    is_package = modules()[name].name == "__init__.py"
    for node in imports_below(syntax(name), lazy):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        else:
            base = node.module or ""
            if node.level:
                up = name.split(".")[: len(name.split(".")) - node.level + is_package]
                base = ".".join([*up, base] if base else up)
            children = [f"{base}.{alias.name}" for alias in node.names]
            targets = [child if child in modules() else base for child in children]
        found.update(target for target in targets if target in modules())
    return found - {name}


def unit(name: str) -> str | None:
    """The longest entry of :data:`FLOORS` that ``name`` is or lies in."""
    fitting = [
        floor
        for floor in FLOORS
        if name == floor or (floor != "edgesdk" and name.startswith(f"{floor}."))
    ]
    return max(fitting, key=len, default=None)


@cache
def repository_files() -> tuple[Path, ...]:
    """Files that belong to the repository: those git knows or would add, else all but output."""
    listed = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z", "-co", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode == 0 and listed.stdout:
        found = [ROOT / name for name in listed.stdout.split("\0") if name]
    else:
        output = {".git", ".venv", ".cache", "build", "dist", "demo", "__pycache__"}
        found = [path for path in ROOT.rglob("*") if not output & set(path.relative_to(ROOT).parts)]
    return tuple(path for path in found if path.is_file())


def test_there_is_something_to_check() -> None:
    assert {"edgesdk.errors", "edgesdk.spec", "edgesdk.converters"} <= set(modules())
    assert len(repository_files()) > 20


def test_modules_are_short() -> None:
    long = {
        str(path.relative_to(ROOT)): count
        for path in modules().values()
        if (count := len(path.read_text("utf-8").splitlines())) > 400
    }
    assert not long, "split these: a module holds one idea in at most 400 lines"


def test_modules_are_named_for_what_they_hold() -> None:
    vague = [name for name in modules() if VAGUE_NAMES & set(name.split("."))]
    assert not vague


def exported(name: str) -> list[str] | None:
    for node in syntax(name).body:
        if isinstance(node, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets
        ):
            return list(ast.literal_eval(node.value))
        if (
            isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and node.target.id == "__all__"
            and node.value is not None
        ):
            return list(ast.literal_eval(node.value))
    return None


def by_kind(name: str) -> tuple[int, str]:
    """Constants, then classes, then the rest, each in the order of the alphabet."""
    stem = name.lstrip("_")
    return (0 if stem.isupper() else 1 if stem[:1].isupper() else 2), name


def test_every_module_says_what_it_offers() -> None:
    silent = [
        name for name in modules() if not name.endswith("__main__") and exported(name) is None
    ]
    assert not silent, "give these an __all__"


def test_what_a_module_offers_is_sorted_and_there() -> None:
    unsorted, absent = {}, {}
    for name in modules():
        names = exported(name) or []
        if names not in (sorted(names), sorted(names, key=by_kind)) or len(set(names)) < len(names):
            unsorted[name] = names
        text = modules()[name].read_text("utf-8")
        missing = [word for word in names if len(re.findall(rf"\b{re.escape(word)}\b", text)) < 2]
        if missing:
            absent[name] = missing
    assert not unsorted
    assert not absent


def test_every_module_lies_in_a_room() -> None:
    loose = sorted(name for name in modules() if unit(name) is None)
    assert not loose, "move these into a room, or add a room to ROOMS at its height"


def test_the_top_of_the_package_is_the_ground_floor_and_the_rooms() -> None:
    top = [path for path in (ROOT / "edgesdk").iterdir() if path.name != "__pycache__"]
    files = {f"edgesdk.{path.stem}" for path in top if path.suffix == ".py"}
    assert files == {*GROUND_FLOOR, *TOP, "edgesdk.__init__"}
    folders = {f"edgesdk.{path.name}" for path in top if path.is_dir()}
    assert folders == {room for room in ROOMS if room != "edgesdk"} | {"edgesdk.native"}


def test_no_other_top_level_name_is_taken() -> None:
    for name in ("converters", "quant"):
        link = ROOT / "edgesdk" / name
        assert link.is_symlink() and link.resolve() == ROOT / name
    generic = re.compile(r"^\s*(?:from|import) (?:converters|quant)\b", re.MULTILINE)
    assert not [name for name, path in modules().items() if generic.search(path.read_text("utf-8"))]


def test_imports_go_down_only() -> None:
    height = {floor: position for position, floor in enumerate(FLOORS)}
    upward = [
        f"{name} imports {target}"
        for name in modules()
        for target in sorted(imported(name, lazy=True))
        if (here := unit(name)) and (there := unit(target)) and height[there] > height[here]
    ]
    assert not upward


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """A circle of ``graph`` for every module from which one is reached first."""
    found: list[list[str]] = []
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> None:
        if name in path:
            found.append([*path[path.index(name) :], name])
            return
        if name in done:
            return
        for target in sorted(graph.get(name, ())):
            visit(target, [*path, name])
        done.add(name)

    for name in sorted(graph):
        visit(name, [])
    return found


def test_circles_are_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [["b", "c", "b"]]
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_imports_make_no_circle() -> None:
    assert circles({name: imported(name, lazy=False) for name in modules()}) == []


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, edgesdk, edgesdk.errors, edgesdk.spec; dir(edgesdk); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert not HEAVY & set(done.stdout.split())


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    stated = [line.partition("#")[0].strip() for line in lines]
    found = dict(line.split("==") for line in stated if line)
    return {canonicalize_name(name): version for name, version in found.items()}


@cache
def project() -> dict[str, object]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def requirements() -> list[Requirement]:
    optional: dict[str, list[str]] = project()["optional-dependencies"]  # type: ignore[assignment]
    required: list[str] = project()["dependencies"]  # type: ignore[assignment]
    return [Requirement(text) for group in (required, *optional.values()) for text in group]


def test_pinned_versions_are_ones_the_project_asks_for() -> None:
    clashing = [
        str(requirement)
        for requirement in requirements()
        if (pin := pins().get(canonicalize_name(requirement.name)))
        and not requirement.specifier.contains(pin)
    ]
    assert not clashing
    exact = {
        canonicalize_name(requirement.name): str(requirement.specifier).removeprefix("==")
        for requirement in requirements()
        if str(requirement.specifier).startswith("==")
    }
    assert exact.items() <= {**exact, **pins()}.items()


def test_doctor_compares_with_the_pinned_versions() -> None:
    tested = {
        canonicalize_name(name): version
        for entry in BACKENDS
        if not entry.only_if_present
        for name, version in entry.tested.items()
    }
    exact = {
        canonicalize_name(requirement.name): str(requirement.specifier).removeprefix("==")
        for requirement in requirements()
    }
    assert tested == {name: pins().get(name, exact.get(name)) for name in tested}


def test_doctor_names_extras_that_exist() -> None:
    optional: dict[str, list[str]] = project()["optional-dependencies"]  # type: ignore[assignment]
    assert {entry.extra for entry in BACKENDS if entry.extra} <= set(optional)


def make(*arguments: str) -> str:
    done = subprocess.run(
        ["make", *arguments], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout


@pytest.mark.parametrize(
    "target", ["setup", "demo", "test", "test-slow", "lint", "bench", "clean", "help"]
)
def test_make_knows_its_targets_and_finds_their_scripts(target: str) -> None:
    recipe = make("--dry-run", target)
    named = set(re.findall(r"scripts/[\w-]+\.(?:py|sh)\b", recipe))
    absent = sorted(name for name in named if not (ROOT / name).is_file())
    assert not absent
    assert f"make {target}" in make("help")


def test_scripts_can_be_run() -> None:
    for path in [ROOT / ".ci" / "run", *sorted((ROOT / "scripts").glob("*.sh"))]:
        assert os.access(path, os.X_OK), path
        assert "set -euo pipefail" in path.read_text("utf-8")
        subprocess.run(["bash", "-n", str(path)], check=True)


def test_continuous_integration_runs_the_tests() -> None:
    assert "make test" in (ROOT / ".ci" / "run").read_text("utf-8")


def test_pictures_are_small() -> None:
    pictures = [
        path
        for path in repository_files()
        if path.suffix.lower() in (".png", ".jpg", ".jpeg", ".gif", ".webp", ".svg")
    ]
    sizes = {str(path.relative_to(ROOT)): path.stat().st_size for path in pictures}
    assert not {name: size for name, size in sizes.items() if size >= 2_000_000}
    assert sum(sizes.values()) < 20_000_000


def test_no_file_speaks_of_a_folder_of_one_machine() -> None:
    machine_path = re.compile(r"(?<![\w.])/(?:work|root)/\w")
    found = []
    for path in repository_files():
        content = path.read_bytes()
        if b"\0" in content[:8192]:
            continue
        for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
            if machine_path.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}")
    assert not found


def test_the_licence_is_the_one_that_is_named() -> None:
    text = (ROOT / "LICENSE").read_text("utf-8")
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    assert project()["license"] == "Apache-2.0"


def test_the_readme_is_short() -> None:
    readme = ROOT / "README.md"
    if not readme.exists():
        pytest.skip("there is no README.md")
    assert len(readme.read_text("utf-8").splitlines()) <= 150


def test_every_verb_has_its_page() -> None:
    # A verb is a module of the command line whose function has the module's own name.
    verbs = [
        name.rpartition(".")[2]
        for name in modules()
        if name.startswith("edgesdk.cli.") and (exported(name) or [""])[0] == name.split(".")[-1]
    ]
    verbs = [verb for verb in verbs if verb != "main"]
    pages = [verb.replace("_", "-") for verb in verbs]
    missing = [page for page in pages if not (ROOT / "docs" / f"{page}.md").is_file()]
    assert not missing, "write docs/VERB.md for these: what it does, options, output, exit codes"


#: No docstring and no help text begins with these: name the thing or the act instead.
FORBIDDEN_BEGINNINGS = {"How", "Of", "That", "What", "Where", "Whether", "Who"}
#: "a.pt is no file" instead of "a.pt is not a file"; and nothing is told.
FORBIDDEN_WORDS = re.compile(r"(?<!\bthere )\bis no\b|\btold\b", re.IGNORECASE)


def prose_fault(text: str) -> str:
    """Describe the first fault of a docstring or help text; empty if there is none."""
    words = text.split(None, 1)
    if words and words[0].rstrip(":,") in FORBIDDEN_BEGINNINGS:
        return f"begins with {words[0]}"
    found = FORBIDDEN_WORDS.search(" ".join(text.split()))
    return f"contains {found.group()!r}" if found else ""


def docstrings(name: str) -> Iterator[tuple[int, str]]:
    """Yield line and text of each docstring of a module."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(syntax(name)):
        if isinstance(node, kinds) and (text := ast.get_docstring(node)):
            yield getattr(node, "lineno", 1), text


def help_texts(name: str) -> Iterator[tuple[int, str]]:
    """Yield line and text of each ``help="..."`` of a module."""
    for node in ast.walk(syntax(name)):
        if not isinstance(node, ast.keyword) or node.arg != "help":
            continue
        parts = node.value.values if isinstance(node.value, ast.JoinedStr) else [node.value]
        texts = [part.value for part in parts if isinstance(part, ast.Constant)]
        if texts and all(isinstance(text, str) for text in texts):
            yield node.value.lineno, "".join(texts)


def test_prose_faults_are_found() -> None:
    assert prose_fault("What a file holds.") == "begins with What"
    assert prose_fault("Read a file.\n\nRaises:\n    It is\n    no file.") == "contains 'is no'"
    assert prose_fault("Progress is told.") == "contains 'told'"
    assert prose_fault("Return None if there is no file.") == ""
    assert prose_fault("Find what differs.") == ""


def test_docstrings_and_help_texts_are_plain() -> None:
    faults = [
        f"{path.relative_to(ROOT)}:{line}: {fault}"
        for name, path in modules().items()
        for line, text in [
            *docstrings(name),
            *(help_texts(name) if name.startswith("edgesdk.cli") else ()),
        ]
        if (fault := prose_fault(text))
    ]
    assert not faults, "see How we write in CONTRIBUTING.md"


@pytest.mark.parametrize(
    "page",
    [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))],
    ids=lambda path: path.name,
)
def test_headings_are_plain(page: Path) -> None:
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    assert not [heading for heading in headings if prose_fault(heading)]


def reachable(start: str) -> set[str]:
    """Modules of ours that ``start`` imports, also inside functions and through others."""
    found: set[str] = set()
    pending = [start]
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            pending += imported(name, lazy=True)
    return found - {start}


@pytest.mark.parametrize(("start", "most"), [("cli.export", 120), ("cli.prune", 150)])
def test_a_verb_reaches_few_modules(start: str, most: int) -> None:
    found = sorted(reachable(f"edgesdk.{start}"))
    assert len(found) <= most, found
