"""Build and load the native core; run it under sanitizers and on other processors."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgesdk.errors import MissingEnvironmentError, MissingToolError
from edgesdk.video import library

Make = Callable[..., Any]
DRIVER = library.NATIVE / "test" / "driver.cpp"
CROSS, EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64-static"


def need_compiler() -> list[str]:
    try:
        return library.compiler()
    except MissingToolError as error:
        pytest.skip(f"cannot build the driver program: {error.message}")


def build_driver(folder: Path, built: Path, options: list[str]) -> Path:
    """The driver program in ``folder``, linked with the library ``built``."""
    program = folder / "driver"
    command = [*library.compiler(), "-std=c++17", *options, f"-I{library.NATIVE / 'include'}"]
    command += [str(DRIVER), str(built), f"-Wl,-rpath,{built.parent}", "-pthread"]
    subprocess.run([*command, "-o", str(program)], check=True, capture_output=True, timeout=300)
    return program


def run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **environment},
    )


@pytest.fixture(scope="module")
def driver(native_library: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    need_compiler()
    return build_driver(tmp_path_factory.mktemp("driver"), library.library_path(), [])


def test_sanitizers_find_nothing(tmp_path: Path) -> None:
    need_compiler()
    options = ["-O0", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    try:
        built = library.build(tmp_path / "libedgesdk.so", options)
        program = build_driver(tmp_path, built, options)
    except (MissingToolError, subprocess.CalledProcessError) as error:
        pytest.skip(f"this compiler has no sanitizers: {error}")
    for seed in (1, 2):
        ended = run(program, "random", str(seed), "60")
        assert ended.returncode == 0, ended.stderr[-3000:]


def test_frames_allocate_nothing_after_warm_up(driver: Path) -> None:
    ended = run(driver, "allocations")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert " 0 after warm-up" in ended.stdout


def test_the_core_counts_its_allocations(make_core: Make, texture: Make) -> None:
    core = make_core(64, 48)
    before = core.allocations()
    for seed in range(3):
        core.set_key("a", texture(64, 48, seed))
        core.set_painted("a", texture(64, 48, seed))
        core.set_frame(texture(64, 48, seed + 1))
        core.estimate("a")
        core.render(texture(64, 48, seed + 1), use="a")
    assert core.allocations() == before > 0
    make_core(64, 48)
    assert core.allocations() > before


def test_arm64_gives_what_this_processor_gives(
    driver: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Emulated: bytes are compared, times would mean nothing."""
    for tool in (CROSS, EMULATOR):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed: arm64 was not compared")
    monkeypatch.setenv("CXX", CROSS)
    # The optimiser is on: it is what could tell the processors apart.
    built = library.build(tmp_path / "libedgesdk.so", ["-O1"], "aarch64")
    crossed = build_driver(tmp_path, built, [])
    root = Path("/usr/aarch64-linux-gnu")
    outputs = {}
    for path in (1, 2):
        name = tmp_path / f"here{path}"
        if run(driver, "write", str(path), "5", name).returncode == 0:
            outputs[f"here, path {path}"] = np.fromfile(name, np.uint8)
    for path in (1, 3):
        name = tmp_path / f"arm{path}"
        # The default processor of the emulator computes some vector operations wrongly.
        command = (EMULATOR, "-L", root, "-E", f"LD_LIBRARY_PATH={tmp_path}", crossed)
        ended = run(*command, "write", str(path), "5", name, QEMU_CPU="cortex-a76")
        assert ended.returncode == 0, ended.stderr
        outputs[f"arm64, path {path}"] = np.fromfile(name, np.uint8)
    reference = outputs["here, path 1"]
    assert reference.size > 100_000
    assert {name: np.array_equal(found, reference) for name, found in outputs.items()} == (
        dict.fromkeys(outputs, True)
    )


def test_the_library_is_built_once_and_found_again(
    native_library: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = library.library_path()
    folder = tmp_path / "native" / found.parent.name
    folder.mkdir(parents=True)
    shutil.copy(found, folder / found.name)
    monkeypatch.setenv("EDGESDK_CACHE", str(tmp_path))
    monkeypatch.setenv("CXX", "false")  # would fail
    assert library.library_path() == folder / found.name


def test_without_a_compiler_the_error_names_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGESDK_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(library, "NATIVE", without_packaged_library(tmp_path))
    with pytest.raises(MissingToolError, match=r"apt-get install g\+\+"):
        library.library_path()


def without_packaged_library(folder: Path) -> Path:
    """The sources alone, whatever the package itself brings."""
    native = folder / "sources"
    for part in ("include", "src"):
        shutil.copytree(library.NATIVE / part, native / part)
    return native


@pytest.mark.parametrize("command", ["false", "/no/such/compiler"])
def test_a_compiler_that_fails_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("CXX", command)
    with pytest.raises(MissingToolError, match=r"CXX=|C\+\+17"):
        library.build(tmp_path / "libedgesdk.so")
    assert not list(tmp_path.iterdir())


def test_what_a_compiler_finds_wrong_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_compiler()
    sources = without_packaged_library(tmp_path)
    header = sources / "src" / "kernels.h"
    header.write_text("int nothing = surely_not_declared;\n" + header.read_text("utf-8"), "utf-8")
    monkeypatch.setattr(library, "NATIVE", sources)
    with pytest.raises(MissingToolError, match=r"kernels\.h:1.*surely_not_declared"):
        library.build(tmp_path / "libedgesdk.so")


def test_a_file_that_is_no_library_is_refused(tmp_path: Path) -> None:
    broken = tmp_path / "libedgesdk.so"
    broken.write_bytes(b"no library")
    with pytest.raises(MissingEnvironmentError, match="cannot be loaded"):
        library.load(broken)


def test_the_binding_restates_the_header(native_library: None) -> None:
    """Constants and structures of the binding, against the header's own words."""
    import re

    from edgesdk.video import abi

    text = (library.NATIVE / "include" / "edgesdk.h").read_text("utf-8")
    codes = {name: int(value) for name, value in re.findall(r"EDGESDK_(\w+) = (\d+)", text)}
    tables = {"PATH": abi.PATHS, "QUALITY": abi.QUALITIES, "KEY": abi.REASONS, "SLOT": abi.SLOTS}
    for prefix, table in tables.items():
        stated = {name: code for name, code in codes.items() if name.startswith(f"{prefix}_")}
        assert stated == {f"{prefix}_{name.upper()}": code for name, code in table.items()}
    assert f"EDGESDK_ABI_VERSION {library.ABI_VERSION}\n" in text
    config = text.split("typedef struct edgesdk_video_config {")[1].split("}")[0]
    config = re.sub(r"/\*.*?\*/", "", config, flags=re.DOTALL)
    fields = re.findall(r"(\w+)\s*(?=[,;])", config)
    assert fields == [name for name, _ in abi.ConfigStruct._fields_]
