"""Sessions and bundles as painters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import edgesdk
from edgesdk import runtime
from edgesdk.errors import (
    BundleError,
    ModelOutputError,
    SessionError,
    UnknownNameError,
    UsageError,
)
from edgesdk.runtime.session import Session
from edgesdk.spec import DynamicDim, ImageSpec, TensorSpec
from edgesdk.video.painter_from_bundle import bundle_painter
from edgesdk.video.painters import session_painter
from edgesdk.video.styles import style_vector

Picture = np.ndarray


class ArraySession(Session):
    """A session whose network is a function of arrays, with any input."""

    def __init__(self, inputs: tuple[TensorSpec, ...], network: Any) -> None:
        self.runtime = "arrays"
        self.inputs = inputs
        self.outputs = (TensorSpec("y", (1,)),)
        self.network = network
        self.shapes: list[tuple[int, ...]] = []

    def _run(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        self.shapes.append(arrays[0].shape)
        return [self.network(*arrays)]

    def close(self) -> None:
        pass


def free(
    layout: str = "NCHW", dtype: str = "float32", low: int = 1, high: int = 4096, multiple: int = 1
) -> TensorSpec:
    rows, columns = (2, 3) if layout == "NCHW" else (1, 2)
    sides = {
        rows: DynamicDim("h", low, high, multiple),
        columns: DynamicDim("w", low, high, multiple),
    }
    shape = (1, 3, 32, 32) if layout == "NCHW" else (1, 32, 32, 3)
    return TensorSpec("x", shape, dtype, sides)


@pytest.fixture
def picture() -> Picture:
    return np.random.default_rng(0).integers(0, 256, (30, 42, 3), dtype=np.uint8)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize(
    ("dtype", "white", "network"),
    [
        ("float32", 1.0, lambda x: 1 - x),
        ("float16", 1.0, lambda x: 1 - x),
        ("float32", 255.0, lambda x: 255 - x),
        ("uint8", 255.0, lambda x: 255 - x),
        ("uint8", 1.0, lambda x: (1 - x / 255).astype(np.float32)),
    ],
)
def test_layout_type_and_range_are_found(
    picture: Picture, layout: str, dtype: str, white: float, network: Any
) -> None:
    painter = session_painter(ArraySession((free(layout, dtype),), network))
    assert painter.white == white
    tolerance = 1 if dtype == "float16" else 0
    assert np.abs(painter(picture).astype(int) - (255 - picture.astype(int))).max() <= tolerance


def test_the_range_can_be_said(picture: Picture) -> None:
    painter = session_painter(ArraySession((free(),), lambda x: x), white=2.0)
    assert painter.white == 2
    assert np.array_equal(painter(picture), picture)


def test_a_linear_network_of_either_range_paints_the_same(picture: Picture) -> None:
    painter = session_painter(ArraySession((free(),), lambda x: x * np.float32(0.5)))
    assert np.abs(painter(picture) - picture / 2).max() <= 0.5


def test_answers_beyond_the_range_are_clipped(picture: Picture) -> None:
    painter = session_painter(ArraySession((free(),), lambda x: 3 * x - 1), white=1.0)
    wanted = np.clip(3 * picture.astype(float) - 255, 0, 255)
    assert np.abs(painter(picture) - wanted).max() <= 0.5


def test_free_sizes_are_padded_to_the_network_s_multiple(picture: Picture) -> None:
    session = ArraySession((free(multiple=8),), lambda x: x)
    assert np.array_equal(session_painter(session, white=1.0)(picture), picture)
    assert session.shapes == [(1, 3, 32, 48)]


def test_small_pictures_are_padded_and_large_ones_scaled(picture: Picture) -> None:
    session = ArraySession((free(low=64, high=128),), lambda x: x)
    painter = session_painter(session, white=1.0)
    assert np.array_equal(painter(picture), picture)
    large = np.repeat(np.repeat(picture, 5, 0), 5, 1)
    assert painter(large).shape == large.shape
    assert session.shapes == [(1, 3, 64, 64), (1, 3, 92, 128)]


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_a_fixed_size_is_met_without_distortion(layout: str) -> None:
    shape = (1, 3, 64, 64) if layout == "NCHW" else (1, 64, 64, 3)
    session = ArraySession((TensorSpec("x", shape),), lambda x: x)
    painter = session_painter(session, white=1.0)
    for size in ((32, 64), (64, 32), (64, 64)):
        picture = np.full((*size, 3), 90, np.uint8)
        picture[: size[0] // 2] = 200
        assert np.array_equal(painter(picture), picture)
    assert painter(np.full((500, 100, 3), 9, np.uint8)).shape == (500, 100, 3)
    assert set(session.shapes) == {shape}


def weights_as_colour(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """A network that paints the shares of its three styles as red, green and blue."""
    return np.broadcast_to(weights.reshape(1, 3, 1, 1), x.shape).astype(np.float32)


def styled(shape: tuple[int, ...] = (3,)) -> ArraySession:
    return ArraySession((free(), TensorSpec("weights", shape)), weights_as_colour)


@pytest.mark.parametrize("shape", [(3,), (1, 3), (1, 3, 1, 1)])
def test_styles_are_chosen_by_number_or_blended(picture: Picture, shape: tuple[int, ...]) -> None:
    def colour(**options: Any) -> list[int]:
        return list(session_painter(styled(shape), white=1.0, **options)(picture)[0, 0])

    assert colour() == [255, 0, 0]
    assert colour(style=1) == colour(style="1") == [0, 255, 0]
    assert colour(blend={"0": 1, "2": 3}) == [64, 0, 191]
    fixed = np.array([0, 0.5, 1], np.float32).reshape(shape)
    assert colour(constants={"weights": fixed}) == [0, 128, 255]
    names = ("night", "day", "wave")
    assert colour(style_names=names) == [255, 0, 0]
    assert colour(style="wave", style_names=names) == [0, 0, 255]
    assert colour(blend={"day": 0.5, "0": 0.5}, style_names=names) == [128, 128, 0]
    with pytest.raises(UnknownNameError, match="did you mean 'night'"):
        colour(style="knight", style_names=names)
    with pytest.raises(UsageError, match="no input takes 2 shares"):
        colour(style_names=names[:2])
    with pytest.raises(UnknownNameError, match="style"):
        colour(style=3)
    with pytest.raises(UsageError, match="not both"):
        colour(style=1, blend={"0": 1})


def test_the_style_of_an_open_painter_changes(picture: Picture) -> None:
    painter = session_painter(styled((1, 3, 1, 1)), white=1.0, style_names=("night", "day", "wave"))
    assert painter.styles is not None and painter.styles.names == ("night", "day", "wave")

    def colour() -> list[int]:
        return list(painter(picture)[0, 0])

    assert colour() == [255, 0, 0]
    painter.set_style("day")
    assert colour() == [0, 255, 0]
    painter.set_style(blend={"night": 1, "wave": 3})
    assert colour() == [64, 0, 191]
    painter.set_style(weights=[0.5, 0.5, 0])
    assert colour() == [128, 128, 0]
    # What cannot be chosen leaves the choice of before.
    for choice in ({"style": "dusk"}, {"weights": [1, 2]}, {"blend": {"day": -1.0}}, {}):
        with pytest.raises(UsageError):
            painter.set_style(**choice)
    assert colour() == [128, 128, 0]
    shares = painter.shares
    assert shares is not None and shares.tolist() == [0.5, 0.5, 0]
    shares[:] = 0
    assert colour() == [128, 128, 0]


def test_a_painter_says_what_was_made_of_the_choice() -> None:
    silent = "no style was chosen: painted in style 0 of 3 (0 to 2)"
    assert session_painter(styled(), white=1.0).remarks == (silent,)
    scaled = "the weights of the blend add up to 4 and were scaled to 1"
    assert session_painter(styled(), white=1.0, blend={"0": 1, "2": 3}).remarks == (scaled,)
    painter = session_painter(styled(), white=1.0, style=2)
    assert painter.remarks == ()
    painter.set_style(blend={"0": 1, "2": 3})
    assert painter.remarks == (scaled,)
    painter.set_style(weights=[1, 0, 3])
    assert painter.remarks == ()


def test_a_network_of_one_style_has_none_to_change() -> None:
    painter = session_painter(ArraySession((free(),), lambda x: x), white=1.0)
    assert painter.styles is None and painter.shares is None and painter.remarks == ()
    with pytest.raises(UsageError, match="one style"):
        painter.set_style(0)


@pytest.mark.parametrize("blend", [{"0": 0.0}, {"0": -1.0}, {"0": float("nan")}])
def test_blends_have_weights(blend: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        style_vector(3, None, blend)


@pytest.mark.parametrize(
    ("inputs", "options"),
    [
        ((TensorSpec("x", (1, 10)),), {}),
        ((free(), free().renamed("z")), {}),
        ((TensorSpec("x", (1, 4, 8, 8)),), {}),
        ((TensorSpec("x", (2, 3, 8, 8)),), {}),
        ((TensorSpec("x", (1, 3, 8, 8), "int64"),), {}),
        ((free(), TensorSpec("size", (), "int64")), {}),
        ((free(),), {"style": 1}),
        ((free(),), {"blend": {"0": 1.0}}),
        ((free(),), {"white": 0.0}),
        ((free(),), {"white": float("nan")}),
    ],
)
def test_other_networks_are_refused(
    inputs: tuple[TensorSpec, ...], options: dict[str, Any]
) -> None:
    with pytest.raises(UsageError):
        session_painter(ArraySession(inputs, lambda *x: x[0]), **options)


@pytest.mark.parametrize(
    "network",
    [
        lambda x: x * np.float32("nan"),
        lambda x: x[:, :, :-1],
        lambda x: x[0],
        lambda x: x[:, :2],
        lambda x: np.zeros(x.shape, np.int64),
    ],
)
def test_answers_that_are_no_pictures_are_refused(picture: Picture, network: Any) -> None:
    painter = session_painter(ArraySession((free(),), network), white=1.0)
    with pytest.raises(ModelOutputError):
        painter(picture)


class Invert(nn.Module):
    """Inverts colours in 0..1; a convolution so that there is something to convert."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(3, 3, 1)
        with torch.no_grad():
            self.mix.weight.copy_(-torch.eye(3)[..., None, None])
            self.mix.bias.fill_(1.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.mix(x)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return edgesdk.export(
        Invert().eval(),
        torch.rand(1, 3, 24, 32),
        targets="onnx",
        output=tmp_path_factory.mktemp("painters") / "invert.edge",
    )


def test_a_bundle_paints(bundle: Any) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    painter = bundle_painter(bundle.path, threads=1)
    assert np.abs(painter(picture).astype(int) - (255 - picture.astype(int))).max() <= 1
    painter.close()
    painter.close()
    with pytest.raises((SessionError, UsageError)):
        painter(picture)
    chosen = bundle_painter(bundle, target="onnx", threads=1)
    assert chosen.white == 1
    chosen.close()


def test_bad_choices_in_a_bundle_are_refused(bundle: Any, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError):
        bundle_painter(bundle, target="coreml")
    with pytest.raises(UsageError, match="one style"):
        bundle_painter(bundle, style="night")
    with pytest.raises(UsageError, match="threads"):
        bundle_painter(bundle, threads=-1)
    with pytest.raises(BundleError):
        bundle_painter(tmp_path)


def test_an_onnx_file_paints(bundle: Any) -> None:
    path = bundle.path_of(bundle.artefact("onnx"))
    picture = np.full((40, 20, 3), 200, np.uint8)
    with runtime.open(path) as session:
        # A fixed input of 24 x 32: the picture is scaled into it and back.
        assert np.abs(session_painter(session)(picture).astype(int) - 55).max() <= 1


def test_camera_bytes_are_passed_as_they_are(picture: Picture) -> None:
    spec = TensorSpec("x", (1, 30, 42, 3), "uint8", layout="NHWC", image=ImageSpec())
    session = ArraySession((spec,), lambda x: (x / 255).transpose(0, 3, 1, 2).astype(np.float32))
    painter = session_painter(session)
    assert painter.white == 1
    assert np.array_equal(painter(picture), picture)
