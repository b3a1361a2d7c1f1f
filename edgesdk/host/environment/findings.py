"""What an examination of a machine consists of, as plain data."""

from __future__ import annotations

from dataclasses import asdict, dataclass

__all__ = ["LEVELS", "Backend", "Examination", "Finding", "Machine", "Package", "Tool"]

#: From harmless to harmful. ``error``: something that was installed cannot work.
LEVELS = ("ok", "info", "warning", "error")


@dataclass(frozen=True)
class Finding:
    """One statement about the machine.

    Attributes:
        level: One of :data:`LEVELS`.
        subject: What it is about, such as a backend or a distribution.
        text: What was found, in one sentence.
        fix: What to do about it; empty where nothing needs doing.
    """

    level: str
    subject: str
    text: str
    fix: str = ""


@dataclass(frozen=True)
class Package:
    """One distribution.

    Attributes:
        distribution: Its name on the package index.
        tested: The version the SDK is tested with.
        installed: The version that is there, or None.
    """

    distribution: str
    tested: str
    installed: str | None


@dataclass(frozen=True)
class Backend:
    """A group of distributions that are of use together only.

    Attributes:
        name: ``core`` for what every command needs, else the name of the target or group.
        extra: The extra that installs it; empty where none does.
        packages: Its distributions.
        imports: Whether its modules can be imported; None where that was not tried.
        seconds: How long the attempt took; None where there was none.
        cause: Why the import failed; empty where it did not.
        note: What this backend can and cannot do on this system.
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
        """Whether every distribution of it is there."""
        return all(package.installed is not None for package in self.packages)


@dataclass(frozen=True)
class Tool:
    """A program outside Python.

    Attributes:
        name: What it is.
        kind: ``compiler`` or ``attached``.
        purpose: What it is used for.
        path: Where it lies, or None.
        version: The first line of what it says of itself; empty where it was not asked.
        install: How to get it on this system; empty where it is there.
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
        instruction_sets: Vector extensions that converters and runtimes ask for.
        cores: Processors this process may use, a container's quota included.
        memory_bytes: Memory this process may use, a container's limit included; None: unknown.
        available_bytes: How much of it is free now; None: unknown.
        python: Version of the interpreter.
        executable: Path of the interpreter.
        virtual_environment: Whether it belongs to a virtual environment.
        cache_folder: Where the SDK keeps what it can make again.
        cache_writable: Whether it can.
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
    """Everything that was found.

    Attributes:
        version: Version of the SDK.
        quick: Whether no other process was started, so nothing was imported.
        machine: See :class:`Machine`.
        backends: Every group of distributions.
        tools: Every program that was looked for.
        findings: What there is to say, the worst first.
    """

    version: str
    quick: bool
    machine: Machine
    backends: tuple[Backend, ...]
    tools: tuple[Tool, ...]
    findings: tuple[Finding, ...]

    @property
    def worst(self) -> str:
        """The worst level among the findings; ``ok`` where there are none."""
        return max((finding.level for finding in self.findings), key=LEVELS.index, default="ok")

    @property
    def exit_code(self) -> int:
        """3 where something that was installed cannot work, else 0."""
        return 3 if self.worst == "error" else 0

    def to_dict(self) -> dict[str, object]:
        """All of it as plain JSON."""
        plain = asdict(self)
        for backend, mapping in zip(self.backends, plain["backends"], strict=True):
            mapping["installed"] = backend.installed
        return {**plain, "worst": self.worst, "exit_code": self.exit_code}
