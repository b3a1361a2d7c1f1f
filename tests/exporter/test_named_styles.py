"""Names of styles all the way: from a saved model through its bundle to a painted video."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import edgesdk
from edgesdk import models
from edgesdk.bundle.bundle import Bundle
from edgesdk.errors import BundleError, UnknownNameError, UsageError
from edgesdk.exporter.prepared import CaptureSpec, prepare
from edgesdk.frontend.edgemodel.file import ModelSignature, read_model_file, save_model
from edgesdk.host.cache import Cache
from edgesdk.models.multi_style import MultiStyleNet, StyleNorm
from edgesdk.spec import TensorSpec, parse_dynamic
from edgesdk.video.painter_from_bundle import bundle_painter
from edgesdk.video.painters import SessionPainter

NAMES = ("Starry Night", "day", "wave")
#: With three styles the shares are as long as a pixel is deep.
FACE = ModelSignature(
    (TensorSpec("picture", (1, 3, 64, 64), layout="NCHW"), TensorSpec("style", (1, 3, 1, 1)))
)


def tiny(**options: Any) -> MultiStyleNet:
    """A small network whose styles differ as after a training."""
    net = models.create(
        "multi_style",
        styles=3,
        encoder_widths=[4, 4, 8],
        expanded_widths=[8],
        decoder_widths=[4, 4],
        pretrained=False,
        **options,
    )
    assert isinstance(net, MultiStyleNet)
    torch.manual_seed(3)
    for module in net.modules():
        if isinstance(module, StyleNorm):
            nn.init.normal_(module.scale.weight, 1.0, 0.5)
            nn.init.normal_(module.shift.weight, 0.0, 0.5)
    return net


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("styles") / "painters.edgemodel"
    return save_model(tiny(style_names=list(NAMES)), "multi_style", path, signature=FACE)


@pytest.fixture(scope="module")
def bundle(saved: Path) -> Bundle:
    written = edgesdk.export(
        str(saved), targets="onnx,litert", output=saved.with_name("painters.edge")
    )
    return Bundle.open(written.path)


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(4).integers(0, 256, (64, 64, 3), dtype=np.uint8)


@pytest.fixture
def painter_of(bundle: Bundle) -> Iterator[Callable[..., SessionPainter]]:
    opened: list[SessionPainter] = []

    def open_one(*arguments: Any, **options: Any) -> SessionPainter:
        opened.append(bundle_painter(bundle, *arguments, threads=1, **options))
        return opened[-1]

    yield open_one
    for painter in opened:
        painter.close()


def wanted(net: nn.Module, picture: np.ndarray, shares: list[float]) -> np.ndarray:
    """What the model itself paints."""
    tensor = torch.from_numpy(picture.transpose(2, 0, 1)[None] / np.float32(255))
    with torch.no_grad():
        answer = net(tensor, torch.tensor(shares, dtype=torch.float32).view(1, -1, 1, 1))
    return answer[0].permute(1, 2, 0).numpy() * 255


def test_the_manifest_has_the_names_of_the_model(bundle: Bundle) -> None:
    assert bundle.manifest.styles == list(NAMES)
    assert [record.target for record in bundle.manifest.artefacts] == ["onnx:fp32", "litert:fp32"]
    assert all(record.parity and record.parity.passed for record in bundle.manifest.artefacts)
    # Parity was measured on blends, not on weights of any sign and sum.
    for inputs in bundle.samples().inputs:
        assert inputs["style"].min() >= 0 and inputs["style"].sum() == pytest.approx(1, abs=1e-5)
    written = json.loads((bundle.path / "manifest.json").read_text("utf-8"))
    assert written["schema_version"] == 7 and written["styles"] == list(NAMES)


def test_the_style_keeps_its_size_where_the_picture_is_free() -> None:
    # Three shares look like a pixel; they are neither photographed nor enlarged.
    prepared = prepare(tiny(), inputs=FACE.inputs)
    free = CaptureSpec(tuple(sorted(parse_dynamic("hw=64..256/8").items())))
    picture, style = prepared.input_specs(free)
    assert sorted(picture.dynamic) == [2, 3] and style == FACE.inputs[1]
    assert prepared.example()["style"].ravel().tolist() == pytest.approx([1 / 3] * 3)


@pytest.mark.parametrize("target", ["onnx", "litert"])
def test_every_runtime_paints_styles_by_name(
    target: str,
    saved: Path,
    painter_of: Callable[..., SessionPainter],
    picture: np.ndarray,
) -> None:
    net = read_model_file(saved).model
    painter = painter_of(target, style="wave")
    assert painter.white == 1

    def far(shares: list[float]) -> float:
        return float(np.abs(painter(picture) - wanted(net, picture, shares)).max())

    assert far([0, 0, 1]) < 1 < far([0, 1, 0])
    # Another style, without loading anything again.
    painter.set_style("Starry Night")
    assert far([1, 0, 0]) < 1
    painter.set_style(blend={"day": 0.3, "wave": 0.7})
    assert far([0, 0.3, 0.7]) < 1
    painter.set_style(weights=np.array([2, 1, 1], np.float32))
    assert far([0.5, 0.25, 0.25]) < 1
    painter.set_style(1)
    assert far([0, 1, 0]) < 1


def test_an_unknown_name_suggests_the_nearest(bundle: Bundle) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'Starry Night'"):
        bundle_painter(bundle, style="starry nights")
    with pytest.raises(UnknownNameError, match="one of: Starry Night, day, wave"):
        bundle_painter(bundle, blend={"day": 0.5, "mosaic": 0.5})


@pytest.mark.parametrize("names", [["night", "day"], ["night", "day", "wave", "dusk"], ["night"]])
def test_names_that_are_not_those_of_the_artefact(bundle: Bundle, names: list[str]) -> None:
    other = Bundle(bundle.path, bundle.manifest.model_copy(update={"styles": names}))
    with pytest.raises(BundleError, match=f"{len(names)} shares: picture.*style:1x3x1x1") as caught:
        bundle_painter(other, "onnx", 0)
    assert "painters.edge" in caught.value.message and caught.value.remedy


def test_a_bundle_without_names_counts_its_styles(bundle: Bundle, picture: np.ndarray) -> None:
    unnamed = Bundle(bundle.path, bundle.manifest.model_copy(update={"styles": []}))
    painter = bundle_painter(unnamed, "onnx", "2", threads=1)
    named = bundle_painter(bundle, "onnx", "wave", threads=1)
    assert np.array_equal(painter(picture), named(picture))
    with pytest.raises(UnknownNameError, match="its number, 0 to 2"):
        painter.set_style("wave")
    painter.close()
    named.close()


class Tint(nn.Module):
    """A user's own network, of two styles."""

    style_names: Any = ("warm", "cold")

    def __init__(self) -> None:
        super().__init__()
        self.tints = nn.Linear(2, 3, bias=False)
        with torch.no_grad():
            self.tints.weight.copy_(torch.tensor([[1.0, 0.2], [0.6, 0.6], [0.2, 1.0]]))

    def forward(self, x: torch.Tensor, mood: torch.Tensor) -> torch.Tensor:
        return x * self.tints(mood)[None, :, None, None]


def test_any_model_may_name_its_styles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = (torch.rand(1, 3, 16, 16), torch.tensor([0.5, 0.5]))

    def export(name: str) -> Bundle:
        cache, output = Cache(tmp_path / "cache"), tmp_path / name
        return edgesdk.export(Tint().eval(), example, targets="onnx", output=output, cache=cache)

    bundle = export("one.edge")
    assert bundle.manifest.styles == ["warm", "cold"]
    painter = bundle_painter(bundle, style="cold", threads=1)
    painted = painter(np.full((16, 16, 3), 200, np.uint8))
    painter.close()
    assert np.abs(painted[0, 0] - np.array([40, 120, 200])).max() <= 1
    # The export of before is served only under the names of before.
    monkeypatch.setattr(Tint, "style_names", ("sun", "moon"))
    assert export("two.edge").manifest.styles == ["sun", "moon"]
    monkeypatch.setattr(Tint, "style_names", ["sun", "sun"])
    with pytest.raises(UsageError, match="style_names of Tint: two styles"):
        export("three.edge")
    assert not (tmp_path / "three.edge").exists()


@pytest.fixture
def clip(native_library: None, tmp_path: Path) -> Path:
    pytest.importorskip("av")
    folder = tmp_path / "pictures"
    folder.mkdir()
    pixels = np.random.default_rng(5).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for place in range(2):
        Image.fromarray(pixels).save(folder / f"{place}.png")
    return folder


@pytest.mark.parametrize(
    ("choice", "remarks"),
    [
        (
            (),
            ["no style was chosen: painted in Starry Night, the first of Starry Night, day, wave"],
        ),
        (("--style", "wave"), []),
        (("--style", "2"), []),
        (("--blend", "Starry Night:0.3,wave:0.7"), []),
        (
            ("--blend", "day:1,wave:1"),
            ["the weights of the blend add up to 2 and were scaled to 1"],
        ),
    ],
)
def test_the_command_says_which_style_it_took(
    choice: tuple[str, ...],
    remarks: list[str],
    here: Callable[..., int],
    bundle: Bundle,
    clip: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ("stylize", str(clip), "-o", str(tmp_path / "out"), "--bundle", str(bundle.path))
    ran = here(*arguments, *choice, "--json")
    ended = capsys.readouterr()
    assert ran == 0, ended.err
    assert json.loads(ended.out)["remarks"] == remarks
    assert [f"note: {text}" in ended.err for text in remarks] == [True] * len(remarks)


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        (("--style", "weave"), "did you mean 'wave'"),
        (("--blend", "Starry Nite:1"), "did you mean 'Starry Night'"),
        (("--style", "wave", "--blend", "day:1"), "not both"),
    ],
)
def test_the_command_refuses_other_styles(
    choice: tuple[str, ...],
    told: str,
    here: Callable[..., int],
    bundle: Bundle,
    clip: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ("stylize", str(clip), "-o", str(tmp_path / "out"), "--bundle", str(bundle.path))
    assert here(*arguments, *choice) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
