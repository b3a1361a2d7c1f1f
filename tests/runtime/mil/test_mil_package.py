"""Packages that are damaged, dishonest or something else altogether."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgesdk.errors import EdgeSdkError, InputNotFoundError, SessionError
from edgesdk.runtime.mil import MilEvaluator, load

ct = pytest.importorskip("coremltools")

MODEL = "Data/com.apple.CoreML/model.mlmodel"
WEIGHTS = "Data/com.apple.CoreML/weights/weight.bin"


@pytest.fixture(scope="module")
def whole(save: Callable[[Any], Path], convert: Callable[..., Any]) -> Path:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(576, 4))
    return save(convert(net, [torch.zeros(1, 3, 8, 8)]))


@pytest.fixture
def package(whole: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "copy.mlpackage"
    shutil.copytree(whole, copy)
    return copy


def rewrite(package: Path, change: Callable[[dict[str, Any]], None]) -> None:
    manifest = package / "Manifest.json"
    content = json.loads(manifest.read_text())
    change(content)
    manifest.write_text(json.dumps(content))


def set_model_path(path: object) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        content["itemInfoEntries"][content["rootModelIdentifier"]]["path"] = path

    return change


def refuse(package: Path, words: str) -> SessionError:
    with pytest.raises(SessionError, match=words) as raised:
        load(package)
    assert raised.value.remedy
    assert raised.value.where == str(package)
    return raised.value


def test_a_whole_package_opens_and_says_what_it_takes(whole: Path) -> None:
    program = load(str(whole))
    assert [(item.shape, item.dtype) for item in program.inputs] == [((1, 3, 8, 8), "float32")]
    assert [item.shape for item in program.outputs] == [(1, 4)]
    assert program.metadata["com.github.apple.coremltools.version"] == ct.__version__
    assert program.specification_version >= 6


def test_what_is_no_package_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputNotFoundError, match="no such folder"):
        load(tmp_path / "absent.mlpackage")
    file = tmp_path / "single.mlmodel"
    file.write_bytes(b"model")
    refuse(file, "is a folder, and this is a file")
    empty = tmp_path / "empty.mlpackage"
    empty.mkdir()
    refuse(empty, "it has no Manifest.json")


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '"text"', "{}", '{"itemInfoEntries": 3}', "[" * 100_000, "\udc80"],
)
def test_a_manifest_that_is_none_is_refused(package: Path, text: str) -> None:
    (package / "Manifest.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    refuse(package, "Manifest.json")


def test_a_manifest_of_absurd_size_is_refused(package: Path) -> None:
    (package / "Manifest.json").write_text(" " * 2_000_000)
    refuse(package, "too large")


@pytest.mark.parametrize(
    "path",
    ["../../../../etc/passwd", "..", "a/../../b", "/etc/passwd", "..\\outside", "x\x00y"],
)
def test_paths_that_leave_the_package_are_refused(package: Path, path: str) -> None:
    rewrite(package, set_model_path(path))
    refuse(package, "outside the package|has no path")


@pytest.mark.parametrize("path", [None, 3, "", ["a"]])
def test_an_item_without_a_path_is_refused(package: Path, path: object) -> None:
    rewrite(package, set_model_path(path))
    refuse(package, "has no path")


def test_links_that_leave_the_package_are_refused(package: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.bin"
    shutil.move(package / WEIGHTS, outside)
    (package / WEIGHTS).symlink_to(outside)
    refuse(package, "outside the package")
    (package / WEIGHTS).unlink()
    shutil.move(outside, package / WEIGHTS)
    shutil.move(package / MODEL, outside)
    (package / MODEL).symlink_to(outside)
    refuse(package, "outside the package")


def test_missing_files_are_named(package: Path) -> None:
    (package / WEIGHTS).unlink()
    refuse(package, "weight file 'weight.bin' of the package is missing")
    (package / WEIGHTS).parent.rmdir()
    refuse(package, "the weights of the package are missing")
    (package / MODEL).unlink()
    refuse(package, "'model.mlmodel' of the package is missing")


def test_a_neural_network_is_no_ml_program(package: Path) -> None:
    from coremltools import proto

    model = proto.Model_pb2.Model()
    model.neuralNetwork.SetInParent()
    (package / MODEL).write_bytes(model.SerializeToString())
    assert "mlprogram" in str(refuse(package, "holds neuralNetwork, not an ML Program"))
    (package / MODEL).write_bytes(b"")
    refuse(package, "holds nothing")


def test_an_unknown_function_is_refused(whole: Path) -> None:
    with pytest.raises(SessionError, match="no function 'other'") as raised:
        load(whole, function="other")
    assert "main" in str(raised.value)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("file", [MODEL, WEIGHTS])
def test_truncated_files_are_refused(package: Path, file: str, share: float) -> None:
    content = (package / file).read_bytes()
    (package / file).write_bytes(content[: int(len(content) * share)])
    with pytest.raises(SessionError) as raised:
        load(package)
    assert raised.value.remedy


def test_flipped_bits_never_escape_as_anything_but_our_errors(whole: Path, package: Path) -> None:
    generator = random.Random(0)
    refused = 0
    for trial in range(60):
        file = generator.choice([MODEL, MODEL, WEIGHTS])
        content = bytearray((whole / file).read_bytes())
        for _ in range(generator.choice([1, 4, 16])):
            content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
        (package / file).write_bytes(content)
        try:
            evaluator = MilEvaluator(package, threads=1)
            feature = evaluator.inputs[0]
            evaluator.run({feature.name: np.zeros(feature.shape, feature.dtype)})
        except EdgeSdkError:
            refused += 1
        finally:
            (package / file).write_bytes((whole / file).read_bytes())
        assert trial >= refused - 1
    # Most damage to a program is visible; damage to the numbers of a weight is not.
    assert refused >= 20
