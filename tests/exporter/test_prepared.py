"""What a model takes, settled once: names, examples, image inputs, free dimensions, samples."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from edgesdk.errors import InputSpecError, ModelOutputError, UsageError
from edgesdk.exporter.parity_samples import make_samples
from edgesdk.exporter.prepared import CaptureSpec, PreparedModel, prepare
from edgesdk.spec import DynamicDim, ImageSpec, TensorSpec, parse_dynamic, parse_input


class Both(nn.Module):
    def forward(self, image: Tensor, mask: Tensor, scale: Tensor | None = None) -> Tensor:
        result = image * 2 + mask.mean()
        return result if scale is None else result * scale


class Picture(nn.Module):
    """Scores of a picture of any size, and a log that dislikes small numbers."""

    def forward(self, image: Tensor) -> Tensor:
        return image.mean((2, 3))


def specs(*texts: str) -> tuple[TensorSpec, ...]:
    return tuple(parse_input(text) for text in texts)


def outputs(prepared: PreparedModel) -> list[str]:
    return [str(spec) for spec in prepared.capture(CaptureSpec()).inputs]


@pytest.mark.parametrize(
    "texts",
    [("image:1x3", "mask:1x5"), ("mask:1x5", "image:1x3")],
)
def test_named_inputs_come_in_the_order_of_forward(texts: tuple[str, ...]) -> None:
    prepared = prepare(Both().eval(), inputs=specs(*texts))
    assert outputs(prepared) == ["image:1x3:float32", "mask:1x5:float32"]
    assert [tuple(tensor.shape) for tensor in prepared.tensors] == [(1, 3), (1, 5)]


def test_a_later_argument_may_be_left_out_or_named() -> None:
    prepared = prepare(Both().eval(), inputs=specs("scale:1", "mask:1x5", "image:1x3"))
    assert [spec.name for spec in prepared.specs] == ["image", "mask", "scale"]
    assert prepared.capture(CaptureSpec()).outputs[0].shape == (1, 3)


def test_names_of_ones_own_are_taken_in_order() -> None:
    prepared = prepare(Both().eval(), inputs=specs("photo:1x3", "where:1x5"))
    assert outputs(prepared) == ["photo:1x3:float32", "where:1x5:float32"]


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        (("a:1x3", "b:1x3", "c:1", "d:1"), r"takes 3 inputs \(image, mask, scale\), 4 were given"),
        (("1x3", "1x5"), "two inputs have the same name"),
        (("image:1x3", "image:1x5"), "two inputs have the same name"),
        (("mask:1x5", "photo:1x3"), "has no input 'photo'"),
    ],
)
def test_inputs_that_do_not_fit_the_signature(texts: tuple[str, ...], told: str) -> None:
    with pytest.raises(InputSpecError, match=told):
        prepare(Both().eval(), inputs=specs(*texts))


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        (("image:1x3",), "missing 1 required positional argument: 'mask'"),
        (("a:1x3",), "missing 1 required positional argument: 'mask'"),
        (("image:1x3", "mask:1x5:int64"), "mean"),
    ],
)
def test_inputs_the_model_refuses(texts: tuple[str, ...], told: str) -> None:
    with pytest.raises(InputSpecError, match=told):
        prepare(Both().eval(), inputs=specs(*texts)).capture(CaptureSpec())


def test_names_no_argument_can_have() -> None:
    with pytest.raises(InputSpecError, match="cannot be called 'class'"):
        prepare(nn.ReLU().eval(), inputs=specs("class:1x3")).capture(CaptureSpec())


def test_positional_only_and_starred_arguments() -> None:
    class Positional(nn.Module):
        def forward(self, x: Tensor, /, *rest: Tensor) -> Tensor:
            return x + sum(rest)

    for texts in (("x:2",), ("x:2", "rest:2"), ("a:2", "b:2", "c:2")):
        prepared = prepare(Positional().eval(), inputs=specs(*texts))
        assert [spec.name for spec in prepared.capture(CaptureSpec()).inputs] == [
            text.partition(":")[0] for text in texts
        ]


def test_nothing_that_says_what_a_model_takes() -> None:
    with pytest.raises(InputSpecError, match="inputs of Both are unknown") as caught:
        prepare(Both().eval())
    assert caught.value.remedy == "--input image:1x3x224x224"
    with pytest.raises(UsageError, match="both an example and input specs"):
        prepare(Both().eval(), torch.ones(1), inputs=specs("x:1"))
    with pytest.raises(UsageError, match="load the weights"):
        prepare(Both().eval(), torch.ones(1), weights=Path("w.pth"))
    for wrong in (3, nn.ReLU, None):
        with pytest.raises(UsageError, match="expected a model"):
            prepare(wrong, torch.ones(1))  # type: ignore[arg-type]
    program = torch.export.export(nn.ReLU().eval(), (torch.ones(1),))
    with pytest.raises(UsageError) as caught_program:
        prepare(program, torch.ones(1))  # type: ignore[arg-type]
    assert caught_program.value.remedy == "pass program.module()"
    assert prepare(program.module(), torch.ones(1)).capture(CaptureSpec()).operators == 1


def test_integer_inputs_stay_inside_tables() -> None:
    model = nn.Embedding(2, 4).eval()
    prepared = prepare(model, inputs=specs("input:1x16:int64"))
    assert make_samples(prepared, CaptureSpec()).inputs[0]["input"].max() <= 1
    far = prepare(nn.Embedding(500, 4).eval(), torch.tensor([[7, 499, 3]]))
    for arrays in make_samples(far, CaptureSpec()).inputs:
        assert set(arrays["input"].ravel()) <= {7, 499, 3}


class Stylist(nn.Module):
    """Blends styles, as its attribute says."""

    style_names = ("one", "two", "three")

    def forward(self, picture: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        return picture * style.reshape(-1, 3, 1, 1)


def test_photographs_are_shown_in_one_style_at_a_time(tmp_path: Path) -> None:
    prepared = prepare(Stylist().eval(), inputs=specs("picture:1x3x8x8", "style:1x3"))
    assert prepared.example()["style"].tolist() == [[np.float32(1 / 3)] * 3]
    shown = [background["style"].tolist() for background in prepared.backgrounds()]
    assert shown == [[[1, 0, 0]], [[0, 1, 0]], [[0, 0, 1]]]
    photo = tmp_path / "p.png"
    Image.new("RGB", (8, 8), (255, 255, 255)).save(photo)
    samples = make_samples(prepared, CaptureSpec(), [photo, photo])
    # Of more styles than photographs the first and the last, and blends where all is random.
    assert [int(arrays["style"].argmax()) for arrays in samples.inputs[:2]] == [0, 2]
    assert [float(arrays["style"].max()) for arrays in samples.inputs[:2]] == [1, 1]
    for arrays in samples.inputs[2:]:
        assert 0 < arrays["style"].max() < 1
    assert make_samples(prepared, CaptureSpec(), [photo]).inputs[0]["style"].tolist() == [[1, 0, 0]]
    assert make_samples(prepared, CaptureSpec()).real == 0
    plain = prepare(nn.ReLU().eval(), torch.ones(2)).backgrounds()
    assert len(plain) == 1 and plain[0].keys() == {"input"}


def test_captures_are_made_once() -> None:
    prepared = prepare(nn.ReLU().eval(), torch.ones(2))
    assert prepared.capture(CaptureSpec()) is prepared.capture(CaptureSpec())


def test_an_image_input_takes_camera_bytes() -> None:
    prepared = prepare(Picture().eval(), inputs=specs("image:1x3x8x6"), image="imagenet,color=bgr")
    (spec,) = prepared.input_specs(CaptureSpec())
    assert (spec.shape, spec.dtype, spec.layout) == ((1, 8, 6, 3), "uint8", "NHWC")
    assert spec.image is not None
    assert spec.image.color == "bgr"
    (planes,) = prepared.input_specs(CaptureSpec(planes=True))
    assert (planes.shape, planes.dtype, planes.image) == ((1, 3, 8, 6), "float32", None)
    assert prepared.example()["image"].dtype == np.uint8
    samples = make_samples(prepared, CaptureSpec())
    pixels = samples.inputs[0]["image"][..., ::-1].astype(np.float64) / 255
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    wanted = ((pixels - mean) / std).mean((1, 2))
    np.testing.assert_allclose(samples.expected[0]["output"], wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("texts", "image"),
    [
        (("image:1x3",), "imagenet"),
        (("image:1x4x8x8",), "imagenet"),
        (("image:1x1x8x8",), "imagenet"),
        (("image:1x3x8x8",), "grey"),
        (("image:1x3x8x8:uint8",), "imagenet"),
    ],
)
def test_preprocessing_without_an_image_input(texts: tuple[str, ...], image: str) -> None:
    with pytest.raises(InputSpecError, match="no input for images"):
        prepare(Picture().eval(), inputs=specs(*texts), image=image)


def test_auto_preprocessing_needs_a_source_that_knows() -> None:
    with pytest.raises(InputSpecError, match="image preprocessing of Picture is unknown"):
        prepare(Picture().eval(), inputs=specs("image:1x3x8x8"), image="auto")


def dynamic(*texts: str) -> CaptureSpec:
    return CaptureSpec(tuple(item for text in texts for item in parse_dynamic(text).items()))


def test_free_dimensions_by_axis() -> None:
    prepared = prepare(Picture().eval(), inputs=specs("image:2x3x64x32"))
    (spec,) = prepared.input_specs(dynamic("batch", "hw=32..128/16"))
    assert {axis: dim.name for axis, dim in spec.dynamic.items()} == {
        0: "batch",
        2: "height",
        3: "width",
    }
    baked = prepare(Picture().eval(), inputs=specs("image:2x3x64x32"), image="unit")
    (spec,) = baked.input_specs(dynamic("hw=32..128/16"))
    assert {axis: dim.name for axis, dim in spec.dynamic.items()} == {1: "height", 2: "width"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("batch=3..8", "batch 2, outside 3..8"),
        ("hw=96..128", "height 64, outside 96..128"),
        ("hw=32..128/24", "height 64, outside 32..128 in multiples of 24"),
    ],
)
def test_ranges_that_leave_the_example_out(text: str, told: str) -> None:
    prepared = prepare(Picture().eval(), inputs=specs("image:2x3x64x32"))
    with pytest.raises(InputSpecError, match=told) as caught:
        prepared.input_specs(dynamic(text))
    assert "--dynamic" in (caught.value.remedy or "")


def test_inputs_that_disagree_on_a_free_dimension() -> None:
    prepared = prepare(Both().eval(), inputs=specs("image:2x3", "mask:4x5"))
    with pytest.raises(InputSpecError, match="'image' and 'mask' have the batch 2 and 4"):
        prepared.input_specs(dynamic("batch"))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("batch=1..8", ["batch=3"]),
        ("batch=1..4", ["batch=3"]),
        ("batch=1..2", ["batch=2"]),
        ("hw=64..1024/32", ["height=96, width=96"]),
        ("hw=32..64/32", ["height=32, width=32"]),
        ("hw=30..70", ["height=30, width=30", "height=70, width=70"]),
        ("hw=40..200/8", ["height=40, width=40", "height=96, width=96"]),
    ],
)
def test_samples_of_other_sizes_lie_inside_the_range(text: str, names: list[str]) -> None:
    prepared = prepare(Picture().eval(), inputs=specs("image:1x3x64x64"))
    samples = make_samples(prepared, dynamic(text))
    assert list(samples.names) == ["random 1", "random 2", "random 3", *names]
    assert samples.real == 0
    for name, arrays in zip(samples.names[3:], samples.inputs[3:], strict=True):
        sizes = [int(part.partition("=")[2]) for part in name.split(", ")]
        shape = arrays["image"].shape
        assert sizes == ([shape[0]] if len(sizes) == 1 else list(shape[2:]))


def test_the_same_model_gives_the_same_samples() -> None:
    made = [
        make_samples(prepare(Both().eval(), inputs=specs("image:1x3", "mask:1x5")), CaptureSpec())
        for _ in range(2)
    ]
    for one, two in zip(*((*s.inputs, *s.expected) for s in made), strict=True):
        assert all(np.array_equal(one[name], two[name]) for name in one)


def test_samples_from_files_come_first(tmp_path: Path) -> None:
    prepared = prepare(Both().eval(), inputs=specs("image:1x3", "mask:1x5"))
    arrays = {"image": np.arange(3.0).reshape(1, 3), "mask": np.ones((1, 5)), "extra": np.ones(9)}
    np.savez(tmp_path / "one.npz", **arrays)
    torch.save((torch.ones(1, 3), torch.zeros(1, 5)), tmp_path / "two.pt")
    done: list[tuple[int, int]] = []
    samples = make_samples(
        prepared,
        CaptureSpec(),
        [tmp_path / "one.npz", tmp_path / "two.pt"],
        lambda number, count: done.append((number, count)),
    )
    assert samples.names == ("one.npz", "two.pt", "random 1", "random 2", "random 3")
    assert samples.real == 2
    assert samples.expected[0]["output"].tolist() == [[1.0, 3.0, 5.0]]
    assert samples.expected[1]["output"].tolist() == [[2.0, 2.0, 2.0]]
    assert done == [(number, 5) for number in range(1, 6)]


def test_at_most_eight_files_are_taken(tmp_path: Path) -> None:
    prepared = prepare(nn.ReLU().eval(), torch.ones(2))
    files = []
    for index in range(10):
        np.save(tmp_path / f"{index}.npy", np.full(2, index))
        files.append(tmp_path / f"{index}.npy")
    assert make_samples(prepared, CaptureSpec(), files).real == 8


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    array = np.full((20, 20, 3), (255, 51, 0), np.uint8)
    Image.fromarray(array).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_photographs_reach_the_model_as_it_knows_them(photo: Path) -> None:
    plain = prepare(Picture().eval(), inputs=specs("image:1x3x8x8"))
    samples = make_samples(plain, CaptureSpec(), [photo])
    np.testing.assert_allclose(samples.expected[0]["output"], [[1.0, 0.2, 0.0]], atol=1e-6)
    baked = prepare(
        Picture().eval(),
        inputs=specs("image:1x3x8x8"),
        image=ImageSpec(high=10.0, mean=(1.0, 2.0, 3.0), std=(1.0, 2.0, 4.0)),
    )
    samples = make_samples(baked, CaptureSpec(), [photo])
    assert samples.inputs[0]["image"].dtype == np.uint8
    np.testing.assert_allclose(samples.expected[0]["output"], [[9.0, 0.0, -0.75]], atol=1e-5)


def test_photographs_for_a_zoo_model_are_normalised_though_nothing_is_baked_in(photo: Path) -> None:
    prepared = prepare("squeezenet1_1", inputs=specs("x:1x3x64x64"))
    assert prepared.image is None
    sample = make_samples(prepared, CaptureSpec(), [photo]).inputs[0]
    (array,) = sample.values()
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    np.testing.assert_allclose(
        array[0, :, 3, 3], (np.array([1.0, 0.2, 0.0]) - mean) / std, atol=1e-5
    )


def test_photographs_beside_other_inputs(photo: Path) -> None:
    class Mixed(nn.Module):
        def forward(self, image: Tensor, token: Tensor) -> Tensor:
            return image.mean((1, 2, 3)) + token

    example = (torch.rand(1, 3, 8, 8), torch.tensor([41]))
    samples = make_samples(prepare(Mixed().eval(), example), CaptureSpec(), [photo])
    assert samples.inputs[0]["token"].tolist() == [41]


def test_a_photograph_for_a_model_without_pictures(photo: Path) -> None:
    with pytest.raises(InputSpecError, match=r"photo\.png is a picture, but no input takes one"):
        make_samples(prepare(nn.ReLU().eval(), torch.ones(2)), CaptureSpec(), [photo])


class Log(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.log(x)


def test_an_answer_that_is_not_finite_names_sample_and_operator(tmp_path: Path) -> None:
    prepared = prepare(Log().eval(), inputs=specs("x:2x50"))
    with pytest.raises(ModelOutputError) as caught:
        make_samples(prepared, CaptureSpec())
    assert caught.value.message == (
        "the model returns NaN or infinity; aten.log.default makes the first one (on random 1)"
    )
    assert "test_prepared.py:" in (caught.value.where or "")
    np.save(tmp_path / "bad.npy", np.zeros((2, 50), np.float32))
    with pytest.raises(ModelOutputError, match=r"\(on bad\.npy\)"):
        make_samples(prepared, CaptureSpec(), [tmp_path / "bad.npy"])


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_sample_that_is_not_finite_is_to_blame_itself(bad: float, tmp_path: Path) -> None:
    prepared = prepare(nn.ReLU().eval(), torch.ones(2))
    np.save(tmp_path / "bad.npy", np.array([1.0, bad], np.float32))
    with pytest.raises(InputSpecError, match=r"bad\.npy holds NaN or infinity"):
        make_samples(prepared, CaptureSpec(), [tmp_path / "bad.npy"])
    # A mask of infinities is a fair input where the model makes something finite of it.
    masked = prepare(nn.Softmax(-1).eval(), torch.ones(2))
    np.save(tmp_path / "mask.npy", np.array([1.0, -math.inf], np.float32))
    samples = make_samples(masked, CaptureSpec(), [tmp_path / "mask.npy"])
    assert samples.expected[0]["output"].tolist() == [1.0, 0.0]


def test_face_of_a_free_spec_shows_its_dimension() -> None:
    prepared = prepare(nn.ReLU().eval(), torch.ones(2, 3))
    captured = prepared.capture(dynamic("batch=1..4"))
    assert captured.outputs == (
        TensorSpec("output", (2, 3), dynamic={0: DynamicDim("batch", 1, 4)}),
    )


def test_examples_of_every_form() -> None:
    image, mask = torch.ones(1, 3), torch.ones(1, 5)
    forms: list[Any] = [
        (image, mask),
        [image, mask],
        {"image": image, "mask": mask},
        {"mask": mask, "image": image},
    ]
    for example in forms:
        found = prepare(Both().eval(), example).capture(CaptureSpec())
        assert [spec.name for spec in found.inputs] == ["image", "mask"]
