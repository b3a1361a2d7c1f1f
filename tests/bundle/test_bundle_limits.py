"""Bundles with too much of something, and bundles that change while they are read."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgesdk.bundle import bundle as bundle_module
from edgesdk.bundle.bundle import Bundle
from edgesdk.bundle.manifest import parse_manifest
from edgesdk.errors import (
    BundleError,
    BundleSchemaError,
    BundleUnsafeError,
    StorageError,
)
from edgesdk.host.untrusted_folder import MAX_DEPTH, MAX_ENTRIES, Inventory


def rewrite(bundle: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest as plain JSON, past every check of the schema."""
    file = bundle / "manifest.json"
    data = json.loads(file.read_text("utf-8"))
    change(data)
    file.write_text(json.dumps(data), "utf-8")


# ---------------------------------------------------------------- too much


def test_too_many_entries(bundle_path: Path) -> None:
    crowd = bundle_path / "crowd"
    crowd.mkdir()
    for index in range(MAX_ENTRIES):
        os.link(bundle_path / "program.pt2", crowd / str(index))
    with pytest.raises(BundleUnsafeError, match="more than 10000 files"):
        Bundle.open(bundle_path)


def test_counting_stops_at_the_limit(bundle_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for index in range(100):
        (bundle_path / f"f{index}").touch()
    monkeypatch.setattr("edgesdk.host.untrusted_folder.MAX_ENTRIES", 20)
    seen: list[Inventory] = []
    monkeypatch.setattr(
        "edgesdk.host.untrusted_folder.Inventory", lambda: seen.append(Inventory()) or seen[-1]
    )
    with pytest.raises(BundleUnsafeError, match="more than 20 files"):
        Bundle.open(bundle_path)
    assert len(seen[0].files) + len(seen[0].folders) == 20


def test_too_deep_folders(bundle_path: Path) -> None:
    deep = bundle_path.joinpath(*["d"] * (MAX_DEPTH + 1))
    deep.mkdir(parents=True)
    with pytest.raises(BundleUnsafeError, match="deep"):
        Bundle.open(bundle_path)
    deep.rmdir()
    assert Bundle.open(bundle_path).manifest.name == "tiny"


def test_very_deep_folders_do_not_exhaust_the_stack(bundle_path: Path) -> None:
    bundle_path.joinpath(*["d"] * 400).mkdir(parents=True)
    with pytest.raises(BundleUnsafeError, match="deep"):
        Bundle.open(bundle_path)


def test_manifest_too_large(bundle_path: Path) -> None:
    with (bundle_path / "manifest.json").open("ab") as file:
        file.write(b" " * (16 * 2**20))
    with pytest.raises(BundleUnsafeError, match="16 MiB"):
        Bundle.open(bundle_path)


def test_a_million_artefacts() -> None:
    with pytest.raises(BundleUnsafeError, match="values"):
        parse_manifest(b'{"schema_version":1,"artefacts":[' + b"{}," * 1_000_000 + b"{}]}")


@pytest.mark.parametrize(
    "field", ["artefacts", "failures", "inputs", "outputs", "notes", "anything"]
)
def test_long_lists(bundle_path: Path, field: str) -> None:
    rewrite(bundle_path, lambda data: data.update({field: [{}] * 200_000}))
    with pytest.raises(BundleUnsafeError, match="200000 items"):
        Bundle.open(bundle_path)


def test_more_artefacts_than_the_schema_allows(bundle_path: Path) -> None:
    rewrite(bundle_path, lambda data: data.update(artefacts=data["artefacts"] * 501))
    with pytest.raises(BundleSchemaError, match=r"artefacts .*1000"):
        Bundle.open(bundle_path)


def test_many_wrong_items_cost_no_more_than_one(bundle_path: Path) -> None:
    def change(data: dict[str, Any]) -> None:
        artefact = data["artefacts"][0]
        artefact["profiles"] = [{}] * 10_000
        data["artefacts"] = [artefact] * 20

    rewrite(bundle_path, change)
    with pytest.raises(BundleSchemaError, match=r"artefacts\[0\]\.profiles\[0\]\.device"):
        Bundle.open(bundle_path)


# ---------------------------------------------------------------- what happens meanwhile


@pytest.mark.parametrize("victim", ["manifest.json", "tiny.onnx", "tiny.mlpackage"])
@pytest.mark.parametrize("becomes", ["nothing", "link", "pipe", "longer"])
def test_the_bundle_changes_while_it_is_read(
    bundle_path: Path, monkeypatch: pytest.MonkeyPatch, victim: str, becomes: str
) -> None:
    take = bundle_module.take_inventory

    def then_change(root: Path) -> Inventory:
        found = take(root)
        place = bundle_path / victim
        if becomes == "longer":
            place = place / "Data" / "model.mlmodel" if place.is_dir() else place
            with place.open("ab") as file:
                file.write(b"X")
            return found
        place.rename(bundle_path.parent / "gone")
        if becomes == "link":
            place.symlink_to(bundle_path.parent / "gone")
        elif becomes == "pipe":
            os.mkfifo(place)
        return found

    monkeypatch.setattr(bundle_module, "take_inventory", then_change)
    with pytest.raises(BundleError) as caught:
        Bundle.open(bundle_path)
    if becomes in ("link", "pipe"):
        assert isinstance(caught.value, BundleUnsafeError)


def test_no_permission(bundle_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read files of any mode; the test below covers the words")
    (bundle_path / "tiny.onnx").chmod(0)
    with pytest.raises(StorageError, match="cannot read"):
        Bundle.open(bundle_path)


def test_a_disk_that_fails_while_reading(
    bundle_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(*_: object) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "read", fault)
    with pytest.raises(StorageError, match="Permission denied"):
        Bundle.open(bundle_path)
