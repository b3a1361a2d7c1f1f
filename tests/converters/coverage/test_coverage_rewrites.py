from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesdk.converters.coverage.rewrites import known_rewrites, rewrite_for

_SPELLINGS = ["aten.sort.default", "aten::sort.values", "sort", "torch.ops.aten.sort.default"]


@pytest.mark.parametrize("spelling", _SPELLINGS)
@pytest.mark.parametrize("target", ["executorch", "executorch:xnnpack", "executorch:portable"])
def test_every_spelling_finds_the_same_row(spelling: str, target: str) -> None:
    assert rewrite_for(spelling, target) == rewrite_for("sort", "executorch:xnnpack") != ""


@pytest.mark.parametrize(
    ("operator", "target", "reason", "words"),
    [
        ("aten.pad.reflect", "executorch:xnnpack", "dtype", "narrow()"),
        ("aten.instance_norm.default", "executorch:xnnpack", "not supported", "rsqrt"),
        ("aten.upsample_nearest2d.vec", "executorch:xnnpack", "not supported", "ConvTranspose2d"),
        ("aten.var.correction", "executorch:xnnpack", "not supported", "keepdim"),
        ("aten.eye.default", "litert", "", "register_buffer"),
        ("STABLEHLO_SORT", "litert", "", "topk"),
        ("RESIZE_NEAREST_NEIGHBOR", "litert:xnnpack", "not supported", "torch.cat"),
        ("CONV_2D", "litert:xnnpack", "constraint", "kernels constant"),
        ("ai.onnx:Pad", "onnx:nnapi", "constraint", "narrow()"),
        ("HardSwish", "onnx:coreml", "not supported", "clamp"),
        ("conv", "coreml", "dtype", "fp16"),
    ],
)
def test_known_rows(operator: str, target: str, reason: str, words: str) -> None:
    assert words in rewrite_for(operator, target, reason)


@pytest.mark.parametrize(
    ("operator", "target", "reason"),
    [
        ("aten.no_such_operator.default", "executorch:xnnpack", "not supported"),
        ("sort", "coreml", "not supported"),
        ("sort", "onnx", ""),
        # A constant padding is taken; only the mirrored one has a known form.
        ("aten.pad.default", "executorch:xnnpack", "not supported"),
        # No other operator mends a wrong element type, so advice on operators is withheld.
        ("aten.mean.dim", "executorch:portable", "dtype"),
        ("", "litert", ""),
    ],
)
def test_nothing_is_invented(operator: str, target: str, reason: str) -> None:
    assert rewrite_for(operator, target, reason) == ""


def test_dtype_is_answered_with_a_cast_and_not_with_another_operator() -> None:
    assert "float32" in rewrite_for("aten.instance_norm.default", "executorch:xnnpack", "dtype")


def test_every_row_can_be_reached() -> None:
    for row in known_rewrites():
        operator = sorted(row.operators)[0]
        answers = {
            rewrite_for("made_up" if operator == "*" else operator, target, reason)
            for target in row.targets
            for reason in (row.reasons or ("", "not supported"))
        }
        assert row.text in answers, row


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=40), st.sampled_from(["executorch", "litert", "onnx", "coreml", "x:y"]))
def test_any_name_is_read_without_failing(operator: str, target: str) -> None:
    assert isinstance(rewrite_for(operator, target), str)


def _mirror(torch: Any, x: Any) -> Any:
    x = torch.cat([x.narrow(2, 1, 1), x, x.narrow(2, 6, 1)], 2)
    return torch.cat([x.narrow(3, 1, 1), x, x.narrow(3, 6, 1)], 3)


def _repeat_edge(torch: Any, x: Any) -> Any:
    x = torch.cat([x.narrow(2, 0, 1), x, x.narrow(2, 7, 1)], 2)
    return torch.cat([x.narrow(3, 0, 1), x, x.narrow(3, 7, 1)], 3)


def _normalize(torch: Any, x: Any) -> Any:
    d = x - x.mean((2, 3), keepdim=True)
    return d * torch.rsqrt((d * d).mean((2, 3), keepdim=True) + 1e-5)


def _double(torch: Any, x: Any) -> Any:
    x = x.reshape(1, 4, 8, 1, 8)
    x = torch.cat([x, x], 3).reshape(1, 4, 16, 8, 1)
    return torch.cat([x, x], 4).reshape(1, 4, 16, 16)


_Form = Callable[[Any, Any], Any]
_FORMS: dict[str, tuple[_Form, _Form]] = {
    "reflect": (
        _mirror,
        lambda t, x: t.nn.functional.pad(x, (1, 1, 1, 1), mode="reflect"),
    ),
    "replicate": (
        _repeat_edge,
        lambda t, x: t.nn.functional.pad(x, (1, 1, 1, 1), mode="replicate"),
    ),
    "instance norm": (_normalize, lambda t, x: t.nn.functional.instance_norm(x)),
    "batch norm": (
        lambda t, x: x * t.full((1, 4, 1, 1), 2.0) + t.full((1, 4, 1, 1), -1.0),
        lambda t, x: t.nn.functional.batch_norm(
            x, t.full((4,), 1.0), t.full((4,), 4.0), t.full((4,), 4.0), t.ones(4), eps=0.0
        ),
    ),
    "elu": (
        lambda t, x: t.relu(x) + 1.0 * (t.exp(t.clamp(x, max=0.0)) - 1.0),
        lambda t, x: t.nn.functional.elu(x),
    ),
    "softplus": (
        lambda t, x: t.relu(x) + t.log(1.0 + t.exp(-t.abs(x))),
        lambda t, x: t.nn.functional.softplus(x),
    ),
    "remainder": (lambda t, x: x - t.floor(x / 2.0) * 2.0, lambda t, x: x % 2.0),
    "step": (
        lambda t, x: x.reshape(1, 4, 8, 4, 2).narrow(4, 0, 1).reshape(1, 4, 8, 4),
        lambda t, x: x[..., ::2],
    ),
    "sum": (
        lambda t, x: x.mean((2, 3), keepdim=True) * 64.0,
        lambda t, x: x.sum((2, 3), keepdim=True),
    ),
    "amax": (
        lambda t, x: t.nn.functional.max_pool2d(x, (8, 8)),
        lambda t, x: x.amax((2, 3), keepdim=True),
    ),
    "softmax": (
        lambda t, x: t.softmax(x.permute(0, 2, 3, 1), -1).permute(0, 3, 1, 2),
        lambda t, x: t.softmax(x, 1),
    ),
    "power": (lambda t, x: x * x * x, lambda t, x: x**3),
    "unsqueeze": (lambda t, x: t.relu(x).reshape(1, 1, 4, 8, 8), lambda t, x: t.relu(x)[None]),
    "select": (
        lambda t, x: x.narrow(1, 2, 1).reshape(1, 8, 8) * 2.0,
        lambda t, x: x[:, 2] * 2.0,
    ),
    "leaky relu": (
        lambda t, x: t.maximum(x, 0.1 * x),
        lambda t, x: t.nn.functional.leaky_relu(x, 0.1),
    ),
    "matmul": (
        lambda t, x: t.bmm(x.reshape(4, 8, 8), x.reshape(4, 8, 8)).reshape(1, 4, 8, 8),
        lambda t, x: x @ x,
    ),
    "cumsum": (lambda t, x: x @ t.triu(t.ones(8, 8)), lambda t, x: x.cumsum(-1)),
    "nearest upsampling": (_double, lambda t, x: t.nn.functional.interpolate(x, scale_factor=2)),
}


@pytest.mark.parametrize("name", sorted(_FORMS))
def test_a_rewrite_computes_the_same(name: str) -> None:
    torch = pytest.importorskip("torch")
    written, usual = _FORMS[name]
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(written(torch, x), usual(torch, x), atol=2e-6, rtol=1e-5)


# XNNPACK in ExecuTorch does not join a tensor to itself, and what is made inside these functions
# would be a buffer in a module.
_NOT_EXECUTORCH = {"batch norm", "cumsum", "nearest upsampling"}


def test_xnnpack_takes_the_rewrites_whole() -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("executorch")
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    from edgesdk.converters.coverage.executorch import cover_executorch

    names = sorted(set(_FORMS) - _NOT_EXECUTORCH)

    class Net(torch.nn.Module):
        def forward(self, x):  # type: ignore[no-untyped-def]
            return tuple(_FORMS[name][0](torch, x) for name in names)

    program = torch.export.export(Net(), (torch.randn(1, 4, 8, 8),))
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    record = cover_executorch(program, lowered, "xnnpack")
    assert record.complete, record.left
    assert record.partitions == 1
