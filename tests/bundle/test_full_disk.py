"""Disks that are full, read-only or not ours."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgesdk.bundle.bundle import Bundle
from edgesdk.bundle.manifest import Manifest
from edgesdk.bundle.writer import BundleWriter
from edgesdk.errors import StorageError, UsageError
from edgesdk.host.atomic_write import storage_errors, write_atomically

ROOT = Path(__file__).parents[2]


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def changed(bundle: Bundle, **changes: object) -> Manifest:
    return bundle.manifest.model_copy(update=changes)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    point = tmp_path / "disk"
    point.mkdir()
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0 or sys.platform != "linux":
        pytest.skip(
            "mounting a tiny disk needs root on Linux; the file-size limit is tested anyway"
        )
    told = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(point)],
        capture_output=True,
        text=True,
        check=False,
    )
    if told.returncode:
        pytest.skip(f"this machine lets nobody mount: {told.stderr.strip()}")
    yield point
    subprocess.run(["umount", str(point)], check=True)


def test_full_disk_while_adding(tiny_disk: Path, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"x" * 200_000)
    with (
        pytest.raises(StorageError, match="disk is full"),
        BundleWriter(tiny_disk / "net.edge") as writer,
    ):
        writer.add(tmp_path / "big", "big.pte")
    assert names(tiny_disk) == []


def test_full_disk_after_an_add_that_failed_has_room_again(tiny_disk: Path, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"x" * 200_000)
    (tmp_path / "small").write_bytes(b"x" * 30_000)
    with BundleWriter(tiny_disk / "net.edge") as writer:
        with pytest.raises(StorageError):
            writer.add(tmp_path / "big", "big.pte")
        assert writer.add(tmp_path / "small", "small.pte").size == 30_000


def test_full_disk_while_updating_keeps_the_old_manifest(
    tiny_disk: Path, bundle_path: Path
) -> None:
    target = Path(shutil.copytree(bundle_path, tiny_disk / "net.edge"))
    bundle = Bundle.open(target)
    with pytest.raises(StorageError, match="disk is full"):
        bundle.update(changed(bundle, notes=["x" * 20_000] * 5))
    assert Bundle.open(target) == bundle
    assert not [name for name in names(target) if "partial" in name]


def test_file_size_limit_leaves_nothing(tmp_path: Path) -> None:
    """The limit of a process on file sizes, which every user may set, stands in for a full disk."""
    (tmp_path / "big").write_bytes(b"x" * 200_000)
    script = textwrap.dedent(
        """
        import resource, sys
        from pathlib import Path
        resource.setrlimit(resource.RLIMIT_FSIZE, (65536, resource.RLIM_INFINITY))
        from edgesdk.bundle.writer import BundleWriter
        from edgesdk.errors import StorageError
        root = Path(sys.argv[1])
        try:
            with BundleWriter(root / "net.edge") as writer:
                writer.add(root / "big", "big.pte")
        except StorageError as error:
            print(error)
            sys.exit(error.exit_code)
        """
    )
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 65536
    told = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
        timeout=120,
    )
    assert told.returncode == 3, told.stderr
    assert "larger than the file system or the limit" in told.stdout
    assert names(tmp_path) == ["big"]


@pytest.mark.parametrize("place", ["missing/net.edge", "file/net.edge"])
def test_output_where_no_folder_can_be(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="cannot write a bundle"), BundleWriter(tmp_path / place):
        pass
    assert names(tmp_path) == ["file"]


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no /proc here")
def test_output_on_a_file_system_that_takes_no_files() -> None:
    with pytest.raises(StorageError), BundleWriter("/proc/net.edge"):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to a folder of any mode")
def test_output_in_a_folder_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with (
            pytest.raises(StorageError, match="no permission"),
            BundleWriter(tmp_path / "net.edge"),
        ):
            pass
    finally:
        tmp_path.chmod(0o700)


def test_output_name_too_long(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="too long"), BundleWriter(tmp_path / ("n" * 250)):
        pass


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "no permission"),
        (errno.EBUSY, os.strerror(errno.EBUSY)),
    ],
)
def test_what_a_disk_says_in_words(number: int, words: str) -> None:
    with pytest.raises(StorageError, match=words) as caught, storage_errors("cannot write", "a"):
        raise OSError(number, os.strerror(number))
    assert caught.value.exit_code == 3


def test_storage_errors_pass_our_own_on() -> None:
    with pytest.raises(UsageError, match="mine"), storage_errors("cannot write", "a"):
        raise UsageError("mine")


def test_write_atomically(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    write_atomically(file, b"one")
    write_atomically(file, b"two")
    assert file.read_bytes() == b"two"
    assert names(tmp_path) == ["a.json"]
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError):
        write_atomically(tmp_path / "folder", b"x")
    with pytest.raises(StorageError):
        write_atomically(tmp_path / "none" / "a", b"x")
    assert names(tmp_path) == ["a.json", "folder"]
