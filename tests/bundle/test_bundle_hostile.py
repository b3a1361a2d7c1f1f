"""Bundles that were packed to do harm, and ones that broke on the way."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgesdk.bundle import bundle as bundle_module
from edgesdk.bundle.bundle import Bundle
from edgesdk.errors import (
    BundleDamagedError,
    BundleError,
    BundleSchemaError,
    BundleUnsafeError,
    InputNotFoundError,
)


def rewrite(bundle: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest as plain JSON, past every check of the schema."""
    file = bundle / "manifest.json"
    data = json.loads(file.read_text("utf-8"))
    change(data)
    file.write_text(json.dumps(data), "utf-8")


def artefact_path(path: object) -> Callable[[dict[str, Any]], object]:
    return lambda data: data["artefacts"][0]["file"].update(path=path)


# ---------------------------------------------------------------- no bundle at all


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(InputNotFoundError, match="no such bundle") as caught:
        Bundle.open(tmp_path / "none.edge")
    assert caught.value.remedy is not None


def test_a_file(tmp_path: Path) -> None:
    (tmp_path / "net.zip").write_bytes(b"PK")
    with pytest.raises(BundleError, match="is not a folder"):
        Bundle.open(tmp_path / "net.zip")
    with pytest.raises(BundleError):
        Bundle.open(tmp_path / "net.zip" / "inner")


def test_a_folder_without_manifest(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="it has no manifest") as caught:
        Bundle.open(tmp_path)
    assert "edgesdk export" in str(caught.value)


@pytest.mark.parametrize("path", ["nul\0", "n" * 300])
def test_a_path_no_system_takes(path: str) -> None:
    with pytest.raises(BundleError):
        Bundle.open(path)


def test_links_in_a_circle_and_a_pipe_for_a_bundle(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    for name in ("loop", "pipe"):
        with pytest.raises(BundleError):
            Bundle.open(tmp_path / name)


# ---------------------------------------------------------------- damage


def test_missing_file(bundle_path: Path) -> None:
    (bundle_path / "tiny.onnx").unlink()
    with pytest.raises(BundleDamagedError, match=r"'tiny\.onnx' is missing") as caught:
        Bundle.open(bundle_path)
    assert caught.value.where == str(bundle_path)


def test_missing_folder(bundle_path: Path) -> None:
    shutil.rmtree(bundle_path / "tiny.mlpackage")
    with pytest.raises(BundleDamagedError, match=r"'tiny\.mlpackage' is missing"):
        Bundle.open(bundle_path)


@pytest.mark.parametrize("check_hashes", [True, False])
def test_truncated_file(bundle_path: Path, check_hashes: bool) -> None:
    os.truncate(bundle_path / "tiny.onnx", 1234)
    with pytest.raises(BundleDamagedError, match="has 1234 bytes, and the manifest says 4000"):
        Bundle.open(bundle_path, check_hashes=check_hashes)


def test_altered_file_names_both_hashes(bundle_path: Path) -> None:
    content = bytearray((bundle_path / "tiny.onnx").read_bytes())
    expected = hashlib.sha256(content).hexdigest()
    content[2000] ^= 1
    (bundle_path / "tiny.onnx").write_bytes(content)
    with pytest.raises(BundleDamagedError) as caught:
        Bundle.open(bundle_path)
    assert hashlib.sha256(content).hexdigest() in str(caught.value)
    assert expected in str(caught.value)
    assert Bundle.open(bundle_path, check_hashes=False).manifest.name == "tiny"


def test_altered_renamed_and_added_files_in_a_folder(bundle_path: Path) -> None:
    package = bundle_path / "tiny.mlpackage"
    weights = package / "Data" / "weights" / "weight.bin"
    content = weights.read_bytes()
    weights.write_bytes(content[::-1])
    with pytest.raises(BundleDamagedError, match="altered"):
        Bundle.open(bundle_path)
    weights.write_bytes(content)
    assert Bundle.open(bundle_path).manifest.name == "tiny"
    weights.rename(weights.with_name("other.bin"))
    with pytest.raises(BundleDamagedError, match="altered"):
        Bundle.open(bundle_path)
    weights.with_name("other.bin").rename(weights)
    (package / "empty.txt").touch()
    with pytest.raises(BundleDamagedError, match="altered"):
        Bundle.open(bundle_path)


def test_sizes_are_compared_before_anything_is_hashed(
    bundle_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A sparse file claims gigabytes at no cost to the packer, and hashing it would cost minutes.
    os.truncate(bundle_path / "tiny.onnx", 8 * 2**30)

    def hashed(*_: object) -> str:
        raise AssertionError("hashed before the sizes were compared")

    monkeypatch.setattr(bundle_module, "stream_digest", hashed)
    with pytest.raises(BundleDamagedError, match="bytes"):
        Bundle.open(bundle_path)


def test_more_bytes_than_any_bundle(bundle_path: Path) -> None:
    try:
        os.truncate(bundle_path / "tiny.onnx", 2**40)
    except OSError:
        pytest.skip("this file system takes no sparse file of 1 TiB")
    rewrite(bundle_path, lambda data: data["artefacts"][0]["file"].update(size=2**40))
    with pytest.raises(BundleUnsafeError, match="64 GiB"):
        Bundle.open(bundle_path)


# ---------------------------------------------------------------- paths


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/etc/passwd", "absolute"),
        ("../net.edge/tiny.onnx", "climbs"),
        ("tiny.mlpackage/../tiny.onnx", "climbs"),
        ("./tiny.onnx", "climbs"),
        (".", "climbs"),
        ("..", "climbs"),
        ("tiny.mlpackage\\Manifest.json", "backslash"),
        ("C:tiny.onnx", "colon"),
        ("C:/tiny.onnx", "colon"),
        ("tiny.onnx\0.txt", "printed"),
        ("tiny\n.onnx", "printed"),
        ("tiny\u202exnno.", "printed"),
        ("tiny.mlpackage//Manifest.json", "empty name"),
        ("tiny.mlpackage/", "empty name"),
        ("tiny.onnx.", "dot or a space"),
        ("tiny.onnx ", "dot or a space"),
        ("ü" * 200, "255 bytes"),
        ("//host/share", "absolute"),
    ],
)
def test_unsafe_path(bundle_path: Path, path: str, words: str) -> None:
    rewrite(bundle_path, artefact_path(path))
    with pytest.raises(BundleUnsafeError, match=words):
        Bundle.open(bundle_path)


@pytest.mark.parametrize("path", ["", "x" * 501, 7, None, ["a"], "\ud800"])
def test_path_the_schema_refuses(bundle_path: Path, path: object) -> None:
    rewrite(bundle_path, artefact_path(path))
    with pytest.raises(BundleSchemaError):
        Bundle.open(bundle_path)


def test_duplicate_path(bundle_path: Path) -> None:
    rewrite(bundle_path, artefact_path("program.pt2"))
    with pytest.raises(BundleUnsafeError, match="occurs twice"):
        Bundle.open(bundle_path)


@pytest.mark.parametrize(
    ("one", "other"), [("TINY.onnx", "tiny.ONNX"), ("straße", "STRASSE"), ("é", "e\u0301")]
)
def test_colliding_paths_in_the_manifest(bundle_path: Path, one: str, other: str) -> None:
    rewrite(bundle_path, artefact_path(one))
    rewrite(bundle_path, lambda data: data["artefacts"][1]["file"].update(path=other))
    with pytest.raises(BundleUnsafeError, match="one file on many systems"):
        Bundle.open(bundle_path)


def test_colliding_files_in_the_folder(bundle_path: Path) -> None:
    (bundle_path / "TINY.onnx").touch()
    if len(list(bundle_path.iterdir())) < 6:
        pytest.skip("this file system folds case itself")
    with pytest.raises(BundleUnsafeError, match="one file on many systems"):
        Bundle.open(bundle_path)


def test_path_inside_another(bundle_path: Path) -> None:
    rewrite(bundle_path, artefact_path("tiny.mlpackage/Manifest.json"))
    with pytest.raises(BundleUnsafeError, match="lies inside"):
        Bundle.open(bundle_path)


@pytest.mark.parametrize("path", ["manifest.json", "MANIFEST.json", "manifest.json/x"])
def test_the_manifest_as_an_artefact(bundle_path: Path, path: str) -> None:
    rewrite(bundle_path, artefact_path(path))
    with pytest.raises(BundleUnsafeError):
        Bundle.open(bundle_path)


# ---------------------------------------------------------------- what is no plain file


@pytest.mark.parametrize("place", ["tiny.onnx", "unnamed", "tiny.mlpackage/Data/model.mlmodel"])
@pytest.mark.parametrize("target", ["/etc/hostname", "program.pt2", "nowhere", "/dev/zero"])
def test_link_to_a_file(bundle_path: Path, place: str, target: str) -> None:
    (bundle_path / place).unlink(missing_ok=True)
    (bundle_path / place).symlink_to(target)
    with pytest.raises(BundleUnsafeError, match="symbolic link"):
        Bundle.open(bundle_path)


def test_link_to_the_same_content_outside(bundle_path: Path, tmp_path: Path) -> None:
    (bundle_path / "tiny.onnx").rename(tmp_path / "outside")
    (bundle_path / "tiny.onnx").symlink_to(tmp_path / "outside")
    with pytest.raises(BundleUnsafeError, match="symbolic link"):
        Bundle.open(bundle_path)


@pytest.mark.parametrize("place", ["tiny.mlpackage", "tiny.mlpackage/Data"])
def test_link_to_a_folder_with_the_right_content(
    bundle_path: Path, tmp_path: Path, place: str
) -> None:
    (bundle_path / place).rename(tmp_path / "moved")
    (bundle_path / place).symlink_to(tmp_path / "moved")
    with pytest.raises(BundleUnsafeError, match="symbolic link"):
        Bundle.open(bundle_path)


def test_manifest_behind_a_link(bundle_path: Path, tmp_path: Path) -> None:
    (bundle_path / "manifest.json").rename(tmp_path / "elsewhere.json")
    (bundle_path / "manifest.json").symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(BundleUnsafeError, match="symbolic link"):
        Bundle.open(bundle_path)


def test_link_back_to_the_bundle(bundle_path: Path) -> None:
    (bundle_path / "self").symlink_to(".")
    with pytest.raises(BundleUnsafeError, match="symbolic link"):
        Bundle.open(bundle_path)


@pytest.mark.parametrize("place", ["tiny.onnx", "manifest.json", "extra"])
def test_pipe_does_not_hang(bundle_path: Path, place: str) -> None:
    (bundle_path / place).unlink(missing_ok=True)
    os.mkfifo(bundle_path / place)
    with pytest.raises(BundleUnsafeError, match="named pipe"):
        Bundle.open(bundle_path)


def test_socket(bundle_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bundle_path)  # the name of a socket may be 100 bytes long
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("door")
        with pytest.raises(BundleUnsafeError, match="socket"):
            Bundle.open(bundle_path)


def test_device(bundle_path: Path) -> None:
    (bundle_path / "tiny.onnx").unlink()
    try:
        os.mknod(bundle_path / "tiny.onnx", 0o20600, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("making a device file needs more rights than this process has")
    with pytest.raises(BundleUnsafeError, match="device"):
        Bundle.open(bundle_path)


def test_folder_where_a_file_should_be(bundle_path: Path) -> None:
    (bundle_path / "tiny.onnx").unlink()
    (bundle_path / "tiny.onnx").mkdir()
    with pytest.raises(BundleDamagedError, match="has 0 bytes"):
        Bundle.open(bundle_path)
    (bundle_path / "manifest.json").unlink()
    (bundle_path / "manifest.json").mkdir()
    with pytest.raises(BundleError, match="no manifest"):
        Bundle.open(bundle_path)


def test_names_that_are_no_text(bundle_path: Path) -> None:
    try:
        Path(os.fsdecode(os.fsencode(bundle_path) + b"/\xff\xfe")).touch()
    except OSError:
        pytest.skip("this file system takes only Unicode names")
    with pytest.raises(BundleUnsafeError, match="printed"):
        Bundle.open(bundle_path)


def test_name_that_forges_a_line_of_a_digest(bundle_path: Path) -> None:
    (bundle_path / "tiny.mlpackage" / "a\nb").touch()
    with pytest.raises(BundleUnsafeError, match="printed"):
        Bundle.open(bundle_path)
