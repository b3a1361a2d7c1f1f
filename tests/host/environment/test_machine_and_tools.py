from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from edgesdk.host.environment.machine import (
    describe_machine,
    machine_findings,
    parse_instruction_sets,
)
from edgesdk.host.environment.tools import TOOLS, find_tools, tool_findings

GIB = 2**30


def program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_instruction_sets_of_x86() -> None:
    text = "processor : 0\nmodel name : any\nflags\t\t: fpu sse4_2 fma avx avx2 avx512f amx_int8\n"
    assert parse_instruction_sets(text) == (
        "sse4.2",
        "avx",
        "fma",
        "avx2",
        "avx512f",
        "amx-int8",
    )


def test_instruction_sets_of_arm() -> None:
    text = "Features\t: fp asimd evtstrm aes fphp asimdhp asimddp i8mm\n"
    assert parse_instruction_sets(text) == ("neon", "fp16", "dotprod", "i8mm")


def test_a_processor_that_says_nothing_has_no_known_sets() -> None:
    assert parse_instruction_sets("processor : 0\n") == ()


def test_this_machine() -> None:
    import psutil

    machine = describe_machine()
    assert machine.python == ".".join(map(str, sys.version_info[:3]))
    assert machine.executable == sys.executable
    assert 1 <= machine.cores <= (os.cpu_count() or 1)
    assert machine.memory_bytes is not None
    assert machine.available_bytes is not None
    assert 0 <= machine.available_bytes <= machine.memory_bytes <= psutil.virtual_memory().total
    if machine.architecture in ("x86_64", "arm64", "aarch64"):
        assert {"sse4.2", "neon"} & set(machine.instruction_sets)


def test_a_sound_machine_gives_no_findings() -> None:
    assert machine_findings(SOUND) == []


SOUND = replace(
    describe_machine(quick=True),
    system="Linux 6.1.0",
    architecture="x86_64",
    instruction_sets=("avx", "avx2"),
    python="3.11.9",
    memory_bytes=8 * GIB,
    available_bytes=4 * GIB,
    cache_writable=True,
    cache_free_bytes=10 * GIB,
)


@pytest.mark.parametrize(
    ("change", "subject", "level", "words"),
    [
        ({"python": "3.13.0"}, "python", "error", "3.13.0"),
        ({"python": "3.10.2"}, "python", "error", "3.10.2"),
        ({"system": "Windows 11"}, "system", "warning", "Windows"),
        ({"instruction_sets": ("sse4.2",)}, "processor", "warning", "AVX2"),
        ({"available_bytes": GIB}, "memory", "warning", "1.0 GiB"),
        ({"cache_writable": False}, "cache", "warning", "cannot be written"),
        ({"cache_free_bytes": GIB // 4}, "cache", "warning", "0.25 GiB"),
    ],
)
def test_what_is_wrong_with_a_machine_is_said(
    change: dict[str, object], subject: str, level: str, words: str
) -> None:
    findings = machine_findings(replace(SOUND, **change))  # type: ignore[arg-type]
    assert [(finding.subject, finding.level) for finding in findings] == [(subject, level)]
    assert words in findings[0].text


def test_what_is_not_known_is_no_fault() -> None:
    unknown = replace(
        SOUND, memory_bytes=None, available_bytes=None, cache_free_bytes=None, instruction_sets=()
    )
    assert machine_findings(unknown) == []


def test_an_arm_processor_needs_no_avx2() -> None:
    assert (
        machine_findings(replace(SOUND, architecture="aarch64", instruction_sets=("neon",))) == []
    )


@pytest.mark.skipif(sys.platform != "linux", reason="XDG_CACHE_HOME is Linux's")
def test_a_cache_folder_below_a_file_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file" / "below"))
    machine = describe_machine(quick=True)
    assert machine.cache_folder.startswith(str(tmp_path))
    assert not machine.cache_writable
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "not" / "made" / "yet"))
    assert describe_machine(quick=True).cache_writable
    assert not (tmp_path / "not").exists()


def test_a_user_without_a_home_has_a_machine_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert describe_machine(quick=True).cache_folder


def test_tools_are_found_on_the_path_and_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, "cmake", "echo; echo 'cmake version 9.9'; echo more")
    program(tmp_path, "java", "echo 'openjdk version 99' >&2")
    program(tmp_path, "ffmpeg", "echo 'broken' ; exit 1")
    program(tmp_path, "google-chrome", "echo Chrome 200")
    (tmp_path / "adb").write_text("not a program")
    monkeypatch.setenv("PATH", f"{tmp_path}")
    tools = {tool.name: tool for tool in find_tools(environment={})}
    assert tools["cmake"].path == str(tmp_path / "cmake")
    assert tools["cmake"].version == "cmake version 9.9"
    assert tools["cmake"].install == ""
    assert tools["java"].version == "openjdk version 99"
    assert (tools["ffmpeg"].path, tools["ffmpeg"].version) == (str(tmp_path / "ffmpeg"), "")
    assert tools["chromium"].version == "Chrome 200"
    assert tools["adb"].path is None
    assert tools["adb"].install
    assert len(tools) == len(TOOLS) + 1


def test_a_program_of_another_architecture_has_no_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cmake").write_bytes(b"\x7fELF not for this machine")
    (tmp_path / "cmake").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    cmake = next(tool for tool in find_tools(environment={}) if tool.name == "cmake")
    assert cmake.path is not None
    assert cmake.version == ""


def ndk(folder: Path, revision: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "source.properties").write_text(f"Pkg.Desc = NDK\nPkg.Revision = {revision}\n")
    return folder


def find_ndk(environment: dict[str, str]) -> tuple[str | None, str]:
    tool = next(tool for tool in find_tools(True, environment) if tool.name == "Android NDK")
    assert tool.kind == "compiler"
    return tool.path, tool.version


def test_the_android_ndk_is_read_from_its_variable(tmp_path: Path) -> None:
    folder = ndk(tmp_path / "ndk", "27.2.1")
    assert find_ndk({"ANDROID_NDK_HOME": str(folder)}) == (str(folder), "27.2.1")
    assert tool_findings({"ANDROID_NDK_HOME": str(folder)}) == []


def test_the_newest_ndk_of_an_android_sdk_counts(tmp_path: Path) -> None:
    ndk(tmp_path / "ndk" / "9.0.1", "9.0.1")
    newest = ndk(tmp_path / "ndk" / "27.0.3", "27.0.3")
    ndk(tmp_path / "ndk" / "26.1.10", "26.1.10")
    assert find_ndk({"ANDROID_HOME": str(tmp_path)}) == (str(newest), "27.0.3")


def test_a_variable_that_names_no_ndk_is_a_finding(tmp_path: Path) -> None:
    environment = {"ANDROID_NDK_HOME": str(tmp_path), "ANDROID_HOME": str(tmp_path / "nowhere")}
    assert find_ndk(environment) == (None, "")
    (finding,) = tool_findings(environment)
    assert finding.level == "warning"
    assert str(tmp_path) in finding.text
