"""The simulated network: what is rounded, what is not, and what each switch does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from edgesdk import models
from edgesdk.errors import (
    DataError,
    InputSpecError,
    QuantizationError,
    UnknownNameError,
    UsageError,
)
from edgesdk.frontend.capture import capture
from edgesdk.quant import RECIPES, ActivationQuant, QuantSpec, WeightQuant, parse_recipe
from edgesdk.quant.fake_quantization.fake_quantize import (
    fake_quantize_dynamic,
    fake_quantize_static,
    fake_quantize_weight,
    palettized,
)
from edgesdk.quant.fake_quantization.module_program import program_of
from edgesdk.quant.fake_quantization.simulated import SimulatedQuantization
from edgesdk.quant.layer_names import layer_path, tensor_names
from edgesdk.spec import TensorSpec


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Net(nn.Module):
    """A convolution with everything around it, a residual, a linear layer."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.body = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        x = self.stem(x)
        x = functional.relu(x + self.body(x))
        return self.head(x.mean((2, 3)).view(x.shape[0], -1))


def built(kind=Net, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = kind()
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
                module.weight.data.uniform_(-2, 2)
                module.bias.data.normal_()
    return net.eval()


def images(count, shape=(2, 6, 6), seed=1):
    generator = np.random.default_rng(seed)
    return [{"x": generator.normal(size=(1, *shape)).astype(np.float32)} for _ in range(count)]


def simulated(spec, net=None, **options):
    program = program_of(net or built(), torch.zeros(1, 2, 6, 6))
    return SimulatedQuantization(program, spec, **options)


# ---- numbers -----------------------------------------------------------------------------------


def test_weights_by_hand():
    weight = torch.tensor([[7.0, -3.4, 0.6, 0.0], [0.7, 0.34, -0.06, 0.0]])
    by_channel = fake_quantize_weight(weight, WeightQuant(4))
    torch.testing.assert_close(
        by_channel, torch.tensor([[7.0, -3.0, 1.0, 0.0], [0.7, 0.3, -0.1, 0.0]])
    )
    by_tensor = fake_quantize_weight(weight, WeightQuant(4, granularity="tensor"))
    assert by_tensor[1].tolist() == [1.0, 0.0, 0.0, 0.0]
    two_bits = fake_quantize_weight(weight, WeightQuant(2))
    torch.testing.assert_close(two_bits[0], torch.tensor([7.0, 0.0, 0.0, 0.0]))


def test_blocks_have_scales_of_their_own_and_the_last_may_be_short():
    weight = torch.tensor([[7.0, 2.0, 0.07, 0.024, 0.5]])
    found = fake_quantize_weight(weight, WeightQuant(4, granularity="block", block=2))
    torch.testing.assert_close(found, torch.tensor([[7.0, 2.0, 0.07, 0.02, 0.5]]))


def test_a_block_of_a_convolution_holds_all_kernel_positions():
    weight = torch.tensor([[[[7.0, 0.4]], [[0.07, 0.03]]]])
    found = fake_quantize_weight(weight, WeightQuant(4, granularity="block", block=1))
    torch.testing.assert_close(found, torch.tensor([[[[7.0, 0.0]], [[0.07, 0.03]]]]))


def test_channels_of_a_transposed_convolution_lie_on_the_second_axis():
    # Two groups of one input and two outputs each: four output channels.
    weight = torch.tensor([[[[7.0, 3.4]], [[0.7, 0.34]]], [[[70.0, 34.0]], [[0.07, 0.034]]]])
    found = fake_quantize_weight(weight, WeightQuant(4), transposed=True, groups=2)
    expected = torch.tensor([[[[7.0, 3.0]], [[0.7, 0.3]]], [[[70.0, 30.0]], [[0.07, 0.03]]]])
    torch.testing.assert_close(found, expected)


def test_a_channel_of_zeros_stays_zero():
    assert not fake_quantize_weight(torch.zeros(2, 3), WeightQuant(8)).any()


def test_palettes_by_hand():
    weight = torch.tensor([[0.0, 0.1, 10.0], [10.2, 0.2, 9.8]])
    expected = torch.tensor([[0.1, 0.1, 10.0], [10.0, 0.1, 10.0]])
    torch.testing.assert_close(palettized(weight, 1), expected)
    assert palettized(weight, 4).tolist() == weight.tolist()


def test_a_palette_is_near_the_best():
    # Of normal values, 16 values at best leave a mean square error of 0.009497 (Lloyd-Max).
    values = torch.randn(20000, generator=torch.Generator().manual_seed(0))
    error = float((palettized(values, 4) - values).square().mean() / values.square().mean())
    assert error == pytest.approx(0.009497, rel=0.05)
    assert len(palettized(values, 4).unique()) == 16


def test_activations_by_hand():
    values = torch.tensor([-2.0, -1.0, 0.0, 0.005, 254.0, 300.0])
    found = fake_quantize_static(values, -1.0, 254.0)
    assert found.tolist() == [-1.0, -1.0, 0.0, 0.0, 254.0, 254.0]
    symmetric = fake_quantize_static(values, -1.0, 254.0, symmetric=True)
    assert symmetric.tolist() == [-2.0, 0.0, 0.0, 0.0, 254.0, 254.0]
    # A tensor that was zero throughout has steps of 1.
    assert fake_quantize_static(values, 0.0, 0.0).tolist() == [-2.0, -1.0, 0.0, 0.0, 127.0, 127.0]


def test_a_dynamic_range_is_each_samples_own():
    values = torch.tensor([[-1.0, 0.4, 254.0], [-0.01, 0.004, 2.54]])
    found = fake_quantize_dynamic(values)
    torch.testing.assert_close(found, torch.tensor([[-1.0, 0.0, 254.0], [-0.01, 0.0, 2.54]]))
    assert not fake_quantize_dynamic(torch.zeros(2, 3)).any()


@settings(max_examples=40, deadline=None)
@given(
    st.integers(2, 8),
    st.sampled_from(["tensor", "channel", "block"]),
    st.lists(st.floats(-1e4, 1e4, width=32), min_size=12, max_size=12),
)
def test_weights_lie_on_a_grid_no_further_than_half_a_step(bits, granularity, values):
    weight = torch.tensor(values).reshape(2, 6)
    block = 4 if granularity == "block" else 0
    quant = WeightQuant(bits, granularity=granularity, block=block)
    found = fake_quantize_weight(weight, quant)
    step = weight.abs().max() / quant.largest
    assert (found - weight).abs().max() <= step / 2 * (1 + 1e-5)
    # Rounding again changes nothing: the largest value is on its own grid.
    torch.testing.assert_close(fake_quantize_weight(found, quant), found, rtol=1e-5, atol=0)


@settings(max_examples=40, deadline=None)
@given(st.floats(-1e3, 0, width=32), st.floats(0, 1e3, width=32), st.sampled_from([8, 16]))
def test_static_rounding_keeps_zero_and_half_a_step(low, high, bits):
    values = torch.linspace(low, high, 50)
    found = fake_quantize_static(values, low, high, bits=bits)
    assert float(fake_quantize_static(torch.zeros(1), low, high, bits=bits)) == 0
    step = (high - low) / (2**bits - 1)
    assert float((found - values).abs().max()) <= step * (1 + 1e-3) + 1e-6


def test_gradients_pass_straight_and_stop_where_it_clips():
    weight = torch.tensor([[0.3, -1.0]], requires_grad=True)
    fake_quantize_weight(weight, WeightQuant(2)).sum().backward()
    assert weight.grad.tolist() == [[1.0, 1.0]]
    value = torch.tensor([0.3, 5.0], requires_grad=True)
    fake_quantize_static(value, -1.0, 1.0).sum().backward()
    assert value.grad.tolist() == [1.0, 0.0]


# ---- what is rounded ---------------------------------------------------------------------------


def test_a_network_by_hand():
    """One linear layer on numbers whose rounding is known."""

    class One(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(2, 1)

        def forward(self, x):
            return self.linear(x)

    net = One().eval()
    with torch.no_grad():
        net.linear.weight.copy_(torch.tensor([[127.0, 63.4]]))
        net.linear.bias.fill_(0.25)
    program = program_of(net, torch.zeros(1, 2))
    ranges = {"x": (0.0, 255.0), ":linear": (0.0, 25.5), "linear:linear": (-32.0, 31.75)}
    sample = {"x": np.array([[0.4, 0.6]], np.float32)}
    static = SimulatedQuantization(program, parse_recipe("w8a8_static"), ranges=ranges)
    # Inputs become 0 and 1, weights 127 and 63; 63.25 is beyond the output's largest value.
    assert static.run(sample)["output"].tolist() == [[31.75]]
    assert static.run(sample, float_layers=["linear"])["output"] == pytest.approx(89.09, abs=1e-4)
    weights_only = SimulatedQuantization(program, parse_recipe("w8_only"))
    expected = 0.4 * 127 + 0.6 * 63 + 0.25
    assert weights_only.run(sample)["output"] == pytest.approx(expected, abs=1e-4)


def test_weights_are_rounded_with_the_norm_behind_them_folded_in():
    net, sample = built(), images(1)[0]
    found = simulated(parse_recipe("w4_only"), net).run(sample)["output"]
    conv, norm = net.stem[0], net.stem[1]
    factor = norm.weight / (norm.running_var + norm.eps).sqrt()
    with torch.no_grad():
        weight = fake_quantize_weight(conv.weight * factor.reshape(-1, 1, 1, 1), WeightQuant(4))
        bias = (conv.bias - norm.running_mean) * factor + norm.bias
        x = functional.conv2d(torch.from_numpy(sample["x"]), weight, bias, padding=1).relu()
        body = fake_quantize_weight(net.body.weight, WeightQuant(4))
        x = (x + functional.conv2d(x, body, net.body.bias, padding=1, groups=4)).relu()
        head = fake_quantize_weight(net.head.weight, WeightQuant(4))
        expected = functional.linear(x.mean((2, 3)), head, net.head.bias)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-5)


def test_static_rounding_comes_behind_norm_and_clamp_and_not_between():
    net = built()
    found = simulated(parse_recipe("w8a8_static"), net, calibration=images(3))
    # Input, stem behind its rectifier, body, sum behind its rectifier, mean, head.
    assert set(found.ranges) == {"x", "stem.2:relu", "body:conv2d", ":relu", ":mean", ":view"} | {
        "head:linear"
    }
    assert all(low <= 0 <= high for low, high in found.ranges.values())
    shown = {}
    found.run(images(1)[0], watch=lambda node, value: shown.setdefault(node.name, value))
    scale = (found.ranges["stem.2:relu"][1] - found.ranges["stem.2:relu"][0]) / 255
    # What the next convolution takes are whole steps.
    steps = next(v for k, v in shown.items() if k.startswith("mean"))
    assert steps.shape == (1, 4)
    assert scale > 0


def test_without_weights_to_round_it_is_the_float_network():
    net, sample = built(), images(1)[0]
    with torch.inference_mode():
        expected = net(torch.from_numpy(sample["x"])).numpy()
    found = simulated(parse_recipe("w8a8_static"), net, calibration=images(2))
    np.testing.assert_array_equal(found.run_float(sample)["output"], expected)
    all_float = found.run(sample, float_layers=found.paths)["output"]
    np.testing.assert_array_equal(all_float, expected)
    np.testing.assert_array_equal(found.run(sample, only=[])["output"], expected)


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_rounds_something_and_little(recipe):
    found = simulated(parse_recipe(recipe), calibration=images(4))
    sample = images(1, seed=9)[0]
    expected, answer = found.run_float(sample)["output"], found.run(sample)["output"]
    assert (answer != expected).any()
    if not recipe.startswith(("palette1", "palette2")):
        assert np.abs(answer - expected).max() < 0.35 * np.abs(expected).max()


def test_more_bits_are_nearer():
    net, samples = built(), images(6)

    def error(bits):
        found = simulated(QuantSpec(f"w{bits}", WeightQuant(bits)), net)
        pairs = zip(found.answers(samples), found.answers(samples, quantized=False), strict=True)
        return sum(np.square(a["output"] - b["output"]).sum() for a, b in pairs)

    errors = [error(bits) for bits in (2, 4, 6, 8)]
    assert errors == sorted(errors, reverse=True)


# ---- switches ----------------------------------------------------------------------------------


def test_each_layer_can_be_switched_without_a_new_capture():
    found = simulated(parse_recipe("w4a8"), calibration=images(4))
    assert found.paths == ("stem.0", "body", "head")
    assert [layer.weights for layer in found.layers] == [72, 36, 12]
    sample = {"x": np.concatenate([image["x"] for image in images(8, seed=3)])}
    everything = found.run(sample)["output"]
    answers = [
        *(found.run(sample, only=[path])["output"] for path in found.paths),
        *(found.run(sample, float_layers=[path])["output"] for path in found.paths),
        found.run_float(sample)["output"],
    ]
    distinct = {answer.tobytes() for answer in (everything, *answers)}
    assert len(distinct) == 8
    np.testing.assert_array_equal(found.run(sample)["output"], everything)
    np.testing.assert_array_equal(found.run(sample, only=found.paths[:1])["output"], answers[0])


@pytest.mark.parametrize("recipe", ["w4a8", "w4_only", "w4a32_dynamic", "fp16"])
def test_layers_alone_are_what_running_them_alone_gives(recipe):
    spec = parse_recipe(recipe)
    found = simulated(spec, calibration=images(4) if spec.static else ())
    samples = images(3, seed=3)
    alone = dict(found.alone(samples))
    assert [layer.path for layer in alone] == list(found.paths)
    for layer, answers in alone.items():
        wanted = found.answers(samples, only=[layer.path])
        for answer, expected in zip(answers, wanted, strict=True):
            np.testing.assert_array_equal(answer["output"], expected["output"])


def test_a_path_stands_for_all_below_it():
    found = simulated(parse_recipe("w4a8"), calibration=images(4))
    sample = images(1)[0]
    one, other = (found.run(sample, float_layers=[p])["output"] for p in ("stem", "stem.0"))
    np.testing.assert_array_equal(one, other)


def test_float_layers_of_the_recipe_are_kept():
    spec = parse_recipe("w4_only")
    kept = QuantSpec("w4_only", spec.weights, float_layers=("head",))
    sample = images(1)[0]
    np.testing.assert_array_equal(
        simulated(kept).run(sample)["output"],
        simulated(spec).run(sample, float_layers=["head"])["output"],
    )
    np.testing.assert_array_equal(
        simulated(kept).run(sample, only=["head"])["output"],
        simulated(kept).run_float(sample)["output"],
    )


def test_a_module_that_is_called_twice_is_one_layer():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(2, 2, 3, padding=1)
            self.weight = nn.Parameter(torch.ones(2, 2))

        def forward(self, x):
            x = self.conv(self.conv(x).relu())
            return functional.linear(x.mean((2, 3)), self.weight)

    found = simulated(parse_recipe("w8_only"), built(Twice))
    assert [(layer.weights, len(layer.nodes)) for layer in found.layers] == [(36, 2), (4, 1)]
    assert found.paths[0] == "conv"
    # A function that the model itself calls goes by the node's name.
    assert found.paths[1] == found.layers[1].nodes[0].name == "linear"


def test_an_operator_without_integers_stays_float_and_so_does_what_follows():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(2, 4, 1)

        def forward(self, x):
            return torch.erf(self.conv(x)) * 3.0

    found = simulated(parse_recipe("w8a8_static"), built(Odd), calibration=images(2))
    shown = {}
    sample = images(1)[0]
    answer = found.run(sample, watch=lambda node, value: shown.setdefault(node.name, value))
    np.testing.assert_array_equal(answer["output"], 3 * shown["erf"].numpy())


def test_in_place_operators_change_what_is_read_later():
    class InPlace(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(2, 2, 1)

        def forward(self, x):
            y = self.conv(x)
            functional.relu(y, inplace=True)
            y += 1
            return y * y

    net, sample = built(InPlace), images(1)[0]
    found = simulated(parse_recipe("w8_only"), net)
    with torch.inference_mode():
        expected = net(torch.from_numpy(sample["x"])).numpy()
    np.testing.assert_array_equal(found.run_float(sample)["output"], expected)


class WritesThroughViews(nn.Module):
    """Writes into parts of its input, and reads views that were taken before the writes."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 1)

    def forward(self, x):
        left, right = x.chunk(2, 3)
        first = x[:, 0]
        left.mul_(3)
        right[:, :, 0] = 1
        x[:, [0, 1]] = x[:, [1, 0]]
        return self.conv(x), first + 1, left


def test_writes_through_views_reach_their_tensor_and_its_other_views():
    net, sample = built(WritesThroughViews), images(1)[0]
    before = sample["x"].copy()
    found = simulated(parse_recipe("w8_only"), net)
    with torch.inference_mode():
        expected = [value.numpy() for value in net(torch.from_numpy(before.copy()))]
    answers = list(found.run_float(sample).values())
    for answer, wanted in zip(answers, expected, strict=True):
        np.testing.assert_array_equal(answer, wanted)
    np.testing.assert_array_equal(sample["x"], before)


# ---- programs, batches, names ------------------------------------------------------------------


def test_batches_are_the_samples_one_by_one():
    found = simulated(parse_recipe("w8a32_dynamic"))
    samples = images(5)
    together = found.answers(samples)
    assert [len(batch) for batch in found.batches(samples)] == [5]
    for sample, answer in zip(samples, together, strict=True):
        np.testing.assert_allclose(answer["output"], found.run(sample)["output"], atol=1e-5)


def test_a_program_that_mixes_samples_is_computed_one_by_one():
    class Mixing(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(2, 2, 1)

        def forward(self, x):
            x = self.conv(x)
            return x - x.mean()

    found = simulated(parse_recipe("w8_only"), built(Mixing))
    assert [len(batch) for batch in found.batches(images(3))] == [1, 1, 1]
    expected = [found.run(sample)["output"] for sample in images(3)]
    for answer, wanted in zip(found.answers(images(3)), expected, strict=True):
        np.testing.assert_array_equal(answer["output"], wanted)


def test_samples_of_several_shapes():
    found = simulated(parse_recipe("w8_only"))
    samples = [*images(1), *images(1, shape=(2, 9, 9))]
    assert [answer["output"].shape for answer in found.answers(samples)] == [(1, 3), (1, 3)]


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "shufflenet_v2_x1_0", "two_stream"])
def test_networks_of_the_zoo(name):
    entry = models.entry(name)
    net = models.create(name)
    shapes = [(1, spec.shape[1], 32, 32) for spec in entry.inputs]
    if name == "two_stream":
        shapes = [spec.shape for spec in entry.inputs]
    specs = [TensorSpec(s.name, shape) for s, shape in zip(entry.inputs, shapes, strict=True)]
    captured = capture(net, specs, [torch.zeros(shape) for shape in shapes])
    generator = np.random.default_rng(0)
    samples = [
        {s.name: generator.normal(size=s.shape).astype(np.float32) for s in specs} for _ in range(3)
    ]
    found = SimulatedQuantization(
        captured.program, parse_recipe("w8a8_static"), calibration=samples[:2]
    )
    assert found.outputs == tuple(spec.name for spec in captured.outputs)
    assert len(found.batches(samples)) == 1
    modules = dict(net.named_modules())
    assert all(isinstance(modules[path], nn.Conv2d | nn.Linear) for path in found.paths)
    pairs = zip(found.answers(samples), found.answers(samples, quantized=False), strict=True)
    for answer, wanted in pairs:
        for output, value in wanted.items():
            cosine = np.vdot(answer[output], value) / (
                np.linalg.norm(answer[output]) * np.linalg.norm(value)
            )
            assert 0.97 < cosine < 1


def test_names_outlive_another_capture():
    net = built()
    alone = program_of(net, torch.zeros(2, 2, 6, 6))
    faced = capture(net, [TensorSpec("x", (1, 2, 6, 6))], [torch.zeros(1, 2, 6, 6)]).program

    def named(program):
        nodes = program.graph.nodes
        names = tensor_names(nodes)
        return [names[node] for node in nodes if node.op == "call_function"]

    assert named(alone) == named(faced)
    assert "stem.0:conv2d" in named(alone)
    conv = next(node for node in faced.graph.nodes if node.name == "conv2d")
    assert layer_path(conv) == "stem.0"


# ---- bad input ---------------------------------------------------------------------------------


def test_static_needs_samples():
    with pytest.raises(DataError, match="calibration"):
        simulated(parse_recipe("w8a8_static"))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_not_finite(value):
    sample = images(1)[0]
    sample["x"][0, 0, 0, 0] = value
    with pytest.raises(DataError, match="NaN or infinity"):
        simulated(parse_recipe("w8a8_static"), calibration=[sample])


def test_black_images_and_a_single_one():
    black = {"x": np.zeros((1, 2, 6, 6), np.float32)}
    found = simulated(parse_recipe("w8a8_static"), calibration=[black])
    assert np.isfinite(found.run(images(1)[0])["output"]).all()


def test_samples_that_do_not_fit():
    found = simulated(parse_recipe("w8_only"))
    with pytest.raises(InputSpecError, match="no input 'x'"):
        found.run({"y": np.zeros(1, np.float32)})
    with pytest.raises(InputSpecError, match="does not fit the program"):
        found.run({"x": np.zeros((1, 3, 6, 6), np.float32)})
    with pytest.raises(InputSpecError):
        simulated(parse_recipe("w8a8_static"), calibration=images(1, shape=(5, 6, 6)))


def test_unknown_layers():
    with pytest.raises(UnknownNameError, match="stem"):
        simulated(parse_recipe("w8_only")).run(images(1)[0], float_layers=["stemm"])
    with pytest.raises(UnknownNameError):
        simulated(QuantSpec("w8_only", WeightQuant(8), float_layers=("nowhere",)))


def test_a_range_that_is_missing():
    found = simulated(parse_recipe("w8a8_static"), ranges={})
    with pytest.raises(UsageError, match="tensor x has no range"):
        found.run(images(1)[0])


def test_nothing_to_quantize():
    class Empty(nn.Module):
        def forward(self, x):
            return x.relu()

    with pytest.raises(QuantizationError, match="no convolution"):
        simulated(parse_recipe("w8_only"), Empty())


def test_quantized_already():
    class Rounded(nn.Module):
        def forward(self, x):
            x = torch.ops.quantized_decomposed.quantize_per_tensor(x, 0.1, 0, -128, 127, torch.int8)
            return torch.ops.quantized_decomposed.dequantize_per_tensor(
                x, 0.1, 0, -128, 127, torch.int8
            )

    import torch.ao.quantization.fx._decomposed  # registers them

    with pytest.raises(QuantizationError, match="already"):
        simulated(parse_recipe("w8_only"), Rounded())


def test_a_huge_channel_spoils_a_shared_scale_alone():
    net = built()
    with torch.no_grad():
        net.body.weight[0] *= 1000
        net.body.bias.zero_()
    sample = images(1)[0]

    def off(granularity):
        spec = QuantSpec("own", WeightQuant(8, granularity=granularity), ActivationQuant(8))
        found = simulated(spec, net, calibration=[sample])
        return found.folded[next(g for g in found.groups if g.path == "body")].weight[1:]

    assert not off("tensor").any()
    assert off("channel").all()
