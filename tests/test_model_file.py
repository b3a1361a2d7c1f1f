"""``.edgemodel`` folders: round trips, and files that are not what they say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from edgesdk import models
from edgesdk.errors import (
    EdgeSdkError,
    OutputExistsError,
    SourceError,
    SourceNotFoundError,
    StorageError,
    UnknownNameError,
    UsageError,
    WeightsError,
)
from edgesdk.model_file import load_model, save_model

SMALL: dict[str, Any] = {"num_classes": 3}
NAME = "resnet20"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    model = models.create(NAME, **SMALL)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01)
    path = tmp_path_factory.mktemp("saved") / "small.edgemodel"
    assert save_model(model, NAME, path) == path
    return model, path


@pytest.fixture
def copy(saved: tuple[nn.Module, Path], tmp_path: Path) -> Path:
    path = tmp_path / "copy.edgemodel"
    path.mkdir()
    for file in saved[1].iterdir():
        os.link(file, path / file.name)
    return path


def describe(path: Path, **changes: Any) -> None:
    """Rewrite the description; None leaves an entry out."""
    description = {**json.loads((path / "model.json").read_text()), **changes}
    (path / "model.json").unlink()
    kept = {key: value for key, value in description.items() if value is not None}
    (path / "model.json").write_text(json.dumps(kept))


def test_round_trip_in_a_fresh_process_without_pickle(saved: tuple[nn.Module, Path]) -> None:
    model, path = saved
    code = (
        "import pickle, sys\n"
        "def refuse(*args, **kwargs): raise RuntimeError('unpickled')\n"
        "import torch\n"
        "pickle.load = pickle.loads = torch.load = refuse\n"
        "from pathlib import Path\n"
        "from edgesdk.model_file import load_model\n"
        "model = load_model(Path(sys.argv[1]))\n"
        "torch.manual_seed(0)\n"
        "print(model.training, model(torch.rand(1, 3, 32, 32)).flatten().tolist())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).resolve().parents[1],
    )
    assert done.returncode == 0, done.stderr
    torch.manual_seed(0)
    with torch.no_grad():
        wanted = model(torch.rand(1, 3, 32, 32)).flatten().tolist()
    training, _, numbers = done.stdout.strip().partition(" ")
    assert training == "False"
    assert json.loads(numbers) == pytest.approx(wanted, rel=1e-5)


def test_every_tensor_comes_back(saved: tuple[nn.Module, Path]) -> None:
    model, path = saved
    again = load_model(path)
    assert again.config == model.config
    assert sorted(file.name for file in path.iterdir()) == ["model.json", "weights.safetensors"]
    for key, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[key], value)


def test_the_same_model_gives_the_same_bytes(saved: tuple[nn.Module, Path], tmp_path: Path) -> None:
    model, path = saved
    again = save_model(model, NAME, tmp_path / "again.edgemodel")
    for file in path.iterdir():
        assert (again / file.name).read_bytes() == file.read_bytes()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no json",
        "[]",
        "null",
        "[" * 100_000,
        '{"edgemodel": 1}',
        '{"edgemodel": Infinity, "architecture": "resnet20", "config": {}}',
        '{"edgemodel": "1", "architecture": "resnet20", "config": {}}',
        '{"edgemodel": true, "architecture": "resnet20", "config": {}}',
        '{"edgemodel": 0, "architecture": "resnet20", "config": {}}',
        '{"edgemodel": -1, "architecture": "resnet20", "config": {}}',
        '{"edgemodel": 1.5, "architecture": "resnet20", "config": {}}',
        '{"edgemodel": 1, "architecture": 5, "config": {}}',
        '{"edgemodel": 1, "architecture": "resnet20", "config": [1]}',
        '{"edgemodel": 1, "architecture": "resnet20", "config": "depth"}',
        '{"edgemodel": ' + "9" * 5000 + "}",
    ],
)
def test_descriptions_that_are_none(text: str, copy: Path) -> None:
    (copy / "model.json").unlink()
    (copy / "model.json").write_text(text)
    with pytest.raises(SourceError, match="no description of a model"):
        load_model(copy)


def test_bytes_that_are_no_text(copy: Path) -> None:
    (copy / "model.json").unlink()
    (copy / "model.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(SourceError, match="no description of a model"):
        load_model(copy)


def test_a_description_beyond_reason(copy: Path) -> None:
    describe(copy, padding=" " * 2**19)
    with pytest.raises(SourceError, match="too large"):
        load_model(copy)


def test_a_newer_version_says_so(copy: Path) -> None:
    describe(copy, edgemodel=2)
    with pytest.raises(SourceError, match="of version 2, this SDK reads up to 1") as caught:
        load_model(copy)
    assert "upgrade" in (caught.value.remedy or "")


@pytest.mark.parametrize(
    "name", ["resnet2", "", "../resnet20", "os:system", "edgesdk.models.resnet:ResNet", "\0"]
)
def test_an_architecture_that_is_not_of_the_zoo(name: str, copy: Path) -> None:
    describe(copy, architecture=name)
    with pytest.raises(UnknownNameError, match="unknown model"):
        load_model(copy)


@pytest.mark.parametrize(
    "config",
    [
        {"colour": 1},
        {"name": "resnet20"},
        {"num_classes": "many"},
        {"num_classes": -1},
        {"num_classes": None},
        {"num_classes": [3]},
        {"": 1},
    ],
)
def test_configurations_nothing_can_be_built_from(config: dict[str, Any], copy: Path) -> None:
    describe(copy, config=config)
    with pytest.raises(SourceError, match="nothing can be built from the configuration"):
        load_model(copy)


@pytest.mark.parametrize("config", [{}, {"num_classes": 10**9}, {"num_classes": 10**12}])
def test_sizes_the_weights_do_not_have_are_never_allocated(
    config: dict[str, Any], copy: Path
) -> None:
    describe(copy, config=config)
    with pytest.raises(WeightsError, match="other shape"):
        load_model(copy)


def test_weights_that_are_missing_or_damaged(copy: Path) -> None:
    weights = copy / "weights.safetensors"
    whole = weights.read_bytes()
    weights.unlink()
    with pytest.raises(SourceNotFoundError):
        load_model(copy)
    weights.write_bytes(whole[:-1])
    with pytest.raises(WeightsError, match="damaged"):
        load_model(copy)
    weights.unlink()
    weights.mkdir()
    with pytest.raises(SourceNotFoundError):
        load_model(copy)


def test_a_description_that_is_no_file(copy: Path) -> None:
    (copy / "model.json").unlink()
    with pytest.raises(SourceNotFoundError, match=r"holds no model\.json"):
        load_model(copy)
    os.mkfifo(copy / "model.json")
    with pytest.raises(SourceNotFoundError):
        load_model(copy)
    (copy / "model.json").unlink()
    (copy / "model.json").symlink_to("/dev/zero")
    with pytest.raises(SourceNotFoundError):
        load_model(copy)
    with pytest.raises(SourceNotFoundError):
        load_model(copy / "none.edgemodel")


def test_what_is_there_is_not_replaced_unasked(
    saved: tuple[nn.Module, Path], copy: Path, tmp_path: Path
) -> None:
    model, _ = saved
    with pytest.raises(OutputExistsError, match="exists"):
        save_model(model, NAME, copy)
    describe(copy, config={"num_classes": 7})
    save_model(model, NAME, copy, overwrite=True)
    assert load_model(copy).config == model.config
    assert sorted(file.name for file in tmp_path.iterdir()) == ["copy.edgemodel"]


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_only_a_saved_model_is_replaced(
    kind: str, saved: tuple[nn.Module, Path], tmp_path: Path
) -> None:
    place = tmp_path / "photos"
    if kind == "folder":
        place.mkdir()
        (place / "holiday.jpg").write_text("precious")
    else:
        place.write_text("precious")
    with pytest.raises(OutputExistsError, match="no saved model"):
        save_model(saved[0], NAME, place, overwrite=True)
    kept = place / "holiday.jpg" if kind == "folder" else place
    assert kept.read_text() == "precious"


def test_what_cannot_be_saved(saved: tuple[nn.Module, Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no config"):
        save_model(nn.Linear(2, 2), NAME, tmp_path / "a.edgemodel")
    with pytest.raises(UnknownNameError):
        save_model(saved[0], "resnet2", tmp_path / "a.edgemodel")
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write") as caught:
        save_model(saved[0], NAME, tmp_path / "file" / "a.edgemodel")
    assert isinstance(caught.value, EdgeSdkError)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file"]


def test_weights_that_layers_share_are_saved(tmp_path: Path) -> None:
    model = models.create(NAME, **SMALL)
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    same = [m for m in convolutions if m.weight.shape == convolutions[1].weight.shape]
    same[1].weight = same[0].weight
    again = load_model(save_model(model, NAME, tmp_path / "tied.edgemodel"))
    for key, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[key], value)
