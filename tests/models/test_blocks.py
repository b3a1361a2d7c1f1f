"""The building blocks, by hand and against torch."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from edgesdk import models
from edgesdk.errors import UsageError
from edgesdk.models.detector import prior_boxes
from edgesdk.models.googlenet import _RoundedUpMaxPool
from edgesdk.models.initialisation import calibrate_batch_norm
from edgesdk.models.layers import ConvNormAct, SamePadding, make_divisible
from edgesdk.models.resnet import PadShortcut
from edgesdk.models.shufflenet import channel_shuffle
from edgesdk.models.style import (
    DepthwiseUpsample,
    JohnsonNet,
    MomentNorm,
    SlicedReflectionPad,
    to_mobile,
)


@pytest.mark.parametrize(("value", "rounded"), [(1, 8), (12, 16), (18, 24), (19, 24), (33, 32)])
def test_make_divisible(value: int, rounded: int) -> None:
    # Rounding 18 to 16 would lose more than 10 %.
    assert make_divisible(value) == rounded


def test_pad_shortcut_takes_every_second_pixel_and_adds_zero_channels() -> None:
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    y = PadShortcut(1, 4, 2)(x)
    assert y[0, 1].tolist() == [[0, 2], [8, 10]]
    assert y.shape == (1, 4, 2, 2)
    assert y.sum() == 20
    with pytest.raises(UsageError):
        PadShortcut(4, 1, 2)


def test_channel_shuffle_interleaves_the_halves() -> None:
    x = torch.arange(6.0).reshape(1, 6, 1, 1)
    assert channel_shuffle(x).flatten().tolist() == [0, 3, 1, 4, 2, 5]


@settings(max_examples=25, deadline=None)
@given(st.integers(5, 30), st.integers(5, 30), st.sampled_from([3, 5, 7]), st.sampled_from([1, 2]))
def test_same_padding_keeps_the_size_divided_by_the_stride(
    height: int, width: int, kernel: int, stride: int
) -> None:
    x = torch.zeros(1, 1, height, width)
    padded = SamePadding(kernel, stride)(x)
    rows = (padded.shape[2] - kernel) // stride + 1
    columns = (padded.shape[3] - kernel) // stride + 1
    assert (rows, columns) == (-(-height // stride), -(-width // stride))


def test_same_padding_puts_the_odd_pixel_right_and_below() -> None:
    padded = SamePadding(3, 2)(torch.ones(1, 1, 2, 2))
    assert padded[0, 0].tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 0]]


@settings(max_examples=20, deadline=None)
@given(st.integers(4, 20), st.integers(4, 20), st.sampled_from([2, 3]))
def test_rounded_up_pooling_equals_torch(height: int, width: int, kernel: int) -> None:
    x = torch.rand(1, 2, height, width)
    expected = nn.functional.max_pool2d(x, kernel, stride=2, ceil_mode=True)
    assert torch.equal(_RoundedUpMaxPool(kernel)(x), expected)


def test_calibration_gives_unit_scale_and_restores_modes() -> None:
    model = nn.Sequential(ConvNormAct(2, 4, 3, activation="linear"), nn.Dropout(0.5)).train()
    x = 3 + 5 * torch.randn(8, 2, 16, 16)
    calibrate_batch_norm(model, [x])
    assert all(module.training for module in model.modules())
    assert model[0].norm.momentum == 0.1
    y = model.eval()(x)
    assert y.mean(dim=(0, 2, 3)).abs().max() < 1e-4
    assert (y.std(dim=(0, 2, 3)) - 1).abs().max() < 1e-3


@settings(max_examples=15, deadline=None)
@given(st.integers(5, 12), st.integers(5, 12), st.integers(1, 4))
def test_sliced_reflection_equals_torch(height: int, width: int, padding: int) -> None:
    x = torch.randn(2, 3, height, width)
    assert torch.equal(SlicedReflectionPad(padding)(x), nn.ReflectionPad2d(padding)(x))


def test_moment_norm_equals_instance_norm() -> None:
    x = 4 + 3 * torch.randn(2, 5, 7, 9)
    theirs = nn.InstanceNorm2d(5, affine=True)
    ours = MomentNorm(5)
    nn.init.normal_(theirs.weight)
    nn.init.normal_(theirs.bias)
    ours.load_state_dict(theirs.state_dict())
    assert torch.allclose(ours(x), theirs(x), atol=1e-5)


def test_depthwise_upsampling_equals_nearest() -> None:
    x = torch.randn(2, 3, 4, 5)
    assert torch.equal(DepthwiseUpsample(3)(x), nn.Upsample(scale_factor=2)(x))


@pytest.mark.parametrize("output", ["linear", "tanh"])
def test_style_network_rewritten_for_mobile_answers_the_same(output: str) -> None:
    textbook = models.create("johnson", output=output)
    # Trained networks have non-trivial scales and shifts.
    with torch.no_grad():
        for module in textbook.modules():
            if isinstance(module, nn.InstanceNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.uniform_(-0.5, 0.5)
    mobile = to_mobile(textbook)
    assert mobile.config == {**textbook.config, "form": "mobile"}
    assert not mobile.training
    assert set(mobile.state_dict()) == set(textbook.state_dict())
    kinds = {type(module) for module in mobile.modules()}
    assert not kinds & {nn.ReflectionPad2d, nn.InstanceNorm2d, nn.Upsample}
    x = 255 * torch.rand(1, 3, 64, 48)
    with torch.no_grad():
        expected, actual = textbook(x), mobile(x)
    assert (expected - actual).abs().max() < 1e-4 * max(1.0, expected.abs().max().item())


def test_zoo_weights_of_both_style_forms_are_the_same() -> None:
    first = models.create("johnson").state_dict()
    second = models.create("johnson_mobile").state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_only_a_style_network_can_be_rewritten() -> None:
    with pytest.raises(UsageError, match="Linear"):
        to_mobile(nn.Linear(1, 1))  # type: ignore[arg-type]
    assert isinstance(to_mobile(JohnsonNet(inner_widths=[8])), JohnsonNet)


def test_super_resolution_enlarges() -> None:
    assert models.create("super_resolution")(torch.rand(1, 1, 5, 7)).shape == (1, 1, 15, 21)


def test_prior_boxes_cover_the_image_row_by_row() -> None:
    boxes = prior_boxes(64, [32])
    assert boxes.shape == (2 * 2 * 3, 4)
    assert boxes[0].tolist() == [0.25, 0.25, 1.5, 1.5]
    assert boxes[3, :2].tolist() == [0.75, 0.25]
    areas = boxes[:, 2] * boxes[:, 3]
    assert torch.allclose(areas, torch.full_like(areas, 2.25))


def test_detector_boxes_are_the_priors_where_nothing_is_regressed() -> None:
    model = models.create("detector")
    for head in model.box_heads:
        nn.init.zeros_(head.weight)
    with torch.no_grad():
        found = model(torch.randn(2, 3, 96, 96))
    boxes = found["boxes"]
    assert boxes.shape[:2] == found["scores"].shape[:2] == (2, 3 * (12 * 12 + 6 * 6))
    centre = (boxes[0, :, :2] + boxes[0, :, 2:]) / 2
    assert torch.allclose(centre, model.priors[:, :2], atol=1e-6)
    assert torch.allclose(boxes[0, :, 2:] - boxes[0, :, :2], model.priors[:, 2:], atol=1e-6)
    assert torch.allclose(found["scores"].sum(-1), torch.ones(2, 540), atol=1e-5)
