"""Read installed distributions from their metadata; nothing is imported."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from edgesdk.host.environment.child import run_limited

__all__ = [
    "Installed",
    "broken_requirements",
    "closure",
    "compare",
    "find_installed",
    "in_series",
    "torch_cuda",
]

_REQUIREMENT_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")


def compare(left: str, right: str) -> int:
    """Return -1, 0 or 1 if ``left`` is older than, equal to or newer than ``right`` (PEP 440).

    Local parts (``+cpu``) are ignored. A text that is not a version is older than any version.
    """
    a, b = _public(left), _public(right)
    if a is None or b is None:
        return (a is not None) - (b is not None)
    return (a > b) - (a < b)


def in_series(version: str, series: str) -> bool:
    """Return True if ``version`` belongs to ``series``: 2.13.1+cpu to 2.13, but not 2.130.0."""
    wanted = Version(series).release
    public = _public(version)
    if public is None:
        return False
    release = (*public.release, *(0 for _ in wanted))
    return release[: len(wanted)] == wanted


def _public(text: str) -> Version | None:
    try:
        return Version(Version(text).public)
    except InvalidVersion:
        return None


@dataclass(frozen=True)
class Installed:
    """Distributions on the import path.

    Attributes:
        versions: Version by normalized name; the first one found, as Python imports it.
        folders: Folders by normalized name, for names found more than once.
    """

    versions: dict[str, str]
    folders: dict[str, tuple[str, ...]]


def find_installed() -> Installed:
    """Read the metadata of every distribution on the import path."""
    versions: dict[str, str] = {}
    places: dict[str, list[str]] = {}
    for distribution in importlib.metadata.distributions():
        # A half-removed package leaves metadata without a name, or a folder without metadata, for
        # which the importlib_metadata package raises.
        try:
            name = distribution.metadata["Name"] if distribution.metadata else None
        except FileNotFoundError:
            continue
        if not name or not distribution.version:
            continue
        key = canonicalize_name(name)
        versions.setdefault(key, distribution.version)
        place = str(Path(str(distribution.locate_file(""))).resolve())
        label = f"{distribution.version} in {place}"
        if label not in places.setdefault(key, []):
            places[key].append(label)
    return Installed(
        versions, {name: tuple(found) for name, found in places.items() if len(found) > 1}
    )


def closure(roots: Iterable[str]) -> set[str]:
    """Return ``roots`` and everything they may require, by normalized name.

    Requirements of extras and of other systems are included: the set only decides which problems
    concern the SDK.
    """
    reached: set[str] = set()
    waiting = [canonicalize_name(root) for root in roots]
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
            # A marker with "extra" applies only to users of that extra.
            match = _REQUIREMENT_NAME.match(requirement)
            if match and not re.search(r"\bextra\s*==", requirement):
                waiting.append(canonicalize_name(match[0]))
    return reached


def broken_requirements(seconds: float = 60.0) -> list[str] | None:
    """Return the complaints of ``pip check``, one sentence each; None if pip cannot run."""
    ended = run_limited([sys.executable, "-m", "pip", "check"], seconds)
    if ended.returncode == 0:
        return []
    lines = [line.strip() for line in ended.stdout.splitlines() if line.strip()]
    return lines if ended.returncode == 1 and lines else None


def torch_cuda(version_file: Path | None = None) -> str | None:
    """Return the CUDA version torch was built for; None for the CPU build or without torch.

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
