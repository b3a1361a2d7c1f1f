"""Every form of SOURCE, and the many ways a user's own code goes wrong."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from edgesdk import models
from edgesdk.errors import (
    FactoryError,
    SourceError,
    SourceNotFoundError,
    UnknownNameError,
    UnsafeFileError,
    UsageError,
    WeightsError,
)
from edgesdk.exporter.prepared import prepare
from edgesdk.frontend.edgemodel.file import save_model
from edgesdk.frontend.source import load, require_float_module

NET = """\
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, width={width}):
        super().__init__()
        self.layer = nn.Linear(3, width)

    def forward(self, x):
        return self.layer(x)


def build():
    return Net()
"""


@pytest.fixture(autouse=True)
def unchanged_imports(tmp_path: Path) -> Iterator[None]:
    """Modules and folders of one test are not there in the next."""
    path = list(sys.path)
    yield
    sys.path[:] = path
    for name, module in list(sys.modules.items()):
        known = vars(module)
        places = [known.get("__file__"), *known.get("__path__", ())]
        if any(Path(place).is_relative_to(tmp_path) for place in places if isinstance(place, str)):
            del sys.modules[name]


def write(root: Path, **files: str) -> Path:
    """Python files of a project by name; ``a__b`` stands for ``a/b.py``."""
    for name, text in files.items():
        path = root / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def width_of(source: str | Path) -> int:
    return int(load(str(source)).model(torch.ones(1, 3)).shape[1])


def test_a_zoo_name_brings_its_inputs() -> None:
    loaded = load("mobilenet_v3_small")
    assert (loaded.name, loaded.spec) == ("mobilenet_v3_small", "mobilenet_v3_small")
    assert loaded.inputs[0].shape == (1, 3, 224, 224)
    assert loaded.image is not None
    assert loaded.example is None
    assert loaded.notes == ("weights: random (seeded); give --weights FILE",)
    assert not loaded.model.training


def test_an_unknown_zoo_name_suggests_one() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'resnet18'"):
        load("resnet81")


def test_a_file_with_a_factory(tmp_path: Path) -> None:
    write(tmp_path, net=NET.format(width=5))
    loaded = load(f"{tmp_path}/net.py:build")
    assert loaded.name == "net"
    assert type(loaded.model).__name__ == "Net"
    assert not loaded.model.training
    assert loaded.notes == (
        "the model was in training mode; switched to evaluation (dropout off, batch norm fixed)",
    )
    # The same file is the same module, so isinstance holds between two loads.
    assert type(load(f"{tmp_path}/net.py:build").model) is type(loaded.model)


def test_a_class_an_instance_and_a_model_with_its_example(tmp_path: Path) -> None:
    more = (
        "\nmodel = Net(7).eval()\n"
        "class Holder:\n    @staticmethod\n    def make():\n        return Net(9)\n"
        "def pair():\n    return Net(4), torch.ones(2, 3)\n"
        "def listed():\n    return Net(4), [torch.ones(2, 3)]\n"
        "def named():\n    return Net(4), {'x': torch.ones(2, 3)}\n"
    )
    write(tmp_path, net=NET.format(width=5) + more)
    file = tmp_path / "net.py"
    assert width_of(f"{file}:Net") == 5
    assert width_of(f"{file}:model") == 7
    assert load(f"{file}:model").notes == ()
    assert width_of(f"{file}:Holder.make") == 9
    assert load(f"{file}:pair").example.shape == (2, 3)
    assert isinstance(load(f"{file}:listed").example, tuple)
    assert list(load(f"{file}:named").example) == ["x"]
    assert prepare(f"{file}:pair").specs[0].shape == (2, 3)


def test_a_module_from_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, wd_net=NET.format(width=5), wd_pkg__net=NET.format(width=6))
    monkeypatch.chdir(tmp_path)
    assert width_of("wd_net:build") == 5
    assert width_of("wd_pkg.net:Net") == 6
    assert load("wd_pkg.net:Net").name == "net"
    assert type(load("torch.nn:ReLU").model) is nn.ReLU


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("no_such_module:build", "no module 'no_such_module'"),
        ("torch.no_such:build", "no module 'torch.no_such'"),
        (":build", "is not a module name"),
        ("a-b:build", "is not a module name"),
        ("torch.nn:Relu", "has no 'Relu'"),
        ("torch.nn:ReLU.x.y", "has no 'ReLU.x.y'"),
        ("none.py:build", r"no such file: none\.py"),
        ("none.pt2", r"no such file: none\.pt2"),
        ("none.edgemodel", r"no such file: none\.edgemodel"),
        ("none.py", r"no such file: none\.py"),
    ],
)
def test_sources_that_are_not_there(source: str, told: str) -> None:
    with pytest.raises(SourceNotFoundError, match=told):
        load(source)


def test_a_missing_attribute_or_file_suggests_the_nearest(tmp_path: Path) -> None:
    write(tmp_path, net=NET.format(width=5) + "\nCONSTANT = 3\n")
    for source, remedy in (
        ("net.py:biuld", "did you mean 'build'?"),
        ("net.py:net", "did you mean 'Net'?"),
        ("net.py:", "name the function that builds it"),
        ("net.py:CONSTANT.rael", "did you mean 'real'?"),
        ("nett.py:build", f"did you mean {tmp_path / 'net.py'}?"),
    ):
        with pytest.raises(SourceNotFoundError) as caught:
            load(f"{tmp_path}/{source}")
        assert caught.value.remedy == remedy


def test_a_file_without_factory_suggests_one(tmp_path: Path) -> None:
    write(tmp_path, net=NET.format(width=5), empty="x = 1\n", broken="def build(:\n")
    with pytest.raises(SourceNotFoundError, match="does not name a factory") as caught:
        load(f"{tmp_path}/net.py")
    assert (caught.value.remedy or "").endswith(
        f"one of {tmp_path}/net.py:build, {tmp_path}/net.py:Net"
    )
    with pytest.raises(SourceNotFoundError, match="does not name a factory") as caught:
        load(f"{tmp_path}/net")
    assert f"{tmp_path}/net.py:build" in (caught.value.remedy or "")
    with pytest.raises(SourceNotFoundError):
        load(f"{tmp_path}/empty.py")
    with pytest.raises(FactoryError):
        load(f"{tmp_path}/broken.py")


@pytest.mark.parametrize("name", ["w.pth", "w.pt", "w.safetensors", "w.bin", "w.ckpt", "w.pkl"])
def test_weights_are_no_model(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceNotFoundError, match=f"no such file: {name}"):
        load(name)
    torch.save({"weight": torch.ones(2)}, name)
    with pytest.raises(UnsafeFileError) as caught:
        load(name)
    assert f"--weights {name}" in (caught.value.remedy or "")


def test_candidates_of_a_file_are_those_that_need_no_arguments(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        "class Block(nn.Module):\n    def __init__(self, width): ...\n"
        "class Net(nn.Module):\n    def __init__(self, width=3): ...\n"
        "class Config: ...\n"
        "def _hidden(): ...\n"
        "def train(data, *, rate): ...\n"
        "def small(width=4): ...\n"
        "def large(*, width=4): ...\n"
    )
    with pytest.raises(SourceNotFoundError) as caught:
        load(f"{tmp_path}/net.py")
    listed = (caught.value.remedy or "").partition("one of ")[2].split(", ")
    assert [name.rpartition(":")[2] for name in listed] == ["small", "large", "Net"]


def test_models_of_other_kinds_are_named(tmp_path: Path) -> None:
    linear = nn.Linear(3, 2)
    torch.jit.script(linear).save(tmp_path / "script.pt")
    torch.export.save(torch.export.export(linear, (torch.ones(1, 3),)), tmp_path / "program.pt2")
    (tmp_path / "program.pt2").rename(tmp_path / "program.pt")
    (tmp_path / "lite.pt").write_bytes(b"\x1c\0\0\0TFL3\0\0")
    for name in ("net.onnx", "net.tflite", "net.mlmodel"):
        (tmp_path / name).touch()
    (tmp_path / "net.edge").mkdir()
    for name, kind, remedy in (
        ("script.pt", "a TorchScript archive", "torch.jit.load('script.pt').state_dict()"),
        ("program.pt", "an exported program", "mv program.pt program.pt2"),
        ("lite.pt", "a LiteRT model", "give the PyTorch code"),
        ("net.onnx", "an ONNX model", "give the PyTorch code"),
        ("net.tflite", "a LiteRT model", "give the PyTorch code"),
        ("net.mlmodel", "a Core ML model", "give the PyTorch code"),
        ("net.edge", "a bundle of converted artefacts", "edgesdk verify net.edge"),
    ):
        with pytest.raises(SourceError) as caught:
            load(str(tmp_path / name))
        assert caught.value.message == f"{name} is {kind}, not a PyTorch model"
        assert remedy in (caught.value.remedy or "")
        assert caught.value.exit_code == 5


def test_folders_are_no_files_and_files_no_folders(tmp_path: Path) -> None:
    (tmp_path / "net.py").mkdir()
    (tmp_path / "net.pt2").mkdir()
    (tmp_path / "net.edgemodel").write_text("")
    for source in ("net.py:build", "net.py", "net.pt2", "net.edgemodel"):
        with pytest.raises(SourceNotFoundError, match=r"is a (folder|file)\n"):
            load(f"{tmp_path}/{source}")


RAISING = """\
from torch import nn
import sys


def inner():
    raise ValueError("not today")


def build():
    return inner()


def leave():
    sys.exit(3)


def nothing():
    pass


def needs(width, depth=3, *rest, mode):
    pass


def example():
    return nn.ReLU(), "text"


def imports():
    import no_such_package.part


class Base(nn.Module):
    def __init__(self, width):
        super().__init__()


number = 3
"""


@pytest.mark.parametrize(
    ("factory", "told", "line"),
    [
        ("build", "ValueError: not today", 6),
        ("leave", "SystemExit: 3", 14),
        ("imports", "ModuleNotFoundError: No module named 'no_such_package'", 30),
        ("nothing", "returned a NoneType, not an nn.Module", None),
        ("needs", r"needs arguments \(width, mode\)", None),
        ("Base", r"needs arguments \(width\)", None),
        ("example", "returned a str as example", None),
        ("number", "is a int, not something that builds a model", None),
        ("sys", "is a module, not something", None),
    ],
)
def test_factories_that_fail(factory: str, told: str, line: int | None, tmp_path: Path) -> None:
    write(tmp_path, net=RAISING)
    with pytest.raises(FactoryError, match=told) as caught:
        load(f"{tmp_path}/net.py:{factory}")
    assert caught.value.remedy
    if line is None:
        assert caught.value.where is None
    else:
        code = RAISING.splitlines()[line - 1].strip()
        assert caught.value.where == f"{tmp_path}/net.py:{line}: {code}"


def test_programs_from_files(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout()).eval()
    example = torch.ones(2, 3)
    torch.export.save(torch.export.export(model, (example,)), tmp_path / "net.pt2")
    loaded = load(f"{tmp_path}/net.pt2")
    assert (loaded.name, loaded.notes) == ("net", ())
    assert torch.equal(loaded.model(example), model(example))
    assert prepare(f"{tmp_path}/net.pt2").specs[0].shape == (2, 3)
    with pytest.raises(UsageError, match="has its own weights"):
        load(f"{tmp_path}/net.pt2", tmp_path / "w.safetensors")


def test_saved_models_and_weights(tmp_path: Path) -> None:
    model = models.create("resnet20", num_classes=3)
    path = save_model(model, "resnet20", tmp_path / "small.edgemodel")
    for source in (str(path), f"{path}/"):
        loaded = load(source)
        assert loaded.name == "small"
        assert not loaded.model.training
    state = {key: value + 1 for key, value in model.state_dict().items()}
    save_file(state, tmp_path / "w.safetensors")
    loaded = load(str(path), tmp_path / "w.safetensors")
    for key, value in loaded.model.state_dict().items():
        assert torch.equal(value, state[key])
    with pytest.raises(WeightsError):
        load("resnet20", tmp_path / "w.safetensors")


def test_a_model_from_python_keeps_its_modes() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Dropout(), nn.BatchNorm1d(3))
    model[2].eval()
    before = [module.training for module in model.modules()]
    prepared = prepare(model, torch.ones(2, 3))
    assert [module.training for module in model.modules()] == before
    assert not any(module.training for module in prepared.loaded.model.modules())
    assert "a copy was switched to evaluation" in prepared.loaded.notes[0]
    assert prepare(model.eval(), torch.ones(2, 3)).loaded.model is model


NOT_FLOAT_CODE = """
import torch
from torch import nn

def base():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 2)).eval()

def scripted():
    return torch.jit.script(base())

def traced():
    return nn.Sequential(base(), torch.jit.trace(base(), torch.randn(1, 3, 8, 8)))

def dynamic():
    return torch.ao.quantization.quantize_dynamic(base(), {nn.Linear})

def observed():
    model = base().train()
    model.qconfig = torch.ao.quantization.get_default_qat_qconfig()
    return torch.ao.quantization.prepare_qat(model)

def torchao():
    from torchao.quantization import Int8WeightOnlyConfig, quantize_
    model = base()
    quantize_(model, Int8WeightOnlyConfig())
    return model

def empty():
    with torch.device("meta"):
        return base()
"""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("factory", "message", "remedy"),
    [
        ("scripted", "the model is TorchScript, which cannot be captured", "build the nn.Module"),
        ("traced", "the layer '1' is TorchScript", "build the nn.Module"),
        ("dynamic", "the layer '2' is quantized by torch already (Linear)", "the float model"),
        ("observed", "the layer '0' is quantized by torch already (Conv2d)", "the float model"),
        ("torchao", "the layer '2' is quantized by torch already (Linear)", "--quantize does this"),
        ("empty", "the layer '0' has weights on the device 'meta'", "load its weights"),
    ],
)
def test_models_that_are_no_float_code(
    factory: str, message: str, remedy: str, tmp_path: Path
) -> None:
    path = tmp_path / "net.py"
    path.write_text(NOT_FLOAT_CODE, encoding="utf-8")
    with pytest.raises(FactoryError) as caught:
        load(f"{path}:{factory}")
    assert message in caught.value.message
    assert remedy in (caught.value.remedy or "")
    assert caught.value.exit_code == 5


def test_a_python_model_is_held_to_the_same() -> None:
    with pytest.raises(FactoryError, match="TorchScript"):
        prepare(torch.jit.script(nn.ReLU()), torch.ones(1))
    require_float_module(nn.Sequential(nn.Linear(2, 2), torch.ao.quantization.QuantStub()))


def test_a_saved_model_gives_weights(tmp_path: Path) -> None:
    trained = models.create("resnet20", num_classes=3)
    with torch.no_grad():
        trained.classifier.bias.fill_(7)
    save_model(trained, "resnet20", tmp_path / "mine.edgemodel")
    write(
        tmp_path,
        net="from edgesdk import models\n\n"
        "def build():\n    return models.create('resnet20', num_classes=3)\n",
    )
    loaded = load(f"{tmp_path}/net.py:build", tmp_path / "mine.edgemodel")
    assert torch.equal(loaded.model.classifier.bias, torch.full((3,), 7.0))
    assert not any("random" in note for note in loaded.notes)
    assert load("multi_style").notes == ()
    with pytest.raises(WeightsError, match=r"mine\.edgemodel do not match the model"):
        load("resnet18", tmp_path / "mine.edgemodel")


def test_the_remedy_of_a_factory_with_arguments_can_be_written_down(tmp_path: Path) -> None:
    write(tmp_path, net="def build(width, depth): ...\n\ndef net(width): ...\n")
    for factory, line in (
        ("build", "def make(): return build(width=..., depth=...)"),
        ("net", "def build(): return net(width=...)"),
    ):
        with pytest.raises(FactoryError) as caught:
            load(f"{tmp_path}/net.py:{factory}")
        assert (caught.value.remedy or "").endswith(line)
