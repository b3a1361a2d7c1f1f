from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper  # noqa: E402

from edgesdk.bundle.manifest import CoverageRecord  # noqa: E402
from edgesdk.converters.coverage.onnx import cover_onnx  # noqa: E402
from edgesdk.converters.coverage.onnx_providers import PROVIDERS  # noqa: E402
from edgesdk.errors import SessionError  # noqa: E402


@pytest.fixture(scope="module")
def styled(tmp_path_factory: pytest.TempPathFactory) -> tuple[CoverageRecord, Any]:
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnxscript")

    class Styled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pad = torch.nn.ReflectionPad2d(1)
            self.conv = torch.nn.Conv2d(3, 4, 3)
            self.norm = torch.nn.InstanceNorm2d(4, affine=True)

        def forward(self, x):  # type: ignore[no-untyped-def]
            x = self.conv(self.pad(x))
            x = torch.relu(self.norm(x))
            return torch.sort(x, dim=3)[0]

    path = tmp_path_factory.mktemp("onnx") / "styled.onnx"
    program = torch.onnx.export(Styled().eval(), (torch.zeros(1, 3, 8, 8),), dynamo=True)
    program.save(str(path))
    return cover_onnx(path), Styled.forward


def test_the_cpu_takes_everything_it_loads(styled: tuple[CoverageRecord, Any]) -> None:
    record, _ = styled
    assert record.delegate == "CPUExecutionProvider"
    assert record.delegated == {
        "Conv": 1,
        "InstanceNormalization": 1,
        "Pad": 1,
        "Relu": 1,
        "TopK": 1,
    }
    assert (record.complete, record.partitions, record.left) == (True, 1, [])
    assert record.method.startswith("the session reported")


def test_phones_leave_what_their_lists_lack(styled: tuple[CoverageRecord, Any]) -> None:
    record, forward = styled
    _, first = inspect.getsourcelines(forward)
    core_ml, nnapi = record.also
    assert core_ml.delegate == "CoreMLExecutionProvider"
    assert core_ml.delegated == {"Conv": 1, "InstanceNormalization": 1, "Relu": 1}
    assert {item.operator: item.reason for item in core_ml.left} == {
        "Pad": "not supported",
        "TopK": "not supported",
    }
    assert core_ml.partitions == 1
    assert nnapi.delegate == "NnapiExecutionProvider"
    left = {item.operator: item for item in nnapi.left}
    assert set(left) == {"InstanceNormalization", "Pad", "TopK"}
    assert left["Pad"].reason == "constraint"
    assert "constant mode" in left["Pad"].detail
    assert left["Pad"].module == "pad"
    assert left["Pad"].where.endswith(f"test_coverage_onnx.py:{first + 1}")
    assert "narrow()" in left["Pad"].rewrite
    assert left["InstanceNormalization"].module == "norm"
    assert left["InstanceNormalization"].where.endswith(f"test_coverage_onnx.py:{first + 2}")
    assert "rsqrt" in left["InstanceNormalization"].rewrite
    assert nnapi.partitions == 2
    assert all(each.method.startswith("predicted") for each in record.also)


def _save(path: Path, nodes: list[Any], shape: list[Any], *weights: Any, domain: str = "") -> Path:
    kind = TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", kind, None)],
        list(weights),
    )
    opsets = [helper.make_opsetid("", 20)]
    if domain:
        opsets.append(helper.make_opsetid(domain, 1))
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    path.write_bytes(model.SerializeToString())
    return path


def _weight(*shape: int) -> Any:
    size = 1
    for each in shape:
        size *= each
    return helper.make_tensor("w", TensorProto.FLOAT, shape, [1.0] * size)


def _nnapi(record: CoverageRecord) -> CoverageRecord:
    return record.also[1]


def test_a_free_size_keeps_nnapi_away(tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    record = cover_onnx(_save(tmp_path / "m.onnx", nodes, ["batch", 3]))
    assert [item.reason for item in _nnapi(record).left] == ["dynamic shape"]
    assert "free dimension" in _nnapi(record).left[0].rewrite
    assert record.also[0].complete
    fixed = cover_onnx(_save(tmp_path / "f.onnx", nodes, [2, 3]))
    assert _nnapi(fixed).complete


@pytest.mark.parametrize(
    ("shape", "weight", "complete"),
    [([1, 2, 8], (2, 2, 3), False), ([1, 2, 8, 8], (2, 2, 3, 3), True)],
)
def test_nnapi_convolves_pictures_only(
    tmp_path: Path, shape: list[int], weight: tuple[int, ...], complete: bool
) -> None:
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"])]
    record = cover_onnx(_save(tmp_path / "m.onnx", nodes, shape, _weight(*weight)))
    assert _nnapi(record).complete == complete
    assert record.also[0].complete
    if not complete:
        assert "2D Conv" in _nnapi(record).left[0].detail


def test_computed_weights_break_the_condition_of_constants(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Relu", ["w"], ["k"]),
        helper.make_node("Identity", ["x"], ["z"]),
        helper.make_node("Mul", ["k", "z"], ["m"]),
        helper.make_node("Conv", ["x", "m"], ["y"]),
    ]
    record = cover_onnx(_save(tmp_path / "m.onnx", nodes, [1, 1, 3, 3], _weight(1, 1, 3, 3)))
    (item,) = _nnapi(record).left
    assert (item.operator, item.reason) == ("Conv", "constraint")


def test_more_axes_than_a_provider_takes(tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    record = cover_onnx(_save(tmp_path / "m.onnx", nodes, [1] * 6))
    assert [each.left[0].reason for each in record.also] == ["constraint", "constraint"]


@pytest.mark.parametrize("domain", ["", "made.up"])
def test_an_operator_nobody_knows_is_left(tmp_path: Path, domain: str) -> None:
    nodes = [helper.make_node("Foo", ["x"], ["y"], domain=domain)]
    record = cover_onnx(_save(tmp_path / "m.onnx", nodes, [1, 3], domain=domain))
    assert not record.complete
    assert [(item.operator, item.reason) for item in record.left] == [("Foo", "not supported")]
    assert "refused" in record.method


def test_files_that_are_no_model_are_refused(tmp_path: Path) -> None:
    for name, content in {"empty": b"", "text": b"not a model at all"}.items():
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(content)
        with pytest.raises(SessionError):
            cover_onnx(path)
    with pytest.raises(SessionError):
        cover_onnx(tmp_path / "absent.onnx")


def test_the_shipped_lists_are_read_whole() -> None:
    core_ml, nnapi = (provider.rules() for provider in PROVIDERS)
    assert "only 2d conv" in nnapi["ai.onnx:conv"].lower()
    assert core_ml["ai.onnx:relu"] == ""
    assert "ai.onnx:pad" in nnapi and "ai.onnx:pad" not in core_ml
    assert min(len(core_ml), len(nnapi)) > 40
