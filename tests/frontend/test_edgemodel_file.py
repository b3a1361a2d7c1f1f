"""``.edgemodel`` folders: round trips, and files that are not what they say."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from edgesdk import models
from edgesdk.errors import (
    CaptureError,
    EdgeSdkError,
    OutputExistsError,
    SourceDamagedError,
    SourceError,
    SourceNotFoundError,
    StorageError,
    UnknownNameError,
    UnsafeFileError,
    UsageError,
    WeightsDamagedError,
    WeightsError,
)
from edgesdk.exporter.prepared import prepare
from edgesdk.frontend.edgemodel.file import ModelSignature, load_model, read_model_file, save_model
from edgesdk.frontend.source import load
from edgesdk.spec import IMAGE_PRESETS, DynamicDim, ImageSpec, TensorSpec

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


@pytest.mark.parametrize(
    ("umask", "file", "folder"), [(0o022, 0o644, 0o755), (0o077, 0o600, 0o700)]
)
@pytest.mark.parametrize("architecture", [NAME, None])
def test_the_umask_alone_decides_who_may_read(
    architecture: str | None, umask: int, file: int, folder: int, tmp_path: Path
) -> None:
    if architecture is None:
        model, example = nn.Linear(3, 2), (torch.ones(1, 3),)
    else:
        model, example = models.create(NAME, **SMALL), None
    path = tmp_path / "net.edgemodel"
    before = os.umask(umask)
    try:
        save_model(model, architecture, path, example=example)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == folder
    assert {child.stat().st_mode & 0o777 for child in path.iterdir()} == {file}


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
        "from edgesdk.frontend.edgemodel.file import load_model\n"
        "model = load_model(Path(sys.argv[1]))\n"
        "torch.manual_seed(0)\n"
        "print(model.training, model(torch.rand(1, 3, 32, 32)).flatten().tolist())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).resolve().parents[2],
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
    with pytest.raises(SourceDamagedError, match="not a model description"):
        load_model(copy)


def test_bytes_that_are_no_text(copy: Path) -> None:
    (copy / "model.json").unlink()
    (copy / "model.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(SourceDamagedError, match="not a model description"):
        load_model(copy)


def test_a_description_beyond_reason(copy: Path) -> None:
    describe(copy, padding=" " * 2**22)
    with pytest.raises(SourceDamagedError, match="too large"):
        load_model(copy)


def test_a_newer_version_says_so(copy: Path) -> None:
    describe(copy, edgemodel=3, architecture={"new": "form"})
    with pytest.raises(SourceError, match="has version 3, and this SDK reads up to 2") as caught:
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
    with pytest.raises(SourceError, match=r"cannot build .* from its configuration"):
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
    with pytest.raises(WeightsDamagedError, match="damaged"):
        load_model(copy)
    weights.unlink()
    weights.mkdir()
    with pytest.raises(SourceNotFoundError):
        load_model(copy)


def test_a_description_that_is_no_file(copy: Path) -> None:
    (copy / "model.json").unlink()
    with pytest.raises(SourceNotFoundError, match=r"has no model\.json"):
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
    with pytest.raises(OutputExistsError, match="not a saved model"):
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


# ---------------------------------------------------------------- what was saved with the model


FACE = ModelSignature(
    (TensorSpec("image", (1, 3, 32, 32), dynamic={0: DynamicDim("batch", 1, 4)}, layout="NCHW"),),
    ImageSpec(mean=(0.5, 0.25, 0.125), std=(0.5, 0.5, 0.25)),
    ("cat", "Möwe", "dog"),
)
PRUNING = {"method": "ucp", "layers": {"stem.conv": {"removed": [1, 5], "of": 16}}, "note": None}


def test_face_and_pruning_come_back(tmp_path: Path) -> None:
    model = models.create(NAME, **SMALL)
    path = save_model(model, NAME, tmp_path / "a.edgemodel", signature=FACE, pruning=PRUNING)
    file = read_model_file(path)
    assert (file.signature, file.pruning) == (FACE, PRUNING)
    assert (file.architecture, file.config, file.example) == (NAME, model.config, None)
    loaded = load(str(path))
    assert (loaded.inputs, loaded.image, loaded.labels) == (FACE.inputs, FACE.image, FACE.classes)
    # As `edgesdk export a.edgemodel --image auto` does it.
    prepared = prepare(str(path), image="auto")
    assert prepared.image == (0, FACE.image)
    assert prepared.specs == FACE.inputs
    bare = read_model_file(save_model(model, NAME, tmp_path / "b.edgemodel"))
    assert (bare.signature, bare.pruning) == (None, None)


def test_a_file_of_version_1_loads(copy: Path, saved: tuple[nn.Module, Path]) -> None:
    # The form it had then: no digest, and what else lies in it means nothing.
    describe(copy, edgemodel=1, sha256=None, face=7, pruning=[])
    assert set(json.loads((copy / "model.json").read_text())) == {
        *("edgemodel", "architecture", "config", "face", "pruning"),
    }
    file = read_model_file(copy)
    assert (file.architecture, file.signature, file.pruning) == (NAME, None, None)
    for key, value in saved[0].state_dict().items():
        assert torch.equal(file.model.state_dict()[key], value)


PROJECT = """\
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5))
        self.head = nn.Linear(4, 2)
        self.calls = 0

    def forward(self, picture, scale):
        features = self.body(picture).relu().mean((2, 3)) * scale
        return {"logits": self.head(features), "features": features}
"""


def custom_model(folder: Path) -> nn.Module:
    namespace: dict[str, Any] = {"__name__": "foreign_net"}
    (folder / "foreign_net.py").write_text(PROJECT)
    exec(compile(PROJECT, str(folder / "foreign_net.py"), "exec"), namespace)
    torch.manual_seed(3)
    model: nn.Module = namespace["Net"]()
    return model


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    """A model in training mode, of a class that is not of the zoo, saved as a program."""
    folder = tmp_path_factory.mktemp("foreign")
    model = custom_model(folder)
    example = {"picture": torch.rand(1, 3, 8, 8), "scale": torch.rand(1, 4)}
    path = folder / "net.edgemodel"
    save_model(model, None, path, example=example, pruning=PRUNING)
    assert model.training and model.body.training
    return model.eval(), path


@pytest.fixture
def foreign_copy(foreign: tuple[nn.Module, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(foreign[1], tmp_path / "copy.edgemodel"))


def test_any_model_reloads_in_a_fresh_process_without_its_code(
    foreign: tuple[nn.Module, Path],
) -> None:
    model, path = foreign
    code = (
        "import json, pickle, sys\n"
        "def refuse(*args, **kwargs): raise RuntimeError('unpickled')\n"
        "import torch\n"
        "pickle.load = pickle.loads = refuse\n"
        "from pathlib import Path\n"
        "from edgesdk.frontend.edgemodel.file import load_model\n"
        "model = load_model(Path(sys.argv[1]))\n"
        "answers = []\n"
        "for batch in (1, 2, 5):\n"
        "    torch.manual_seed(batch)\n"
        "    picture, scale = torch.rand(batch, 3, 8, 8), torch.rand(batch, 4)\n"
        "    found = model(picture=picture, scale=scale)\n"
        "    answers.append({key: value.tolist() for key, value in found.items()})\n"
        "assert 'foreign_net' not in sys.modules\n"
        "print(json.dumps(answers))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).resolve().parents[2],
    )
    assert done.returncode == 0, done.stderr
    for batch, found in zip((1, 2, 5), json.loads(done.stdout), strict=True):
        torch.manual_seed(batch)
        with torch.no_grad():
            wanted = model(torch.rand(batch, 3, 8, 8), torch.rand(batch, 4))
        for key, value in wanted.items():
            torch.testing.assert_close(torch.tensor(found[key]), value)


def test_what_a_program_says_of_itself(foreign: tuple[nn.Module, Path]) -> None:
    _, path = foreign
    description = json.loads((path / "model.json").read_text())
    assert description["program"] == "program.pt2"
    assert "architecture" not in description and "config" not in description
    assert sorted(file.name for file in path.iterdir()) == ["model.json", "program.pt2"]
    file = read_model_file(path)
    assert (file.architecture, file.config, file.signature) == (None, None, None)
    assert file.pruning == PRUNING
    assert [tuple(value.shape) for value in file.example.values()] == [(1, 3, 8, 8), (1, 4)]
    # The example that it was saved with is enough to export it.
    prepared = prepare(str(path))
    assert [(spec.name, spec.shape) for spec in prepared.specs] == [
        ("picture", (1, 3, 8, 8)),
        ("scale", (1, 4)),
    ]


def test_a_face_stands_in_for_an_example(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 2)).eval()
    signature = ModelSignature(
        (TensorSpec("input", (1, 3, 8, 8)),), IMAGE_PRESETS["unit"], ("yes", "no")
    )
    path = save_model(model, None, tmp_path / "net.edgemodel", signature=signature)
    prepared = prepare(str(path), image="auto")
    assert prepared.image == (0, IMAGE_PRESETS["unit"])
    assert prepared.specs[0].name == "input"
    # A program that was captured with positional arguments is called so, whatever their names.
    answer = prepared.flat_model()(torch.zeros(1, 8, 8, 3, dtype=torch.uint8))
    torch.testing.assert_close(answer["output"], model(torch.zeros(1, 3, 8, 8)))
    x = torch.rand(3, 3, 8, 8)
    torch.testing.assert_close(load_model(path)(x), model(x))


class FixedBatch(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(1, 3) * 2


class FollowsValues(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2 if float(x.sum()) > 0 else x


def test_a_batch_that_the_model_fixes_stays_fixed(tmp_path: Path) -> None:
    path = save_model(FixedBatch(), None, tmp_path / "a.edgemodel", example=torch.ones(1, 3))
    assert load_model(path)(torch.ones(1, 3)).tolist() == [[2, 2, 2]]


def test_models_no_program_can_be_made_of(tmp_path: Path) -> None:
    path = tmp_path / "a.edgemodel"
    with pytest.raises(CaptureError, match="cannot be saved") as caught:
        save_model(FollowsValues(), None, path, example=torch.ones(1, 3))
    assert Path(__file__).name in (caught.value.where or "")
    with pytest.raises(UsageError, match="needs an example"):
        save_model(nn.Linear(2, 2), None, path)
    with pytest.raises(UsageError, match="holds no tensor"):
        save_model(nn.Linear(2, 2), None, path, example=(3,))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "pruning",
    [{"a": {1, 2}}, {"a": float("nan")}, {"a": (1, 2)}, {1: 2}, {"a": torch.ones(1)}],
)
def test_records_that_are_no_json(
    pruning: dict[Any, Any], saved: tuple[nn.Module, Path], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="JSON"):
        save_model(saved[0], NAME, tmp_path / "a.edgemodel", pruning=pruning)
    assert list(tmp_path.iterdir()) == []


def test_a_record_beyond_reason(saved: tuple[nn.Module, Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="larger than 4 MiB"):
        save_model(saved[0], NAME, tmp_path / "a.edgemodel", pruning={"a": "x" * 2**22})


@pytest.mark.parametrize("classes", [("a\nb",), ("x" * 201,), (5,), ("c",) * 10_001])
def test_class_names_that_are_none(classes: tuple[Any, ...]) -> None:
    with pytest.raises(UsageError, match="class"):
        ModelSignature(classes=classes)


@pytest.mark.parametrize(
    "face",
    [
        7,
        [],
        {"inputs": 5},
        {"inputs": [{"name": "x"}]},
        {"inputs": [{"name": "x", "shape": [-1]}]},
        {"inputs": [{"name": "x", "shape": ["1"]}]},
        {"inputs": [{"name": "x", "shape": [1], "dtype": "complex64"}]},
        {"inputs": [{"name": "x", "shape": [2**40]}]},
        {"inputs": [{"name": "x", "shape": [1]}, {"name": "x", "shape": [1]}]},
        {"image": {"color": "mauve"}},
        {"image": {"std": [0.0, 1.0, 1.0]}},
        {"classes": "cat"},
        {"classes": [1]},
        {"classes": ["\u001b[31m"]},
        {"classes": ["c"] * 10_001},
        {"colour": 1},
    ],
)
def test_faces_that_are_none(face: Any, copy: Path) -> None:
    describe(copy, face=face)
    with pytest.raises(SourceDamagedError, match="not a model description"):
        load_model(copy)


@pytest.mark.parametrize(
    "changes",
    [
        {"program": "../program.pt2"},
        {"program": "/etc/passwd"},
        {"program": "other.pt2"},
        {"program": ["program.pt2"]},
        {"program": None},
        {"architecture": NAME},
        {"config": {}},
        {"sha256": None},
        {"sha256": {}},
        {"sha256": {"program.pt2": 5}},
        {"sha256": {"weights.safetensors": "0" * 64}},
        {"sha256": {"program.pt2": "0" * 64, "../x": "0" * 64}},
        {"pruning": [1]},
    ],
)
def test_descriptions_of_programs_that_are_none(
    changes: dict[str, Any], foreign_copy: Path
) -> None:
    describe(foreign_copy, **changes)
    with pytest.raises(SourceDamagedError, match="not a model description"):
        read_model_file(foreign_copy)


def test_a_program_of_another_model(foreign_copy: Path) -> None:
    program = foreign_copy / "program.pt2"
    whole = program.read_bytes()
    program.write_bytes(whole[:-1])
    with pytest.raises(SourceDamagedError, match="damaged or of another model"):
        load_model(foreign_copy)
    program.unlink()
    with pytest.raises(SourceNotFoundError, match=r"program\.pt2"):
        load_model(foreign_copy)


def test_a_program_that_is_none_with_the_right_digest(foreign_copy: Path) -> None:
    import hashlib

    content = b"PK no archive"
    (foreign_copy / "program.pt2").write_bytes(content)
    describe(foreign_copy, sha256={"program.pt2": hashlib.sha256(content).hexdigest()})
    with pytest.raises(SourceDamagedError, match="not an exported program"):
        load_model(foreign_copy)


def test_weights_of_another_model(copy: Path, tmp_path: Path) -> None:
    other = models.create(NAME, **SMALL)
    path = save_model(other, NAME, tmp_path / "other.edgemodel")
    (copy / "weights.safetensors").unlink()
    shutil.copy(path / "weights.safetensors", copy)
    with pytest.raises(WeightsDamagedError, match="damaged or of another model"):
        load_model(copy)


@pytest.mark.parametrize("name", ["model.json", "program.pt2"])
def test_links_that_lead_out_of_the_folder(
    name: str, foreign_copy: Path, foreign: tuple[nn.Module, Path]
) -> None:
    (foreign_copy / name).unlink()
    (foreign_copy / name).symlink_to(foreign[1] / name)
    with pytest.raises(UnsafeFileError, match="outside"):
        load_model(foreign_copy)
    (foreign_copy / name).unlink()
    (foreign_copy / name).symlink_to(name)
    with pytest.raises(SourceNotFoundError):
        load_model(foreign_copy)
