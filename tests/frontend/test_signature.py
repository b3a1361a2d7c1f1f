"""Flat, named tensors in and out of models of every signature."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict, namedtuple
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgesdk.errors import InputSpecError, ModelOutputError
from edgesdk.frontend.evaluation_mode import evaluate, training_layers
from edgesdk.frontend.flatten import flat_example, name_outputs
from edgesdk.frontend.preprocessing import ImagePreprocessing
from edgesdk.frontend.signature import FlatModel
from edgesdk.frontend.tensor_specs import dtype_name, spec_of, torch_dtype
from edgesdk.spec import DTYPES, IMAGE_PRESETS, ImageSpec, TensorSpec


class Call(nn.Module):
    """Any function as a model with that function's signature."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function
        self.forward = function


def one(value: float) -> Tensor:
    return torch.full((2,), value)


class Pair(NamedTuple):
    left: Tensor
    right: Tensor | None


@dataclasses.dataclass
class Found:
    boxes: Tensor
    scores: dict[str, Tensor]
    extra: Tensor | None = None


Old = namedtuple("Old", "a b")


@pytest.mark.parametrize(
    ("result", "names"),
    [
        (one(1), ["output"]),
        ((one(1),), ["output_0"]),
        ([one(1), one(2)], ["output_0", "output_1"]),
        ({"b": one(1), "a": one(2)}, ["b", "a"]),
        (OrderedDict(logits=one(1)), ["logits"]),
        (Pair(one(1), one(2)), ["left", "right"]),
        (Pair(one(1), None), ["left"]),
        (Old(one(1), [one(2), one(3)]), ["a", "b_0", "b_1"]),
        (Found(one(1), {"cat": one(2)}), ["boxes", "scores_cat"]),
        ([Found(one(1), {})], ["output_0_boxes"]),
        ((one(1), {"x": [one(2)]}), ["output_0", "output_1_x_0"]),
        ({3: one(1), "a b": one(2), "class": one(3)}, ["output_3", "a_b", "class"]),
        ({"a.b": one(1), "a_b": one(2), "a-b": one(3)}, ["a_b", "a_b_", "a_b__"]),
        ({"": one(1), "-": one(2)}, ["output", "output_"]),
        ((None, one(1), None), ["output_1"]),
    ],
)
def test_outputs_are_named_after_where_they_are(result: Any, names: list[str]) -> None:
    assert list(name_outputs(result)) == names


def test_outputs_keep_their_values_in_order() -> None:
    named = name_outputs((one(1), {"x": one(2)}, Found(one(3), {"s": one(4)})))
    assert [float(tensor[0]) for tensor in named.values()] == [1, 2, 3, 4]


def test_an_output_that_is_there_twice_is_copied_once() -> None:
    tensor = one(1)
    named = name_outputs((tensor, tensor))
    assert named["output_0"] is tensor
    assert named["output_1"] is not tensor
    assert torch.equal(named["output_1"], tensor)


def test_an_output_never_has_the_name_of_an_input() -> None:
    assert list(name_outputs({"x": one(1), "y": one(2)}, ["x"])) == ["output_x", "y"]
    assert list(name_outputs({"x": one(1), "output_x": one(2)}, ["x"])) == [
        "output_x",
        "output_x_",
    ]
    assert list(name_outputs(one(1), ["output"])) == ["output_output"]


@pytest.mark.parametrize(
    ("result", "told"),
    [
        (None, "no tensor"),
        ((), "no tensor"),
        ({}, "no tensor"),
        ((None, [None]), "no tensor"),
        (3.0, "a float; "),
        ("text", "a str; "),
        ((one(1), 3), r"a int at \[1\]"),
        ({"a": {"b": "text"}}, r"a str at \['a'\]\['b'\]"),
        (Found(one(1), {"cat": 2}), r"a int at \['scores'\]\['cat'\]"),  # type: ignore[dict-item]
        (np.zeros(2), "a ndarray"),
        (Found, "a type"),
    ],
)
def test_outputs_that_are_no_tensors(result: Any, told: str) -> None:
    with pytest.raises(ModelOutputError, match=told):
        name_outputs(result)


def two(left: Tensor, right: Tensor | None = None) -> Tensor:
    return left if right is None else left + right


@pytest.mark.parametrize(
    ("function", "example", "names"),
    [
        (two, one(1), ["left"]),
        (two, (one(1), one(2)), ["left", "right"]),
        (two, [one(1), one(2)], ["left", "right"]),
        (two, {"right": one(2), "left": one(1)}, ["left", "right"]),
        (lambda *xs: xs[0], (one(1), one(2)), ["xs_0", "xs_1"]),
        (lambda a, *xs: a, (one(1), one(2)), ["a", "xs_0"]),
        (lambda **named: named["b"], {"b": one(1), "a": one(2)}, ["b", "a"]),
        (lambda a, **rest: a, {"z": one(2), "a": one(1)}, ["a", "z"]),
        (lambda pair: pair["l"], ({"l": one(1), "r": [one(2)]},), ["pair_l", "pair_r_0"]),
        (lambda pair: pair[0], ([one(1), (one(2), one(3))],), ["pair_0", "pair_1_0", "pair_1_1"]),
        (lambda **named: named["class"], {"class": one(1), "a b": one(2)}, ["class_", "a_b"]),
        (lambda **named: named["self_"], {"3": one(1), "self_": one(2)}, ["input_3", "self_"]),
        (lambda pair: pair, (Pair(one(1), one(2)),), ["pair_left", "pair_right"]),
    ],
)
def test_inputs_are_named_after_the_parameters(
    function: Any, example: Any, names: list[str]
) -> None:
    assert flat_example(Call(function), example)[0] == names


def test_nested_arguments_arrive_as_they_were() -> None:
    seen: list[Any] = []

    def forward(first: Any, /, pair: Any, *, scale: Any) -> Tensor:
        seen.append((first, pair, scale))
        return first[0] + pair["r"][0] * scale

    model = Call(lambda **all_: forward(all_["first"], all_["pair"], scale=all_["scale"]))
    example = {
        "pair": {"l": one(1), "r": [one(2), (one(3),)]},
        "scale": one(4),
        "first": [one(5)],
    }
    names, tensors, structure = flat_example(model, example)
    assert names == ["pair_l", "pair_r_0", "pair_r_1_0", "scale", "first_0"]
    assert [float(tensor[0]) for tensor in tensors] == [1, 2, 3, 4, 5]
    face = FlatModel(model, names, structure)
    assert torch.equal(face(*tensors)["output"], one(13))
    assert torch.equal(face(**dict(zip(names, tensors, strict=True)))["output"], one(13))
    first, pair, scale = seen[0]
    assert isinstance(pair["r"][1], tuple)
    assert torch.equal(pair["r"][1][0], one(3))
    assert torch.equal(first[0], one(5))
    assert torch.equal(scale, one(4))


@pytest.mark.parametrize(
    ("example", "told"),
    [
        ((), "holds no tensor"),
        ({}, "holds no tensor"),
        (3, "cannot be a int"),
        ("net.npz", "cannot be a str"),
        (None, "cannot be a NoneType"),
        (np.zeros(2), "cannot be a ndarray"),
        ((one(1), 2.0), "holds a float at"),
        ((one(1), None, one(2)), r"takes 2 inputs \(left, right\), 3 were given"),
        ({"left": one(1), "rihgt": one(2)}, "takes no input 'rihgt'"),
        ((one(1).to(torch.bfloat16),), "not support .* of bfloat16"),
        ((one(1).to(torch.complex64),), "not support .* of complex64"),
    ],
)
def test_examples_that_do_not_fit(example: Any, told: str) -> None:
    with pytest.raises(InputSpecError, match=told):
        flat_example(Call(two), example)


def test_a_misspelt_argument_suggests_the_right_one() -> None:
    with pytest.raises(InputSpecError) as caught:
        flat_example(Call(two), {"left": one(1), "rihgt": one(2)})
    assert caught.value.remedy == "did you mean 'right'?"


@pytest.mark.parametrize("names", [["class"], ["self"], ["a b"], ["3d"], [""], ["x", "x"]])
def test_names_no_argument_can_have(names: list[str]) -> None:
    with pytest.raises(InputSpecError, match="called"):
        FlatModel(nn.Identity(), names)


def test_names_that_are_attributes_of_modules_are_fine() -> None:
    names = ["model", "forward", "training", "names", "args", "kwargs", "preprocessing"]
    face = FlatModel(Call(lambda *tensors: torch.stack(tensors)), names)
    tensors = [one(index) for index in range(len(names))]
    assert torch.equal(face(*tensors)["output"], torch.stack(tensors))


def test_wrong_numbers_of_inputs_are_refused() -> None:
    face = FlatModel(Call(two), ["left", "right"])
    for call in (
        lambda: face(one(1)),
        lambda: face(one(1), one(2), one(3)),
        lambda: face(l=one(1)),
    ):
        with pytest.raises(TypeError):
            call()


def test_faces_do_not_share_their_signature() -> None:
    first, second = FlatModel(nn.ReLU(), ["a"]), FlatModel(nn.ReLU(), ["b"])
    assert torch.equal(first(a=one(-1))["output"], one(0))
    assert torch.equal(second(b=one(-1))["output"], one(0))
    with pytest.raises(TypeError):
        second(a=one(1))


@pytest.mark.parametrize("name", [*sorted(IMAGE_PRESETS), "custom", "swapped"])
def test_preprocessing_computes_its_formula(name: str) -> None:
    spec = {
        **IMAGE_PRESETS,
        "custom": ImageSpec(low=-2.0, high=6.0, mean=(0.5, -1.0, 3.0), std=(0.25, 2.0, -4.0)),
        "swapped": ImageSpec("bgr", "rgb", mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 4.0)),
    }[name]
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (2, 3, 5, spec.channels), np.uint8)
    pixels[0, 0, 0], pixels[0, 0, 1] = 0, 255
    known = pixels[..., ::-1] if spec.color != spec.model_color else pixels
    values = known.astype(np.float64) / 255 * (spec.high - spec.low) + spec.low
    wanted = ((values - spec.mean) / spec.std).transpose(0, 3, 1, 2)
    found = ImagePreprocessing(spec)(torch.from_numpy(pixels.copy()))
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())
    planes = torch.from_numpy(pixels.transpose(0, 3, 1, 2).astype(np.float32))
    assert torch.equal(ImagePreprocessing(spec, planes=True)(planes), found)


def test_black_and_white_by_hand() -> None:
    spec = ImageSpec(
        "bgr", "rgb", low=0.0, high=255.0, mean=(10.0, 20.0, 30.0), std=(1.0, 2.0, 5.0)
    )
    blue = torch.tensor([[[[255, 0, 0]]]], dtype=torch.uint8)
    # Camera bytes are blue first; the model wants red first: (0 - 10) / 1, (0 - 20) / 2, 225 / 5.
    assert ImagePreprocessing(spec)(blue).flatten().tolist() == [-10.0, -10.0, 45.0]


def test_only_the_image_is_preprocessed() -> None:
    face = FlatModel(
        Call(lambda noise, image: (noise, image)), ["noise", "image"], image=(1, ImageSpec())
    )
    noise, image = torch.rand(1, 2, 2, 3), torch.full((1, 2, 2, 3), 51, dtype=torch.uint8)
    outputs = face(noise, image)
    assert torch.equal(outputs["output_0"], noise)
    assert outputs["output_1"].shape == (1, 3, 2, 2)
    assert torch.allclose(outputs["output_1"], torch.tensor(0.2))


def test_dtypes_go_both_ways() -> None:
    for name in DTYPES:
        assert dtype_name(torch_dtype(name)) == name


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        ((1, 3, 8, 8), "NCHW"),
        ((1, 1, 8, 8), "NCHW"),
        ((1, 64, 8, 8), ""),
        ((3, 8, 8), ""),
        ((), ""),
    ],
)
def test_spec_of_a_tensor(shape: tuple[int, ...], layout: str) -> None:
    assert spec_of("t", torch.zeros(shape)) == TensorSpec("t", shape, "float32", layout=layout)


def test_evaluate_says_what_trained() -> None:
    assert evaluate(nn.Sequential(nn.ReLU()).eval()) == ""
    assert evaluate(nn.Sequential(nn.ReLU())) == "the model was"
    half = nn.Sequential(nn.ReLU(), nn.Sequential(nn.Dropout())).eval()
    half[1][0].train()
    assert list(training_layers(half)) == ["1.0"]
    assert evaluate(half) == "1 layer was"
    half[1].train()
    assert evaluate(half) == "2 layers were"
    assert not training_layers(half)


def test_evaluate_leaves_exported_programs_and_switches_the_rest() -> None:
    program = torch.export.export(nn.Linear(2, 2).eval(), (torch.ones(1, 2),)).module()
    assert evaluate(program) == ""
    mixed = nn.Sequential(nn.Dropout(), program)
    assert evaluate(mixed) == "the model was"
    assert not mixed[0].training
    face = FlatModel(program, ["x"])
    assert not face.training
    assert face(torch.ones(1, 2))["output"].shape == (1, 2)
