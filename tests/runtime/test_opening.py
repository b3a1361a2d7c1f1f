from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgesdk import runtime
from edgesdk.errors import InputNotFoundError, SessionError, UnknownNameError, UsageError


def test_what_cannot_be_opened_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputNotFoundError, match="no such file"):
        runtime.open(tmp_path / "absent.onnx")
    (tmp_path / "net.onx").write_bytes(b"")
    with pytest.raises(UnknownNameError, match=r"did you mean '\.onnx'"):
        runtime.open(tmp_path / "net.onx")
    with pytest.raises(UnknownNameError):
        runtime.open(tmp_path)


@pytest.mark.parametrize("threads", [0, -1, 2000, 1.5, True])
def test_threads_are_checked(threads: object, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        runtime.open(tmp_path / "absent.onnx", threads=threads)  # type: ignore[arg-type]


@pytest.mark.parametrize("suffix", [".pte", ".tflite", ".onnx", ".pt2", ".mlpackage"])
@pytest.mark.parametrize("content", [b"", b"\0" * 4096, b"PK\x03\x04", b"not a model\n" * 50])
def test_a_file_that_is_something_else(suffix: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"net{suffix}"
    path.write_bytes(content)
    with pytest.raises(SessionError) as caught:
        runtime.open(path)
    assert caught.value.remedy


@pytest.mark.parametrize("kind", ["executorch", "litert", "onnx", "torch"])
def test_a_folder_is_no_file(kind: str, artefacts: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / artefacts[kind].name
    folder.mkdir()
    with pytest.raises(SessionError):
        runtime.open(folder)


@pytest.mark.parametrize("kind", ["executorch", "litert", "onnx", "torch"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_truncated_file_is_damaged(
    kind: str, share: float, artefacts: dict[str, Path], tmp_path: Path
) -> None:
    content = artefacts[kind].read_bytes()
    path = tmp_path / artefacts[kind].name
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(SessionError, match="is damaged or not"):
        runtime.open(path)


def test_the_suffix_may_be_written_large(artefacts: dict[str, Path], tmp_path: Path) -> None:
    path = Path(shutil.copy(artefacts["onnx"], tmp_path / "NET.ONNX"))
    with runtime.open(str(path)) as session:
        assert len(session.inputs) == 2


def _model_with_weights_in(location: str, folder: Path) -> Path:
    weight = helper.make_tensor("w", TensorProto.FLOAT, [4], np.ones(4, np.float32))
    weight.ClearField("float_data")
    weight.data_location = TensorProto.EXTERNAL
    entry = weight.external_data.add()
    entry.key, entry.value = "location", location
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        "sum",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    path = folder / "sum.onnx"
    onnx.save(model, path)
    return path


def test_onnx_weights_in_the_folder_are_read(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(np.arange(4, dtype=np.float32).tobytes())
    with runtime.open(_model_with_weights_in("weights.bin", tmp_path)) as session:
        result = session.run({"x": np.ones(4, np.float32)})["y"]
    np.testing.assert_array_equal(result, [1, 2, 3, 4])


@pytest.mark.parametrize(
    "location", ["../secret.bin", "/etc/hostname", "a/../../secret.bin", "..\\secret.bin", "C:x"]
)
def test_onnx_weights_elsewhere_are_refused(location: str, tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(b"\0" * 16)
    folder = tmp_path / "model"
    folder.mkdir()
    with pytest.raises(SessionError, match="outside its folder"):
        runtime.open(_model_with_weights_in(location, folder))


def test_onnx_weights_behind_a_link_are_refused(tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(b"\0" * 16)
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights.bin").symlink_to(tmp_path / "secret.bin")
    with pytest.raises(SessionError, match="behind a link"):
        runtime.open(_model_with_weights_in("weights.bin", folder))


def test_onnx_weights_that_are_missing_or_short_are_told(tmp_path: Path) -> None:
    path = _model_with_weights_in("weights.bin", tmp_path)
    with pytest.raises(SessionError, match="which is missing"):
        runtime.open(path)
    (tmp_path / "weights.bin").write_bytes(b"\0" * 7)
    with pytest.raises(SessionError):
        runtime.open(path)


def test_opening_imports_only_its_own_runtime(artefacts: dict[str, Path]) -> None:
    code = (
        "import sys\n"
        "from edgesdk import runtime\n"
        "assert 'torch' not in sys.modules\n"
        f"runtime.open({str(artefacts['onnx'])!r}).close()\n"
        "heavy = {'torch', 'coremltools', 'executorch', 'ai_edge_litert'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
