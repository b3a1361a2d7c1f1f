"""Bundles that were written by every earlier schema still open, verify and are told the same."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edgesdk import verify
from edgesdk.bundle import Bundle
from edgesdk.bundle.manifest import SCHEMA_VERSION

FOLDER = Path(__file__).parent / "old_schemas"
VERSIONS = tuple(range(1, SCHEMA_VERSION))


@pytest.fixture
def old(tmp_path: Path, version: int) -> Path:
    return Path(shutil.copytree(FOLDER / f"schema{version}", tmp_path / f"schema{version}.edge"))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_bundle_of_an_older_schema_opens(old: Path, version: int) -> None:
    manifest = Bundle.open(old).manifest
    assert f'"schema_version": {version},' in (old / "manifest.json").read_text("utf-8")
    assert manifest.schema_version == SCHEMA_VERSION
    assert manifest.name == f"schema{version}"
    assert [spec.name for spec in manifest.inputs] == ["image"]
    assert manifest.artefacts[0].parity is not None and manifest.artefacts[0].parity.passed
    assert manifest.artefacts[0].profiles[-1].latency.p50 > 0
    assert (manifest.cost is not None) == (version >= 2)
    assert [record.quantization for record in manifest.artefacts] == [
        None,
        *(["w8a8_static"] if version >= 3 else []),
    ]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_bundle_of_an_older_schema_is_verified_anew(old: Path, version: int) -> None:
    pytest.importorskip("onnxruntime")
    artefacts = verify(old).manifest.artefacts
    assert all(record.parity is not None and record.parity.passed for record in artefacts)
    # It was written again, in the form of today.
    assert f'"schema_version": {SCHEMA_VERSION},' in (old / "manifest.json").read_text("utf-8")
