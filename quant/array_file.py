"""Samples, each a set of named arrays, in one safetensors file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgesdk.errors import BundleDamagedError

__all__ = ["load_arrays", "save_arrays"]


def save_arrays(path: Path, samples: Sequence[dict[str, np.ndarray]]) -> None:
    """Write samples; equal samples give equal bytes.

    Args:
        path: File to write.
        samples: Arrays by name, at least one per sample.

    Raises:
        OSError: The file cannot be written.
    """
    from safetensors.numpy import save

    tensors = {
        f"{index:06d}/{name}": np.asarray(array, order="C")
        for index, arrays in enumerate(samples)
        for name, array in arrays.items()
    }
    path.write_bytes(save(tensors))


def load_arrays(path: Path) -> list[dict[str, np.ndarray]]:
    """Read a file of :func:`save_arrays`.

    Raises:
        BundleDamagedError: The file is damaged or of another kind.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    samples: dict[int, dict[str, np.ndarray]] = {}
    try:
        for key, array in load(path.read_bytes()).items():
            index, _, name = key.partition("/")
            samples.setdefault(int(index), {})[name] = array
    except (OSError, SafetensorError, ValueError) as error:
        raise BundleDamagedError(
            f"cannot read the samples in {path.name}: {type(error).__name__}",
            remedy="calibrate again",
        ) from error
    return [samples[index] for index in sorted(samples)]
