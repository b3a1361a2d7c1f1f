"""Examine the whole environment, from package metadata to attached tools."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

from packaging.utils import canonicalize_name

from edgesdk.host.environment.catalogue import BACKENDS, BackendEntry, note_for
from edgesdk.host.environment.conflicts import conflicts
from edgesdk.host.environment.findings import LEVELS, Backend, Examination, Finding, Package
from edgesdk.host.environment.imports import try_import
from edgesdk.host.environment.machine import describe_machine, machine_findings
from edgesdk.host.environment.tools import find_tools, tool_findings
from edgesdk.host.environment.versions import (
    Installed,
    broken_requirements,
    closure,
    compare,
    find_installed,
    torch_cuda,
)
from edgesdk.version import __version__

__all__ = ["examine", "examine_backend"]


def examine(
    quick: bool = False,
    *,
    import_seconds: float = 180.0,
    backends: Sequence[BackendEntry] = BACKENDS,
    on_progress: Callable[[str], None] | None = None,
) -> Examination:
    """Examine this machine: working parts, problems and suggested fixes.

    Args:
        quick: Start no other process: read metadata and the search path only, in under a second.
            Otherwise each backend is imported in a process of its own, which takes about half a
            minute in total.
        import_seconds: Time limit for the imports of one backend.
        backends: Backends to examine.
        on_progress: Called with a short description before each step.
    """

    def step(words: str) -> None:
        if on_progress is not None:
            on_progress(words)

    step("reading the metadata of installed packages")
    installed = find_installed()
    findings: list[Finding] = []
    examined = []
    for entry in backends:
        if entry.only_if_present and not any(name in installed.versions for name in entry.tested):
            continue
        if not quick:
            step(f"importing {entry.name}")
        backend, about_it = examine_backend(
            entry, installed.versions, None if quick else import_seconds
        )
        examined.append(backend)
        findings += about_it
    findings += conflicts(installed.versions)
    findings += _more_than_once(installed)
    findings += _cuda()
    if not quick:
        step("checking requirements between packages")
        findings += _requirements()
    step("looking for compilers and attached tools")
    machine = describe_machine(quick)
    findings += machine_findings(machine)
    findings += tool_findings(os.environ)
    tools = find_tools(quick)
    findings.sort(key=lambda finding: -LEVELS.index(finding.level))
    return Examination(
        version=__version__,
        quick=quick,
        machine=machine,
        backends=tuple(examined),
        tools=tuple(tools),
        findings=tuple(findings),
    )


def examine_backend(
    entry: BackendEntry, versions: Mapping[str, str], import_seconds: float | None
) -> tuple[Backend, list[Finding]]:
    """Examine one backend.

    Args:
        entry: Its requirements.
        versions: Installed version by normalized name.
        import_seconds: Time limit for importing it; None skips the import.
    """
    packages = tuple(
        Package(name, tested, versions.get(name)) for name, tested in entry.tested.items()
    )
    note = note_for(entry)
    absent = [package.distribution for package in packages if package.installed is None]
    if absent:
        install = f'pip install "edgesdk[{entry.extra}]"' if entry.extra else "pip install edgesdk"
        # A backend that is not installed is not an error; other packages may bring parts of it.
        whole = packages[0].installed is None
        level = "error" if not entry.extra else "info" if whole else "warning"
        text = "not installed" if whole else f"{', '.join(absent)} not installed"
        backend = Backend(entry.name, entry.extra, packages, note=note)
        return backend, [Finding(level, entry.name, text, install)]
    findings = []
    other = [package for package in packages if compare(package.installed or "", package.tested)]
    if other and not entry.only_if_present:
        text = ", ".join(f"{p.distribution} {p.installed} (tested: {p.tested})" for p in other)
        pins = " ".join(f"{p.distribution}=={p.tested}" for p in other)
        findings.append(Finding("info", entry.name, f"untested: {text}", f"pip install {pins}"))
    if import_seconds is None:
        return Backend(entry.name, entry.extra, packages, note=note), findings
    attempt = try_import(entry.modules, import_seconds)
    if attempt.works:
        findings.append(Finding("ok", entry.name, note or "installed and imports"))
    else:
        install = " ".join(f"{name}=={tested}" for name, tested in entry.tested.items())
        fix = attempt.fix or f"pip install --force-reinstall {install}"
        findings.append(
            # torchvision is the user's own: the SDK works without it.
            Finding("warning" if entry.only_if_present else "error", entry.name, attempt.cause, fix)
        )
    backend = Backend(
        entry.name,
        entry.extra,
        packages,
        imports=attempt.works,
        seconds=round(attempt.seconds, 2),
        cause=attempt.cause,
        note=note,
    )
    return backend, findings


def _ours() -> set[str]:
    entries = [entry for entry in BACKENDS if not entry.only_if_present]
    return closure(["edgesdk", *(name for entry in entries for name in entry.tested)])


def _more_than_once(installed: Installed) -> list[Finding]:
    ours = _ours()
    return [
        Finding(
            "warning",
            name,
            f"{name} is installed more than once: {', '.join(places)}; the first one is used",
            f"pip uninstall {name} until it is gone, then install it again",
        )
        for name, places in sorted(installed.folders.items())
        if name in ours
    ]


def _cuda() -> list[Finding]:
    cuda = torch_cuda()
    if cuda is None:
        return []
    return [
        Finding(
            "info",
            "torch",
            f"torch is built for CUDA {cuda}; no converter uses it, and only the CPU build is "
            "tested",
            "pip install --force-reinstall torch==2.13.0 "
            "--index-url https://download.pytorch.org/whl/cpu",
        )
    ]


def _requirements() -> list[Finding]:
    complaints = broken_requirements()
    if complaints is None:
        return [Finding("info", "pip", "pip cannot check whether packages fit together (no pip?)")]
    ours = _ours()
    return [
        Finding("warning", complaint.split()[0], complaint, 'pip install "edgesdk[all]"')
        for complaint in complaints
        if canonicalize_name(complaint.split()[0]) in ours
    ]
