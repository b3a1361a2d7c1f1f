"""Reading what people write of inputs, images and free dimensions."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesdk.errors import InputSpecError, UnknownNameError
from edgesdk.spec import (
    DTYPES,
    IMAGE_PRESETS,
    DynamicDim,
    ImageSpec,
    TensorSpec,
    parse_dynamic,
    parse_image,
    parse_input,
)

names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,12}", fullmatch=True)
shapes = st.lists(st.integers(1, 2000), min_size=1, max_size=6).filter(
    lambda sizes: math.prod(sizes) <= 2**31
)


@given(name=names, shape=shapes, dtype=st.sampled_from(DTYPES))
@settings(max_examples=60)
def test_a_spec_reads_its_own_text(name: str, shape: list[int], dtype: str) -> None:
    spec = TensorSpec(name, tuple(shape), dtype)
    assert parse_input(str(spec)) == spec


@given(st.text(max_size=30))
@settings(max_examples=150)
def test_any_text_is_read_or_refused_in_our_words(text: str) -> None:
    for parse in (parse_input, parse_image, parse_dynamic):
        try:
            parse(text)
        except (InputSpecError, UnknownNameError):
            continue


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("1x3x224x224", TensorSpec("x", (1, 3, 224, 224))),
        ("image:1x3x8x8", TensorSpec("image", (1, 3, 8, 8))),
        ("7", TensorSpec("x", (7,))),
        ("ids:1x16:int64", TensorSpec("ids", (1, 16), "int64")),
        (" 2x3:bool ", TensorSpec("x", (2, 3), "bool")),
        ("_a1:65536x32768", TensorSpec("_a1", (65536, 32768))),
    ],
)
def test_inputs(text: str, spec: TensorSpec) -> None:
    assert parse_input(text) == spec


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "x:",
        ":1x3",
        "1x",
        "x1x3",
        "1x-3",
        "-1x3",
        "1.5x3",
        "1x3,2x3",
        "1x0x3",
        "0",
        "a b:1x3",
        "3d:1x3",
        "1x٣",
        "größe:1x3",
        "65536x32769",
        "9999999999x9999999999",
        "9" * 5000,
        "1x3:float32:int8",
        "1×3",
    ],
)
def test_inputs_that_cannot_be_read(text: str) -> None:
    with pytest.raises(InputSpecError):
        parse_input(text)


def test_an_unknown_dtype_suggests_the_nearest() -> None:
    with pytest.raises(UnknownNameError) as caught:
        parse_input("x:1x3:float31")
    assert caught.value.message == "unknown dtype 'float31'"
    assert caught.value.remedy in ("did you mean 'float32'?", "did you mean 'float16'?")
    with pytest.raises(UnknownNameError, match="int64"):
        parse_input("x:1x3:int46")


def test_specs_refuse_what_no_tensor_has() -> None:
    with pytest.raises(InputSpecError, match="negative size"):
        TensorSpec("x", (1, -3))
    with pytest.raises(InputSpecError, match="more than 2147483648 elements"):
        TensorSpec("x", (2**31, 2))
    with pytest.raises(InputSpecError, match="no axis 2"):
        TensorSpec("x", (1, 3), dynamic={2: DynamicDim("batch")})
    with pytest.raises(InputSpecError, match="no axis -1"):
        TensorSpec("x", (1, 3), dynamic={-1: DynamicDim("batch")})
    with pytest.raises(UnknownNameError):
        TensorSpec("x", (1,), "bfloat16")
    assert TensorSpec("scalar", ()).shape == ()


def test_a_free_dimension_shows_its_name_and_size() -> None:
    spec = TensorSpec("x", (2, 3), "int8", {0: DynamicDim("batch")})
    assert str(spec) == "x:batch=2x3:int8"
    assert str(spec.renamed("y")) == "y:batch=2x3:int8"
    assert spec.renamed("y").dynamic == spec.dynamic


@pytest.mark.parametrize(
    ("text", "dims"),
    [
        ("batch", {"batch": DynamicDim("batch", 1, 8, 1)}),
        (" batch=1..16 ", {"batch": DynamicDim("batch", 1, 16, 1)}),
        ("batch=2..9/3", {"batch": DynamicDim("batch", 2, 9, 3)}),
        (
            "hw",
            {
                "height": DynamicDim("height", 64, 1024, 32),
                "width": DynamicDim("width", 64, 1024, 32),
            },
        ),
        (
            "hw=30..70",
            {"height": DynamicDim("height", 30, 70, 1), "width": DynamicDim("width", 30, 70, 1)},
        ),
    ],
)
def test_dynamic_axes(text: str, dims: dict[str, DynamicDim]) -> None:
    assert parse_dynamic(text) == dims


@pytest.mark.parametrize(
    "text",
    [
        "",
        "batch=",
        "batch=4",
        "batch=4..",
        "batch=..4",
        "batch=0..4",
        "batch=-1..4",
        "batch=4..4",
        "batch=5..4",
        "batch=1..8/0",
        "batch=1..8/-2",
        "batch=1...8",
        "batch=1..2147483648",
        "batch=1..9999999999",
        "batch=1.." + "9" * 5000,
        # A multiple that leaves one size or none.
        "hw=65..95/32",
        "hw=64..95/32",
        "Batch",
        "batch hw",
    ],
)
def test_dynamic_axes_that_cannot_be(text: str) -> None:
    with pytest.raises(InputSpecError):
        parse_dynamic(text)


def test_an_unknown_axis_suggests_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'batch'"):
        parse_dynamic("bath=1..4")


@given(low=st.integers(1, 300), extra=st.integers(0, 300), multiple=st.integers(1, 64))
@settings(max_examples=60)
def test_a_dimension_exists_exactly_where_two_multiples_fit(
    low: int, extra: int, multiple: int
) -> None:
    legal = [size for size in range(low, low + extra + 1) if size % multiple == 0]
    if len(legal) < 2:
        with pytest.raises(InputSpecError):
            DynamicDim("d", low, low + extra, multiple)
    else:
        dim = DynamicDim("d", low, low + extra, multiple)
        assert (dim.smallest, dim.largest) == (legal[0], legal[-1])


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("unit", ImageSpec()),
        ("imagenet", IMAGE_PRESETS["imagenet"]),
        ("range=-1..1", ImageSpec(low=-1.0, high=1.0)),
        ("range=0..2.5e2", ImageSpec(high=250.0)),
        ("color=bgr", ImageSpec(color="bgr")),
        ("model-color=bgr, range=0..255", ImageSpec(model_color="bgr", high=255.0)),
        (
            "imagenet,color=bgr,std=1/2/-3",
            ImageSpec("bgr", "rgb", mean=(0.485, 0.456, 0.406), std=(1.0, 2.0, -3.0)),
        ),
        ("grey,mean=0.5", ImageSpec("grey", "grey", mean=(0.5,), std=(1.0,))),
        ("byte,mean=104/117/123", ImageSpec(high=255.0, mean=(104.0, 117.0, 123.0))),
    ],
)
def test_images(text: str, spec: ImageSpec) -> None:
    assert parse_image(text) == spec


@pytest.mark.parametrize(
    "text",
    [
        "",
        " , ",
        "range=0",
        "range=0..",
        "range=1..0",
        "range=1..1",
        "range=0...5",
        "range=0..1.2.3",
        "range=0..1e999",
        "range=nan..1",
        "mean=1/2",
        "mean=",
        "mean=1//2",
        "mean=a/b/c",
        "mean=nan/0/0",
        "std=inf/1/1",
        "std=0/1/1",
        "std=1/1/1/1",
        "color=grey",
        "grey,color=rgb",
        "grey,mean=1/2/3",
        "mean=0/0/0,imagenet",
    ],
)
def test_images_that_cannot_be(text: str) -> None:
    with pytest.raises(InputSpecError):
        parse_image(text)


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("imagnet", "did you mean 'imagenet'?"),
        ("colour=bgr", "did you mean 'color'?"),
        ("color=gray", "did you mean 'grey'?"),
        ("Color=rgb", "did you mean 'color'?"),
    ],
)
def test_unknown_words_of_an_image_suggest_the_nearest(text: str, remedy: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        parse_image(text)
    assert caught.value.remedy == remedy


def test_channels_follow_the_camera() -> None:
    assert [IMAGE_PRESETS[name].channels for name in sorted(IMAGE_PRESETS)] == [3, 1, 3, 3, 3]
