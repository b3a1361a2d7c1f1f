from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgesdk import runtime
from edgesdk.errors import InputSpecError
from edgesdk.spec import ImageSpec, TensorSpec

PIXELS = np.arange(60, dtype=np.uint8).reshape(1, 4, 5, 3)


def sums(pixels: np.ndarray, bias: tuple[float, ...]) -> np.ndarray:
    """What the package computes by hand: half a pixel plus a bias, summed over 20 pixels."""
    return pixels.astype(np.float64).sum((0, 1, 2)) * 0.5 + 20 * np.array(bias)


def test_an_image_takes_camera_bytes(artefacts: dict[str, Path]) -> None:
    with runtime.open(artefacts["image"]) as session:
        (spec,) = session.inputs
        assert (spec.shape, spec.dtype, spec.layout) == ((1, 4, 5, 3), "uint8", "NHWC")
        (result,) = session.run({"x": PIXELS}).values()
        # Without a declaration the bytes are in the package's own order.
        np.testing.assert_allclose(result[0], sums(PIXELS, (1.0, 2.0, 3.0)), rtol=1e-5)
        with pytest.raises(InputSpecError):
            session.run({"x": PIXELS.astype(np.float32)})


def test_camera_bytes_in_another_order_are_turned_round(artefacts: dict[str, Path]) -> None:
    declared = TensorSpec("x", (1, 4, 5, 3), "uint8", {}, "NHWC", ImageSpec(color="rgb"))
    with runtime.open(artefacts["image"], inputs=[declared]) as session:
        assert session.inputs == (declared,)
        (result,) = session.run({"x": PIXELS}).values()
        np.testing.assert_allclose(result[0], sums(PIXELS[..., ::-1], (1.0, 2.0, 3.0)), rtol=1e-5)
