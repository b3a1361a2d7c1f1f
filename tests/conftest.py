"""A user's project, and bundles of it made once a session by the real command."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from filelock import FileLock

ROOT = Path(__file__).resolve().parents[1]
NETWORKS = Path(__file__).parent / "user_project"
TARGETS = ("executorch:xnnpack", "coreml:fp16", "litert:fp32", "onnx:fp32")
COMMAND = "import sys; sys.argv[0] = 'edgesdk'; from edgesdk.cli import main; main()"

# The same examples in every run; HYPOTHESIS_PROFILE=search looks for new ones.
hypothesis.settings.register_profile("repeatable", derandomize=True)
hypothesis.settings.register_profile("search")
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

# Workers share the cores out among themselves and what they start, before torch counts them. With a
# thread for every core in each of them, OpenMP's threads spend most of their time waiting.
if (_workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))) > 1:
    _cores = max(1, (os.cpu_count() or 1) // _workers)
    os.environ.setdefault("OMP_NUM_THREADS", str(_cores))

# A shell's background jobs begin with Ctrl-C ignored, and so would every command tested here.
signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """What it printed, which must be one JSON object and nothing else."""
        value = json.loads(self.out)
        assert isinstance(value, dict)
        return value


@dataclass(frozen=True)
class CommandLine:
    """Runs ``edgesdk`` as a user does: a process of its own in the user's folder."""

    folder: Path
    environment: dict[str, str]

    def start(self, *arguments: str, code: str = COMMAND, **kwargs: Any) -> subprocess.Popen[str]:
        environment = self.environment | kwargs.pop("environment", {})
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
        return subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            cwd=self.folder,
            env=environment,
            text=True,
            **(pipes | kwargs),
        )

    def __call__(self, *arguments: str, **kwargs: Any) -> Ended:
        process = self.start(*arguments, **kwargs)
        out, err = process.communicate(timeout=580)
        return Ended(process.returncode, out, err)


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The user's folder, with the package ``nets`` whose files import each other relatively."""
    folder = tmp_path_factory.mktemp("user")
    shutil.copytree(NETWORKS, folder, dirs_exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The SDK's cache of this session."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def native_library(cache_folder: Path) -> None:
    """The video core, in the cache that commands of the tests have too."""
    from edgesdk.errors import MissingToolError
    from edgesdk.video.library import compiler, library_path

    try:
        built = library_path()
    except MissingToolError:
        # Where there is a compiler, sources that it refuses are a failure.
        try:
            compiler()
        except MissingToolError as error:
            pytest.skip(f"no video core: {error.message}")
        raise
    shared = cache_folder / "native" / built.parent.name
    if not shared.exists():
        shutil.copytree(built.parent, shared)


@pytest.fixture(scope="session")
def edgesdk_command(project: Path, cache_folder: Path) -> CommandLine:
    """The command, run in the user's folder."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "EDGESDK_CACHE": str(cache_folder),
        "COLUMNS": "100",
    }
    return CommandLine(project, environment)


@dataclass(frozen=True)
class Exported:
    """A bundle with what the command said when it wrote it."""

    path: Path
    ended: Ended


def _exported_once(
    command: CommandLine, cache: Path, shared: Path, name: str, *arguments: str
) -> Exported:
    """Run an export in one of the processes that test side by side; the others copy its bundle.

    They copy its cache too: an export that is run again finds there what it would have left.
    """
    path = command.folder / f"{name}.edge"
    kept = shared / f"exported-{name}"
    with FileLock(f"{kept}.lock"):
        if not (kept / "ended.json").exists():
            ended = command("export", *arguments, "-o", path.name, "--json")
            shutil.copytree(cache, kept / "cache", dirs_exist_ok=True)
            if path.exists():
                shutil.copytree(path, kept / path.name, dirs_exist_ok=True)
            (kept / "ended.json").write_text(json.dumps([ended.code, ended.out, ended.err]))
            return Exported(path, ended)
    shutil.copytree(kept / "cache", cache, dirs_exist_ok=True)
    if (kept / path.name).exists():
        shutil.copytree(kept / path.name, path)
    return Exported(path, Ended(*json.loads((kept / "ended.json").read_text())))


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of this run that the processes testing side by side have in common."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def exported(edgesdk_command: CommandLine, cache_folder: Path, shared_folder: Path) -> Exported:
    """``nets/tiny.py:build`` (left in training mode by its author) for all four targets."""
    made = _exported_once(
        edgesdk_command,
        cache_folder,
        shared_folder,
        "tiny",
        *("nets/tiny.py:build", "--input", "image:1x3x32x32"),
    )
    assert made.ended.code == 0, made.ended.err
    return made


@pytest.fixture(scope="session")
def camera_bundle(
    edgesdk_command: CommandLine, cache_folder: Path, shared_folder: Path
) -> Exported:
    """The same network fed with camera bytes; any number of photographs where that can be."""
    made = _exported_once(
        edgesdk_command,
        cache_folder,
        shared_folder,
        "camera",
        *("nets/tiny.py:build", "--input", "image:1x3x32x32", "--image", "imagenet"),
        # Core ML takes one image at a time.
        *("--dynamic", "executorch:batch", "--dynamic", "litert:batch", "--dynamic", "onnx:batch"),
    )
    assert made.ended.code in (0, 1), made.ended.err
    return made


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[[Path], Path]:
    """Copies a bundle, so that a test may damage it."""

    def copy(bundle: Path) -> Path:
        return shutil.copytree(bundle, tmp_path / bundle.name)

    return copy


@pytest.fixture
def here(
    project: Path, cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., int]]:
    """The command without a process of its own, in the user's folder; gives the exit code."""
    from edgesdk.cli import main

    monkeypatch.chdir(project)
    monkeypatch.setenv("EDGESDK_CACHE", str(cache_folder))
    monkeypatch.setenv("COLUMNS", "100")
    path, modules = list(sys.path), set(sys.modules)
    yield lambda *arguments: main(list(arguments))
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name.partition(".")[0] == "nets":
            del sys.modules[name]
