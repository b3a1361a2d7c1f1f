"""Guided upscaling: values by hand, cached filters, and its fixed form in real runtimes."""

from __future__ import annotations

import hashlib
import json
import math
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save
from torch.nn import functional

from edgesdk.errors import UsageError, WeightsError
from edgesdk.models import guided_upscale
from edgesdk.models.guided_upscale import (
    GuidedUpscale,
    guided_upscale_bytes,
    load_guided_upscale,
    local_detail,
    local_likeness,
)
from edgesdk.models.guided_upscale_fixed import FixedScaleUpscale
from edgesdk.models.meta_upscale import MetaUpscale, axis_of, edge_padded, exact_scale
from edgesdk.models.resampling import area_matrix, cubic_matrix, guide_of
from edgesdk.models.weight_cards import shipped_card, shipped_path


@pytest.fixture
def upscale() -> MetaUpscale:
    torch.manual_seed(0)
    return MetaUpscale(4, hidden_width=12)


@pytest.fixture
def net() -> GuidedUpscale:
    """A small network in which every part affects the output."""
    torch.manual_seed(1)
    made = GuidedUpscale(width=4, inner_widths=[6], refine_width=5, hidden_width=8)
    for last in (made.gains, made.upscale.predictor[2], made.refine_second):
        torch.nn.init.normal_(last.weight, std=0.2)
    return made.eval()


def pictures(p: int, q: int, cells: tuple[int, int], count: int = 1) -> list[torch.Tensor]:
    torch.manual_seed(2)
    return [torch.rand(count, 3, unit * cells[0], unit * cells[1]) for unit in (q, p)]


def test_the_published_width_has_the_published_count() -> None:
    assert sum(value.numel() for value in MetaUpscale().parameters()) == 445_120
    assert sum(value.numel() for value in GuidedUpscale(width=64).upscale.parameters()) == 445_120


def test_two_rows_at_one_and_a_half() -> None:
    axis = axis_of(2, Fraction(3, 2))
    assert axis.cells == (0, 0, 1)
    offsets = [axis.offsets[place] for place in axis.places]
    assert offsets == pytest.approx([0, 2 / 3, 1 / 3])
    assert axis.inverse_scale == pytest.approx(2 / 3)


def test_three_halves_have_nine_filters(upscale: MetaUpscale) -> None:
    filters = upscale.filters_for(1.5)
    assert filters.shape == (3, 3, 3, 4, 3, 3)
    flat = filters.view(9, -1)
    assert len({tuple(one.tolist()) for one in flat}) == 9
    # Row 1, column 2 of the large picture: 2/3 down, 1/3 across.
    alone = upscale.predicted(torch.tensor([[2 / 3, 2 / 3, 1 / 3]]))
    torch.testing.assert_close(filters[1, 2], alone[0])


def test_a_constant_filter_at_scale_one_is_a_convolution(upscale: MetaUpscale) -> None:
    upscale.predictor[2].weight.data.zero_()
    upscale.predictor[2].bias.data.normal_()
    kernel = upscale.predictor[2].bias.view(3, 4, 3, 3)
    x = torch.rand(2, 4, 5, 6)
    wanted = functional.conv2d(functional.pad(x, (1, 1, 1, 1), mode="replicate"), kernel)
    torch.testing.assert_close(upscale(x, 1), wanted)
    torch.testing.assert_close(upscale(x, 1)[..., 1:-1, 1:-1], functional.conv2d(x, kernel))


@settings(max_examples=12, deadline=None)
@given(st.integers(10, 40), st.integers(1, 5), st.integers(1, 5))
def test_kept_filters_equal_those_of_every_pixel(tenths: int, height: int, width: int) -> None:
    torch.manual_seed(3)
    upscale = MetaUpscale(2, hidden_width=5)
    x = torch.rand(1, 2, height, width)
    slow = upscale.directly(x, tenths / 10)
    assert slow.shape[2:] == (height * tenths // 10, width * tenths // 10)
    with torch.no_grad():
        for _ in range(2):
            torch.testing.assert_close(upscale(x, tenths / 10), slow, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(upscale(x, Fraction(tenths, 10)), slow, atol=1e-5, rtol=1e-5)


def test_filters_are_kept_until_the_weights_change(upscale: MetaUpscale) -> None:
    with torch.no_grad():
        first = upscale.filters_for(1.5)
        assert upscale.filters_for(1.5) is first
        upscale.predictor[0].bias.add_(1)
        changed = upscale.filters_for(1.5)
        assert (changed - first).abs().max() > 1e-3
        upscale.load_state_dict({k: v / 2 for k, v in upscale.state_dict().items()})
        assert (upscale.filters_for(1.5) - changed).abs().max() > 1e-3
    assert upscale.filters_for(1.5).requires_grad


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 600), st.integers(2, 600), st.floats(1, 8))
def test_rows_of_rounded_sizes_lie_where_they_should(length: int, more: int, scale: float) -> None:
    rows = max(length, min(8 * length, round(scale * length) + more % 2))
    axis = axis_of(length, Fraction(rows, length), rows)
    assert len(axis.cells) == len(axis.places) == rows and max(axis.cells) < length
    for row in (0, rows // 3, rows // 2, rows - 1):
        found = axis.cells[row] + axis.offsets[axis.places[row]]
        # Rounded to sixteenths of a cell at most; at the far edge a cell is the last one.
        assert abs(found - row * length / rows) <= 1 / 32 + (axis.cells[row] == length - 1)


def test_a_picture_of_the_rounded_shape_fits(upscale: MetaUpscale) -> None:
    # 854 x 480 shown at 512 pixels, an eighth of it.
    x = torch.rand(1, 4, 36, 64)
    assert upscale.to_size(x, (60, 107)).shape == (1, 3, 60, 107)


@pytest.mark.parametrize("scale", [0, -1, 0.5, 9, math.inf, math.nan, True, "2", None])
def test_impossible_scales_are_refused(upscale: MetaUpscale, scale: object) -> None:
    with pytest.raises(UsageError):
        exact_scale(scale)
    with pytest.raises(UsageError):
        upscale(torch.rand(1, 4, 3, 3), scale)


def test_scales_are_fractions_where_they_can_be() -> None:
    assert exact_scale(1.1) == Fraction(11, 10)
    assert exact_scale(10 / 3) == Fraction(10, 3)
    assert exact_scale(2) == 2
    assert float(exact_scale(math.pi)) == math.pi


def test_bad_features_and_sizes_are_refused(upscale: MetaUpscale) -> None:
    for features in (torch.rand(1, 3, 4, 4), torch.rand(4, 4, 4), torch.rand(1, 4, 0, 4)):
        with pytest.raises(UsageError, match="features"):
            upscale(features, 2)
    x = torch.rand(1, 4, 10, 10)
    with pytest.raises(UsageError, match="aspect ratio"):
        upscale.to_size(x, (20, 40))
    for size in ((9, 9), (81, 81), (0, 0)):
        with pytest.raises(UsageError):
            upscale.to_size(x, size)
    with pytest.raises(UsageError, match="filters"):
        upscale.filters_for(Fraction(101, 100))
    for options in ({"kernel_size": 2}, {"width": 0}, {"hidden_width": -1}, {"channels": 1.5}):
        with pytest.raises(UsageError):
            MetaUpscale(**options)


def test_edges_go_on_as_they_end() -> None:
    x = torch.rand(2, 3, 4, 5)
    wanted = functional.pad(x, (2, 2, 2, 2), mode="replicate")
    assert torch.equal(edge_padded(x, 2), wanted)


def test_areas_are_shared_out() -> None:
    assert area_matrix(4, 2).tolist() == [[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]]
    halves = torch.tensor([[1, 1, 1, 0.5, 0, 0, 0], [0, 0, 0, 0.5, 1, 1, 1]]) / 3.5
    torch.testing.assert_close(area_matrix(7, 2), halves)
    torch.testing.assert_close(area_matrix(9, 7).sum(1), torch.ones(7))


def test_the_guide_is_colours_and_changes_of_brightness() -> None:
    x = torch.zeros(1, 3, 2, 3)
    x[0, 1, 0, 1] = 1  # green counts 0.587
    guide = guide_of(x)
    assert torch.equal(guide[:, :3], x)
    torch.testing.assert_close(guide[0, 3], torch.tensor([[0.587, 0.587, 0], [0, 0, 0]]))
    torch.testing.assert_close(guide[0, 4], torch.tensor([[0, 0.587, 0], [0, 0, 0]]))


def test_likeness_is_gain_and_correlation() -> None:
    torch.manual_seed(4)
    picture = torch.rand(1, 3, 12, 12)
    painted = torch.stack(
        [0.5 * picture[:, 0] + 0.2, 1 - picture[:, 1], torch.full((1, 12, 12), 0.3)], dim=1
    )
    likeness = local_likeness(local_detail(painted), local_detail(picture))
    for channel, wanted in enumerate((0.5, -1, 0, 1, -1, 0)):
        found = likeness[0, channel]
        assert abs(found.mean().item() - wanted) < 0.02, channel
    plain = local_detail(torch.full((1, 3, 8, 8), 0.5))
    assert plain.abs().max() < 1e-5
    assert local_likeness(local_detail(torch.rand(1, 3, 8, 8)), plain).abs().max() < 1e-5


@pytest.mark.parametrize(("p", "q"), [(1, 1), (2, 1), (3, 2), (7, 2), (5, 3), (15, 4), (11, 10)])
def test_the_fixed_form_equals_the_network(net: GuidedUpscale, p: int, q: int) -> None:
    painted, original = pictures(p, q, (3, 4), count=2)
    fixed = net.at_scale(p, q)
    assert not any("predictor" in name for name, _ in fixed.named_parameters())
    wanted = net(painted, original)
    assert wanted.shape == original.shape
    torch.testing.assert_close(fixed(painted, original), wanted, atol=2e-5, rtol=1e-5)
    # The network must differ from plain interpolation.
    lines = functional.interpolate(painted, size=original.shape[2:], mode="bilinear")
    assert (wanted - lines).abs().mean() > 1e-2


def test_the_fixed_filters_are_those_of_the_scale(upscale: MetaUpscale) -> None:
    x = torch.rand(1, 4, 6, 8)
    fixed = FixedScaleUpscale(upscale, Fraction(5, 2))
    torch.testing.assert_close(fixed(x), upscale(x, 2.5), atol=1e-5, rtol=1e-5)
    # A scale p / q that is not in lowest terms is the same one.
    assert GuidedUpscale(width=3, inner_widths=[]).at_scale(10, 4).scale == Fraction(5, 2)


def test_the_fixed_form_refuses_sizes_that_do_not_fit(net: GuidedUpscale) -> None:
    fixed = net.at_scale(7, 2)
    for small, full in (((4, 4), (14, 7)), ((3, 4), (10, 14)), ((4, 4), (8, 8))):
        with pytest.raises(UsageError, match="scale 7/2"):
            fixed(torch.rand(1, 3, *small), torch.rand(1, 3, *full))
    for p, q in ((0, 1), (1, 0), (1, 2), (9, 1), (1.5, 1), (101, 100)):
        with pytest.raises(UsageError):
            net.at_scale(p, q)


def test_pictures_that_do_not_belong_together_are_refused(net: GuidedUpscale) -> None:
    small = torch.rand(1, 3, 8, 8)
    for painted, original in (
        (small, torch.rand(1, 3, 16, 24)),
        (small, torch.rand(1, 3, 4, 4)),
        (small, torch.rand(1, 3, 72, 72)),
        (small, torch.rand(2, 3, 16, 16)),
        (small, torch.rand(1, 1, 16, 16)),
        (small[0], torch.rand(3, 16, 16)),
        (small[..., :0], torch.rand(1, 3, 16, 16)),
        (torch.rand(1, 3, 1, 1), torch.rand(1, 3, 1, 1)),
    ):
        with pytest.raises(UsageError):
            net(painted, original)


def test_a_new_network_is_a_cubic_where_the_picture_is_plain() -> None:
    painted = torch.rand(1, 3, 8, 8)
    answer = GuidedUpscale(width=4, inner_widths=[4])(painted, torch.full((1, 3, 20, 20), 0.7))
    cubic = cubic_matrix(8, 20) @ painted @ cubic_matrix(8, 20).T
    torch.testing.assert_close(answer, cubic, atol=1e-5, rtol=0)


def test_cubics_are_those_of_pillow() -> None:
    small = np.random.default_rng(0).random((11, 9), np.float32)
    wanted = np.asarray(Image.fromarray(small).resize((24, 30), Image.Resampling.BICUBIC))
    down, across = cubic_matrix(11, 30), cubic_matrix(9, 24)
    found = (down @ torch.from_numpy(small) @ across.T).numpy()
    # Pillow renormalises at edges; here edges are repeated.
    np.testing.assert_allclose(found[8:-8, 8:-8], wanted[8:-8, 8:-8], atol=1e-6)
    for matrix in (down, across, cubic_matrix(3, 3)):
        torch.testing.assert_close(matrix.sum(1), torch.ones(len(matrix)))
    torch.testing.assert_close(cubic_matrix(5, 5), torch.eye(5))


def test_weights_come_back_from_their_file(net: GuidedUpscale, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(guided_upscale_bytes(net, half=False))
    again = load_guided_upscale(path)
    assert again.config == net.config and not again.training
    for name, value in net.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)
    path.write_bytes(guided_upscale_bytes(net))
    assert len(path.read_bytes()) < 300_000
    half = load_guided_upscale(path)
    painted, original = pictures(2, 1, (5, 6))
    torch.testing.assert_close(half(painted, original), net(painted, original), atol=5e-3, rtol=0)


def test_files_of_something_else_are_refused(net: GuidedUpscale, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    with pytest.raises(WeightsError, match="file not found"):
        load_guided_upscale(path)
    whole = guided_upscale_bytes(net)
    config = {**net.config}
    good = {name: value.clone() for name, value in net.state_dict().items()}
    bad = {**good, "stem.bias": good["stem.bias"] * math.nan}

    def metadata(kind: str, described: object) -> dict[str, str]:
        return {"model": kind, "config": json.dumps(described)}

    for content in (
        b"",
        whole[: len(whole) // 2],
        b"\x80\x04not a tensor file",
        save(good),
        save(good, metadata=metadata("unet", config)),
        save(good, metadata=metadata("meta_smoothing", [1])),
        save(good, metadata=metadata("meta_smoothing", {**config, "width": 10**9})),
        save(good, metadata=metadata("meta_smoothing", {**config, "width": "4"})),
        save(good, metadata=metadata("meta_smoothing", {**config, "depth": 4})),
        save(good, metadata=metadata("meta_smoothing", {**config, "width": 5})),
        save(bad, metadata=metadata("meta_smoothing", config)),
    ):
        path.write_bytes(content)
        with pytest.raises(WeightsError):
            load_guided_upscale(path)
    net.stem.bias.data[0] = 1e6
    with pytest.raises(WeightsError, match="too large"):
        guided_upscale_bytes(net)


def test_the_card_tells_of_the_weights_beside_it() -> None:
    weights = shipped_path("meta_smoothing")
    shipped = shipped_card("meta_smoothing")
    assert shipped["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    stages = []
    stage = shipped
    while stage is not None:
        stages.append(stage["recipe"]["steps"])
        stage = stage.get("started_from")
    card = weights.with_suffix(".md").read_text()
    rows = re.findall(r"^\| (?:(\d+) x )?([\d,]+) \|", card, re.MULTILINE)
    counted = [int(steps.replace(",", "")) for times, steps in rows for _ in range(int(times or 1))]
    assert counted == stages[::-1]
    assert f"steps={stages[0]} balanced={str(shipped['recipe']['balanced']).lower()}" in card


def test_the_package_brings_weights_that_beat_bilinear() -> None:
    assert guided_upscale.WEIGHTS.stat().st_size <= 300_000
    net = load_guided_upscale()
    # A colour map of a picture of edges and waves, which was not in the training data.
    y, x = np.mgrid[0:96, 0:120] / 96.0
    waves = np.stack([np.sin(40 * x * y), np.cos(25 * x), (x + y > 1.1) * 2.0 - 1])
    original = torch.from_numpy(waves * 0.4 + 0.5).float()[None]
    painted = (original * torch.tensor([0.6, 0.9, 0.5]).view(1, 3, 1, 1) + 0.1).clamp(0, 1)
    small = functional.avg_pool2d(painted, 2)
    lines = functional.interpolate(small, size=(96, 120), mode="bilinear")
    with torch.no_grad():
        answer = net(small, original)
    assert (answer - painted).square().mean() < 0.5 * (lines - painted).square().mean()


def test_the_fixed_form_runs_on_onnx(net: GuidedUpscale) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    inputs = pictures(7, 2, (4, 5))
    fixed = net.at_scale(7, 2).eval()
    exported = torch.onnx.export(fixed, tuple(inputs), dynamo=True, verbose=False)
    session = runtime.InferenceSession(
        exported.model_proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = [one.name for one in session.get_inputs()]
    answer = session.run(None, dict(zip(names, (one.numpy() for one in inputs), strict=True)))[0]
    np.testing.assert_allclose(answer, fixed(*inputs).detach().numpy(), atol=3e-5)


def test_the_fixed_form_runs_on_executorch_in_one_delegate(net: GuidedUpscale) -> None:
    pytest.importorskip("executorch")
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower
    from executorch.extension.pybindings.portable_lib import _load_for_executorch_from_buffer

    inputs = tuple(pictures(7, 2, (4, 5)))
    fixed = net.at_scale(7, 2).eval()
    lowered = to_edge_transform_and_lower(
        torch.export.export(fixed, inputs), partitioner=[XnnpackPartitioner()]
    )
    calls = [
        str(node.target)
        for node in lowered.exported_program().graph.nodes
        if node.op == "call_function"
    ]
    assert sum("executorch_call_delegate" in call for call in calls) == 1, calls
    # The program does not keep the bytes that it reads.
    content = lowered.to_executorch().buffer
    program = _load_for_executorch_from_buffer(content)
    answer = program.run_method("forward", inputs)[0]
    torch.testing.assert_close(answer, fixed(*inputs).detach(), atol=3e-5, rtol=1e-5)
