"""A rewrite gives the results of the operator, at operators that need it and nowhere else."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from edgesdk import models
from edgesdk.converters.registry import TARGETS
from edgesdk.converters.rewriting.engine import apply_rules
from edgesdk.converters.rewriting.library import RULES, rewrite_for, rules_of
from edgesdk.converters.rewriting.parameters import fold_parameters


def _networks() -> ModuleType:
    place = Path(__file__).with_name("networks.py")
    spec = importlib.util.spec_from_file_location("rewritten_networks", place)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


networks = _networks()

#: Default variant of each target.
VARIANT = {name: target.variants[0] for name, target in TARGETS.items()}


def captured(model: nn.Module, *inputs: Tensor) -> torch.export.ExportedProgram:
    return torch.export.export(model, inputs, strict=False)


def operators(program: torch.export.ExportedProgram) -> list[str]:
    return [str(node.target) for node in program.graph.nodes if node.op == "call_function"]


def flat(value: Any) -> list[Tensor]:
    return list(value.values()) if isinstance(value, dict) else [value]


class Call(nn.Module):
    """One call, with nothing around it."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(*inputs)


def check(function: Any, *inputs: Tensor) -> torch.export.ExportedProgram:
    """Apply every rule of every target to one call and compare with the call itself."""
    program = captured(Call(function), *inputs)
    rewritten, made = apply_rules(program, RULES)
    assert made
    expected, found = function(*inputs), rewritten.module()(*inputs)
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, rtol=2e-5, atol=2e-5)
    return rewritten


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_a_rewritten_network_gives_the_results_of_the_first(name: str) -> None:
    model = networks.build(name)
    x = torch.rand(networks.INPUT)
    program = captured(model, x)
    before = operators(program)
    expected = flat(model(x))
    assert all(float(one.detach().float().std()) > 1e-4 for one in expected)
    needed = []
    for target in TARGETS:
        rewritten, made = rewrite_for(target, VARIANT[target], program)
        if not made:
            assert rewritten is program
            continue
        needed.append(target)
        assert all(rewrite.reason for rewrite in made)
        for one, other in zip(flat(rewritten.module()(x)), expected, strict=True):
            torch.testing.assert_close(one, other, rtol=2e-5, atol=2e-5)
        # Once more there is nothing left to rewrite.
        assert rewrite_for(target, VARIANT[target], rewritten)[1] == ()
    assert needed
    # The program that all targets share is as it was.
    assert operators(program) == before


def test_a_rewrite_names_operator_module_and_line() -> None:
    class Panorama(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wide = nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular")

        def forward(self, x: Tensor) -> Tensor:
            return self.wide(x)  # the line

    _, made = rewrite_for("coreml", "fp32", captured(Panorama(), torch.rand(1, 3, 8, 8)))
    lines = Path(__file__).read_text("utf-8").splitlines()
    line = next(i for i, text in enumerate(lines, 1) if text.endswith("# the line"))
    assert [(one.operator, one.module) for one in made] == [("aten.pad", "wide")]
    assert made[0].where.endswith(f"test_rules.py:{line}")


@pytest.mark.parametrize("name", ["resnet20", "mobilenet_v3_small", "unet", "vit_tiny", "detector"])
def test_networks_that_targets_take_are_not_touched(name: str) -> None:
    entry = models.entry(name)
    inputs = [torch.rand(spec.shape) for spec in entry.inputs]
    program = captured(models.create(name).eval(), *inputs)
    for target in TARGETS:
        assert rewrite_for(target, VARIANT[target], program) == (program, ())


def test_a_target_gets_its_own_rules_only() -> None:
    assert rules_of("onnx", "fp32") and len(rules_of("onnx", "fp32")) < len(RULES)
    known = {*TARGETS, *(one.qualified(v) for one in TARGETS.values() for v in one.variants)}
    assert all(rule.targets <= known for rule in RULES)
    assert rules_of("no such target", "") == ()


def test_a_rule_of_one_variant_leaves_the_others_alone() -> None:
    program = captured(networks.build("chunk"), torch.rand(networks.INPUT))
    assert rewrite_for("executorch", "xnnpack", program)[1]
    assert rewrite_for("executorch", "portable", program) == (program, ())


def test_places_of_maxima_are_not_rewritten() -> None:
    def both(x: Tensor) -> Tensor:
        values, places = functional.adaptive_max_pool2d(x, (3, 4), return_indices=True)
        return values + places

    program = captured(Call(both), torch.randn(1, 2, 7, 9))
    assert apply_rules(program, RULES) == (program, ())


def test_constants_of_several_rewrites_keep_apart() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(3, 2, 3, 3))

        def forward(self, x: Tensor) -> Tensor:
            # Two steps: the constant of the first goes, that of the second stays.
            y = functional.conv2d(x, (self.weight * 2).tanh())
            return functional.interpolate(y, size=(5, 9), mode="bicubic")

    model, x = Both().eval(), torch.rand(1, 2, 8, 7)
    rewritten, made = rewrite_for("coreml", "fp32", captured(model, x))
    assert len(made) == 2
    torch.testing.assert_close(rewritten.module()(x), model(x), rtol=2e-5, atol=2e-5)


# Sizes that pooling, resizing and upsampling meet: odd ones, windows beyond the edge, big steps.
sides = st.integers(5, 13)


@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(sides, sides),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    counted=st.booleans(),
    divisor=st.sampled_from([None, 3]),
    data=st.data(),
)
def test_means_of_every_window(
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    counted: bool,
    divisor: int | None,
    data: st.DataObject,
) -> None:
    padding = tuple(data.draw(st.integers(0, side // 2)) for side in kernel)
    options = {
        "ceil_mode": True,
        "count_include_pad": counted,
        "divisor_override": divisor,
    }
    x = torch.randn(2, 3, *size)

    def pooled(x: Tensor) -> Tensor:
        return functional.avg_pool2d(x, kernel, stride, padding, **options)

    program = captured(Call(pooled), x)
    rewritten, _ = apply_rules(program, RULES)
    torch.testing.assert_close(rewritten.module()(x), pooled(x), rtol=2e-5, atol=2e-5)


@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(sides, sides),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 4),
    dilation=st.integers(1, 2),
    data=st.data(),
)
def test_maxima_of_every_window(
    size: tuple[int, int], kernel: int, stride: int, dilation: int, data: st.DataObject
) -> None:
    padding = data.draw(st.integers(0, kernel // 2))
    # Negative values, so that a padding of zeros would show.
    x = torch.rand(1, 2, *size) - 2

    def pooled(x: Tensor) -> Tensor:
        return functional.max_pool2d(x, kernel, stride, padding, dilation, True)

    rewritten, _ = apply_rules(captured(Call(pooled), x), RULES)
    assert torch.equal(rewritten.module()(x), pooled(x))


@settings(max_examples=40, deadline=None)
@given(
    kernel=st.integers(1, 4),
    stride=st.integers(1, 4),
    dilation=st.integers(1, 3),
    groups=st.sampled_from([1, 2, 3]),
    outer=st.sampled_from([1, 2]),
    biased=st.booleans(),
    data=st.data(),
)
def test_transposed_convolutions_of_every_kind(
    kernel: int,
    stride: int,
    dilation: int,
    groups: int,
    outer: int,
    biased: bool,
    data: st.DataObject,
) -> None:
    padding = data.draw(st.integers(0, (kernel - 1) * dilation))
    more = data.draw(st.integers(0, max(stride, dilation) - 1))
    size = (6 - 1) * stride - 2 * padding + dilation * (kernel - 1) + more + 1
    if size < 1:
        return
    generator = torch.Generator().manual_seed(kernel * 100 + stride)
    x = torch.randn(1, 6, 6, 7, generator=generator)
    weight = torch.randn(6, outer, kernel, kernel, generator=generator)
    bias = torch.randn(outer * groups, generator=generator) if biased else None

    def enlarged(x: Tensor, weight: Tensor) -> Tensor:
        return functional.conv_transpose2d(x, weight, bias, stride, padding, more, groups, dilation)

    rewritten, _ = apply_rules(captured(Call(enlarged), x, weight), RULES)
    torch.testing.assert_close(
        rewritten.module()(x, weight), enlarged(x, weight), rtol=2e-4, atol=2e-4
    )


@pytest.mark.parametrize("mode", ["bilinear", "bicubic", "nearest", "nearest-exact"])
@pytest.mark.parametrize("scale", [1.3, (0.6, 1.7), 0.37])
def test_resizes_by_scales_that_do_not_divide(mode: str, scale: Any) -> None:
    check(
        lambda x: functional.interpolate(x, scale_factor=scale, mode=mode),
        torch.randn(1, 2, 17, 11),
    )


@pytest.mark.parametrize("size", [(7, 31), (1, 9), (40, 3)])
@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_antialiased_resizes(mode: str, size: tuple[int, int]) -> None:
    check(
        lambda x: functional.interpolate(x, size=size, mode=mode, antialias=True),
        torch.randn(2, 3, 17, 11),
    )


@pytest.mark.parametrize(
    ("pads", "shape"),
    [((2, 3), (1, 2, 9)), ((0, 3, 2, 0), (1, 2, 5, 7)), ((1, 2, 3, 0, 1, 1), (1, 2, 4, 5, 6))],
)
def test_circular_padding_of_every_rank(pads: tuple[int, ...], shape: tuple[int, ...]) -> None:
    program = check(lambda x: functional.pad(x, pads, "circular"), torch.randn(shape))
    assert not any("pad" in name for name in operators(program))


def test_an_input_keeps_a_name_that_python_has_too() -> None:
    class Plain(nn.Module):
        def forward(self, input: Tensor, len: Tensor) -> Tensor:
            return functional.pad(input, (1, 2), "circular") * len

    program = captured(Plain(), torch.rand(1, 2, 5), torch.rand(1))
    rewritten, made = rewrite_for("coreml", "fp32", program)
    assert made
    assert rewritten.graph_signature.user_inputs == program.graph_signature.user_inputs
    names = [node.name for node in rewritten.graph.nodes if node.op == "placeholder"]
    assert names == list(rewritten.graph_signature.user_inputs)
    # Converters check names when they split operators further.
    rewritten.run_decompositions({})


def test_weights_of_spectral_norm_are_computed_once() -> None:
    program = captured(networks.build("spectral norm"), torch.rand(networks.INPUT))
    folded, made = fold_parameters(program)
    assert operators(folded) == ["aten.conv2d.default"] * 2
    assert made and made[0].module.startswith("layers.0")


def test_weights_that_the_model_changes_are_not_folded() -> None:
    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("seen", torch.zeros(1))

        def forward(self, x: Tensor) -> Tensor:
            self.seen.add_(1)
            return x * (self.seen * 2)

    program = captured(Counts(), torch.rand(1))
    assert fold_parameters(program) == (program, ())


def test_weights_of_random_draws_are_not_folded() -> None:
    class Noise(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.strength = nn.Parameter(torch.ones(3))

        def forward(self, x: Tensor) -> Tensor:
            return x + torch.randn_like(self.strength)

    program = captured(Noise(), torch.rand(3))
    assert fold_parameters(program) == (program, ())


def test_free_sizes_stay_free() -> None:
    batch = torch.export.Dim("batch", min=1, max=8)
    model = Call(lambda x: functional.pad(x, (1, 2, 0, 1), "circular"))
    program = torch.export.export(
        model, (torch.rand(2, 3, 8, 8),), dynamic_shapes={"inputs": ({0: batch},)}, strict=False
    )
    rewritten, made = rewrite_for("coreml", "fp32", program)
    assert made
    x = torch.rand(5, 3, 8, 8)
    assert torch.equal(rewritten.module()(x), model(x))
