from __future__ import annotations

import platform
from dataclasses import replace
from pathlib import Path

import pytest

from edgesdk.host.environment import Backend, Package, Tool
from edgesdk.host.environment.abilities import abilities
from edgesdk.host.environment.catalogue import BACKENDS

GCC = Tool("g++", "compiler", "", "/usr/bin/g++")
MAC = platform.system() == "Darwin"
WHOLE = {
    entry.name: Backend(
        entry.name,
        entry.extra,
        tuple(Package(name, tested, tested) for name, tested in entry.tested.items()),
        imports=True,
    )
    for entry in BACKENDS
}


def backend(name: str, *absent: str, imports: bool | None = None) -> Backend:
    packages = tuple(
        replace(package, installed=None) if package.distribution in absent else package
        for package in WHOLE[name].packages
    )
    return replace(WHOLE[name], packages=packages, imports=imports)


def test_a_whole_installation_does_everything() -> None:
    found = abilities(list(WHOLE.values()), [GCC])
    assert found.convert == ("executorch", "coreml", "litert", "onnx")
    assert found.video
    if not MAC:
        assert found.sentences == (
            "This machine can convert to: executorch, coreml, litert, onnx.",
            "It can run: executorch, litert, onnx; coreml in the SDK's evaluator (its runtime "
            "needs a Mac).",
            "Video: yes.",
        )


def test_without_targets_there_is_a_command_that_installs_them() -> None:
    found = abilities([WHOLE["core"]], [])
    assert (found.convert, found.run, found.evaluate, found.video) == ((), (), (), False)
    assert found.sentences == (
        "This machine can convert to: nothing. Install the targets you need: pip install "
        '"edgesdk[executorch,coreml,litert,onnx]"',
        "It can run: nothing.",
        'Video: no; to add it, pip install "edgesdk[video]" and install a C++ compiler '
        "(see g++ below)",
    )


def test_a_runtime_alone_runs_and_does_not_convert() -> None:
    found = abilities(
        [WHOLE["core"], backend("onnx", "onnxscript", "onnx"), backend("litert", "litert-torch")],
        [GCC],
    )
    assert found.convert == ()
    assert found.run == ("litert", "onnx")


@pytest.mark.parametrize("broken", ["core", "onnx"])
def test_a_backend_that_does_not_import_can_do_nothing(broken: str) -> None:
    two = [backend(name, imports=name != broken) for name in ("core", "onnx")]
    found = abilities(two, [GCC])
    assert (found.convert, found.run) == ((), ())


def test_video_needs_a_compiler_or_a_built_core(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    two = [WHOLE["core"], WHOLE["video"]]
    monkeypatch.delenv("CXX", raising=False)
    assert not abilities(two, [replace(GCC, path=None)]).video
    assert abilities(two, [GCC]).video
    compiler = tmp_path / "cxx"
    compiler.write_text("#!/bin/sh")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", f"{compiler} -O1")
    assert abilities(two, []).video
