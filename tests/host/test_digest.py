"""Content hashes against hand counts and the shell."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from edgesdk.bundle.manifest import FileRecord, file_record
from edgesdk.errors import (
    BundleDamagedError,
    BundleUnsafeError,
)
from edgesdk.host.digest import digest


def test_digest_of_a_file_is_its_sha256(tmp_path: Path) -> None:
    file = tmp_path / "a.bin"
    file.write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert digest(file) == expected
    assert file_record(tmp_path, file) == FileRecord(path="a.bin", sha256=expected, size=3)
    assert file_record(tmp_path, "a.bin") == file_record(tmp_path, file)


def test_digest_of_a_file_larger_than_a_block(tmp_path: Path) -> None:
    content = np.random.default_rng(0).bytes(3 * 2**20 + 17)
    (tmp_path / "a").write_bytes(content)
    assert digest(tmp_path / "a") == hashlib.sha256(content).hexdigest()


def test_digest_of_a_folder_by_hand(tmp_path: Path) -> None:
    folder = tmp_path / "m.mlpackage"
    (folder / "b").mkdir(parents=True)
    (folder / "empty").mkdir()
    (folder / "a").write_bytes(b"1")
    (folder / "b" / "c").write_bytes(b"22")
    lines = sorted(
        f"{hashlib.sha256(content).hexdigest()}  {name}\n"
        for name, content in (("a", b"1"), ("b/c", b"22"))
    )
    expected = hashlib.sha256("".join(lines).encode()).hexdigest()
    assert digest(folder) == expected
    assert file_record(tmp_path, folder) == FileRecord(path="m.mlpackage", sha256=expected, size=3)


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="sha256sum is not installed")
def test_digest_of_a_folder_is_what_the_shell_computes(tmp_path: Path) -> None:
    for index in range(12):
        file = tmp_path / f"d{index % 3}" / f"f {index}"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(bytes([index]) * index)
    (tmp_path / "naïve.txt").write_text("ü")
    script = "find . -type f -exec sha256sum {} + | sed 's|  \\./|  |' | LC_ALL=C sort | sha256sum"
    told = subprocess.run(
        ["sh", "-c", script], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert digest(tmp_path) == told.stdout.split()[0]


def test_digest_changes_with_names_and_contents(tmp_path: Path) -> None:
    seen = set()
    for name, content in (("a", b"x"), ("b", b"x"), ("a", b"y")):
        folder = tmp_path / f"{name}{content!r}"
        folder.mkdir()
        (folder / name).write_bytes(content)
        seen.add(digest(folder))
    assert len(seen) == 3


def test_digest_refuses_what_is_no_plain_file(tmp_path: Path) -> None:
    with pytest.raises(BundleDamagedError, match="missing"):
        digest(tmp_path / "none")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BundleUnsafeError):
        digest(tmp_path / "pipe")
    with pytest.raises(BundleUnsafeError):
        digest("/dev/null")
    with pytest.raises(BundleUnsafeError, match="pipe"):
        digest(tmp_path)


def test_file_record_stays_inside_its_root(tmp_path: Path) -> None:
    inside = tmp_path / "in"
    inside.mkdir()
    (tmp_path / "secret").write_text("s")
    (inside / "out").symlink_to(tmp_path)
    (inside / "link").symlink_to("nowhere")
    for path in ("../secret", tmp_path / "secret", inside, ".", "out/secret", "link"):
        with pytest.raises(BundleUnsafeError):
            file_record(inside, path)
