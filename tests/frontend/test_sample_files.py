"""Arrays and photographs from files, whole and damaged."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from edgesdk.errors import InputSpecError, UnsafeFileError, UsageError
from edgesdk.frontend.sample_files import read_example, read_sample
from edgesdk.spec import TensorSpec

SPECS = (TensorSpec("a", (2, 3)), TensorSpec("b", (4,), "int32"))


def test_every_kind_of_file(tmp_path: Path) -> None:
    a, b = torch.rand(2, 3), torch.arange(4)
    np.savez(tmp_path / "e.npz", a=a.numpy(), b=b.numpy())
    np.save(tmp_path / "e.npy", np.asfortranarray(a.numpy()))
    save_file({"a": a, "b": b}, tmp_path / "e.safetensors")
    torch.save({"a": a, "b": b}, tmp_path / "e.pt")
    for suffix in ("npz", "safetensors", "pt"):
        found = read_example(tmp_path / f"e.{suffix}")
        assert sorted(found) == ["a", "b"]
        assert torch.equal(found["a"], a)
        assert torch.equal(found["b"], b)
    assert torch.equal(read_example(tmp_path / "e.npy"), a)


class Trap:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


def test_pickles_are_refused_and_do_not_run(tmp_path: Path) -> None:
    folder = tmp_path / "ran"
    torch.save({"a": Trap(folder)}, tmp_path / "e.pt")
    with pytest.raises(UnsafeFileError):
        read_example(tmp_path / "e.pt")
    objects = np.array([Trap(folder), 1], dtype=object)
    np.save(tmp_path / "e.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "e.npz", a=objects)
    for name in ("e.npy", "e.npz"):
        with pytest.raises(InputSpecError, match="cannot read arrays from"):
            read_example(tmp_path / name)
    assert not folder.exists()


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".safetensors", ".pt"])
@pytest.mark.parametrize("content", [b"", b"text", b"\x93NUMPY\x01\x00", b"PK\x03\x04"])
def test_files_that_hold_something_else(suffix: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"e{suffix}"
    path.write_bytes(content)
    with pytest.raises(InputSpecError, match=f"cannot read arrays from e{suffix}"):
        read_example(path)


def test_changed_bytes_are_read_or_refused_in_our_words(tmp_path: Path) -> None:
    chance = random.Random(1)
    np.savez(tmp_path / "e.npz", a=np.ones((2, 3)))
    np.save(tmp_path / "e.npy", np.ones((2, 3)))
    for path in (tmp_path / "e.npz", tmp_path / "e.npy"):
        whole = path.read_bytes()
        for _ in range(80):
            changed = bytearray(whole)
            for _ in range(3):
                changed[chance.randrange(len(changed))] = chance.randrange(256)
            path.write_bytes(changed)
            try:
                read_example(path)
            except InputSpecError:
                continue


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.npz", "no such file"),
        ("folder.npz", "is a folder, not a file"),
        ("e.csv", "not an example file"),
        ("e", "not an example file"),
    ],
)
def test_files_of_other_kinds(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "folder.npz").mkdir()
    for other in ("e.csv", "e"):
        (tmp_path / other).write_text("1,2")
    with pytest.raises(UsageError, match=message):
        read_example(tmp_path / name)


@pytest.mark.parametrize("dtype", [">f4", "U3", "datetime64[s]"])
def test_arrays_of_other_dtypes(dtype: str, tmp_path: Path) -> None:
    np.save(tmp_path / "e.npy", np.zeros(2, dtype))
    with pytest.raises(InputSpecError):
        read_example(tmp_path / "e.npy")


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"a": torch.ones(2, 3)}, "has no array 'b'"),
        ({"a": torch.ones(3, 2), "b": torch.arange(4)}, r"'a' in e\.pt is \(3, 2\), not \(2, 3\)"),
        ({"a": torch.ones(2, 3), "b": torch.ones(4)}, r"'b' in e\.pt is float32, not int32"),
        ({"a": torch.ones(2, 3), "b": torch.arange(5)}, r"is \(5,\), not \(4,\)"),
        ({"a": 3, "b": torch.arange(4)}, "has no array 'a'"),
        ((torch.ones(2, 3),), "holds 1 arrays for 2 inputs"),
        ((torch.ones(2, 3), torch.arange(4), torch.ones(1)), "holds 3 arrays for 2 inputs"),
        (torch.ones(2, 3), "holds 1 arrays for 2 inputs"),
        (5, "has no array 'a'"),
        (None, "has no array 'a'"),
        ({"a": {"x": torch.ones(1)}}, "has no array 'a'"),
    ],
)
def test_samples_that_do_not_fit(arrays: Any, told: str, tmp_path: Path) -> None:
    torch.save(arrays, tmp_path / "e.pt")
    with pytest.raises(InputSpecError, match=told) as caught:
        read_sample(tmp_path / "e.pt", SPECS, {}, None)
    assert caught.value.remedy == "write a:2x3:float32, b:4:int32"


def test_samples_become_the_dtype_of_their_input(tmp_path: Path) -> None:
    given = {
        "b": torch.arange(4, dtype=torch.int64),
        "a": torch.ones(2, 3, dtype=torch.float64, requires_grad=True),
        "more": torch.ones(1),
    }
    torch.save(given, tmp_path / "e.pt")
    found = read_sample(tmp_path / "e.pt", SPECS, {}, None)
    assert list(found) == ["a", "b"]
    assert (found["a"].dtype, found["b"].dtype) == (np.float32, np.int32)
    assert found["b"].tolist() == [0, 1, 2, 3]
