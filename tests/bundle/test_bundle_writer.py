"""The writer's rules, and what an interruption leaves."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from edgesdk.bundle.bundle import Bundle
from edgesdk.bundle.manifest import Manifest
from edgesdk.bundle.writer import BundleWriter
from edgesdk.errors import (
    BundleDamagedError,
    BundleError,
    BundleUnsafeError,
    OutputExistsError,
    StorageError,
    UsageError,
)
from edgesdk.host.digest import digest

ROOT = Path(__file__).parents[2]

Fill = Callable[[BundleWriter, Path], Manifest]
Make = Callable[..., Bundle]


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_existing_output_is_refused(tmp_path: Path, make_bundle: Make) -> None:
    first = make_bundle(tmp_path / "net.edge")
    with pytest.raises(OutputExistsError, match="overwrite=True"):
        make_bundle(tmp_path / "net.edge")
    assert Bundle.open(first.path) == first


def test_overwrite_replaces_a_bundle(tmp_path: Path, make_bundle: Make) -> None:
    first = make_bundle(tmp_path / "net.edge")
    (first.path / "old-extra").write_text("x")
    second = make_bundle(tmp_path / "net.edge", overwrite=True)
    assert Bundle.open(second.path) == second
    assert not (second.path / "old-extra").exists()
    assert names(tmp_path) == ["net.edge", "sources"]


def test_overwrite_takes_a_damaged_bundle_and_an_empty_folder(
    tmp_path: Path, make_bundle: Make
) -> None:
    (tmp_path / "empty").mkdir()
    make_bundle(tmp_path / "empty", overwrite=True)
    (tmp_path / "net.edge").mkdir()
    (tmp_path / "net.edge" / "manifest.json").write_text("{half")
    make_bundle(tmp_path / "net.edge", overwrite=True)
    assert Bundle.open(tmp_path / "empty").manifest == Bundle.open(tmp_path / "net.edge").manifest


def test_overwrite_refuses_what_is_no_bundle(tmp_path: Path, make_bundle: Make) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "cat.jpg").write_text("cat")
    web = tmp_path / "webapp"
    web.mkdir()
    (web / "manifest.json").write_text('{"name": "my web app"}')
    (tmp_path / "file").write_text("f")
    make_bundle(tmp_path / "real.edge")
    (tmp_path / "link.edge").symlink_to("real.edge")
    (tmp_path / "dangling.edge").symlink_to("nowhere")
    before = names(tmp_path)
    for name in ("photos", "webapp", "file", "link.edge", "dangling.edge"):
        with pytest.raises(OutputExistsError, match="not a bundle"):
            make_bundle(tmp_path / name, overwrite=True)
    assert (photos / "cat.jpg").exists()
    assert (web / "manifest.json").exists()
    assert names(tmp_path) == before


@pytest.mark.parametrize("path", ["", ".", "..", "/", "a/..", "nul\0.edge", "line\n.edge"])
def test_paths_that_name_no_folder(path: str) -> None:
    with pytest.raises(UsageError), BundleWriter(path):
        pass


def test_relative_path_survives_a_change_of_folder(
    tmp_path: Path, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    with BundleWriter("net.edge") as writer:
        manifest = fill(writer, tmp_path / "sources")
        monkeypatch.chdir(tmp_path / "other")
        writer.commit(manifest)
    assert Bundle.open(tmp_path / "net.edge").manifest == manifest


def test_output_that_appears_meanwhile_is_kept(tmp_path: Path, fill: Fill) -> None:
    with (
        pytest.raises(OutputExistsError),
        BundleWriter(tmp_path / "net.edge") as writer,
    ):
        manifest = fill(writer, tmp_path / "sources")
        (tmp_path / "net.edge").mkdir()
        (tmp_path / "net.edge" / "theirs").write_text("x")
        writer.commit(manifest)
    assert names(tmp_path / "net.edge") == ["theirs"]
    assert names(tmp_path) == ["net.edge", "sources"]


def test_stale_staging_of_others_is_not_touched(tmp_path: Path, make_bundle: Make) -> None:
    stale = tmp_path / ".net.edge.0123abcd.partial"
    stale.mkdir()
    (stale / "half").write_text("x")
    make_bundle(tmp_path / "net.edge")
    make_bundle(tmp_path / "net.edge", overwrite=True)
    assert names(stale) == ["half"]


def test_the_writer_is_used_within_its_block(tmp_path: Path, fill: Fill) -> None:
    writer = BundleWriter(tmp_path / "net.edge")
    with pytest.raises(UsageError, match="with statement"):
        _ = writer.folder
    with writer:
        writer.commit(fill(writer, tmp_path / "sources"))
        with pytest.raises(UsageError):
            writer.add(tmp_path / "sources" / "m.onnx", "late.onnx")


def test_add_refuses_bad_names_and_sources(tmp_path: Path) -> None:
    source = tmp_path / "a"
    source.write_text("a")
    os.mkfifo(tmp_path / "pipe")
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "x").symlink_to("/etc/passwd")
    (tmp_path / "loop").symlink_to("loop")
    with BundleWriter(tmp_path / "net.edge") as writer:
        for name in ("../a", "/a", "manifest.json", "Manifest.JSON", "a\\b", "c:a", "", "x\0", "."):
            with pytest.raises(BundleUnsafeError):
                writer.add(source, name)
        writer.add(source, "a.bin")
        for name in ("a.bin", "A.bin", "a.bin/inner"):
            with pytest.raises(BundleError):
                writer.add(source, name)
        for absent in (tmp_path / "none", tmp_path / "loop", "nul\0"):
            with pytest.raises(UsageError, match="no file"):
                writer.add(absent, "b")
        with pytest.raises(BundleUnsafeError):
            writer.add(tmp_path / "pipe", "b")
        with pytest.raises(BundleUnsafeError, match="symbolic link"):
            writer.add(linked, "b")
        assert names(writer.folder) == ["a.bin"]
        writer.add(source, "deep/er/b.bin")
        (writer.folder / "tmp.out").write_text("moved")
        writer.add(writer.folder / "tmp.out", "c.bin")
        assert names(writer.folder) == ["a.bin", "c.bin", "deep"]
    assert not (tmp_path / "net.edge").exists()


def test_a_source_that_is_a_link_is_copied(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("real")
    (tmp_path / "cached").symlink_to("real")
    with BundleWriter(tmp_path / "net.edge") as writer:
        assert writer.add(tmp_path / "cached", "a").sha256 == digest(tmp_path / "real")
        assert not (writer.folder / "a").is_symlink()


def test_commit_refuses_a_manifest_that_does_not_fit(tmp_path: Path, fill: Fill) -> None:
    with (
        pytest.raises(BundleDamagedError, match=r"tiny\.onnx") as caught,
        BundleWriter(tmp_path / "net.edge") as writer,
    ):
        manifest = fill(writer, tmp_path / "sources")
        with (writer.folder / "tiny.onnx").open("r+b") as file:
            file.write(b"X")
        writer.commit(manifest)
    assert caught.value.where == str(tmp_path / "net.edge")
    assert names(tmp_path) == ["sources"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, RuntimeError, MemoryError])
def test_an_exception_in_the_block_leaves_nothing(
    tmp_path: Path, fill: Fill, error: type[BaseException]
) -> None:
    with pytest.raises(error), BundleWriter(tmp_path / "net.edge") as writer:
        fill(writer, tmp_path / "sources")
        raise error
    assert names(tmp_path) == ["sources"]


def test_leaving_without_commit_leaves_nothing(tmp_path: Path, fill: Fill) -> None:
    with BundleWriter(tmp_path / "net.edge") as writer:
        fill(writer, tmp_path / "sources")
    assert names(tmp_path) == ["sources"]


def test_ctrl_c_of_a_real_process_leaves_nothing(tmp_path: Path) -> None:
    script = textwrap.dedent(
        """
        import sys, time
        from pathlib import Path
        from edgesdk.bundle.writer import BundleWriter
        root = Path(sys.argv[1])
        with BundleWriter(root / "net.edge") as writer:
            (writer.folder / "half").write_bytes(b"x" * 100_000)
            print("staged", flush=True)
            while True:
                time.sleep(0.05)
        """
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"staged\n"
    assert len(names(tmp_path)) == 1
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert b"KeyboardInterrupt" in told
    assert names(tmp_path) == []


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", [0, 1], ids=["moving-aside", "moving-in"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.EIO, "fault")])
def test_interrupted_overwrite_keeps_one_whole_bundle(
    tmp_path: Path,
    make_bundle: Make,
    fill: Fill,
    monkeypatch: pytest.MonkeyPatch,
    step: int,
    after: bool,
    error: BaseException,
) -> None:
    # Python notices Ctrl-C before or after a system call, so each rename is tried both ways.
    make_bundle(tmp_path / "net.edge")
    rename, calls = Path.rename, iter(range(100))

    def interrupted(self: Path, target: Path) -> Path:
        hit = next(calls) == step
        if hit and not after:
            raise error
        result = rename(self, target)
        if hit:
            raise error
        return result

    with (
        pytest.raises((KeyboardInterrupt, StorageError)),
        BundleWriter(tmp_path / "net.edge", overwrite=True) as writer,
    ):
        manifest = fill(writer, tmp_path / "sources").model_copy(update={"notes": ["new"]})
        monkeypatch.setattr(Path, "rename", interrupted)
        writer.commit(manifest)
    monkeypatch.undo()
    kept = Bundle.open(tmp_path / "net.edge").manifest.notes == ["new"]
    assert kept == (step == 1 and after)
    assert names(tmp_path) == ["net.edge", "sources"]


def test_the_old_bundle_outlives_a_restore_that_fails(
    tmp_path: Path, make_bundle: Make, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = make_bundle(tmp_path / "net.edge").manifest
    rename, calls = Path.rename, iter(range(100))

    def only_once(self: Path, target: Path) -> Path:
        if next(calls):
            raise OSError(errno.EIO, "fault")
        return rename(self, target)

    with (
        pytest.raises(StorageError),
        BundleWriter(tmp_path / "net.edge", overwrite=True) as writer,
    ):
        manifest = fill(writer, tmp_path / "sources")
        monkeypatch.setattr(Path, "rename", only_once)
        writer.commit(manifest)
    monkeypatch.undo()
    (aside,) = (name for name in names(tmp_path) if name.startswith(".net.edge."))
    assert Bundle.open(tmp_path / aside).manifest == old
