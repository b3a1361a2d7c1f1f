"""``edgesdk doctor``."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from edgesdk.cli import options as opt
from edgesdk.cli.console import Output
from edgesdk.cli.verb import verb

if TYPE_CHECKING:
    from rich.table import Table

    from edgesdk.host.environment import Backend, Examination, Finding, Machine, Tool

__all__ = ["doctor"]


@verb(
    {
        "Check this machine": "edgesdk doctor",
        "Check without importing the backends": "edgesdk doctor --quick",
    }
)
def doctor(
    out: Output,
    *,
    quick: bool = opt.LIMITS.option(
        "--quick", False, help="Import no backend and start no program: below a second."
    ),
    timeout: float = opt.LIMITS.option(
        "--timeout SECONDS", 180.0, min=1.0, help="Largest time for importing one backend."
    ),
) -> int:
    """Check what this machine can convert and run.

    Each problem comes with a command that fixes it. The exit code is 3 if something installed is
    broken, or if no target is installed.
    """
    from edgesdk.host.environment import examine

    with out.progress("doctor") as progress:
        examination = examine(quick, import_seconds=timeout, on_progress=progress.begin)
    out.result(examination.to_dict())
    if not out.json:
        for line in examination.abilities.sentences:
            out.line(line)
        out.line()
        for line in _machine_lines(examination.machine):
            out.line(line)
        out.line()
        out.table(_backend_table(examination.backends))
        out.line()
        out.table(_tool_table(examination.tools))
        findings = [finding for finding in examination.findings if finding.level != "ok"]
        if findings:
            out.line()
            for line in _finding_lines(findings):
                out.line(line)
        out.line()
        out.line(_verdict(examination))
    return examination.exit_code


def _gib(count: int | None) -> str:
    return "unknown" if count is None else f"{count / 2**30:.1f} GiB"


def _machine_lines(machine: Machine) -> list[str]:
    place = "virtual environment" if machine.virtual_environment else "no virtual environment"
    sets = ", ".join(machine.instruction_sets) or "unknown"
    return [
        f"python     {machine.python} ({machine.executable}, {place})",
        f"system     {machine.system}, {machine.architecture}",
        f"processor  {machine.cores} cores; {sets}",
        f"memory     {_gib(machine.memory_bytes)}, {_gib(machine.available_bytes)} free",
        f"cache      {machine.cache_folder}, {_gib(machine.cache_free_bytes)} free",
    ]


def _table(*titles: str) -> Table:
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in titles:
        table.add_column(title, overflow="fold")
    return table


def _backend_table(backends: tuple[Backend, ...]) -> Table:
    from rich.text import Text

    # Text, not strings: rich would read the brackets of edgesdk[onnx] as markup.
    table = _table("backend", "packages", "imports", "note")
    for backend in backends:
        packages = Text("\n").join(
            Text(f"{package.distribution} {package.installed or '-'}")
            if package.installed is None or package.installed.split("+")[0] == package.tested
            else Text(
                f"{package.distribution} {package.installed} (tested: {package.tested})", "yellow"
            )
            for package in backend.packages
        )
        if backend.imports is None:
            imports = Text("not tried" if backend.installed else "not installed", "dim")
        elif backend.imports:
            imports = Text(f"yes, {backend.seconds or 0:.1f} s", "green")
        else:
            imports = Text("no", "bold red")
        table.add_row(Text(backend.name), packages, imports, Text(backend.note))
    return table


def _tool_table(tools: tuple[Tool, ...]) -> Table:
    from rich.text import Text

    table = _table("tool", "for", "found")
    for tool in tools:
        if tool.path is None:
            found = Text(f"no; {tool.install}", "dim")
        else:
            found = Text(tool.version or tool.path)
        table.add_row(Text(tool.name), Text(tool.purpose), found)
    return table


def _finding_lines(findings: list[Finding]) -> list[str]:
    # Lines, not a table: a command folded in a table cannot be copied.
    lines = []
    for finding in findings:
        lines.append(f"{finding.level:7}  {finding.subject}: {finding.text}")
        if finding.fix:
            lines.append(f"{'':7}  fix: {finding.fix}")
    return lines


def _verdict(examination: Examination) -> str:
    counts = Counter(finding.level for finding in examination.findings)
    parts = [
        f"{counts[level]} {level}{'s' if counts[level] > 1 else ''}"
        for level in ("error", "warning")
        if counts[level]
    ]
    untried = " (--quick: nothing was imported)" if examination.quick else ""
    return (", ".join(parts) or "no errors, no warnings") + untried
