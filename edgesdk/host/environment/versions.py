"""Installed distributions, read from their metadata: nothing is imported."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edgesdk.host.environment.child import run_limited

__all__ = [
    "Installed",
    "broken_requirements",
    "closure",
    "compare",
    "find_installed",
    "in_series",
    "normalise",
    "torch_cuda",
]

_VERSION = re.compile(r"v?(?:\d+!)?(?P<release>\d+(?:\.\d+)*)(?P<rest>[^+]*)")
_EARLIER = re.compile(r"[-_.]?(?:a|b|c|rc|alpha|beta|pre|preview|dev)", re.IGNORECASE)
_REQUIREMENT_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")


def normalise(name: str) -> str:
    """A distribution's name the way package indexes compare it: ``Ml_Dtypes`` -> ``ml-dtypes``."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _release(version: str) -> tuple[list[int], bool]:
    match = _VERSION.match(version.strip())
    if match is None:
        return [], False
    numbers = [int(part) for part in match["release"].split(".")]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return numbers, _EARLIER.match(match["rest"]) is None


def compare(left: str, right: str) -> int:
    """-1, 0 or 1 as ``left`` is older than, the same as or newer than ``right``.

    A pre-release counts as older than its release; local parts (``+cpu``) do not count.
    """
    a, b = _release(left), _release(right)
    return (a > b) - (a < b)


def in_series(version: str, series: str) -> bool:
    """Whether ``version`` belongs to ``series``: 2.13.1+cpu to 2.13, but not 2.130.0."""
    wanted = series.split(".")
    match = _VERSION.match(version.strip())
    given = match["release"].split(".") if match else []
    given += ["0"] * (len(wanted) - len(given))
    return given[: len(wanted)] == wanted


@dataclass(frozen=True)
class Installed:
    """What the import path holds.

    Attributes:
        versions: Version by normalised name; the one found first, as Python imports it.
        folders: Folders that hold it, by normalised name, for names found more than once.
    """

    versions: dict[str, str]
    folders: dict[str, tuple[str, ...]]


def find_installed() -> Installed:
    """Read the metadata of every distribution on the import path."""
    versions: dict[str, str] = {}
    places: dict[str, list[str]] = {}
    for distribution in importlib.metadata.distributions():
        # A half-removed package leaves metadata without a name, or a folder without metadata, which
        # the finder of the importlib_metadata package tells by an exception.
        try:
            name = distribution.metadata["Name"] if distribution.metadata else None
        except FileNotFoundError:
            continue
        if not name or not distribution.version:
            continue
        key = normalise(name)
        versions.setdefault(key, distribution.version)
        place = str(Path(str(distribution.locate_file(""))).resolve())
        label = f"{distribution.version} in {place}"
        if label not in places.setdefault(key, []):
            places[key].append(label)
    return Installed(
        versions, {name: tuple(found) for name, found in places.items() if len(found) > 1}
    )


def closure(roots: Iterable[str]) -> set[str]:
    """``roots`` and everything they may require, by normalised name.

    Requirements of extras and of other systems are included: the set only says whose troubles
    are ours.
    """
    reached: set[str] = set()
    waiting = [normalise(root) for root in roots]
    while waiting:
        name = waiting.pop()
        if name in reached:
            continue
        reached.add(name)
        try:
            requirements = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for requirement in requirements:
            # A marker with "extra" belongs to somebody who asked for that extra.
            match = _REQUIREMENT_NAME.match(requirement)
            if match and not re.search(r"\bextra\s*==", requirement):
                waiting.append(normalise(match[0]))
    return reached


def broken_requirements(seconds: float = 60.0) -> list[str] | None:
    """What ``pip check`` complains about, one sentence each; None where pip cannot say."""
    ended = run_limited([sys.executable, "-m", "pip", "check"], seconds)
    if ended.returncode == 0:
        return []
    lines = [line.strip() for line in ended.stdout.splitlines() if line.strip()]
    return lines if ended.returncode == 1 and lines else None


def torch_cuda(version_file: Path | None = None) -> str | None:
    """The CUDA version torch was built for; None for the CPU build or where there is no torch.

    Args:
        version_file: torch's ``version.py``; that of the installed torch by default.
    """
    if version_file is None:
        try:
            spec = importlib.util.find_spec("torch")
        except (ImportError, ValueError):
            return None
        if spec is None or not spec.origin:
            return None
        version_file = Path(spec.origin).parent / "version.py"
    try:
        tree = ast.parse(version_file.read_text("utf-8"))
    except (OSError, SyntaxError, ValueError):
        return None
    targets: list[ast.expr]
    for node in tree.body:
        if isinstance(node, ast.AnnAssign):
            targets, value = [node.target], node.value
        elif isinstance(node, ast.Assign):
            targets, value = node.targets, node.value
        else:
            continue
        if any(isinstance(target, ast.Name) and target.id == "cuda" for target in targets):
            is_text = isinstance(value, ast.Constant) and isinstance(value.value, str)
            return ast.literal_eval(value) if is_text and value is not None else None
    return None
