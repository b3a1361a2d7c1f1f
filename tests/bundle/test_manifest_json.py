"""Manifests that are no manifests: strange JSON, newer schemas, wrong fields, mutations."""

from __future__ import annotations

import copy
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgesdk.bundle.bundle import Bundle
from edgesdk.bundle.manifest import is_manifest, manifest_bytes, parse_manifest
from edgesdk.errors import BundleSchemaError, BundleUnsafeError, EdgeSdkError
from edgesdk.version import __version__


@pytest.fixture
def data(bundle_path: Path) -> dict[str, Any]:
    return json.loads((bundle_path / "manifest.json").read_text("utf-8"))


def parse(data: object) -> None:
    parse_manifest(json.dumps(data).encode())


# ---------------------------------------------------------------- JSON


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not UTF-8 at byte 0"),
        ("ü".encode("latin-1"), "not UTF-8"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b'{"schema_version": 1', "not JSON.* line 1"),
        (b"{}", "schema_version"),
        (b"[]", "a list where an object"),
        (b"null", "null where an object"),
        (b"1", "a number where an object"),
        (b'"x"', "a text where an object"),
        (b"true", "a truth value where an object"),
        (b'{"schema_version": 1, "x": NaN}', "NaN"),
        (b'{"schema_version": 1, "x": -Infinity}', "-Infinity"),
        (b'{"schema_version": 1, "x": 1e999}', "double precision"),
        (b'{"schema_version": 1, "schema_version": 1}', "'schema_version' twice"),
        (b'{"schema_version": 1, "x": {"a\\u0062": 1, "ab": 2}}', "'ab' twice"),
        (b'{"schema_version": 1, "x": 9223372036854775808}', "64 bits"),
        (b'{"schema_version": 1, "x": ' + b"9" * 1_000_000 + b"}", "64 bits"),
        (b'{"schema_version": -9, "x": 1}', "schema_version"),
        (b'{"schema_version": true}', "schema_version"),
        (b'{"schema_version": 1.0}', "schema_version"),
        (b'{"schema_version": "1"}', "schema_version"),
    ],
)
def test_strange_json(content: bytes, words: str) -> None:
    with pytest.raises(BundleSchemaError, match=words) as caught:
        parse_manifest(content)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"schema_version": 1, "x": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    ],
)
def test_nesting_bomb(content: bytes) -> None:
    with pytest.raises(BundleUnsafeError, match="deep"):
        parse_manifest(content)


def test_nesting_within_the_schema(data: dict[str, Any]) -> None:
    # Coverage holds coverage, so nesting this deep has the right type at every level.
    coverage: dict[str, Any] = {"delegate": "d"}
    for _ in range(400):
        coverage = {"delegate": "d", "also": [coverage]}
    data["artefacts"][0]["coverage"] = coverage
    with pytest.raises((BundleSchemaError, BundleUnsafeError)):
        parse(data)


def test_long_texts_lists_and_objects(data: dict[str, Any]) -> None:
    with pytest.raises(BundleUnsafeError, match="characters"):
        parse({**data, "name": "n" * 1_000_000})
    with pytest.raises(BundleUnsafeError, match="9000 numbers in 'shape'"):
        parse({**data, "inputs": [{**data["inputs"][0], "shape": [2**62] * 9_000}] * 2})
    with pytest.raises(BundleUnsafeError, match="keys"):
        parse({**data, "versions": {str(index): "1" for index in range(20_000)}})


# ---------------------------------------------------------------- versions


def test_newer_schema_says_what_to_install(data: dict[str, Any]) -> None:
    newer = {**data, "schema_version": 8, "versions": {"edgesdk": "0.9.1"}, "new": 1}
    with pytest.raises(BundleSchemaError, match=r"needs edgesdk >= 0\.9\.1") as caught:
        parse(newer)
    assert caught.value.remedy == 'upgrade: pip install --upgrade "edgesdk>=0.9.1"'
    assert __version__ in str(caught.value)


def test_an_older_schema_is_read_and_written_as_the_newest(data: dict[str, Any]) -> None:
    newer = ("classes", "cost", "sensitivity", "styles", "paintings", "constant_outputs")
    of_artefacts = ("quantized", "simulated", "painted", "rewrites", "loss")
    whole = data["artefacts"]
    artefacts = [
        {key: value for key, value in artefact.items() if key not in of_artefacts}
        for artefact in whole
    ]
    older = {key: value for key, value in data.items() if key not in newer}
    older |= {"schema_version": 1, "artefacts": artefacts}
    for field in newer:
        with pytest.raises(BundleSchemaError, match=f"{field} is not a field of schema 1"):
            parse({**older, field: data[field]})
    for field in of_artefacts:
        changed = [{**artefacts[0], field: whole[0][field]}, *artefacts[1:]]
        with pytest.raises(BundleSchemaError, match=f"{field} is not a field of schema 2"):
            parse({**older, "schema_version": 2, "artefacts": changed})
    manifest = parse_manifest(json.dumps(older).encode())
    assert (manifest.schema_version, manifest.cost, manifest.classes) == (7, None, [])
    assert manifest.styles == [] and manifest.paintings is None
    assert json.loads(manifest_bytes(manifest))["schema_version"] == 7


@pytest.mark.parametrize(
    "versions", [{"edgesdk": '1"; rm -rf ~ #'}, {"edgesdk": 7}, {}, None, [], {"edgesdk": "1\n"}]
)
def test_newer_schema_puts_no_foreign_text_into_a_command(versions: object) -> None:
    with pytest.raises(BundleSchemaError, match="newer than") as caught:
        parse({"schema_version": 99, "versions": versions})
    assert caught.value.remedy == 'upgrade: pip install --upgrade "edgesdk"'


# ---------------------------------------------------------------- fields


def change(*path: str | int, value: object) -> Callable[[dict[str, Any]], None]:
    def apply(data: Any) -> None:
        for step in path[:-1]:
            data = data[step]
        data[path[-1]] = value

    return apply


@pytest.mark.parametrize(
    ("apply", "words"),
    [
        (lambda data: data.pop("source"), "source is missing"),
        (lambda data: data.pop("reference"), "reference is missing"),
        (lambda data: data.update(extra=1), "extra is not a field of schema 7"),
        (lambda data: data["inputs"][0].update(extra=1), r"inputs\[0\].extra is not a field"),
        (change("artefacts", 1, "file", "sha256", value="x"), r"artefacts\[1\]\.file\.sha256 "),
        (change("artefacts", 1, "file", "sha256", value="0" * 64 + "\n"), r"file\.sha256 "),
        (change("artefacts", 1, "file", "sha256", value="A" * 64), r"file\.sha256 "),
        (change("artefacts", 0, "file", "size", value="4000"), r"file\.size .*integer"),
        (change("artefacts", 0, "file", "size", value=True), r"file\.size .*integer"),
        (change("artefacts", 0, "file", "size", value=-1), r"file\.size "),
        (change("artefacts", 0, "parity", "passed", value="yes"), r"parity\.passed .*boolean"),
        (change("artefacts", 0, "precision", value="fp8"), r"precision .*fp32"),
        (change("name", value=""), "name "),
        (change("styles", value=["night", 7]), r"styles\[1\] .*string"),
        (change("styles", value=["n" * 65]), r"styles\[0\] .*64 characters"),
        (change("styles", value=[""]), r"styles\[0\] .*1 character"),
        (change("styles", value=["n"] * 4097), r"styles .*4096 items"),
        (change("styles", value=["night", "night"]), "two styles have the name 'night'"),
        (change("styles", value=["ni\x1b[2Jght"]), "is not a style name"),
        (change("styles", value=["a:1,b"]), "'a:1,b' is not a style name"),
        (change("inputs", value=None), "inputs should be a valid array"),
        (change("inputs", 0, "shape", value=[1, "3"]), r"inputs\[0\]\.shape\[1\] .*integer"),
        # What the specs check themselves, with errors of their own:
        (change("inputs", 0, "dtype", value="float31"), "unknown dtype 'float31'"),
        (change("inputs", 0, "dtype", value="complex64"), "unknown dtype"),
        (change("inputs", 0, "shape", value=[1, -3, 2, 2]), "negative size"),
        (change("inputs", 0, "shape", value=[2**40] * 4), "more than .* elements"),
        (change("inputs", 0, "dynamic", "0", "min", value=0), "'batch' has no room"),
        (
            change("inputs", 0, "dynamic", "7", value={"name": "n", "min": 1, "max": 2}),
            "no axis 7",
        ),
        (change("inputs", 0, "dynamic", "00", value={"name": "n"}), "'00', which is not a plain"),
        (change("inputs", 0, "dynamic", "-1", value={"name": "n"}), "'-1', which is not a plain"),
        (change("inputs", 0, "dynamic", "x", value={"name": "n"}), r"inputs\[0\]\.dynamic"),
        (change("artefacts", 1, "inputs", 0, "image", "std", value=[0, 0, 0]), "must not be zero"),
        (change("artefacts", 1, "inputs", 0, "image", "mean", value=[0]), "1 values for 3"),
        (change("artefacts", 1, "inputs", 0, "image", "color", value="hsv"), "colour order 'hsv'"),
        (change("artefacts", 1, "inputs", 0, "image", "high", value=-1), "is empty"),
    ],
)
def test_wrong_field_is_named(
    data: dict[str, Any], apply: Callable[[dict[str, Any]], object], words: str
) -> None:
    parse(data)
    apply(data)
    with pytest.raises(BundleSchemaError, match=words) as caught:
        parse(data)
    assert "pydantic" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_an_error_carries_no_terminal_codes(data: dict[str, Any]) -> None:
    for key in ("\x1b[2J", "\u202e", "a\nfix: run this"):
        with pytest.raises(BundleSchemaError) as caught:
            parse({**data, key: 1})
        assert key not in str(caught.value)


def test_is_manifest(data: dict[str, Any]) -> None:
    assert is_manifest(json.dumps(data).encode())
    assert is_manifest(b'{"schema_version": 9, "artefacts": 0}')
    for other in (b"", b"[]", b"{", b'{"name": "web app", "icons": []}', b"[" * 100_000):
        assert not is_manifest(other)


# ---------------------------------------------------------------- mutation

_STRANGE: list[Any] = [
    None, True, 0, -1, 1, 2**63 - 1, 2**64, 1e308, -0.5, "", "0", "x", "\ud800", "..", "/", "\0",
    "a" * 600, "NaN", [], {}, [[]], [None] * 50, {"": 0}, {"0": {}}, {"path": "x"}, [1, 2, 3],
]  # fmt: skip


def _places(node: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    pairs = (
        node.items()
        if isinstance(node, dict)
        else enumerate(node)
        if isinstance(node, list)
        else ()
    )
    for key, child in pairs:
        found.append((node, key))
        found.extend(_places(child))
    return found


def _mutated_json(pristine: dict[str, Any], chance: random.Random) -> bytes:
    data = copy.deepcopy(pristine)
    for _ in range(chance.randint(1, 3)):
        parent, key = chance.choice(_places(data))
        kind = chance.randrange(5)
        if kind == 0:
            parent[key] = copy.deepcopy(chance.choice(_STRANGE))
        elif kind == 1:
            del parent[key]
        elif kind == 2 and isinstance(parent, dict):
            parent[str(chance.choice(_STRANGE))[:40]] = parent.pop(key)
        elif kind == 3 and isinstance(parent, list):
            parent.extend([copy.deepcopy(parent[key])] * chance.choice([1, 2, 30]))
        else:
            other, elsewhere = chance.choice(_places(data))
            parent[key] = copy.deepcopy(other[elsewhere])
        if not _places(data):
            break
    return json.dumps(data).encode()


def _mutated_bytes(content: bytes, chance: random.Random) -> bytes:
    kind = chance.randrange(4)
    at = chance.randrange(len(content))
    if kind == 0:
        return content[:at]
    changed = bytearray(content)
    if kind == 1:
        for _ in range(chance.randint(1, 4)):
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    elif kind == 2:
        del changed[at : at + chance.randint(1, 200)]
    else:
        changed[at:at] = chance.choice([b"{", b"]", b'"', b"\0", b"\\", b"1e5", b"NaN", b"\xff"])
    return bytes(changed)


@pytest.mark.parametrize("seed", range(10))
def test_mutated_manifests_open_or_fail_in_words(bundle_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    file = bundle_path / "manifest.json"
    pristine = file.read_bytes()
    data = json.loads(pristine)
    refused = 0
    for _ in range(60):
        mutate_structure = chance.random() < 0.6
        content = (
            _mutated_json(data, chance) if mutate_structure else _mutated_bytes(pristine, chance)
        )
        file.write_bytes(content)
        try:
            opened = Bundle.open(bundle_path)
        except EdgeSdkError as error:
            refused += 1
            assert error.exit_code in (3, 6)
            assert len(str(error)) < 2500
        else:
            # What is accepted can be written again.
            assert opened.update(opened.manifest).manifest == opened.manifest
    assert refused > 20


@pytest.mark.parametrize("seed", range(5))
def test_mutated_folders_open_or_fail_in_words(
    bundle_path: Path, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    for number in range(12):
        copied = Path(shutil.copytree(bundle_path, tmp_path / f"copy{number}"))
        files = sorted(path for path in copied.rglob("*") if path.is_file())
        victim = chance.choice([path for path in files if path.name != "manifest.json"])
        kind = chance.randrange(5)
        if kind == 0:
            victim.write_bytes(_mutated_bytes(victim.read_bytes(), chance))
        elif kind == 1:
            victim.unlink()
        elif kind == 2:
            victim.rename(victim.with_name("renamed"))
        elif kind == 3:
            victim.unlink()
            victim.mkdir()
        else:
            victim.unlink()
            victim.symlink_to(chance.choice(files))
        with pytest.raises(EdgeSdkError):
            Bundle.open(copied)
