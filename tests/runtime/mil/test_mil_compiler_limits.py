"""Packages that Apple's compiler would refuse."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgesdk import runtime
from edgesdk.errors import SessionError
from edgesdk.runtime.mil.compiler_limits import require_compilable
from edgesdk.runtime.mil.program import load

X = np.ones((1, 2, 4, 5, 6), np.float32)


def padded(package: Callable[..., Path], pad: list[int], mode: str) -> Path:
    from coremltools.converters.mil.mil import Builder as mb

    return package({"x": X}, lambda x: mb.pad(x=x, pad=pad, mode=mode, name="edge"))


@pytest.mark.parametrize("mode", ["reflect", "replicate"])
@pytest.mark.parametrize(
    "pad", [[0, 0, 0, 0, 1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 1, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0]]
)
def test_reflection_beyond_the_last_two_axes(
    package: Callable[..., Path], pad: list[int], mode: str
) -> None:
    path = padded(package, pad, mode)
    with pytest.raises(SessionError) as caught:
        runtime.open(path)
    assert caught.value.message == (
        f"Apple's compiler refuses pad 'edge' of {path.name}: "
        f"mode '{mode}' pads the last 2 axes only"
    )
    assert "torch.cat" in (caught.value.remedy or "")


@pytest.mark.parametrize(
    ("pad", "mode"),
    [([0, 0, 0, 0, 0, 0, 1, 1, 2, 1], "reflect"), ([0, 0, 1, 1, 1, 1, 1, 1, 1, 1], "constant")],
)
def test_padding_that_the_compiler_takes(
    package: Callable[..., Path], pad: list[int], mode: str
) -> None:
    require_compilable(load(padded(package, pad, mode)))


def test_six_axes(package: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    from coremltools.converters.mil.mil import Builder as mb
    from coremltools.converters.mil.mil import Program

    # The converter of today checks this itself; a package may come from another one.
    monkeypatch.setattr(Program, "_check_invalid_tensor_rank", lambda self: None)
    path = package({"x": X}, lambda x: mb.expand_dims(x=x, axes=[0], name="six"))
    with pytest.raises(SessionError, match=r"expand_dims 'six'.*a tensor of 6 axes, at most 5"):
        require_compilable(load(path))
