from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgesdk import runtime
from edgesdk.errors import SessionError
from edgesdk.runtime.pte_file import read_pte
from edgesdk.spec import DynamicDim, TensorSpec


def inputs_of(seed: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    return {
        "input_0": generator.standard_normal((2, 3, 16, 16)).astype(np.float32),
        "input_1": generator.integers(0, 4, (2, 1, 16, 16)),
    }


def test_a_missing_kernel_is_named(artefacts: dict[str, Path]) -> None:
    with pytest.raises(SessionError, match=r"no kernel for: aten::sort\.values") as caught:
        runtime.open(artefacts["sort"])
    assert "rewrite" in str(caught.value.remedy)


def test_a_delegate_of_a_phone_is_named(artefacts: dict[str, Path]) -> None:
    with pytest.raises(SessionError, match="VulkanBackend") as caught:
        runtime.open(artefacts["vulkan"])
    assert "only runs on a phone" in str(caught.value.remedy)


def test_sessions_of_different_threads_take_turns(artefacts: dict[str, Path]) -> None:
    # A loaded delegate points at the pool it was loaded with; a pool that went away under it
    # used to end the process.
    first = runtime.open(artefacts["executorch"], threads=1)
    wanted = first.run(inputs_of(1))["output_0"]
    second = runtime.open(artefacts["executorch"], threads=2)
    for _ in range(3):
        for session in (first, second):
            result = session.run(inputs_of(1))["output_0"]
            np.testing.assert_allclose(result, wanted, atol=1e-6)
    second.operator_times(inputs_of(1), runs=1)
    first.operator_times(inputs_of(1), runs=1)
    second.close()
    np.testing.assert_allclose(first.run(inputs_of(1))["output_0"], wanted, atol=1e-6)
    first.close()


def test_what_a_program_needs_is_read_from_it(artefacts: dict[str, Path]) -> None:
    found = read_pte("net.pte", artefacts["executorch"].read_bytes())
    assert found.methods == ("forward",)
    assert set(found.backends) == {"XnnpackBackend"}
    assert "XnnpackBackend" in found.calls
    portable = read_pte("portable.pte", artefacts["portable"].read_bytes())
    assert portable.backends == ()
    assert {"aten::convolution.out", "aten::mean.out"} <= set(portable.operators)
    assert set(portable.calls) == set(portable.operators)


def test_a_declared_range_beyond_the_plan_is_refused(artefacts: dict[str, Path]) -> None:
    batch = {0: DynamicDim("batch", 1, 9)}
    inputs = [
        TensorSpec("image", (2, 3, 16, 16), "float32", batch),
        TensorSpec("token", (2, 1, 16, 16), "int64", batch),
    ]
    with pytest.raises(SessionError, match="at most 8 along 'batch'"):
        runtime.open(artefacts["executorch-dynamic"], inputs=inputs)


def test_loading_prints_nothing(
    artefacts: dict[str, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    runtime.open(artefacts["executorch"], threads=2).close()
    runtime.open(artefacts["executorch"], threads=1).close()
    assert capfd.readouterr() == ("", "")
