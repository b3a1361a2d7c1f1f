"""The store of slow results: damage is never served, and what cannot be stored costs nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesdk.host.cache import Cache, cache_folder, key_of, package_versions
from edgesdk.host.own_code import code_digest

ROOT = Path(__file__).resolve().parents[2]
KEY = key_of({"entry": 1})


@pytest.fixture
def store(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "store")


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """A file and a folder, as an artefact is one or the other."""
    (tmp_path / "made" / "model.mlpackage" / "Data").mkdir(parents=True)
    (tmp_path / "made" / "model.onnx").write_bytes(b"onnx" * 100)
    (tmp_path / "made" / "model.mlpackage" / "Manifest.json").write_text("{}")
    (tmp_path / "made" / "model.mlpackage" / "Data" / "weight.bin").write_bytes(b"weights")
    return [tmp_path / "made" / "model.onnx", tmp_path / "made" / "model.mlpackage"]


@pytest.fixture
def into(tmp_path: Path) -> Path:
    (tmp_path / "into").mkdir()
    return tmp_path / "into"


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def place_of(tmp_path: Path, key: str = KEY) -> Path:
    (found,) = (tmp_path / "store").glob(f"*/*/{key}")
    return found


def test_what_was_put_comes_back(store: Cache, files: list[Path], into: Path) -> None:
    facts = {"seconds": 1.5, "notes": ["a", "ß"], "none": None, "pair": (1, 2)}
    assert store.get(KEY) is None
    assert store.put(KEY, facts, files)
    wanted = {**facts, "pair": [1, 2]}
    assert store.get(KEY) == wanted
    assert store.get(KEY, into) == wanted
    assert contents(into) == contents(files[0].parent)
    assert store.get(key_of({"entry": 2}), into) is None


def test_what_is_in_the_way_is_replaced(store: Cache, files: list[Path], into: Path) -> None:
    store.put(KEY, {}, files)
    (into / "model.onnx").mkdir()
    (into / "model.onnx" / "old").write_text("old")
    (into / "model.mlpackage").mkdir()
    (into / "model.mlpackage" / "old").write_text("old")
    (into / "other").write_text("kept")
    assert store.get(KEY, into) == {}
    assert contents(into) == {**contents(files[0].parent), "other": b"kept"}


def test_the_latest_put_counts(store: Cache, files: list[Path], into: Path) -> None:
    store.put(KEY, {"run": 1}, files)
    store.put(KEY, {"run": 2}, files[:1])
    assert store.get(KEY, into) == {"run": 2}
    assert sorted(contents(into)) == ["model.onnx"]


@pytest.mark.parametrize("name", ["model.onnx", "model.mlpackage/Data/weight.bin"])
@pytest.mark.parametrize("damage", ["flip", "cut", "grow", "remove", "empty"])
def test_a_damaged_file_is_a_miss_and_leaves_nothing(
    name: str, damage: str, store: Cache, files: list[Path], into: Path, tmp_path: Path
) -> None:
    store.put(KEY, {"run": 1}, files)
    path = place_of(tmp_path) / name
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[3] ^= 1
    path.write_bytes(
        {"cut": content[:-1], "grow": content + b"x", "empty": b""}.get(damage, content)
    )
    if damage == "remove":
        path.unlink()
    assert store.get(KEY, into) is None
    assert contents(into) == {}
    assert store.put(KEY, {"run": 2}, files)
    assert store.get(KEY, into) == {"run": 2}


def test_an_added_file_in_a_folder_is_a_miss(
    store: Cache, files: list[Path], into: Path, tmp_path: Path
) -> None:
    store.put(KEY, {}, files)
    (place_of(tmp_path) / "model.mlpackage" / "more").write_text("more")
    assert store.get(KEY, into) is None
    assert list(into.iterdir()) == []


def test_every_changed_byte_of_the_entry_is_a_miss_or_harmless(
    store: Cache, tmp_path: Path
) -> None:
    facts = {"seconds": 123, "passed": True}
    store.put(KEY, facts)
    path = place_of(tmp_path) / "entry.json"
    whole = path.read_bytes()
    for position in range(len(whole)):
        for bit in (1, 4):
            changed = bytearray(whole)
            changed[position] ^= bit
            path.write_bytes(changed)
            assert store.get(KEY) in (None, facts)


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "[" * 100_000, "{}", '{"key": 5}', '"text"', "\0", "1e999"]
)
def test_entries_that_are_none(text: str, store: Cache, tmp_path: Path) -> None:
    store.put(KEY, {"run": 1})
    (place_of(tmp_path) / "entry.json").write_text(text)
    assert store.get(KEY) is None


@pytest.mark.parametrize("name", ["..", "../victim", "/etc/hostname", "", ".", "a/b"])
def test_an_entry_cannot_reach_outside(name: str, store: Cache, into: Path, tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("kept")
    store.put(KEY, {})
    path = place_of(tmp_path) / "entry.json"
    entry = json.loads(path.read_text())
    entry["files"] = {name: "0" * 64}
    path.write_text(json.dumps(entry))
    assert store.get(KEY, into) is None
    assert (tmp_path / "victim").read_text() == "kept"
    assert list(into.iterdir()) == []


def test_an_entry_under_another_key_is_a_miss(store: Cache, tmp_path: Path) -> None:
    store.put(KEY, {"run": 1})
    other = key_of({"entry": 2})
    place = place_of(tmp_path)
    target = place.parents[1] / other[:2] / other
    target.parent.mkdir(exist_ok=True)
    place.rename(target)
    assert store.get(other) is None


WRITER = """\
import sys
from pathlib import Path
from edgesdk.host.cache import Cache
store, key, name, made = Cache(Path(sys.argv[1])), sys.argv[2], sys.argv[3], Path(sys.argv[4])
made.mkdir()
(made / "model.onnx").write_text(name * 50_000)
stored = [store.put(key, {"by": name}, [made / "model.onnx"]) for _ in range(40)]
print(sum(stored))
"""


def test_two_processes_store_the_same_entry(store: Cache, into: Path, tmp_path: Path) -> None:
    writers = [
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                WRITER,
                str(tmp_path / "store"),
                KEY,
                name,
                str(tmp_path / f"made-{name}"),
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("a", "b")
    ]
    served = 0
    while any(writer.poll() is None for writer in writers):
        facts = store.get(KEY, into)
        if facts is not None:
            served += 1
            assert (into / "model.onnx").read_text() == facts["by"] * 50_000
    for writer in writers:
        assert writer.wait() == 0
        assert writer.stdout is not None
        assert int(writer.stdout.read()) > 0
        writer.stdout.close()
    facts = store.get(KEY, into)
    assert facts is not None
    assert (into / "model.onnx").read_text() == facts["by"] * 50_000
    # Nothing half written is left.
    assert list((tmp_path / "store").rglob(".new-*")) == []


def test_a_folder_that_cannot_be_written(tmp_path: Path, files: list[Path]) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/none")):
        store = Cache(folder)
        assert store.put(KEY, {"run": 1}, files) is False
        assert store.get(KEY) is None


FULL = """\
import resource, signal, sys
from pathlib import Path
from edgesdk.host.cache import Cache
store, key = Cache(Path(sys.argv[1])), sys.argv[2]
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
print(store.put(key, {"run": 2}, [Path(sys.argv[3])]), store.get(key))
"""


def test_a_full_disk_costs_the_entry_alone(store: Cache, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"x" * 5000)
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "store"), KEY, str(tmp_path / "large")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "False None"
    assert contents(tmp_path / "store") == {}
    # What could not be replaced is still there.
    store.put(KEY, {"run": 1})
    subprocess.run(done.args, cwd=ROOT, check=True, capture_output=True)
    assert store.get(KEY) == {"run": 1}


def test_files_that_are_gone_or_links(store: Cache, tmp_path: Path) -> None:
    assert store.put(KEY, {}, [tmp_path / "none"]) is False
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "link").symlink_to("/dev/zero")
    (tmp_path / "package" / "link").unlink()
    os.mkfifo(tmp_path / "package" / "pipe")
    assert store.put(KEY, {}, [tmp_path / "package"]) is False
    assert store.get(KEY) is None
    assert list((tmp_path / "store").rglob(".new-*")) == []


def test_the_oldest_entries_go_first(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(b"x" * 1000)
    keys = [key_of({"entry": index}) for index in range(5)]
    store = Cache(tmp_path / "store", limit_bytes=4500)
    for index, key in enumerate(keys[:3]):
        assert store.put(key, {"index": index}, [tmp_path / "blob"])
        os.utime(place_of(tmp_path, key) / "entry.json", (1000 + index, 1000 + index))
    # Being used makes the first one young again.
    assert store.get(keys[0]) == {"index": 0}
    assert store.put(keys[3], {"index": 3}, [tmp_path / "blob"])
    assert [store.get(key) is not None for key in keys] == [True, False, True, True, False]


def test_an_entry_larger_than_the_limit_is_not_kept(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(b"x" * 1000)
    store = Cache(tmp_path / "store", limit_bytes=500)
    assert store.put(KEY, {}, [tmp_path / "blob"]) is False
    assert store.get(KEY) is None


def test_entries_of_exactly_the_limit_are_kept(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(b"x" * 1000)
    first = Cache(tmp_path / "store")
    assert first.put(KEY, {}, [tmp_path / "blob"])
    size = sum(path.stat().st_size for path in place_of(tmp_path, KEY).iterdir())
    exact = Cache(tmp_path / "store", limit_bytes=size)
    assert exact.put(KEY, {}, [tmp_path / "blob"])
    assert exact.get(KEY) == {}
    assert Cache(tmp_path / "store", limit_bytes=size - 1).put(KEY, {}, []) is True
    assert Cache(tmp_path / "store", limit_bytes=1).put(KEY, {}, [tmp_path / "blob"]) is False


def test_what_a_killed_writer_left_is_swept(store: Cache, tmp_path: Path) -> None:
    store.put(KEY, {})
    old = place_of(tmp_path).parent / ".new-old"
    young = old.with_name(".new-young")
    for folder in (old, young):
        folder.mkdir()
        (folder / "half").write_text("half")
    os.utime(old, (1000, 1000))
    store.put(key_of({"entry": 2}), {})
    assert not old.exists()
    assert young.exists()


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(st.dictionaries(st.text(max_size=5), plain, min_size=1, max_size=4), st.data())
@settings(max_examples=60)
def test_keys_follow_every_fact_and_no_order(facts: dict[str, Any], data: st.DataObject) -> None:
    key = key_of(facts)
    assert key_of(dict(reversed(facts.items()))) == key
    name = data.draw(st.sampled_from(sorted(facts)))
    assert key_of({**facts, name: [facts[name]]}) != key
    assert key_of({key: value for key, value in facts.items() if key != name}) != key
    assert key_of({**facts, name + "+": facts[name]}) != key or name + "+" in facts


def test_keys_are_plain_json_alone() -> None:
    assert key_of({"a": 1}) != key_of({"a": "1"})
    assert key_of({"a": 1}) != key_of({"a": True})
    assert key_of({"a": "é"}) != key_of({"a": "e\u0301"})
    for bad in ({"a": float("nan")}, {"a": float("inf")}):
        with pytest.raises(ValueError, match="Out of range"):
            key_of(bad)
    with pytest.raises(TypeError):
        key_of({"a": Path("x")})


def test_versions_of_what_is_installed() -> None:
    found = package_versions(["torch", "no-such-distribution", "numpy"])
    assert list(found) == ["torch", "numpy"]
    assert found["torch"].startswith("2.")


def test_the_code_decides_too() -> None:
    assert len(code_digest()) == 64
    assert code_digest() == code_digest()


def test_the_folder_can_be_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGESDK_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    assert Cache().put(KEY, {})
    assert Cache(tmp_path / "mine").get(KEY) == {}
    monkeypatch.delenv("EDGESDK_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder().name == "edgesdk"
