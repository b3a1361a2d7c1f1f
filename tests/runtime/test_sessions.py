"""Every runtime behind the one interface: equal results, equal manners."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgesdk import runtime
from edgesdk.errors import InputSpecError, SessionError, UnknownNameError, UsageError
from edgesdk.spec import DynamicDim, TensorSpec

Eager = Callable[[dict[str, np.ndarray]], list[np.ndarray]]
FIXED = ["torch", "onnx", "litert", "executorch", "portable", "coreml"]
DYNAMIC = ["torch-dynamic", "onnx-dynamic", "litert-dynamic", "executorch-dynamic"]
RUNTIMES = {
    "torch": "torch 2.",
    "onnx": "onnxruntime 1.",
    "litert": "ai-edge-litert 2.",
    "executorch": "executorch 1.",
    "portable": "executorch 1.",
    "coreml": "edgesdk MIL evaluator",
}


def inputs_of(batch: int = 2, seed: int = 1) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    return {
        "image": generator.standard_normal((batch, 3, 16, 16)).astype(np.float32),
        "token": generator.integers(0, 4, (batch, 1, 16, 16)),
    }


def declared(kind: str, free: DynamicDim | None = None) -> dict[str, Any]:
    """What a manifest declares of the artefact ``kind``."""
    dynamic = {0: free} if free else {}
    narrow = kind.startswith(("litert", "coreml"))
    return {
        "inputs": [
            TensorSpec("image", (2, 3, 16, 16), "float32", dynamic),
            TensorSpec("token", (2, 1, 16, 16), "int32" if narrow else "int64", dynamic),
        ],
        "outputs": [
            TensorSpec("map", (2, 16, 16, 16), "float32", dynamic),
            TensorSpec("score", (2, 4), "float32", dynamic),
        ],
    }


def assert_equal_to(expected: list[np.ndarray], results: dict[str, np.ndarray]) -> None:
    assert list(results) == ["map", "score"]
    for wanted, result in zip(expected, results.values(), strict=True):
        assert result.shape == wanted.shape and result.dtype == wanted.dtype
        np.testing.assert_allclose(result, wanted, atol=1e-4)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("kind", FIXED)
def test_equals_eager(kind: str, threads: int, artefacts: dict[str, Path], eager: Eager) -> None:
    with runtime.open(artefacts[kind], threads=threads, **declared(kind)) as session:
        assert session.runtime.startswith(RUNTIMES[kind])
        assert [spec.name for spec in session.inputs] == ["image", "token"]
        for seed in (1, 2):
            assert_equal_to(eager(inputs_of(seed=seed)), session.run(inputs_of(seed=seed)))


@pytest.mark.parametrize("kind", DYNAMIC)
def test_a_free_batch_takes_every_size(kind: str, artefacts: dict[str, Path], eager: Eager) -> None:
    batch = DynamicDim("batch", 1, 8)
    with runtime.open(artefacts[kind], **declared(kind, batch)) as session:
        for size in (1, 3, 5, 3, 8):
            inputs = inputs_of(size, seed=size)
            assert_equal_to(eager(inputs), session.run(inputs))
        with pytest.raises(InputSpecError, match="'image' has shape"):
            session.run(inputs_of(9))
        assert_equal_to(eager(inputs_of(2)), session.run(inputs_of(2)))


@pytest.mark.parametrize("kind", ["torch-dynamic", "onnx-dynamic", "litert-dynamic"])
def test_a_free_batch_is_read_from_the_file(kind: str, artefacts: dict[str, Path]) -> None:
    with runtime.open(artefacts[kind]) as session:
        assert set(session.inputs[0].dynamic) == {0}
        assert session.inputs[0].shape[1:] == (3, 16, 16)
        names = [spec.name for spec in session.inputs]
        inputs = dict(zip(names, inputs_of(3).values(), strict=True))
        assert next(iter(session.run(inputs).values())).shape == (3, 16, 16, 16)


def test_names_and_types_are_read_from_the_file(artefacts: dict[str, Path]) -> None:
    faces = {}
    for kind in ("onnx", "coreml", "torch", "litert", "executorch"):
        with runtime.open(artefacts[kind]) as session:
            faces[kind] = [str(spec) for spec in session.inputs]
    image, tokens = "2x3x16x16:float32", "2x1x16x16"
    assert faces == {
        "onnx": [f"image:{image}", f"token:{tokens}:int64"],
        "coreml": [f"image:{image}", f"token:{tokens}:int32"],
        "torch": [f"image:{image}", f"token:{tokens}:int64"],
        "litert": [f"args_0:{image}", f"args_1:{tokens}:int32"],
        "executorch": [f"input_0:{image}", f"input_1:{tokens}:int64"],
    }


@pytest.mark.parametrize("kind", FIXED)
def test_operator_times(kind: str, artefacts: dict[str, Path]) -> None:
    with runtime.open(artefacts[kind], **declared(kind)) as session:
        session.warm_up(inputs_of())
        times = session.operator_times(inputs_of(), runs=3)
        assert session.operators_note  # type: ignore[attr-defined]
        assert len({step.name for step in times}) == len(times) >= 5
        assert all(step.milliseconds >= 0 and step.operator for step in times)
        assert 0 < sum(step.milliseconds for step in times) < 10_000
        assert sum("conv" in step.operator.lower() for step in times) >= 2
        with pytest.raises(UsageError):
            session.operator_times(inputs_of(), runs=0)


@pytest.mark.parametrize("kind", DYNAMIC)
def test_operator_times_at_another_size(kind: str, artefacts: dict[str, Path]) -> None:
    with runtime.open(artefacts[kind], **declared(kind, DynamicDim("batch", 1, 8))) as session:
        assert sum(step.milliseconds for step in session.operator_times(inputs_of(5), 2)) > 0


@pytest.mark.parametrize("kind", FIXED)
def test_wrong_inputs_are_told(kind: str, artefacts: dict[str, Path], eager: Eager) -> None:
    good = inputs_of()
    with runtime.open(artefacts[kind], **declared(kind)) as session:
        with pytest.raises(InputSpecError, match="'token' is missing"):
            session.run({"image": good["image"]})
        with pytest.raises(UnknownNameError, match="unknown input 'imagee'"):
            session.run({**good, "imagee": good["image"]})
        for shape in ((3, 16, 16), (2, 3, 16, 15), (1, 3, 16, 16), ()):
            with pytest.raises(InputSpecError, match="'image' has shape"):
                session.run({**good, "image": np.zeros(shape, np.float32)})
        with pytest.raises(InputSpecError, match="'token' takes int"):
            session.run({**good, "token": good["token"].astype(np.float32)})
        with pytest.raises(InputSpecError, match="'image' takes float32"):
            session.run({**good, "image": good["image"].astype(complex)})
        assert_equal_to(eager(good), session.run(good))


@pytest.mark.parametrize("kind", FIXED)
def test_not_a_number_passes_through(kind: str, artefacts: dict[str, Path]) -> None:
    inputs = inputs_of()
    inputs["image"][0, 0, 3, 3] = np.nan
    with runtime.open(artefacts[kind], **declared(kind)) as session:
        results = session.run(inputs)
        assert np.isnan(results["map"][0]).any()
        # The other sample of the batch has none.
        assert np.isfinite(results["map"][1]).all()
        assert np.isfinite(session.run(inputs_of())["map"]).all()


@pytest.mark.parametrize("kind", FIXED)
def test_results_are_the_callers_own(kind: str, artefacts: dict[str, Path]) -> None:
    session = runtime.open(artefacts[kind], **declared(kind))
    inputs = inputs_of()
    before = {name: array.copy() for name, array in inputs.items()}
    first = session.run(inputs)
    kept = first["map"].copy()
    session.run(inputs_of(seed=9))
    np.testing.assert_array_equal(first["map"], kept)
    first["map"][:] = 0
    np.testing.assert_array_equal(session.run(inputs)["map"], kept)
    for name, array in inputs.items():
        np.testing.assert_array_equal(array, before[name])
    last = session.run(inputs)
    session.close()
    np.testing.assert_array_equal(last["map"], kept)


@pytest.mark.parametrize("kind", FIXED)
def test_a_closed_session_cannot_run(kind: str, artefacts: dict[str, Path]) -> None:
    session = runtime.open(artefacts[kind], **declared(kind))
    session.close()
    session.close()
    with pytest.raises(SessionError, match="is closed"):
        session.run(inputs_of())
    with pytest.raises(SessionError, match="is closed"):
        session.operator_times(inputs_of())


def test_only_core_ml_is_evaluated(artefacts: dict[str, Path]) -> None:
    for kind in FIXED:
        with runtime.open(artefacts[kind]) as session:
            assert session.evaluator == (kind == "coreml")
            assert bool(session.note) == (kind == "coreml")


@pytest.mark.parametrize("kind", ["onnx", "executorch", "litert"])
def test_a_manifest_of_another_file_is_told(kind: str, artefacts: dict[str, Path]) -> None:
    specs = declared(kind)
    with pytest.raises(SessionError, match="2 inputs, but 1 are declared"):
        runtime.open(artefacts[kind], inputs=specs["inputs"][:1])
    wrong = [TensorSpec("image", (2, 3, 16, 17)), specs["inputs"][1]]
    with pytest.raises(SessionError, match="but image:2x3x16x17"):
        runtime.open(artefacts[kind], inputs=wrong)
    wrong = [TensorSpec("image", (2, 3, 16, 16), "float16"), specs["inputs"][1]]
    with pytest.raises(SessionError, match="another file"):
        runtime.open(artefacts[kind], inputs=wrong)


def test_declared_order_follows_the_file(artefacts: dict[str, Path], eager: Eager) -> None:
    specs = declared("onnx")
    swapped = {"inputs": specs["inputs"][::-1], "outputs": specs["outputs"][::-1]}
    with runtime.open(artefacts["onnx"], **swapped) as session:
        assert [spec.name for spec in session.inputs] == ["image", "token"]
        assert_equal_to(eager(inputs_of()), session.run(inputs_of()))
