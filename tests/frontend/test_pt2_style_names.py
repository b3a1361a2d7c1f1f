"""Names of styles of models that are saved as programs: kept, and believed of none that lies."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from edgesdk.bundle.bundle import Bundle
from edgesdk.errors import SourceDamagedError, SourceError, UsageError
from edgesdk.exporter.prepared import prepare
from edgesdk.frontend.edgemodel.file import load_model, read_model_file, save_model
from edgesdk.frontend.edgemodel.program import capture_model
from edgesdk.frontend.pt2.reader import check_program_file, load_program, read_program
from edgesdk.frontend.pt2.style_names import check_program_styles
from edgesdk.frontend.source import load

NAMES = ["Warm noon", "cold"]
EXAMPLE = (torch.full((1, 3, 16, 16), 0.5), torch.tensor([[0.25, 0.75]]))


class Tint(nn.Module):
    """A user's own network, of two styles."""

    style_names: Any = tuple(NAMES)

    def __init__(self) -> None:
        super().__init__()
        self.tints = nn.Linear(2, 3, bias=False)

    def forward(self, x: torch.Tensor, mood: torch.Tensor) -> torch.Tensor:
        return x * self.tints(mood)[:, :, None, None]


@pytest.fixture(scope="module")
def program() -> torch.export.ExportedProgram:
    return capture_model(Tint().eval(), EXAMPLE)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return save_model(Tint(), None, tmp_path / "tint.edgemodel", example=EXAMPLE)


def written(program: torch.export.ExportedProgram, path: Path, content: str) -> Path:
    torch.export.save(program, path, extra_files={"style_names.json": content})
    return path


def test_a_saved_program_keeps_them(saved: Path, tmp_path: Path) -> None:
    assert json.loads((saved / "model.json").read_text("utf-8"))["styles"] == NAMES
    model = load_model(saved)
    assert model.style_names == tuple(NAMES)
    torch.testing.assert_close(model(*EXAMPLE), load_model(saved)(*EXAMPLE))
    assert prepare(str(saved)).styles == tuple(NAMES)
    # And once more, from the program.
    again = save_model(model, None, tmp_path / "again.edgemodel", example=EXAMPLE)
    assert read_model_file(again).model.style_names == tuple(NAMES)


def test_a_model_without_names_is_saved_without(tmp_path: Path) -> None:
    path = save_model(nn.Linear(2, 2), None, tmp_path / "a.edgemodel", example=torch.ones(1, 2))
    assert "styles" not in json.loads((path / "model.json").read_text("utf-8"))
    assert not hasattr(load_model(path), "style_names") and prepare(str(path)).styles == ()


def test_a_program_file_keeps_them(program: torch.export.ExportedProgram, tmp_path: Path) -> None:
    path = written(program, tmp_path / "tint.pt2", json.dumps(NAMES))
    check_program_file(path)
    assert read_program(path).style_names == tuple(NAMES)
    loaded = load(str(path))
    assert loaded.model.style_names == tuple(NAMES)
    assert prepare(str(path)).styles == tuple(NAMES)
    torch.testing.assert_close(loaded.model(*EXAMPLE), program.module()(*EXAMPLE))


def test_other_extra_files_name_nothing(
    program: torch.export.ExportedProgram, tmp_path: Path
) -> None:
    path = tmp_path / "tint.pt2"
    torch.export.save(program, path, extra_files={"notes.txt": json.dumps(NAMES)})
    assert read_program(path).style_names == ()
    assert not hasattr(load(str(path)).model, "style_names")


@pytest.mark.parametrize("kind", ["edgemodel", "pt2"])
def test_an_export_writes_them_into_the_manifest(
    kind: str,
    here: Callable[..., int],
    saved: Path,
    program: torch.export.ExportedProgram,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = (
        saved if kind == "edgemodel" else written(program, tmp_path / "t.pt2", json.dumps(NAMES))
    )
    bundle = tmp_path / "tint.edge"
    ran = here("export", str(source), "--to", "onnx", "-o", str(bundle), "-q")
    assert ran == 0, capsys.readouterr().err
    assert Bundle.open(bundle).manifest.styles == NAMES


FORGED = [
    "ab",
    {"a": 0, "b": 1},
    7,
    None,
    [1, 2],
    [["a"], ["b"]],
    ["a", "a"],
    ["a:0.3", "b"],
    ["a,b", "c"],
    ["", "b"],
    [" a", "b"],
    ["\u001b[31ma", "b"],
    ["a\nerror: b", "c"],
    ["x" * 65, "b"],
    [f"s{number}" for number in range(4097)],
]


@pytest.mark.parametrize("names", FORGED)
def test_names_that_are_none(
    names: Any, saved: Path, program: torch.export.ExportedProgram, tmp_path: Path
) -> None:
    described = json.loads((saved / "model.json").read_text("utf-8"))
    (saved / "model.json").write_text(json.dumps({**described, "styles": names}), "utf-8")
    with pytest.raises(SourceDamagedError, match="not a model description") as caught:
        load_model(saved)
    path = written(program, tmp_path / "tint.pt2", json.dumps(names))
    for function in (check_program_file, load_program, lambda path: load(str(path))):
        with pytest.raises(
            SourceError, match=r"the style names in tint\.pt2 are not valid"
        ) as told:
            function(path)
        assert told.value.remedy
    for message in (caught.value.message, told.value.message):
        assert message.isprintable() and len(message) < 400


@pytest.mark.parametrize("names", [["a"], ["a", "b", "c"], ["a", "b", "c", "d"]])
def test_names_of_another_number_of_styles(
    names: list[str], saved: Path, program: torch.export.ExportedProgram, tmp_path: Path
) -> None:
    said = f"{len(names)} style names, but no input of the program takes {len(names)} shares"
    described = json.loads((saved / "model.json").read_text("utf-8"))
    (saved / "model.json").write_text(json.dumps({**described, "styles": names}), "utf-8")
    with pytest.raises(SourceError, match=said) as caught:
        load_model(saved)
    assert "tint.edgemodel" in caught.value.message and caught.value.remedy
    path = written(program, tmp_path / "tint.pt2", json.dumps(names))
    with pytest.raises(SourceError, match=said) as caught:
        load(str(path))
    assert "tint.pt2" in caught.value.message
    # A part of the pipeline that needs no names is not kept from the program.
    assert load_program(path).graph_signature.user_inputs


@pytest.mark.parametrize(
    "content", ["", "no json", '["a", "b"', "[" * 100_000, '["a"]' + " " * 2**23]
)
def test_an_extra_file_that_is_no_list(
    content: str, program: torch.export.ExportedProgram, tmp_path: Path
) -> None:
    path = written(program, tmp_path / "tint.pt2", content)
    for function in (check_program_file, load_program):
        with pytest.raises(SourceDamagedError, match=r"tint\.pt2 is damaged"):
            function(path)


def test_names_that_the_model_does_not_have_are_not_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tint.edgemodel"
    for names, said in (
        (["a", "b", "c"], "no input of the program takes 3 shares"),
        (["a", "a"], "style_names of Tint: two styles"),
        ("ab", "style_names of Tint: a str"),
    ):
        monkeypatch.setattr(Tint, "style_names", names)
        with pytest.raises(UsageError, match=said):
            save_model(Tint(), None, path, example=EXAMPLE)
    assert list(tmp_path.iterdir()) == []


class Picture(nn.Module):
    def forward(self, x: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
        return x * 2 + place.sum()


def test_a_picture_or_whole_numbers_are_no_shares() -> None:
    sizes = {2: torch.export.Dim("h", min=2, max=64), 3: torch.export.Dim("w", min=2, max=64)}
    example = (torch.rand(1, 3, 8, 8), torch.zeros(4, dtype=torch.int64))
    program = torch.export.export(Picture(), example, dynamic_shapes=(sizes, None))
    for count in (3, 4):
        with pytest.raises(UsageError, match=f"no input of the program takes {count} shares"):
            check_program_styles(program, [f"s{number}" for number in range(count)])
    check_program_styles(program, [])
