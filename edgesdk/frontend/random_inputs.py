"""Make inputs of the right shapes and dtypes, from a photograph or at random."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from edgesdk.errors import InputSpecError
from edgesdk.host.image_files import read_picture
from edgesdk.spec import TensorSpec

__all__ = ["image_tensor", "random_inputs", "spread"]


def image_tensor(path: Path, spec: TensorSpec) -> np.ndarray:
    """Load a photograph as an input: scaled to cover it and center-cropped.

    Args:
        path: Image file.
        spec: Spec of the input. Camera bytes (``uint8 NHWC`` with ``image``) and other integers get
            0..255; ``float NCHW`` gets 0..1.

    Raises:
        InputSpecError: The file is not an image, or the input does not take one.
    """
    from PIL import Image, ImageOps

    planar = spec.layout != "NHWC"
    if len(spec.shape) != 4 or spec.dtype in ("bool", "int8"):
        raise InputSpecError(f"input {spec} is not an image")
    batch = spec.shape[0]
    height, width, channels = (
        (spec.shape[2], spec.shape[3], spec.shape[1]) if planar else spec.shape[1:]
    )
    if channels not in (1, 3):
        raise InputSpecError(f"input {spec} has {channels} channels, an image has 1 or 3")
    fitted = ImageOps.fit(
        read_picture(path, "L" if channels == 1 else "RGB"),
        (width, height),
        Image.Resampling.BICUBIC,
    )
    pixels = np.asarray(fitted, dtype=np.uint8).reshape(height, width, channels)
    image = spec.image
    if image is not None and image.color == "bgr":
        pixels = pixels[:, :, ::-1]
    array: np.ndarray = pixels.transpose(2, 0, 1) if planar else pixels
    if planar and np.dtype(spec.dtype).kind == "f":
        array = array.astype(np.float32) / 255.0
    return np.ascontiguousarray(np.repeat(array[None], batch, axis=0).astype(spec.dtype))


def random_inputs(
    specs: Sequence[TensorSpec],
    seed: int,
    example: Mapping[str, np.ndarray] | None = None,
    sizes: Mapping[str, int] | None = None,
) -> dict[str, np.ndarray]:
    """Make random inputs of the right shapes and dtypes.

    Floats are normal, camera bytes uniform. Other integers are values of the example in random
    order, so that no index exceeds its table; without an example they are 0 or 1. If the floats of
    the example are shares (non-negative with sum 1), so are the random ones.

    Args:
        specs: The inputs.
        seed: Seed; equal seeds give equal arrays.
        example: Arrays by input name.
        sizes: Sizes of free dimensions by name; default: those of the example.
    """
    generator = np.random.default_rng(seed)
    arrays = {}
    for spec in specs:
        shape = tuple(
            (sizes or {}).get(spec.dynamic[axis].name, size) if axis in spec.dynamic else size
            for axis, size in enumerate(spec.shape)
        )
        kind = np.dtype(spec.dtype).kind
        array: np.ndarray
        shares = _share_axis((example or {}).get(spec.name)) if kind == "f" else None
        if shares is not None:
            array = generator.standard_exponential(shape)
            array /= array.sum(axis=shares, keepdims=True)
        elif kind == "f":
            array = generator.standard_normal(shape)
        elif spec.dtype == "uint8" and spec.image is not None:
            array = generator.integers(0, 256, shape)
        elif example is not None and spec.name in example:
            array = generator.choice(example[spec.name].ravel(), shape)
        else:
            array = generator.integers(0, 2, shape)
        arrays[spec.name] = array.astype(spec.dtype)
    return arrays


def spread(count: int, most: int) -> list[int]:
    """Choose at most ``most`` of ``count`` indices, evenly spaced, including first and last."""
    if count <= most:
        return list(range(count))
    if most == 1:
        return [0]
    return [round(place * (count - 1) / (most - 1)) for place in range(most)]


def _share_axis(example: np.ndarray | None) -> int | None:
    """Return the axis along which a vector or batch of vectors holds shares of 1."""
    if example is None:
        return None
    axes = [axis for axis, size in enumerate(example.shape) if size > 1]
    if not axes or axes[:-1] not in ([], [0]):
        return None
    whole = np.allclose(example.sum(axis=axes[-1], dtype=np.float64), 1, rtol=0, atol=1e-3)
    return axes[-1] if whole and (example >= 0).all() else None
