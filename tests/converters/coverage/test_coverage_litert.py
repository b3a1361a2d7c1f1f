from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
litert_torch = pytest.importorskip("litert_torch")

from torch import nn  # noqa: E402

from edgesdk.converters.coverage.litert import cover_litert  # noqa: E402
from edgesdk.converters.coverage.litert_graph import LitertGraph, Operator, Tensor, read_graph  # noqa: E402
from edgesdk.converters.coverage.litert_reasons import why_not_gpu, why_not_xnnpack  # noqa: E402
from edgesdk.errors import SessionError  # noqa: E402


class Plain(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))


class Mixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pad = nn.ReflectionPad2d(1)
        self.conv = nn.Conv2d(3, 4, 3)
        self.activation = nn.ELU()

    def forward(self, x, kernel, index):  # type: ignore[no-untyped-def]
        x = self.pad(x)
        x = self.activation(self.conv(x))
        x = torch.nn.functional.conv2d(x, kernel)
        return torch.gather(x, 1, index), x[:, :, ::2]


_PLAIN = (torch.zeros(1, 3, 8, 8),)
_MIXED = (
    torch.zeros(1, 3, 8, 8),
    torch.zeros(2, 4, 3, 3),
    torch.zeros(1, 1, 6, 6, dtype=torch.int64),
)


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Any]]:
    folder = tmp_path_factory.mktemp("litert")
    found = {}
    for name, model, inputs in (("plain", Plain(), _PLAIN), ("mixed", Mixed(), _MIXED)):
        program = torch.export.export(model.eval(), inputs)
        path = folder / f"{name}.tflite"
        module = program.module(check_guards=False)
        litert_torch.convert(module, sample_args=inputs).export(str(path))
        found[name] = (path, program)
    return found


def test_a_plain_network_is_taken_whole(converted: dict[str, tuple[Path, Any]]) -> None:
    record = cover_litert(*converted["plain"])
    # Two convolutions, the activation fused into the first, a transposition at each end.
    assert record.delegated == {"CONV_2D": 2, "TRANSPOSE": 2}
    assert (record.partitions, record.complete, record.left) == (1, True, [])
    (gpu,) = record.also
    assert (gpu.delegate, gpu.complete, gpu.partitions) == ("gpu", True, 1)
    assert gpu.method.startswith("predicted")


def test_the_runtime_agrees_on_what_is_complete(converted: dict[str, tuple[Path, Any]]) -> None:
    from ai_edge_litert.compiled_model import CompiledModel

    for path, program in converted.values():
        compiled = CompiledModel.from_file(str(path))
        assert compiled.is_fully_accelerated() == cover_litert(path, program).complete


def test_operators_left_carry_reason_and_place(converted: dict[str, tuple[Path, Any]]) -> None:
    record = cover_litert(*converted["mixed"])
    lines, first = inspect.getsourcelines(Mixed.forward)

    def ends(text: str) -> str:
        place = next(index for index, line in enumerate(lines) if text in line)
        return f"test_coverage_litert.py:{first + place}"

    by_name = {item.operator: item for item in record.left if item.module != "activation"}
    pad = by_name["MIRROR_PAD"]
    assert (pad.reason, pad.module, pad.count) == ("not supported", "pad", 1)
    assert pad.where.endswith(ends("self.pad(x)"))
    assert "narrow()" in pad.rewrite
    activation = [item for item in record.left if item.module == "activation"]
    assert [item.operator for item in activation] == ["GREATER_EQUAL", "SELECT"]
    assert all(item.where.endswith(ends("self.activation(")) for item in activation)
    assert all("torch.exp" in item.rewrite for item in activation)
    convolution = by_name["CONV_2D"]
    assert convolution.reason == "constraint"
    assert "computed at run time" in convolution.detail
    assert "kernels constant" in convolution.rewrite
    step = by_name["STRIDED_SLICE"]
    assert step.reason == "constraint" and "[1, 1, 2, 1]" in step.detail
    assert by_name["GATHER_ND"].reason == "not supported"
    assert not record.complete
    # The convolution with constant weights is still taken.
    assert record.delegated["CONV_2D"] == 1


def test_taken_and_left_are_all_there_is(converted: dict[str, tuple[Path, Any]]) -> None:
    path, program = converted["mixed"]
    record = cover_litert(path, program)
    size = len(read_graph(path).operators)
    for each in (record, *record.also):
        assert sum(each.delegated.values()) + sum(item.count for item in each.left) == size


def test_without_the_program_the_file_names_the_module(
    converted: dict[str, tuple[Path, Any]],
) -> None:
    record = cover_litert(converted["mixed"][0])
    pad = next(item for item in record.left if item.operator == "MIRROR_PAD")
    assert pad.module == "ReflectionPad2d_pad"
    assert pad.where == ""


def test_files_that_are_no_model_are_refused(
    converted: dict[str, tuple[Path, Any]], tmp_path: Path
) -> None:
    whole = converted["plain"][0].read_bytes()
    for name, content in {
        "empty": b"",
        "text": b"not a model at all",
        "marked": b"\x00\x00\x00\x7fTFL3" + b"\xff" * 64,
        "cut": whole[:200],
    }.items():
        path = tmp_path / f"{name}.tflite"
        path.write_bytes(content)
        with pytest.raises(SessionError):
            cover_litert(path)
    with pytest.raises(SessionError, match="cannot read"):
        cover_litert(tmp_path / "absent.tflite")


_F = Tensor("x", "FLOAT32", (1, 4, 4, 2), False)
_W = Tensor("w", "FLOAT32", (2, 3, 3, 2), True)
_I = Tensor("i", "INT32", (1, 4, 4, 2), False)
_FREE = Tensor("f", "FLOAT32", (-1, 4), False)
_DEEP = Tensor("d", "FLOAT32", (1,) * 7, False)
_AXES = Tensor("a", "INT32", (2,), True, (1, 2))
_ORDER = Tensor("o", "INT32", (4,), False)
_LONG = Tensor("l", "INT64", (4,), False)


def _graph(name: str, *tensors: Tensor, options: Any = None) -> tuple[LitertGraph, Operator]:
    """One operator; its last tensor is its output."""
    size = len(tensors)
    operator = Operator(0, name, tuple(range(size - 1)), (size - 1,), options)
    return LitertGraph((operator,), tensors), operator


@pytest.mark.parametrize(
    ("name", "tensors", "reason"),
    [
        ("TOPK_V2", (_F, _F), "not supported"),
        ("CUSTOM mine", (_F, _F), "not supported"),
        ("ADD", (_I, _I, _I), "dtype"),
        ("TRANSPOSE", (_I, _AXES, _I), "dtype"),
        ("TRANSPOSE", (_F, _ORDER, _F), "dynamic shape"),
        ("CONV_2D", (_F, _F, _W, _F), "constraint"),
        ("CONCATENATION", (_F,) * 7, "constraint"),
        ("ADD", (_DEEP, _DEEP, _DEEP), "constraint"),
        ("ADD", (_FREE, _FREE, _FREE), "dynamic shape"),
        ("MEAN", (_F, _AXES, _F), "unknown"),
    ],
)
def test_rules_of_xnnpack(name: str, tensors: tuple[Tensor, ...], reason: str) -> None:
    assert why_not_xnnpack(*_graph(name, *tensors), set())[0] == reason


def test_an_operator_taken_elsewhere_is_known() -> None:
    graph, operator = _graph("BRAND_NEW", _F, _F)
    assert why_not_xnnpack(graph, operator, set())[0] == "not supported"
    assert why_not_xnnpack(graph, operator, {"BRAND_NEW"})[0] == "unknown"


@pytest.mark.parametrize(
    ("name", "tensors", "reason"),
    [
        ("ADD", (_F, _F, _F), None),
        ("GATHER_ND", (_F, _I, _F), "not supported"),
        ("ADD", (_LONG, _LONG, _LONG), "dtype"),
        ("CAST", (_F, _LONG), "dtype"),
        ("CAST", (_F, _I), None),
        ("GATHER", (_F, _I, _F), "constraint"),
        ("SLICE", (_DEEP, _AXES, _AXES, _DEEP), "constraint"),
        ("RELU", (_FREE, _FREE), "dynamic shape"),
    ],
)
def test_rules_of_the_gpu(name: str, tensors: tuple[Tensor, ...], reason: str | None) -> None:
    verdict = why_not_gpu(*_graph(name, *tensors))
    assert (verdict and verdict[0]) == reason
