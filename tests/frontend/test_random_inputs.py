"""Samples on disk, photographs as inputs, random inputs."""

from __future__ import annotations

import io
import json
import os
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save

from edgesdk.bundle.samples import Samples
from edgesdk.errors import BundleDamagedError, InputNotFoundError, InputSpecError
from edgesdk.frontend.random_inputs import image_tensor, random_inputs
from edgesdk.spec import DynamicDim, ImageSpec, TensorSpec

CAMERA = TensorSpec("image", (1, 4, 6, 3), "uint8", layout="NHWC", image=ImageSpec())
PLANES = TensorSpec("image", (1, 3, 4, 6), layout="NCHW")
GREY = TensorSpec("image", (1, 1, 4, 6), layout="NCHW")


@pytest.fixture
def samples() -> Samples:
    generator = np.random.default_rng(0)

    def one(dtype: str, *shape: int) -> np.ndarray:
        return (generator.standard_normal(shape) * 4).astype(dtype)

    dtypes = ("float32", "float16", "float64", "int64", "int32", "int16", "int8", "uint8", "bool")
    return Samples(
        ("cat/a.jpg", "batch=2", "größe"),
        tuple({f"in/{dtype}": one(dtype, 2, 3) for dtype in dtypes} for _ in range(3)),
        tuple(
            {
                "scalar": np.float32(index),
                "empty": np.zeros((0, 3), np.float32),
                "backwards": one("float32", 3, 4)[::-1, ::2],
                "fortran": np.asfortranarray(one("float32", 3, 4)),
            }
            for index in range(3)
        ),
        1,
    )


def test_round_trip_keeps_every_bit_shape_and_dtype(samples: Samples, tmp_path: Path) -> None:
    samples.save(tmp_path / "s")
    again = Samples.load(tmp_path / "s")
    assert (again.names, again.real, len(again)) == (samples.names, 1, 3)
    for before, after in zip(
        (*samples.inputs, *samples.expected), (*again.inputs, *again.expected), strict=True
    ):
        assert after.keys() == before.keys()
        for name, array in before.items():
            assert after[name].dtype == np.asarray(array).dtype
            assert after[name].shape == np.shape(array)
            assert np.array_equal(after[name], array)
    # A number stays a number: no array of one element.
    assert again.expected[2]["scalar"].shape == ()


def test_the_same_samples_give_the_same_bytes(samples: Samples, tmp_path: Path) -> None:
    samples.save(tmp_path / "a")
    turned = Samples(
        samples.names,
        tuple(dict(reversed(arrays.items())) for arrays in samples.inputs),
        samples.expected,
        1,
    )
    turned.save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    Samples.load(tmp_path / "a").save(tmp_path / "c")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "c").read_bytes()


def test_a_damaged_file_is_refused_in_our_words(samples: Samples, tmp_path: Path) -> None:
    path = tmp_path / "s"
    samples.save(path)
    whole = path.read_bytes()
    for length in (0, 1, 8, 40, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(BundleDamagedError):
            Samples.load(path)
    path.unlink()
    with pytest.raises(BundleDamagedError):
        Samples.load(path)
    chance = random.Random(3)
    for _ in range(200):
        changed = bytearray(whole)
        for _ in range(3):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        path.write_bytes(changed)
        try:
            Samples.load(path)
        except BundleDamagedError:
            continue


@pytest.mark.parametrize(
    ("keys", "description"),
    [
        (["0000/input/x", "0000/output/y"], None),
        (["0000/input/x", "0000/output/y"], "no json"),
        (["0000/input/x", "0000/output/y"], {"names": ["a"]}),
        (["0000/input/x", "0000/output/y"], {"names": ["a"], "real": 2}),
        (["0000/input/x", "0000/output/y"], {"names": ["a"], "real": -1}),
        (["0000/input/x", "0000/output/y"], '{"names": ["a"], "real": Infinity}'),
        (["0000/input/x", "0000/output/y"], "[" * 100_000),
        (["0000/input/x", "0000/output/y"], {"names": 5, "real": 0}),
        (["0000/input/x", "0000/output/y"], {"names": ["a", "b"], "real": 0}),
        (["0000/input/x"], {"names": ["a"], "real": 0}),
        (["0001/input/x", "0000/output/y"], {"names": ["a"], "real": 0}),
        (["-1/input/x", "0000/output/y"], {"names": ["a"], "real": 0}),
        (["0000/weird/x", "0000/output/y"], {"names": ["a"], "real": 0}),
        (["x", "0000/output/y"], {"names": ["a"], "real": 0}),
        (
            ["0000/input/x", "0000/output/y", "0001/input/z", "0001/output/y"],
            {"names": ["a", "b"], "real": 0},
        ),
    ],
)
def test_files_that_contradict_themselves(
    keys: list[str], description: Any, tmp_path: Path
) -> None:
    text = description if isinstance(description, str) else json.dumps(description)
    metadata = {"samples": text} if description is not None else None
    arrays = {key: np.zeros(2, np.float32) for key in keys}
    (tmp_path / "s").write_bytes(save(arrays, metadata))
    with pytest.raises(BundleDamagedError) as caught:
        Samples.load(tmp_path / "s")
    assert caught.value.remedy == "export the bundle again"


def picture(tmp_path: Path, name: str, array: np.ndarray, **options: Any) -> Path:
    Image.fromarray(array).save(tmp_path / name, **options)
    return tmp_path / name


def gradient(height: int = 4, width: int = 6) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return np.stack((rows * 40, columns * 40, rows * 0 + 7), axis=2).astype(np.uint8)


def test_camera_bytes_are_the_pixels(tmp_path: Path) -> None:
    path = picture(tmp_path, "a.png", gradient())
    array = image_tensor(path, CAMERA)
    assert array.dtype == np.uint8
    assert np.array_equal(array, gradient()[None])


def test_planes_are_the_pixels_from_0_to_1(tmp_path: Path) -> None:
    path = picture(tmp_path, "a.png", gradient())
    wanted = (gradient().transpose(2, 0, 1)[None] / np.float32(255)).astype(np.float32)
    array = image_tensor(path, PLANES)
    assert array.dtype == np.float32
    assert array.flags["C_CONTIGUOUS"]
    assert np.array_equal(array, wanted)
    half = image_tensor(path, TensorSpec("x", (2, 3, 4, 6), "float16", layout="NCHW"))
    assert (half.dtype, half.shape) == (np.float16, (2, 3, 4, 6))
    assert np.array_equal(half[1], wanted[0].astype(np.float16))
    bytes_ = image_tensor(path, TensorSpec("x", (1, 3, 4, 6), "uint8", layout="NCHW"))
    assert np.array_equal(bytes_[0], gradient().transpose(2, 0, 1))


def test_bgr_cameras_and_batches(tmp_path: Path) -> None:
    path = picture(tmp_path, "a.png", gradient())
    spec = TensorSpec("image", (2, 4, 6, 3), "uint8", layout="NHWC", image=ImageSpec(color="bgr"))
    array = image_tensor(path, spec)
    assert np.array_equal(array[0], gradient()[:, :, ::-1])
    assert np.array_equal(array[1], array[0])


def test_a_photograph_on_its_side_is_turned(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by 90 degrees
    lying = np.rot90(gradient()).copy()
    path = picture(tmp_path, "a.png", lying, exif=exif)
    assert np.array_equal(image_tensor(path, CAMERA)[0], gradient())


def test_scaled_to_cover_and_cropped_in_the_middle(tmp_path: Path) -> None:
    wide = np.zeros((8, 24, 3), np.uint8)
    wide[:, 2:22] = 200  # squeezed into the input, its ends would show
    array = image_tensor(picture(tmp_path, "a.png", wide), CAMERA)
    assert (array == 200).all()


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "CMYK", "I;16", "I", "F"])
def test_every_kind_of_picture_is_a_colour_picture(mode: str, tmp_path: Path) -> None:
    level = np.full((4, 6), 100, np.uint8)
    if mode == "I;16":
        made = Image.fromarray(np.full((4, 6), 100 << 8, np.uint16))
    elif mode == "I":
        made = Image.fromarray(np.full((4, 6), 100 << 8, np.int32))
    elif mode == "F":
        made = Image.fromarray(level.astype(np.float32))
    else:
        made = Image.fromarray(level).convert(mode)
    name = "a.tiff" if mode in ("CMYK", "I", "F") else "a.png"
    made.save(tmp_path / name)
    array = image_tensor(tmp_path / name, CAMERA)[0]
    assert array.shape == (4, 6, 3)
    if mode == "1":
        assert set(np.unique(array)) <= {0, 255}
    else:
        assert np.abs(array.astype(int) - 100).max() <= 1


def test_sixteen_bits_keep_their_order(tmp_path: Path) -> None:
    levels = (np.arange(24).reshape(4, 6) * 2849).astype(np.uint16)
    path = picture(tmp_path, "a.png", levels)
    found = image_tensor(path, GREY)[0, 0]
    assert np.array_equal(found, ((levels >> 8) / np.float32(255)).astype(np.float32))


def test_grey_inputs(tmp_path: Path) -> None:
    path = picture(tmp_path, "a.png", np.full((4, 6, 3), (255, 0, 0), np.uint8))
    # The luma of red: 0.299 of 255.
    assert np.array_equal(image_tensor(path, GREY), np.full((1, 1, 4, 6), 76 / np.float32(255)))
    camera = TensorSpec(
        "g",
        (1, 4, 6, 1),
        "uint8",
        layout="NHWC",
        image=ImageSpec("grey", "grey", mean=(0,), std=(1,)),
    )
    assert np.array_equal(image_tensor(path, camera), np.full((1, 4, 6, 1), 76, np.uint8))


def huge_png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = zlib.compress(b"\0" * 1000)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [10_001, 20_000, 100_000])
def test_a_decompression_bomb_is_refused_unread(side: int, tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(huge_png(side, side))
    with pytest.raises(InputSpecError, match=r"bomb\.png has more than 100000000 pixels"):
        image_tensor(tmp_path / "bomb.png", CAMERA)


def jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(gradient(64, 64)).save(buffer, "jpeg")
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        lambda: b"",
        lambda: b"no picture",
        lambda: b"\x89PNG\r\n\x1a\n",
        lambda: huge_png(64, 64),
        lambda: jpeg()[:200],
        lambda: jpeg()[:-300],
        lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    ],
)
def test_files_that_are_no_whole_picture(content: Callable[[], bytes], tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(content())
    with pytest.raises(InputSpecError, match=r"a\.png is not a readable picture"):
        image_tensor(tmp_path / "a.png", CAMERA)


def test_changed_bytes_give_a_picture_or_our_error(tmp_path: Path) -> None:
    chance = random.Random(5)
    buffer = io.BytesIO()
    Image.fromarray(gradient(16, 16)).save(buffer, "png")
    for whole in (jpeg(), buffer.getvalue()):
        for _ in range(60):
            changed = bytearray(whole)
            for _ in range(4):
                changed[chance.randrange(len(changed))] = chance.randrange(256)
            (tmp_path / "a").write_bytes(changed)
            try:
                assert image_tensor(tmp_path / "a", CAMERA).shape == (1, 4, 6, 3)
            except InputSpecError:
                continue


def test_missing_pictures_and_folders(tmp_path: Path) -> None:
    for path, message in ((tmp_path / "none.jpg", "no such picture"), (tmp_path, "is a folder")):
        with pytest.raises(InputNotFoundError, match=message):
            image_tensor(path, CAMERA)


@pytest.mark.parametrize(
    "spec",
    [
        TensorSpec("x", (1, 3)),
        TensorSpec("x", (1, 4, 8, 8), layout="NCHW"),
        TensorSpec("x", (1, 8, 8, 2), "uint8", layout="NHWC"),
        TensorSpec("x", (1, 3, 8, 8), "bool", layout="NCHW"),
        TensorSpec("x", (1, 3, 8, 8), "int8", layout="NCHW"),
    ],
)
def test_inputs_that_are_no_image(spec: TensorSpec, tmp_path: Path) -> None:
    path = picture(tmp_path, "a.png", gradient())
    with pytest.raises(InputSpecError):
        image_tensor(path, spec)


def test_random_inputs_repeat_with_their_seed() -> None:
    specs = [
        TensorSpec("f", (2, 50)),
        TensorSpec("h", (50,), "float16"),
        TensorSpec("i", (50,), "int64"),
        TensorSpec("b", (50,), "bool"),
        CAMERA,
    ]
    first, again, other = (random_inputs(specs, seed) for seed in (1, 1, 2))
    for spec in specs:
        assert first[spec.name].dtype == np.dtype(spec.dtype)
        assert first[spec.name].shape == spec.shape
        assert np.array_equal(first[spec.name], again[spec.name])
        assert not np.array_equal(first[spec.name], other[spec.name])
    assert set(np.unique(first["i"])) == {0, 1}
    assert first["image"].max() > 200


def test_integers_take_the_values_of_the_example() -> None:
    example = {"ids": np.array([[3, 70, 500]]), "mask": np.array([[True, True, True]])}
    specs = [TensorSpec("ids", (1, 40), "int64"), TensorSpec("mask", (1, 40), "bool")]
    found = random_inputs(specs, 0, example)
    assert set(np.unique(found["ids"])) == {3, 70, 500}
    assert found["mask"].all()


@pytest.mark.parametrize("shape", [(3,), (1, 3), (1, 3, 1, 1), (2, 3), (2, 3, 1, 1)])
def test_shares_stay_shares(shape: tuple[int, ...]) -> None:
    axis = shape.index(3)
    even = {"style": np.full(shape, 1 / 3, np.float32)}
    free = {} if shape[0] == 3 else {0: DynamicDim("batch", 1, 8)}
    spec = TensorSpec("style", shape, dynamic=free)
    found = random_inputs([spec], 0, even, {"batch": 5})["style"]
    assert found.shape == (*(5 if free else 3,), *shape[1:]) and (found > 0).all()
    assert np.allclose(found.sum(axis=axis), 1, atol=1e-6) and found.std() > 0.05
    # What is not negative, or sums to 1, alone is nothing special.
    for values in (np.full(shape, 0.5), np.resize([2.0, -1.5, 0.5], shape)):
        usual = random_inputs([spec], 0, {"style": values.astype(np.float32)})
        assert np.array_equal(usual["style"], random_inputs([spec], 0)["style"])


def test_a_single_number_is_no_share() -> None:
    for shape in ((), (1,), (1, 1, 1, 1)):
        spec = TensorSpec("strength", shape)
        found = random_inputs([spec], 3, {"strength": np.ones(shape, np.float32)})
        assert np.array_equal(found["strength"], random_inputs([spec], 3)["strength"])


def test_sizes_replace_only_free_dimensions() -> None:
    spec = TensorSpec(
        "x", (1, 3, 8, 8), dynamic={0: DynamicDim("batch"), 2: DynamicDim("height", 8, 64)}
    )
    found = random_inputs([spec], 0, sizes={"batch": 3, "height": 16, "width": 99})
    assert found["x"].shape == (3, 3, 16, 8)


def test_save_reports_what_the_system_says(samples: Samples, tmp_path: Path) -> None:
    with pytest.raises(OSError) as caught:
        samples.save(tmp_path / "missing" / "s")
    assert caught.value.errno is not None
    assert os.strerror(caught.value.errno)
