"""Read a user's inputs from files: photographs and arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgesdk.errors import InputNotFoundError, InputSpecError, UnsafeFileError
from edgesdk.frontend.random_inputs import image_tensor
from edgesdk.frontend.weights import read_tensors
from edgesdk.host.image_files import IMAGE_SUFFIXES
from edgesdk.spec import ImageSpec, TensorSpec

__all__ = ["read_example", "read_sample"]


def read_example(path: Path) -> Any:
    """Read example arguments from a file.

    Args:
        path: ``.npz`` or ``.safetensors`` (arrays by argument name), ``.npy`` (one array), or
            ``.pt`` with a tensor, a tuple or a dictionary of tensors.

    Raises:
        InputNotFoundError: The file does not exist.
        InputSpecError: The file is damaged or of another kind.
        UnsafeFileError: The file is a pickle that would run code.
    """
    if not path.is_file():
        raise InputNotFoundError(path)
    try:
        if path.suffix in (".pt", ".pth"):
            return read_tensors(path)
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        if path.suffix == ".npy":
            return torch.from_numpy(np.load(path, allow_pickle=False))
    except UnsafeFileError:
        raise
    except Exception as error:
        raise InputSpecError(
            f"cannot read arrays from {path.name}: {error}",
            remedy="write it with numpy.savez or safetensors",
        ) from error
    raise InputSpecError(
        f"{path.name} is not an example file", remedy="give .npz, .npy, .safetensors or .pt"
    )


def read_sample(
    path: Path,
    specs: Sequence[TensorSpec],
    background: Mapping[str, np.ndarray],
    image: ImageSpec | None,
) -> dict[str, np.ndarray]:
    """Read one sample from a file.

    Args:
        path: A photograph, or a file for :func:`read_example`.
        specs: The inputs.
        background: Arrays by name for the inputs that are not images.
        image: Preprocessing of the model's photographs, for inputs that have none baked in.

    Returns:
        Arrays by input name, with the shapes and dtypes of the specs.

    Raises:
        InputSpecError: The file does not fit the inputs.
        UnsafeFileError: The file is a pickle that would run code.
    """
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        return _arrays_of(path, specs)
    arrays = dict(background)
    image_specs = [
        spec
        for spec in specs
        if len(spec.shape) == 4
        and spec.shape[3 if spec.layout == "NHWC" else 1] in (1, 3)
        and spec.layout
    ]
    if not image_specs:
        raise InputSpecError(
            f"{path.name} is a picture, but no input takes one",
            remedy="give samples as .npz files of arrays by input name",
        )
    for spec in image_specs:
        arrays[spec.name] = _normalized(image_tensor(path, spec), spec, image)
    return arrays


def _normalized(array: np.ndarray, spec: TensorSpec, image: ImageSpec | None) -> np.ndarray:
    """Apply the model's preprocessing to a photograph, unless it is baked in."""
    if spec.image is not None or image is None or array.shape[1] != image.channels:
        return array
    if image.model_color == "bgr":
        array = array[:, ::-1]
    scaled = array * (image.high - image.low) + image.low
    mean = np.asarray(image.mean, np.float32).reshape(1, -1, 1, 1)
    std = np.asarray(image.std, np.float32).reshape(1, -1, 1, 1)
    return np.ascontiguousarray(((scaled - mean) / std).astype(spec.dtype))


def _arrays_of(path: Path, specs: Sequence[TensorSpec]) -> dict[str, np.ndarray]:
    def refused(problem: str) -> InputSpecError:
        return InputSpecError(problem, remedy=f"write {', '.join(map(str, specs))}")

    example = read_example(path)
    if isinstance(example, Tensor):
        example = (example,)
    if isinstance(example, tuple | list):
        if len(example) != len(specs):
            raise refused(f"{path.name} holds {len(example)} arrays for {len(specs)} inputs")
        example = {spec.name: tensor for spec, tensor in zip(specs, example, strict=True)}
    arrays = {}
    for spec in specs:
        tensor = example.get(spec.name) if isinstance(example, Mapping) else None
        if not isinstance(tensor, Tensor):
            raise refused(f"{path.name} has no array {spec.name!r}")
        array = tensor.detach().numpy()
        if array.shape != spec.shape:
            raise refused(f"{spec.name!r} in {path.name} is {array.shape}, not {spec.shape}")
        if not np.can_cast(array.dtype, spec.dtype, "same_kind"):
            raise refused(f"{spec.name!r} in {path.name} is {array.dtype}, not {spec.dtype}")
        arrays[spec.name] = array.astype(spec.dtype)
    return arrays
