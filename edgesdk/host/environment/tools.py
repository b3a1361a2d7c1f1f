"""Find programs outside Python: compilers, and tools that reach or emulate devices."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgesdk.host.environment.child import run_limited
from edgesdk.host.environment.findings import Finding, Tool

__all__ = ["TOOLS", "ToolEntry", "find_tools", "tool_findings"]


@dataclass(frozen=True)
class ToolEntry:
    """A program to look for.

    Attributes:
        name: Name of the tool.
        kind: ``compiler`` or ``attached``.
        purpose: Use of the tool.
        install: Command that installs it, by operating system; ``*`` for all others.
        commands: Possible command names, the first one found is used; empty for ``name``.
        ask: Argument that prints its version.
    """

    name: str
    kind: str
    purpose: str
    install: Mapping[str, str]
    commands: tuple[str, ...] = ()
    ask: str = "--version"


def _debian(package: str, mac: str = "") -> dict[str, str]:
    return {"Darwin": mac or f"brew install {package}", "*": f"apt-get install {package}"}


_XCODE = "xcode-select --install"
_CHROME = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"

TOOLS: tuple[ToolEntry, ...] = (
    ToolEntry("g++", "compiler", "the video core, custom operators", _debian("g++", _XCODE)),
    ToolEntry("clang", "compiler", "the video core, custom operators", _debian("clang", _XCODE)),
    ToolEntry(
        "aarch64 g++",
        "compiler",
        "runners for arm64 Linux boards",
        _debian("g++-aarch64-linux-gnu", "brew install aarch64-unknown-linux-gnu"),
        ("aarch64-linux-gnu-g++",),
    ),
    ToolEntry("cmake", "compiler", "native projects", _debian("cmake")),
    ToolEntry("make", "compiler", "native projects", _debian("make", _XCODE)),
    ToolEntry("xcrun", "compiler", "iOS applications", {"Darwin": _XCODE}),
    ToolEntry(
        "swift",
        "compiler",
        "iOS applications",
        {"Darwin": _XCODE, "*": "https://www.swift.org/install"},
    ),
    ToolEntry(
        "java",
        "compiler",
        "Android applications",
        _debian("openjdk-17-jdk-headless", "brew install openjdk@17"),
        ask="-version",
    ),
    ToolEntry(
        "kotlinc",
        "compiler",
        "Android applications",
        {"*": "https://kotlinlang.org/docs/command-line.html"},
        ask="-version",
    ),
    ToolEntry(
        "adb",
        "attached",
        "Android devices",
        _debian("adb", "brew install android-platform-tools"),
        ask="version",
    ),
    ToolEntry("ssh", "attached", "boards in the network", _debian("openssh-client"), ask="-V"),
    ToolEntry(
        "qemu-aarch64",
        "attached",
        "running arm64 programs on this machine",
        _debian("qemu-user-static", "brew install qemu"),
        ("qemu-aarch64-static", "qemu-aarch64"),
    ),
    ToolEntry(
        "chromium",
        "attached",
        "looking at reports in tests",
        _debian("chromium", "brew install --cask google-chrome"),
        ("chromium", "chromium-browser", "google-chrome", _CHROME),
    ),
    ToolEntry(
        "ffmpeg", "attached", "converting video files by hand", _debian("ffmpeg"), ask="-version"
    ),
)

#: Variables that may name the NDK, in the order of Android's own build tools.
_NDK_VARIABLES = ("ANDROID_NDK_HOME", "ANDROID_NDK_ROOT", "ANDROID_NDK")


def _first_line(command: list[str]) -> str:
    try:
        ended = run_limited(command, 10.0)
    except OSError:
        # Found but not executable here, such as a program of another architecture.
        return ""
    if ended.returncode != 0:
        return ""
    # Java and ssh print their version on stderr.
    for line in (*ended.stdout.splitlines(), *ended.stderr.splitlines()):
        if line.strip():
            return line.strip()
    return ""


def _apple_stub(path: str) -> bool:
    # Without the command line tools, running these opens a dialogue on the user's screen.
    return platform.system() == "Darwin" and path.startswith("/usr/bin/")


def _has_apple_tools() -> bool:
    with contextlib.suppress(OSError):
        return run_limited(["/usr/bin/xcode-select", "-p"], 5.0).returncode == 0
    return False


def _look_for(entry: ToolEntry, ask: Callable[[str], bool]) -> Tool:
    path = next(filter(None, map(shutil.which, entry.commands or (entry.name,))), None)
    system = platform.system()
    if path is None:
        install = entry.install.get(system, entry.install.get("*", f"not for {system}"))
        return Tool(entry.name, entry.kind, entry.purpose, None, "", install)
    version = _first_line([path, entry.ask]) if ask(path) else ""
    return Tool(entry.name, entry.kind, entry.purpose, path, version)


def _ndk_version(folder: Path) -> str | None:
    try:
        text = (folder / "source.properties").read_text("utf-8", "replace")
    except OSError:
        return None
    match = re.search(r"^Pkg\.Revision\s*=\s*(\S+)", text, re.MULTILINE)
    return match[1] if match else ""


def _find_ndk(environment: Mapping[str, str]) -> Tool:
    candidates = [Path(environment[name]) for name in _NDK_VARIABLES if environment.get(name)]
    for name in ("ANDROID_HOME", "ANDROID_SDK_ROOT"):
        if environment.get(name):
            with contextlib.suppress(OSError):
                folders = Path(environment[name], "ndk").iterdir()
                candidates += sorted(folders, key=_by_number, reverse=True)
    for folder in candidates:
        version = _ndk_version(folder)
        if version is not None:
            return Tool("Android NDK", "compiler", "native Android code", str(folder), version)
    return Tool(
        "Android NDK",
        "compiler",
        "native Android code",
        None,
        "",
        'sdkmanager --install "ndk;27.2.12479018", then set ANDROID_NDK_HOME',
    )


def _by_number(folder: Path) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", folder.name)]


def find_tools(quick: bool = False, environment: Mapping[str, str] | None = None) -> list[Tool]:
    """Look for every tool.

    Args:
        quick: Start no other process, so no version is known.
        environment: Environment variables; those of this process by default.
    """
    apple_tools = not quick and platform.system() == "Darwin" and _has_apple_tools()

    def ask(path: str) -> bool:
        return not quick and (apple_tools or not _apple_stub(path))

    found = [_look_for(entry, ask) for entry in TOOLS]
    compilers = sum(tool.kind == "compiler" for tool in found)
    found.insert(compilers, _find_ndk(os.environ if environment is None else environment))
    return found


def tool_findings(environment: Mapping[str, str]) -> list[Finding]:
    """Report variables that name a missing tool."""
    return [
        Finding(
            "warning",
            name,
            f"{name} names {environment[name]}, which holds no Android NDK",
            f"set {name} to the folder that holds source.properties, or unset it",
        )
        for name in _NDK_VARIABLES
        if environment.get(name) and _ndk_version(Path(environment[name])) is None
    ]
