from __future__ import annotations

import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edgesdk.host.environment.child import run_limited
from edgesdk.host.environment.imports import CAUSES, Cause, try_import

Package = Callable[[str, str], None]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    """Writes a package that every new interpreter finds before the installed ones."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def write(name: str, code: str) -> None:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(code)

    return write


def test_what_is_installed_imports() -> None:
    attempt = try_import(["json", "numpy"])
    assert (attempt.works, attempt.cause, attempt.fix) == (True, "", "")
    assert attempt.seconds > 0


def test_what_is_absent_is_named() -> None:
    attempt = try_import(["json", "edgesdk_no_such_module"])
    assert not attempt.works
    assert "edgesdk_no_such_module" in attempt.cause


def test_a_package_that_raises_gives_its_reason_and_the_module(package: Package) -> None:
    package("onnx", "raise RuntimeError('built on a Tuesday\\nand more')")
    attempt = try_import(["json", "onnx", "no_such_module"])
    assert attempt.cause == "import onnx: RuntimeError: built on a Tuesday"
    assert attempt.fix == ""


def test_a_known_reason_comes_with_a_fix(package: Package) -> None:
    package("torchvision", "raise RuntimeError('operator torchvision::nms does not exist')")
    attempt = try_import(["torchvision"])
    assert "another torch" in attempt.cause
    assert "torchvision==0.28.0" in attempt.fix


def test_a_reason_told_on_stderr_only_is_found(package: Package) -> None:
    package(
        "old",
        "import sys\n"
        "print('A module that was compiled using NumPy 1.x cannot be run', file=sys.stderr)\n"
        "raise ImportError('initialisation failed')",
    )
    assert "NumPy 1" in try_import(["old"]).cause


def test_prints_at_import_do_not_confuse(package: Package) -> None:
    package("chatty", "import os\nprint('{\"error\": 1}')\nos.system('echo null')")
    assert try_import(["chatty"]).works


def test_a_file_of_the_working_folder_does_not_stand_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "numpy.py").write_text("raise RuntimeError('the wrong one')")
    monkeypatch.chdir(tmp_path)
    assert try_import(["numpy"]).works


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import sys; sys.exit(0)", "SystemExit"),
        ("import os; os._exit(7)", "status 7"),
        ("import os; os._exit(0)", "status 0"),
        ("import os; os.kill(os.getpid(), 11)", "SIGSEGV"),
        ("import os; os.kill(os.getpid(), 4)", "SIGILL"),
        ("import os; os.kill(os.getpid(), 9)", "lack of memory"),
        ("import os; os.kill(os.getpid(), 40)", "died"),
        ("def f(): f()\nf()", "RecursionError"),
        ("x = = 1", "SyntaxError"),
    ],
)
def test_every_way_to_fail_is_told(package: Package, code: str, said: str) -> None:
    package("doomed", code)
    attempt = try_import(["doomed"])
    assert not attempt.works
    assert said in attempt.cause


def test_a_hanging_import_is_ended_with_what_it_started(package: Package, tmp_path: Path) -> None:
    mark = tmp_path / "grandchild"
    package(
        "stuck",
        "import subprocess, sys, time\n"
        "code = 'import sys, time; time.sleep(4); open(sys.argv[1], \"w\").close()'\n"
        f"subprocess.Popen([sys.executable, '-c', code, {str(mark)!r}])\n"
        "time.sleep(600)\n",
    )
    attempt = try_import(["stuck"], seconds=2.0)
    assert "did not finish within 2 s" in attempt.cause
    time.sleep(4.5)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("ImportError: libcudart.so.13: cannot open shared object file", "libcudart.so.13"),
        ("ImportError: libGL.so.1: cannot open shared object file", "libGL.so.1"),
        ("version `GLIBC_2.38' not found (required by x.so)", "GLIBC_2.38"),
        ("x.so: undefined symbol: _ZN3c1021throwNullDataPtrErrorEv", "another torch"),
        ("x.so: undefined symbol: _ZNK2at6Tensor4sizeEl", "another torch"),
        ("No module named 'coremltools.libmilstoragepython'", "native library"),
        ("No module named 'pkg_resources'", "setuptools"),
        ("No module named 'requests'", "requests"),
        ("google.protobuf: Detected incompatible Protobuf Gencode/Runtime versions", "protobuf"),
        ("numpy.core.multiarray failed to import", "NumPy 1"),
    ],
)
def test_known_reasons(package: Package, said: str, expected: str) -> None:
    package("reasoned", f"raise ImportError({said!r})")
    attempt = try_import(["reasoned"])
    assert expected in attempt.cause[attempt.cause.rindex("(") :]
    assert attempt.fix


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.pattern[:30])
def test_an_explanation_uses_no_more_than_its_pattern_gives(cause: Cause) -> None:
    groups = re.compile(cause.pattern).groups
    assert cause.text.format(*["found"] * groups)
    assert cause.fix


def test_a_limited_program_reports_both_streams_and_its_end() -> None:
    code = "import sys; print('a'); print('b', file=sys.stderr); sys.exit(5)"
    ended = run_limited([sys.executable, "-c", code], 60.0)
    assert (ended.returncode, ended.stdout, ended.stderr) == (5, "a\n", "b\n")


def test_only_the_end_of_long_output_is_kept() -> None:
    ended = run_limited([sys.executable, "-c", "print('x' * 10**6 + 'end')"], 60.0)
    assert len(ended.stdout) == 64 * 1024
    assert ended.stdout.endswith("end\n")


def test_a_limited_program_has_no_input() -> None:
    ended = run_limited([sys.executable, "-c", "input()"], 60.0)
    assert "EOFError" in ended.stderr


def test_an_interrupt_ends_the_program(tmp_path: Path) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    mark = tmp_path / "mark"
    code = "import sys, time; time.sleep(3); open(sys.argv[1], 'w').close()"
    previous = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        with pytest.raises(KeyboardInterrupt):
            run_limited([sys.executable, "-c", code, str(mark)], 60.0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    time.sleep(3.2)
    assert not mark.exists()


def test_a_program_that_is_not_there_is_an_error() -> None:
    with pytest.raises(OSError):
        run_limited(["/nowhere/at/all"], 1.0)
