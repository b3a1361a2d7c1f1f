from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
ct = pytest.importorskip("coremltools")

from torch import nn  # noqa: E402

from edgesdk.converters.coverage.coreml import _planner_reason, cover_coreml  # noqa: E402
from edgesdk.errors import SessionError  # noqa: E402
from edgesdk.frontend.provenance import where  # noqa: E402

_elsewhere = pytest.mark.skipif(sys.platform == "darwin", reason="a Mac asks the planner instead")


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.second = nn.Conv2d(4, 4, 3)

    def forward(self, x):  # type: ignore[no-untyped-def]
        x = torch.relu(self.first(x))
        return torch.sigmoid(self.second(x))


def _convert(path: Path, precision: Any, **how: Any) -> tuple[Path, dict[str, str]]:
    inputs = (torch.zeros(2, 3, 8, 8),)
    program = torch.export.export(Net().eval(), inputs, **how).run_decompositions({})
    model = ct.convert(
        program,
        convert_to="mlprogram",
        compute_precision=precision,
        minimum_deployment_target=ct.target.iOS16,
        skip_model_load=True,
    )
    model.save(str(path))
    return path, {node.name: where(node) for node in program.graph.nodes}


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, dict[str, str]]]:
    folder = tmp_path_factory.mktemp("coreml")
    batch = torch.export.Dim("batch", min=1, max=4)
    return {
        "fp16": _convert(folder / "half.mlpackage", ct.precision.FLOAT16),
        "fp32": _convert(folder / "full.mlpackage", ct.precision.FLOAT32),
        "free": _convert(
            folder / "free.mlpackage", ct.precision.FLOAT16, dynamic_shapes=({0: batch},)
        ),
    }


@_elsewhere
def test_float16_with_fixed_shapes_is_for_the_neural_engine(
    packages: dict[str, tuple[Path, dict[str, str]]],
) -> None:
    record = cover_coreml(*packages["fp16"])
    assert record.delegate == "Neural Engine"
    # One cast makes the caller's float32 a float16; the result leaves as float16.
    assert record.delegated == {"cast": 1, "conv": 2, "relu": 1, "sigmoid": 1}
    assert (record.complete, record.partitions) == (True, 1)
    assert "without Core ML's planner" in record.method


@_elsewhere
def test_float32_never_reaches_it(packages: dict[str, tuple[Path, dict[str, str]]]) -> None:
    record = cover_coreml(*packages["fp32"])
    assert (record.delegated, record.partitions, record.complete) == ({}, 0, False)
    assert {item.reason for item in record.left} == {"dtype"}
    assert all("compute in fp16" in item.rewrite for item in record.left)
    first = Net.forward.__code__.co_firstlineno
    lines = {(item.operator, item.where.rpartition(":")[2]): item.count for item in record.left}
    assert lines == {
        ("conv", str(first + 1)): 1,
        ("relu", str(first + 1)): 1,
        ("conv", str(first + 2)): 1,
        ("sigmoid", str(first + 2)): 1,
    }


@_elsewhere
def test_ranges_of_shapes_are_named(packages: dict[str, tuple[Path, dict[str, str]]]) -> None:
    record = cover_coreml(*packages["free"])
    assert not record.complete
    assert {item.reason for item in record.left} == {"dynamic shape"}
    assert all("default shape" in item.detail for item in record.left)


@_elsewhere
def test_places_are_optional(packages: dict[str, tuple[Path, dict[str, str]]]) -> None:
    record = cover_coreml(packages["fp32"][0])
    assert {item.where for item in record.left} == {""}
    # A name that only begins like another node's is not taken for it.
    other = cover_coreml(packages["fp32"][0], {"conv": "net.py:1", "conv2d": "net.py:2"})
    assert [item.where for item in other.left if item.operator == "conv"] == ["net.py:2", ""]


def _device(name: str) -> Any:
    return type(name, (), {})()


_CPU, _GPU, _ENGINE = (
    _device(name)
    for name in ("MLCPUComputeDevice", "MLGPUComputeDevice", "MLNeuralEngineComputeDevice")
)


@pytest.mark.parametrize(
    ("preferred", "supported", "prediction", "expected"),
    [
        (_ENGINE, [_CPU, _GPU, _ENGINE], None, None),
        (_GPU, [_CPU, _GPU, _ENGINE], None, ("unknown", "prefers the GPU")),
        (_CPU, [_CPU], None, ("not supported", "runs on the CPU")),
        (_GPU, [_CPU, _GPU], ("dtype", "float32"), ("dtype", "runs on the GPU; float32")),
    ],
)
def test_answers_of_the_planner(
    preferred: Any, supported: list[Any], prediction: Any, expected: Any
) -> None:
    usage = SimpleNamespace(preferred_compute_device=preferred, supported_compute_devices=supported)
    verdict = _planner_reason(usage, prediction)
    if expected is None:
        assert verdict is None
    else:
        assert verdict is not None
        assert verdict[0] == expected[0]
        assert expected[1] in verdict[1]


def test_a_planner_without_an_answer_is_unknown() -> None:
    verdict = _planner_reason(None, None)
    assert verdict is not None and verdict[0] == "unknown"


def test_what_is_no_package_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SessionError):
        cover_coreml(tmp_path / "absent.mlpackage")
    folder = tmp_path / "empty.mlpackage"
    folder.mkdir()
    with pytest.raises(SessionError):
        cover_coreml(folder)
    file = tmp_path / "text.mlmodel"
    file.write_bytes(b"not a model at all")
    with pytest.raises(SessionError):
        cover_coreml(file)
