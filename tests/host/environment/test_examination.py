from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from edgesdk.host.environment import Examination, Finding, examine
from edgesdk.host.environment.catalogue import BACKENDS, BackendEntry, note_for
from edgesdk.host.environment.examination import examine_backend
from edgesdk.host.environment.findings import LEVELS

BY_NAME = {entry.name: entry for entry in BACKENDS}
ONNX = BY_NAME["onnx"]


def versions_of(*names: str) -> dict[str, str]:
    return {name: version for entry in names for name, version in BY_NAME[entry].tested.items()}


def findings_of(entry: BackendEntry, versions: dict[str, str]) -> list[Finding]:
    return examine_backend(entry, versions, None)[1]


@pytest.fixture(scope="module")
def real() -> Iterator[Examination]:
    # The quick importers only; the slow test below imports every backend.
    yield examine(backends=[BY_NAME["core"], ONNX, BY_NAME["pretrained"], BY_NAME["torchvision"]])


def test_this_machine_is_examined(real: Examination) -> None:
    core = real.backends[0]
    assert core.name == "core"
    assert core.installed
    assert core.imports is True
    assert core.seconds is not None
    installed = {package.distribution: package.installed for package in core.packages}
    # torch.__version__ adds the build to it, such as +cu130.
    assert installed["torch"] == metadata.version("torch")
    assert real.exit_code == 0
    assert not real.quick


def test_the_worst_findings_come_first(real: Examination) -> None:
    levels = [LEVELS.index(finding.level) for finding in real.findings]
    assert levels == sorted(levels, reverse=True)


def test_an_examination_is_plain_json(real: Examination) -> None:
    plain = json.loads(json.dumps(real.to_dict()))
    assert plain["exit_code"] == 0
    assert plain["backends"][0]["installed"] is True
    assert plain["machine"]["cores"] >= 1
    assert {tool["kind"] for tool in plain["tools"]} == {"compiler", "attached"}


@pytest.mark.slow
def test_every_backend_of_this_machine_imports() -> None:
    steps: list[str] = []
    examination = examine(on_progress=steps.append)
    ours = [backend for backend in examination.backends if backend.name != "torchvision"]
    assert [backend.name for backend in ours if backend.imports is not True] == []
    assert "importing litert" in steps


def test_a_quick_examination_starts_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    examination = examine(quick=True)
    assert examination.quick
    assert {backend.imports for backend in examination.backends} == {None}
    assert {tool.version for tool in examination.tools if tool.kind == "attached"} == {""}


def test_an_examination_imports_nothing_heavy() -> None:
    code = (
        "import sys; from edgesdk.host.environment import examine; examine(quick=True); "
        "print([m for m in ('torch', 'numpy', 'onnx', 'coremltools') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_a_backend_that_does_not_import_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "onnxscript").mkdir()
    (tmp_path / "onnxscript" / "__init__.py").write_text("raise ValueError('not today')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    examination = examine(backends=[ONNX])
    assert examination.exit_code == 3
    assert examination.worst == "error"
    assert examination.backends[0].imports is False
    assert "import onnxscript: ValueError: not today" in examination.backends[0].cause
    assert examination.findings[0].subject == "onnx"
    assert "onnxscript==0.7.2" in examination.findings[0].fix


def test_an_import_past_its_time_is_an_error() -> None:
    backend, findings = examine_backend(BY_NAME["core"], versions_of("core"), 0.01)
    assert backend.imports is False
    assert "did not finish" in backend.cause
    assert [finding.level for finding in findings] == ["error"]


def test_an_absent_backend_is_no_fault() -> None:
    backend, findings = examine_backend(ONNX, versions_of("core"), 60.0)
    assert not backend.installed
    assert backend.imports is None
    assert [(finding.level, finding.text) for finding in findings] == [("info", "not installed")]
    assert findings[0].fix == 'pip install "edgesdk[onnx]"'


def test_half_a_backend_is_worth_a_warning() -> None:
    versions = versions_of("onnx")
    del versions["onnxscript"]
    (finding,) = findings_of(ONNX, versions)
    assert (finding.level, finding.text) == ("warning", "onnxscript not installed")


def test_packages_that_others_bring_do_not_make_half_a_backend() -> None:
    # LiteRT's converter requires torchao, which does not mean that ExecuTorch was asked for.
    (finding,) = findings_of(BY_NAME["executorch"], versions_of("litert") | {"torchao": "0.18"})
    assert (finding.level, finding.text) == ("info", "not installed")


def test_a_missing_core_is_a_fault() -> None:
    (finding,) = findings_of(BY_NAME["core"], {})
    assert (finding.level, finding.fix) == ("error", "pip install edgesdk")


def test_an_untested_version_is_named_beside_the_tested_one() -> None:
    (finding,) = findings_of(ONNX, {**versions_of("onnx"), "onnx": "1.22.0"})
    assert finding.level == "info"
    assert "onnx 1.22.0 (tested: 1.23.2)" in finding.text
    assert finding.fix == "pip install onnx==1.23.2"


def test_the_cpu_build_counts_as_the_tested_version() -> None:
    assert findings_of(BY_NAME["core"], {**versions_of("core"), "torch": "2.13.0+cpu"}) == []


def test_core_ml_off_a_mac_says_what_it_can_do() -> None:
    note = note_for(BY_NAME["coreml"], "Linux")
    assert "converts; runs only in our evaluator" in note
    assert note_for(BY_NAME["coreml"], "Darwin") == ""
    if platform.system() != "Darwin":
        assert examine_backend(BY_NAME["coreml"], versions_of("coreml"), None)[0].note == note


def test_what_the_user_does_not_have_is_not_looked_at() -> None:
    absent = BackendEntry("theirs", "", {"edgesdk-no-such": "1.0"}, ("x",), only_if_present=True)
    assert examine(quick=True, backends=[absent]).backends == ()


def test_nothing_to_convert_ends_with_3() -> None:
    examination = examine(quick=True, backends=[BY_NAME["core"]])
    assert examination.worst != "error"
    assert examination.exit_code == 3
