"""Result of an examination, as plain data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgesdk.host.environment.abilities import Abilities

__all__ = ["LEVELS", "Backend", "Examination", "Finding", "Machine", "Package", "Tool"]

#: Levels from harmless to harmful. ``error``: something installed cannot work.
LEVELS = ("ok", "info", "warning", "error")


@dataclass(frozen=True)
class Finding:
    """One statement about the machine.

    Attributes:
        level: One of :data:`LEVELS`.
        subject: Subject, such as a backend or a distribution.
        text: The finding in one sentence.
        fix: Suggested fix; empty if nothing needs doing.
    """

    level: str
    subject: str
    text: str
    fix: str = ""


@dataclass(frozen=True)
class Package:
    """One distribution.

    Attributes:
        distribution: Name on the package index.
        tested: Version the SDK is tested with.
        installed: Installed version, or None.
    """

    distribution: str
    tested: str
    installed: str | None


@dataclass(frozen=True)
class Backend:
    """A group of distributions that are useful together only.

    Attributes:
        name: ``core`` for the needs of every command, else the name of the target or group.
        extra: Extra that installs it; empty for none.
        packages: Its distributions.
        imports: True if its modules can be imported; None if not tried.
        seconds: Duration of the import; None if not tried.
        cause: Cause of a failed import; empty if it did not fail.
        note: Abilities and limits of the backend on this system.
    """

    name: str
    extra: str
    packages: tuple[Package, ...]
    imports: bool | None = None
    seconds: float | None = None
    cause: str = ""
    note: str = ""

    @property
    def installed(self) -> bool:
        """True if all its distributions are installed."""
        return all(package.installed is not None for package in self.packages)


@dataclass(frozen=True)
class Tool:
    """A program outside Python.

    Attributes:
        name: Name of the tool.
        kind: ``compiler`` or ``attached``.
        purpose: Use of the tool.
        path: Path of the program, or None.
        version: First line of its version output; empty if not asked.
        install: Command that installs it on this system; empty if it is installed.
    """

    name: str
    kind: str
    purpose: str
    path: str | None
    version: str = ""
    install: str = ""


@dataclass(frozen=True)
class Machine:
    """The computer and the interpreter.

    Attributes:
        system: ``Linux 6.1.0``, ``macOS 15.2``.
        architecture: ``x86_64``, ``arm64``, ``aarch64``.
        instruction_sets: Vector extensions that converters and runtimes need.
        cores: Number of processors available to this process, within a container's quota.
        memory_bytes: Memory available to this process, within a container's limit; None: unknown.
        available_bytes: Free part of this memory; None: unknown.
        python: Version of the interpreter.
        executable: Path of the interpreter.
        virtual_environment: True if it belongs to a virtual environment.
        cache_folder: Folder of the SDK's cache.
        cache_writable: True if the SDK can write to it.
        cache_free_bytes: Free space there; None: unknown.
    """

    system: str
    architecture: str
    instruction_sets: tuple[str, ...]
    cores: int
    memory_bytes: int | None
    available_bytes: int | None
    python: str
    executable: str
    virtual_environment: bool
    cache_folder: str
    cache_writable: bool
    cache_free_bytes: int | None


@dataclass(frozen=True)
class Examination:
    """Result of an examination.

    Attributes:
        version: Version of the SDK.
        quick: True if no other process was started, so nothing was imported.
        machine: See :class:`Machine`.
        backends: All groups of distributions.
        tools: All tools looked for.
        findings: Findings, worst first.
    """

    version: str
    quick: bool
    machine: Machine
    backends: tuple[Backend, ...]
    tools: tuple[Tool, ...]
    findings: tuple[Finding, ...]

    @property
    def worst(self) -> str:
        """Worst level among the findings; ``ok`` without findings."""
        return max((finding.level for finding in self.findings), key=LEVELS.index, default="ok")

    @property
    def abilities(self) -> Abilities:
        """Jobs that this machine can do."""
        from edgesdk.host.environment.abilities import abilities

        return abilities(self.backends, self.tools)

    @property
    def exit_code(self) -> int:
        """3 if something installed cannot work or nothing can be converted, else 0."""
        return 3 if self.worst == "error" or not self.abilities.convert else 0

    def to_dict(self) -> dict[str, object]:
        """Return the result as plain JSON."""
        plain = asdict(self)
        for backend, mapping in zip(self.backends, plain["backends"], strict=True):
            mapping["installed"] = backend.installed
        jobs = {**asdict(self.abilities), "sentences": list(self.abilities.sentences)}
        return {"can": jobs, **plain, "worst": self.worst, "exit_code": self.exit_code}
