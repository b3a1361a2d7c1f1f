"""``edgesdk stylize --onnx`` with a network of several styles: which one is chosen, and how."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("av")
pytestmark = pytest.mark.usefixtures("native_library")

Run = Callable[..., int]
Painted = Callable[..., tuple[int, Path]]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two pictures of noise."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    random = np.random.default_rng(1)
    for number in range(2):
        noise = random.integers(0, 255, (32, 48, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def shares_onnx(tmp_path: Path) -> Path:
    """A network of three styles that paints their shares as red, green and blue."""
    onnx = pytest.importorskip("onnx")
    value, kind = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    shape = [1, 3, "h", "w"]
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Mul", ["picture", "nothing"], ["black"]),
            onnx.helper.make_node("Add", ["black", "style"], ["painted"]),
        ],
        "shares",
        [value("picture", kind, shape), value("style", kind, [1, 3, 1, 1])],
        [value("painted", kind, shape)],
        [onnx.helper.make_tensor("nothing", kind, [], [0.0])],
    )
    path = tmp_path / "shares.onnx"
    opset = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), str(path))
    return path


@pytest.fixture
def painted_by_shares(here: Run, shares_onnx: Path, pictures: Path, tmp_path: Path) -> Painted:
    """Paints the pictures with it; gives the exit code and the folder."""
    painted = tmp_path / "painted"
    command = ("stylize", str(pictures), "-o", str(painted), "--onnx", str(shares_onnx))
    return lambda *choice: (here(*command, *choice), painted)


@pytest.mark.parametrize(
    ("choice", "colour", "remarks"),
    [
        ((), (255, 0, 0), ["no style was chosen: painted in style 0 of 3 (0 to 2)"]),
        (("--style", "1"), (0, 255, 0), []),
        (("--blend", "0:0.2,2:0.8"), (51, 0, 204), []),
        (
            ("--blend", "0:1,2:4"),
            (51, 0, 204),
            ["the weights of the blend add up to 5 and were scaled to 1"],
        ),
    ],
)
def test_styles_of_an_onnx_file_are_chosen_by_number(
    choice: tuple[str, ...],
    colour: tuple[int, int, int],
    remarks: list[str],
    painted_by_shares: Painted,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ran, painted = painted_by_shares(*choice, "--json")
    ended = capsys.readouterr()
    assert ran == 0, ended.err
    assert json.loads(ended.out)["remarks"] == remarks
    assert ended.err.count("note: ") == len(remarks)
    with Image.open(painted / "1.png") as picture:
        assert np.abs(np.asarray(picture).mean(axis=(0, 1)) - colour).max() <= 2


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        (("--style", "3"), "give its number, 0 to 2"),
        (("--style", "wave"), "give its number, 0 to 2"),
        (("--blend", "0:0.5,3:0.5"), "give its number, 0 to 2"),
        (("--style", "0", "--blend", "1:1"), "not both"),
    ],
)
def test_styles_an_onnx_file_does_not_have(
    choice: tuple[str, ...],
    told: str,
    painted_by_shares: Painted,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ran, painted = painted_by_shares(*choice)
    assert ran == 2
    assert told in capsys.readouterr().err and not painted.exists()
