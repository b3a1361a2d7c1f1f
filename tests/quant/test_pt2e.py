"""torchao's flow on programs: folding, observing, rounding, simulating, exporting again."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgesdk.errors import DataError, QuantizationError
from edgesdk.frontend.capture import capture
from edgesdk.quant.executorch.annotation import PlanQuantizer
from edgesdk.quant.executorch.program import quantize_program
from edgesdk.quant.layer_names import layer_path
from edgesdk.quant.plan import QuantPlan
from edgesdk.quant.pt2e.conversion import export_again, quantize_pt2e
from edgesdk.quant.pt2e.folding import folded_module
from edgesdk.quant.pt2e.layers import weight_names, weighted_nodes
from edgesdk.quant.pt2e.observers import ActivationObserver, PerChannelWeightObserver
from edgesdk.quant.pt2e.rounded_module import WeightPrecision, round_module
from edgesdk.quant.pt2e.simulation import simulate
from edgesdk.quant.recipes import RECIPES
from edgesdk.spec import DynamicDim, TensorSpec

PlanOf = Callable[..., QuantPlan]


class Two(nn.Module):
    """A convolution whose norm must not go into it, because another operator takes it as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return self.norm(x) + x


def with_norms(*layers: nn.Module) -> nn.Module:
    net = nn.Sequential(*layers)
    for norm in (item for item in net if isinstance(item, nn.BatchNorm2d | nn.BatchNorm1d)):
        for tensor in (norm.weight, norm.running_var):
            nn.init.uniform_(tensor, 0.5, 2)  # type: ignore[arg-type]
        for tensor in (norm.bias, norm.running_mean):
            nn.init.uniform_(tensor, -1, 1)  # type: ignore[arg-type]
    return net.eval()


@pytest.mark.parametrize(
    ("net", "norms"),
    [
        (with_norms(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4)), 0),
        (with_norms(nn.Conv2d(3, 6, 3, groups=3), nn.BatchNorm2d(6)), 0),
        (with_norms(nn.ConvTranspose2d(3, 6, 2, groups=3), nn.BatchNorm2d(6)), 0),
        (with_norms(nn.Flatten(), nn.Linear(768, 5), nn.BatchNorm1d(5)), 0),
        (Two().eval(), 1),
        (with_norms(nn.Conv2d(3, 4, (2, 5), padding="same", dilation=(3, 1))), 0),
        (nn.Sequential(nn.Conv2d(3, 4, 3, padding="valid"), nn.ReLU6(inplace=True)), 0),
    ],
)
def test_a_folded_graph_answers_what_the_model_answers(
    plan_of: PlanOf, net: nn.Module, norms: int
) -> None:
    plan = plan_of(net, "w8a8_static")
    before = {name: value.clone() for name, value in plan.program.state_dict.items()}
    module = folded_module(plan.program)
    names = [str(node.target) for node in module.graph.nodes]
    assert sum("batch_norm" in name for name in names) == norms
    assert not any(name.endswith(".padding") for name in names)
    x = torch.from_numpy(plan.samples[0]["x"])
    torch.testing.assert_close(module(x)["output"], net(x), atol=2e-5, rtol=1e-5)
    for name, value in plan.program.state_dict.items():
        assert torch.equal(value, before[name])


def test_a_quantized_program_is_refused(plan_of: PlanOf, every_layer: nn.Module) -> None:
    plan = plan_of(every_layer, "w8a8_static")
    program, _ = quantize_program(plan, "xnnpack")
    with pytest.raises(QuantizationError, match="already quantized"):
        quantize_program(replace(plan, program=program), "xnnpack")


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ({}, "no input 'x'"),
        (
            {"x": np.zeros((1, 3, 8, 8), np.float32)},
            r"shape \[1, 3, 8, 8\], not \[1, 3, 16",
        ),
        ({"x": np.zeros((3, 16, 16), np.float32)}, "not"),
        ({"x": np.full((1, 3, 16, 16), np.nan, np.float32)}, "NaN"),
        ({"x": np.full((1, 3, 16, 16), np.inf, np.float32)}, "NaN or infinity"),
    ],
)
def test_calibration_that_does_not_fit_is_refused(
    plan_of: PlanOf, sample: dict[str, np.ndarray], message: str
) -> None:
    plan = plan_of(nn.Conv2d(3, 4, 1), "w8a8_static", calibration=[sample])
    with pytest.raises(DataError, match=message):
        quantize_pt2e(plan, PlanQuantizer(plan))


def test_static_ranges_need_calibration(plan_of: PlanOf) -> None:
    plan = plan_of(nn.Conv2d(3, 4, 1), "w8a8_static", calibration=[])
    with pytest.raises(DataError, match="none were given"):
        quantize_pt2e(plan, PlanQuantizer(plan))


def activation_observer(method: str = "min_max") -> ActivationObserver:
    return ActivationObserver(
        method=method, dtype=torch.int8, qscheme=torch.per_tensor_affine, quant_min=-128,
        quant_max=127,
    )  # fmt: skip


def test_tensors_that_share_a_scale_are_seen_together() -> None:
    observer = activation_observer("moving_average")
    for _ in range(3):
        observer(torch.tensor([-1.0, 2.0]))
        observer(torch.tensor([0.0, 4.1]))
        observer.end_sample()
    scale, zero_point = observer.scale_and_zero_point()
    assert scale == pytest.approx(5.1 / 255)
    assert zero_point == -128 + 50


def test_a_raised_scale_keeps_zero_in_its_place() -> None:
    observer = activation_observer()
    observer(torch.tensor([-1.0, 2.0]))
    observer.end_sample()
    assert observer.raise_scale(0.1)
    assert not observer.raise_scale(0.05)
    scale, zero_point = observer.scale_and_zero_point()
    assert scale == pytest.approx(0.1)
    assert zero_point == -128 + 85


def test_each_channel_of_a_weight_has_its_scale_and_an_empty_one_is_harmless() -> None:
    observer = PerChannelWeightObserver(
        bits=8, ch_axis=1, dtype=torch.int8, qscheme=torch.per_channel_symmetric
    )
    observer(torch.tensor([[[1.0, -2.0], [0.0, 0.0], [0.5, 0.0]]]))
    scales, zero_points = observer.calculate_qparams()
    torch.testing.assert_close(scales, torch.tensor([2 / 127, 1.0, 0.5 / 127]))
    assert not zero_points.any()
    observer.raise_scales(torch.tensor([0.0, 0.0, 1.0]))
    assert observer.calculate_qparams()[0][2] == 1


def test_every_sample_answers_by_hand(plan_of: PlanOf) -> None:
    net = nn.Conv2d(1, 1, 1)
    with torch.no_grad():
        net.weight.fill_(0.5)
        net.bias.fill_(0.25)  # type: ignore[union-attr]
    samples = [{"x": np.array([[[[-1.0, 0.3, 1.55]]]], np.float32)}]
    plan = plan_of(net, "w8a8_static", calibration=samples, samples=samples)
    reference = quantize_pt2e(plan, PlanQuantizer(plan))
    # In: steps of 2.55 / 255 = 0.01 from -1 on. Out: -0.25 to 1.025, steps of 0.005.
    (answer,) = simulate(plan, reference.module)
    np.testing.assert_allclose(answer["output"].ravel(), [-0.25, 0.4, 1.025], atol=1e-6)
    (answer,) = simulate(
        replace(plan, samples=[{"x": np.array([[[[0.304, 0.306, 9.0]]]], np.float32)}]),
        reference.module,
    )
    np.testing.assert_allclose(answer["output"].ravel(), [0.4, 0.405, 1.025], atol=1e-6)


def test_a_program_exported_again_keeps_names_and_origins(
    plan_of: PlanOf, every_layer: nn.Module
) -> None:
    plan = plan_of(every_layer, "w8a8_static")
    program, quantized = quantize_program(plan, "xnnpack")
    assert tuple(program.graph_signature.user_inputs) == plan.inputs
    again = program.module()(torch.from_numpy(plan.samples[0]["x"]))
    assert tuple(again) == plan.outputs
    convolutions = [node for node in program.graph.nodes if "conv" in str(node.target)]
    paths = {layer_path(node) for node in convolutions}
    assert {"stem.0", "depthwise.0", "same", "up"} <= paths
    assert all("conftest.py" in node.meta["stack_trace"] for node in convolutions)
    assert [layer.path for layer in quantized.layers][:2] == ["stem.0", "depthwise.0"]
    assert [layer.operator for layer in quantized.layers][1] == "depthwise"


def test_a_free_dimension_stays_free() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
    spec = TensorSpec("x", (1, 3, 8, 8), "float32", {0: DynamicDim("batch", 1, 5)})
    captured = capture(net.eval(), [spec], [torch.zeros(1, 3, 8, 8)])
    samples = [{"x": np.random.default_rng(0).normal(size=(1, 3, 8, 8)).astype(np.float32)}]
    plan = QuantPlan(
        RECIPES["w8a8_static"], captured.program, ("x",), ("output",), samples, samples
    )
    program, _ = quantize_program(plan, "xnnpack")
    (given,) = (node for node in program.graph.nodes if node.name == "x")
    assert not isinstance(given.meta["val"].shape[0], int)
    (limits,) = program.range_constraints.values()
    assert int(limits.upper) == 5


def test_weights_of_program_and_graph_are_the_same(plan_of: PlanOf, every_layer: nn.Module) -> None:
    plan = plan_of(every_layer, "w8a8_static")
    for module in (
        folded_module(plan.program),
        quantize_pt2e(plan, PlanQuantizer(plan)).module,
    ):
        names = weight_names(export_again(plan, module))
        assert len(set(names)) == len(names) == len(list(weighted_nodes(module))) == 9


def test_scales_of_an_int8_face_are_told(plan_of: PlanOf) -> None:
    plan = plan_of(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), "w8a8_static", io_dtype="int8")
    program, quantized = quantize_program(plan, "xnnpack")
    assert [face.name for face in quantized.io_scales] == ["x", "output"]
    assert quantized.io_scales[1].zero_point == -128
    values = [node.meta["val"].dtype for node in program.graph.nodes if node.name == "x"]
    assert values == [torch.int8]
    # Answers of the simulation are floats, whatever the face.
    assert quantized.simulated[0]["output"].dtype == np.float32


def test_an_int8_face_next_to_a_float_operator_is_refused(plan_of: PlanOf) -> None:
    plan = plan_of(nn.Sequential(nn.Sigmoid(), nn.Conv2d(3, 4, 3)), "w8a8_static", io_dtype="int8")
    with pytest.raises(QuantizationError, match="'x' cannot be int8"):
        quantize_program(plan, "xnnpack")


@pytest.mark.parametrize("fine", [WeightPrecision(4), WeightPrecision(4, 32), WeightPrecision(8)])
def test_roundings_make_good_each_others_errors(plan_of: PlanOf, fine: WeightPrecision) -> None:
    torch.manual_seed(3)
    net = nn.Sequential(nn.Conv2d(3, 64, 3), nn.ReLU(), nn.Conv2d(64, 8, 3, bias=False)).eval()
    errors = []
    for calibrated in (False, True):
        plan = plan_of(net, "w4_only", calibration=None if calibrated else [])
        module = folded_module(plan.program)
        layer = list(weighted_nodes(module))[1]
        before = [layer.node.args[1]]
        rounded = round_module(plan, module, {layer.node.name: fine})
        assert layer.node.args[1] not in before
        integers = rounded[layer.node.name].integers
        assert np.abs(integers).max() <= 2 ** (fine.bits - 1) - 1
        assert (len(layer.node.args) > 2 and layer.node.args[2] is not None) == calibrated
        x = torch.from_numpy(plan_of(net, "w4_only").calibration[0]["x"])
        errors.append(float((module(x)["output"] - net(x)).square().mean().detach()))
    assert errors[1] < 0.8 * errors[0]


def test_a_shared_weight_is_rounded_once(plan_of: PlanOf) -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(self.conv(x))

    plan = plan_of(Shared(), "w4_only")
    module = folded_module(plan.program)
    names = [layer.node.name for layer in weighted_nodes(module)]
    rounded = round_module(plan, module, {name: WeightPrecision(4) for name in names})
    assert operator.is_(rounded[names[0]], rounded[names[1]])


@pytest.mark.parametrize("method", ["entropy", "mse", "percentile"])
def test_ranges_come_from_the_calibrator_of_all_targets(plan_of: PlanOf, method: str) -> None:
    from edgesdk.quant.ranges import RangeObserver, scale_and_zero_point

    plan = plan_of(nn.Sequential(nn.Conv2d(3, 4, 1)), "w8a8_static", ranges=method)
    reference = quantize_pt2e(plan, PlanQuantizer(plan))
    expected = RangeObserver(method)
    for sample in plan.calibration:
        expected.add(sample["x"])
    first: Any = next(
        node for node in reference.module.graph.nodes if "quantize_per_tensor" in str(node.target)
    )
    assert first.args[1:3] == pytest.approx(scale_and_zero_point(*expected.range()))
