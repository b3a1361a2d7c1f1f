"""A user's project may have packages of its own called ``quant`` and ``converters``."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from edgesdk.converters.registry import TARGETS
from edgesdk.frontend import user_code
from edgesdk.frontend.provenance import user_frame
from edgesdk.host.own_code import OWN_FOLDERS, PACKAGE
from edgesdk.runtime import opening

if TYPE_CHECKING:
    from conftest import CommandLine

ROOT = Path(__file__).resolve().parents[2]
FILES = {
    "net.py": """
        from torch import nn

        from converters import head
        from quant import block

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.block, self.head = block(), head()

            def forward(self, image):
                return self.head(self.block(image).mean((2, 3)))
    """,
    "quant/__init__.py": """
        import os

        from torch import nn

        def block():
            if "FAIL" in os.environ:
                raise RuntimeError("no such block")  # the line that raises
            return nn.Conv2d(3, 4, 3)
    """,
    "converters/__init__.py": "from converters.heads import head",
    "converters/heads.py": """
        from torch import nn

        def head():
            return nn.Linear(4, 5)
    """,
    "run.py": """
        import converters
        import quant
        import torch
        from net import Net

        from edgesdk import export

        if __name__ == "__main__":
            bundle = export(
                Net(), torch.rand(1, 3, 8, 8), targets=["onnx", "executorch"], output="run.edge"
            )
            for record in bundle.manifest.artefacts:
                assert record.parity.passed, record
            print(quant.__file__, converters.heads.__file__)
    """,
}
RUNTIME = PACKAGE / "runtime"
EXPORT = ("export", "net.py:Net", "--input", "image:1x3x8x8", "--to", "onnx", "-o", "net.edge")


@pytest.fixture
def own(tmp_path: Path, edgesdk_command: CommandLine) -> CommandLine:
    """The command in a project with packages ``quant`` and ``converters``, as a script runs it."""
    for name, text in FILES.items():
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(re.sub("^        ", "", text, flags=re.MULTILINE).lstrip("\n"))
    environment = {**edgesdk_command.environment, "PYTHONSAFEPATH": "1"}
    return replace(edgesdk_command, folder=tmp_path, environment=environment)


def test_a_source_imports_its_own_packages(own: CommandLine) -> None:
    ended = own(*EXPORT, "--json")
    assert ended.code == 0, ended.err
    [artefact] = ended.json["artefacts"]
    assert artefact["parity"]["passed"]
    assert ended.json["source"]["model"].endswith("Net")


def test_an_error_in_an_own_package_is_led_back_to_its_line(own: CommandLine) -> None:
    failing = replace(own, environment={**own.environment, "FAIL": "1"})
    ended = failing(*EXPORT, "--json")
    assert ended.code == 5, ended.err
    error = ended.json
    assert error["error"] == "FactoryError"
    lines = (own.folder / "quant" / "__init__.py").read_text().splitlines()
    [number] = [n for n, line in enumerate(lines, 1) if "the line that raises" in line]
    assert error["where"].startswith(f"quant/__init__.py:{number}")
    assert "no such block" in error["message"]


def test_a_script_imports_its_own_packages_beside_the_sdk(own: CommandLine) -> None:
    environment = {**own.environment}
    del environment["PYTHONSAFEPATH"]  # Python puts the folder of a script first.
    ended = subprocess.run(
        [sys.executable, "run.py"],
        cwd=own.folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    files = ended.stdout.split()
    assert [Path(file).parent.name for file in files] == ["quant", "converters"]
    assert all(Path(file).is_relative_to(own.folder) for file in files)
    manifest = json.loads((own.folder / "run.edge" / "manifest.json").read_text())
    assert len(manifest["artefacts"]) == 2


def worker_modules() -> Iterator[str]:
    """Modules that the SDK starts or imports by a name in a string."""
    yield "edgesdk.runtime.isolated_worker"
    yield "edgesdk.converters.worker"
    yield from (target.module for target in TARGETS.values())
    yield from (f"edgesdk.runtime.{path.stem}" for path in RUNTIME.glob("*_session.py"))


@pytest.mark.parametrize("name", sorted(worker_modules()))
def test_a_module_named_by_text_can_be_imported(name: str) -> None:
    assert importlib.import_module(name).__name__ == name


def test_every_session_and_converter_is_in_its_module() -> None:
    for module, kind in opening._SESSIONS.values():
        assert isinstance(getattr(importlib.import_module(module), kind), type)
    for target in TARGETS.values():
        assert callable(importlib.import_module(target.module).convert)


@pytest.mark.parametrize("folder", [*OWN_FOLDERS, PACKAGE / "converters", PACKAGE / "quant"])
def test_frames_of_the_sdk_are_not_the_users(folder: Path, tmp_path: Path) -> None:
    trace = f'  File "{tmp_path / "net.py"}", line 3, in forward\n    return x\n'
    inner = f'  File "{folder / "plan.py"}", line 7, in apply\n    return y\n'
    frame = user_frame(trace + inner)
    assert frame is not None
    assert (frame.file, frame.line) == (str(tmp_path / "net.py"), 3)


@pytest.mark.parametrize("package", ["quant", "converters", "edgesdk_extras"])
def test_frames_of_own_packages_are_the_users(package: str, tmp_path: Path) -> None:
    for folder in (tmp_path, ROOT.parent / "elsewhere"):
        file = folder / package / "layers.py"
        frame = user_frame(f'  File "{file}", line 3, in forward\n    return x\n')
        assert frame is not None and frame.file == str(file)


@pytest.mark.parametrize("folder", [*OWN_FOLDERS, PACKAGE / "converters", PACKAGE / "quant"])
def test_modules_of_the_sdk_are_not_of_a_users_project(folder: Path, tmp_path: Path) -> None:
    module = ModuleType("quant")
    module.__file__ = str(folder / "plan.py")
    assert user_code._home(module) is None
    module.__file__ = str(tmp_path / "quant" / "plan.py")
    assert user_code._home(module) == tmp_path / "quant"
