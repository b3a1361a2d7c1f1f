"""A user's own files are imported as if they were run where they lie."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from edgesdk.errors import FactoryError
from edgesdk.frontend.source import load

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


@pytest.mark.parametrize("package", ["plain", "full"])
def test_relative_imports_with_and_without_init(package: str, tmp_path: Path) -> None:
    root = write(
        tmp_path / package,
        sizes="WIDTH = 6\n",
        nets__layers="from ..sizes import WIDTH\n" + NET.format(width="WIDTH"),
        # Nothing but the sibling's own import tells how far up this one looks.
        nets__net="from .layers import Net, build\n",
        nets__up="from ..sizes import WIDTH\nfrom .layers import Net\n",
    )
    if package == "full":
        (root / "__init__.py").write_text("LOADED = True\n")
        (root / "nets" / "__init__.py").write_text("from . import layers\n")
    assert width_of(f"{root}/nets/net.py:build") == 6
    assert width_of(f"{root}/nets/up.py:Net") == 6


def test_siblings_are_imported_as_when_the_file_is_run(tmp_path: Path) -> None:
    write(tmp_path, layers=NET.format(width=8), net="import layers\nbuild = layers.build\n")
    assert width_of(f"{tmp_path}/net.py:build") == 8


@pytest.mark.parametrize(
    "name", ["random", "json", "model", "torch", "onnx", "numpy", "test", "yaml"]
)
def test_files_with_the_name_of_somebody_elses_module(name: str, tmp_path: Path) -> None:
    import json
    import random

    write(tmp_path, **{name: NET.format(width=4)})
    assert width_of(f"{tmp_path}/{name}.py:build") == 4
    for module in (random, json, torch):
        assert sys.modules[module.__name__] is module
    assert str(tmp_path) not in sys.path[:1]
    assert Path(sys.modules["torch"].__file__ or "").parent != tmp_path


@pytest.mark.parametrize("folder", ["test", "onnx", "my-project", "v1.0", "json", "größe"])
def test_folders_with_awkward_names(folder: str, tmp_path: Path) -> None:
    place = tmp_path / folder
    write(place, layers=NET.format(width=4), net="from .layers import build\n")
    assert width_of(f"{place}/net.py:build") == 4


def test_two_projects_with_the_same_names_get_their_own_modules(tmp_path: Path) -> None:
    for width in (2, 7):
        root = tmp_path / f"project{width}"
        write(
            root,
            layers=NET.format(width=width),
            model="from layers import build\n",
            pkg__layers=NET.format(width=width + 1),
            pkg__net="from .layers import build\n",
            pkg__far="from pkg.layers import build\n",
        )
    for _ in range(2):
        for width in (2, 7):
            root = tmp_path / f"project{width}"
            assert width_of(f"{root}/model.py:build") == width
            assert width_of(f"{root}/pkg/net.py:build") == width + 1
    (tmp_path / "project2" / "pkg" / "__init__.py").write_text("")
    (tmp_path / "project7" / "pkg" / "__init__.py").write_text("")
    for width in (2, 7):
        assert width_of(f"{tmp_path}/project{width}/pkg/far.py:build") == width + 1


def test_a_sibling_can_be_imported_when_the_model_runs(tmp_path: Path) -> None:
    late = (
        "from torch import nn\n\n\nclass Late(nn.Module):\n    def forward(self, x):\n"
        "        import late_sibling\n        return x * late_sibling.FACTOR\n"
    )
    write(tmp_path, late=late, late_sibling="FACTOR = 3\n")
    assert load(f"{tmp_path}/late.py:Late").model(torch.ones(1)).item() == 3.0


def test_files_that_raise_while_they_are_imported(tmp_path: Path) -> None:
    write(
        tmp_path,
        top="x = 1\nraise RuntimeError('at import')\n",
        absent="import no_such_package\n",
        syntax="def build():\n    return (\n",
        via="import bad_sibling\n",
        bad_sibling="x = 1\n\nfor\n",
        nul="x = '\0'\n",
        stop="raise SystemExit\n",
    )
    for name, told, where in (
        ("top", "RuntimeError: at import", "top.py:2: raise RuntimeError('at import')"),
        ("absent", "No module named 'no_such_package'", "absent.py:1: import no_such_package"),
        ("syntax", "cannot parse", "syntax.py:2"),
        ("via", "SyntaxError", "bad_sibling.py:3"),
        ("stop", "SystemExit", "stop.py:1: raise SystemExit"),
    ):
        with pytest.raises(FactoryError, match=told) as caught:
            load(f"{tmp_path}/{name}.py:build")
        assert caught.value.where == f"{tmp_path}/{where}"
        assert name not in sys.modules
    with pytest.raises(FactoryError, match="install 'no_such_package'"):
        load(f"{tmp_path}/absent.py:build")
    with pytest.raises(FactoryError):
        load(f"{tmp_path}/nul.py:build")
    # A file that was mended is read again.
    (tmp_path / "top.py").write_text(NET.format(width=3))
    assert width_of(f"{tmp_path}/top.py:build") == 3


def test_a_module_that_raises_is_not_a_missing_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, wd_bad="import no_such_package\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FactoryError, match="install 'no_such_package'") as caught:
        load("wd_bad:build")
    assert caught.value.where == "wd_bad.py:1: import no_such_package"
