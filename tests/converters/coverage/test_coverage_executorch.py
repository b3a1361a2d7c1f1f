from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("executorch")

from torch import nn  # noqa: E402

from edgesdk.bundle.manifest import CoverageRecord, UndelegatedOperator  # noqa: E402
from edgesdk.converters.coverage.executorch import cover_executorch  # noqa: E402
from edgesdk.errors import UnknownNameError, UsageError  # noqa: E402


def _line(function: Callable[..., Any], text: str) -> str:
    """``test_coverage_executorch.py:N`` of the first line of a function that contains a text."""
    lines, first = inspect.getsourcelines(function)
    place = next(index for index, line in enumerate(lines) if text in line)
    return f"{__name__.rpartition('.')[2]}.py:{first + place}"


def _lower(program: Any, delegate: str) -> Any:
    from executorch.exir import to_edge_transform_and_lower

    partitioners: list[Any] = []
    if delegate == "xnnpack":
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner

        partitioners = [XnnpackPartitioner()]
    elif delegate == "coreml":
        from executorch.backends.apple.coreml.partition import CoreMLPartitioner

        partitioners = [CoreMLPartitioner()]
    elif delegate == "vulkan":
        from executorch.backends.vulkan.partitioner.vulkan_partitioner import VulkanPartitioner

        partitioners = [VulkanPartitioner()]
    return to_edge_transform_and_lower(program, partitioner=partitioners)


def _cover(model: nn.Module, *inputs: Any, delegate: str = "xnnpack", **how: Any) -> CoverageRecord:
    program = torch.export.export(model.eval(), inputs, **how)
    return cover_executorch(program, _lower(program, delegate), delegate)


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.second = nn.Conv2d(4, 4, 3)

    def forward(self, x):  # type: ignore[no-untyped-def]
        return self.second(torch.relu(self.first(x)))


class Styled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pad = nn.ReflectionPad2d(1)
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.InstanceNorm2d(4, affine=True)

    def forward(self, x):  # type: ignore[no-untyped-def]
        x = self.pad(x)
        x = self.conv(x)
        return torch.relu(self.norm(x))


class Awkward(nn.Module):
    def forward(self, x, kernel):  # type: ignore[no-untyped-def]
        double = x.double() * 2.0
        stepped = x[:, :, ::2]
        dynamic = torch.nn.functional.conv2d(x, kernel)
        softened = torch.softmax(x, 1)
        ordered = torch.sort(x, dim=3)[0]
        return double, stepped, dynamic, softened, ordered, torch.sigmoid(x)


def _only(record: CoverageRecord, operator: str, **facts: Any) -> UndelegatedOperator:
    found = [
        item
        for item in record.left
        if item.operator == operator
        and all(getattr(item, name) == value for name, value in facts.items())
    ]
    assert len(found) == 1, [(item.operator, item.reason) for item in record.left]
    return found[0]


def test_a_plain_network_is_taken_as_one_piece() -> None:
    record = _cover(Plain(), torch.randn(1, 3, 8, 8))
    assert record.delegated == {"aten.convolution.default": 2, "aten.relu.default": 1}
    assert record.partitions == 1
    assert record.complete
    assert record.left == []
    assert record.delegate == "xnnpack"


@pytest.fixture(scope="module")
def styled() -> CoverageRecord:
    return _cover(Styled(), torch.randn(1, 3, 8, 8))


def test_every_piece_of_the_padding_is_traced_to_the_users_line(styled: CoverageRecord) -> None:
    pieces = [item for item in styled.left if item.module == "pad"]
    # Both axes compute n - |(n - |arange - p|)| with integers, then index.
    assert {item.operator: (item.count, item.reason) for item in pieces} == {
        "aten.arange.start_step": (2, "not supported"),
        "aten.abs.default": (4, "dtype"),
        "aten.sub.Tensor": (4, "dtype"),
        "aten.index.Tensor": (2, "not supported"),
    }
    line = _line(Styled.forward, "self.pad(x)")
    for item in pieces:
        assert item.where.endswith(line)
        assert "aten.pad.reflect" in item.detail
        assert "narrow()" in item.rewrite and "torch.cat" in item.rewrite


def test_instance_norm_is_left_with_its_known_form(styled: CoverageRecord) -> None:
    norm = _only(styled, "aten._native_batch_norm_legit.no_stats")
    assert (norm.count, norm.reason, norm.module) == (1, "not supported", "norm")
    assert norm.where.endswith(_line(Styled.forward, "self.norm(x)"))
    assert "torch.rsqrt" in norm.rewrite
    assert not styled.complete
    assert styled.partitions == 2
    assert styled.delegated == {
        "aten.convolution.default": 1,
        "aten.relu.default": 1,
        "aten.view_copy.default": 2,
    }


@pytest.fixture(scope="module")
def awkward() -> CoverageRecord:
    return _cover(Awkward(), torch.randn(1, 4, 8, 8), torch.randn(2, 4, 3, 3))


@pytest.mark.parametrize(
    ("operator", "reason", "words", "text"),
    [
        ("aten.mul.Tensor", "dtype", "float64", "x.double()"),
        ("aten.slice_copy.Tensor", "constraint", "step 2", "::2"),
        ("aten.convolution.default", "constraint", "static param", "conv2d"),
        ("aten._softmax.default", "constraint", "last dim", "softmax"),
        ("aten.sort.default", "not supported", "sort.default", "torch.sort"),
    ],
)
def test_each_reason_is_the_delegates_own(
    awkward: CoverageRecord, operator: str, reason: str, words: str, text: str
) -> None:
    item = _only(awkward, operator)
    assert item.reason == reason
    assert words in item.detail
    assert item.where.endswith(_line(Awkward.forward, text))
    assert item.rewrite


def test_what_remains_is_still_delegated(awkward: CoverageRecord) -> None:
    assert awkward.delegated == {"aten.sigmoid.default": 1}
    assert awkward.partitions == 1


def test_a_free_dimension_is_named_as_the_reason() -> None:
    class Net(nn.Module):
        def forward(self, x):  # type: ignore[no-untyped-def]
            return torch.relu(x).flatten(1) * 2.0

    batch = torch.export.Dim("batch", min=1, max=4)
    record = _cover(Net(), torch.randn(2, 3, 4, 4), dynamic_shapes=({0: batch},))
    item = _only(record, "aten.view_copy.default")
    assert item.reason == "dynamic shape"
    assert item.where.endswith(_line(Net.forward, "flatten"))
    assert "free dimension" in item.rewrite


def test_batch_norm_whose_statistics_are_returned_is_a_constraint() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("one", torch.ones(4))
            self.register_buffer("zero", torch.zeros(4))

        def forward(self, x):  # type: ignore[no-untyped-def]
            y, mean, _ = torch.ops.aten._native_batch_norm_legit_no_training(
                x, self.one, self.zero, self.zero, self.one, 0.1, 1e-5
            )
            return y, mean

    record = _cover(Net(), torch.randn(1, 4, 4, 4))
    item = _only(record, "aten._native_batch_norm_legit_no_training.default")
    assert item.reason == "constraint"
    assert "must only access the output tensor" in item.detail
    assert "scale" in item.rewrite
    assert not record.complete


def test_scales_of_a_quantized_network_are_not_counted_as_operators() -> None:
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    inputs = (torch.randn(1, 3, 8, 8),)
    module = torch.export.export(Plain().eval(), inputs).module()
    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config())
    prepared = prepare_pt2e(module, quantizer)
    prepared(*inputs)
    program = torch.export.export(convert_pt2e(prepared), inputs)
    record = cover_executorch(program, _lower(program, "xnnpack"), "xnnpack")
    assert record.complete
    # One quantize at the input and one dequantize at the output really compute.
    assert record.delegated == {
        "aten.convolution.default": 2,
        "aten.relu.default": 1,
        "quantized_decomposed.dequantize_per_tensor.default": 1,
        "quantized_decomposed.quantize_per_tensor.default": 1,
    }


def test_without_a_delegate_everything_is_left() -> None:
    record = _cover(Plain(), torch.randn(1, 3, 8, 8), delegate="portable")
    assert (record.delegate, record.delegated, record.partitions) == ("none", {}, 0)
    assert not record.complete
    assert sum(item.count for item in record.left) == 3
    assert {item.reason for item in record.left} == {"not supported"}
    assert "without a delegate" in record.method


def test_core_ml_takes_what_xnnpack_leaves() -> None:
    pytest.importorskip("coremltools")
    record = _cover(Styled(), torch.randn(1, 3, 8, 8), delegate="coreml")
    assert record.complete
    assert record.partitions == 1
    assert record.delegated["aten.pad.default"] == 1


def test_core_ml_names_what_it_does_not_support() -> None:
    pytest.importorskip("coremltools")

    class Net(nn.Module):
        def forward(self, x):  # type: ignore[no-untyped-def]
            return torch.asinh(torch.relu(x))

    record = _cover(Net(), torch.randn(1, 3), delegate="coreml")
    assert not record.complete
    assert {item.where.rpartition(":")[2] for item in record.left} == {
        _line(Net.forward, "asinh").rpartition(":")[2]
    }


@pytest.mark.slow
def test_vulkan_names_its_reasons() -> None:
    record = _cover(Styled(), torch.randn(1, 3, 8, 8), delegate="vulkan")
    assert _only(record, "aten.abs.default").reason == "dtype"
    norm = _only(record, "aten._native_batch_norm_legit.no_stats")
    assert norm.reason == "not supported"
    assert "no operator implementation" in norm.detail


def test_the_logger_is_left_as_it_was() -> None:
    import logging

    logger = logging.getLogger("executorch.backends.xnnpack.partition.config")
    before = (logger.level, logger.propagate, list(logger.handlers))
    _cover(Awkward(), torch.randn(1, 4, 8, 8), torch.randn(2, 4, 3, 3))
    assert (logger.level, logger.propagate, list(logger.handlers)) == before


def test_asking_too_late_is_an_error() -> None:
    program = torch.export.export(Styled().eval(), (torch.randn(1, 3, 8, 8),))
    lowered = _lower(program, "xnnpack")
    lowered.to_executorch()
    with pytest.raises(UsageError, match=r"to_executorch\(\) has already"):
        cover_executorch(program, lowered, "xnnpack")


def test_an_unknown_delegate_is_an_error() -> None:
    program = torch.export.export(Plain().eval(), (torch.randn(1, 3, 8, 8),))
    with pytest.raises(UnknownNameError, match="xnpack"):
        cover_executorch(program, None, "xnpack")
