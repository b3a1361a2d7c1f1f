"""Inputs with the model's outputs, saved with the bundle to verify artefacts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgesdk.errors import BundleDamagedError

__all__ = ["Samples"]


@dataclass(frozen=True)
class Samples:
    """Inputs with the outputs of the model in eager mode.

    Attributes:
        names: Name of each sample: its file, or ``random 1``.
        inputs: Arrays by input name, for each sample.
        expected: Arrays by output name, for each sample.
        real: Number of samples from real files; these come first.
    """

    names: tuple[str, ...]
    inputs: tuple[dict[str, np.ndarray], ...]
    expected: tuple[dict[str, np.ndarray], ...]
    real: int

    def __len__(self) -> int:
        return len(self.names)

    def save(self, path: Path) -> None:
        """Write one safetensors file; equal samples give equal bytes.

        Raises:
            OSError: The file cannot be written.
        """
        from safetensors.numpy import save

        tensors = {}
        for index, (inputs, expected) in enumerate(zip(self.inputs, self.expected, strict=True)):
            for kind, arrays in (("input", inputs), ("output", expected)):
                for name, array in arrays.items():
                    # np.ascontiguousarray would turn a scalar into a vector.
                    tensors[f"{index:04d}/{kind}/{name}"] = np.asarray(array, order="C")
        description = json.dumps({"names": self.names, "real": self.real})
        # safetensors' save_file hides the cause of a full disk and restricts permissions.
        path.write_bytes(save(tensors, metadata={"samples": description}))

    @classmethod
    def load(cls, path: Path) -> Samples:
        """Read a file written by :meth:`save`.

        Raises:
            BundleDamagedError: The file is damaged or of another kind.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="numpy") as file:
                description = json.loads((file.metadata() or {})["samples"])
                names = tuple(str(name) for name in description["names"])
                real = int(description["real"])
                inputs: list[dict[str, np.ndarray]] = [{} for _ in names]
                expected: list[dict[str, np.ndarray]] = [{} for _ in names]
                for key in file.keys():  # noqa: SIM118 - safe_open is no mapping
                    index, kind, name = key.split("/", 2)
                    column = {"input": inputs, "output": expected}[kind]
                    if not index.isdecimal():
                        raise ValueError(f"{index!r} is not a sample number")
                    column[int(index)][name] = file.get_tensor(key)
        except (
            OSError,
            SafetensorError,
            KeyError,
            ValueError,
            IndexError,
            TypeError,
            OverflowError,
            RecursionError,
        ) as error:
            raise BundleDamagedError(
                f"the samples in {path.name} cannot be read: {type(error).__name__}",
                remedy="export the bundle again",
            ) from error
        whole = all(
            found.keys() == column[0].keys() and found
            for column in (inputs, expected)
            for found in column
        )
        if not (0 <= real <= len(names) and whole):
            raise BundleDamagedError(
                f"the samples in {path.name} are inconsistent",
                remedy="export the bundle again",
            )
        return cls(names, tuple(inputs), tuple(expected), real)
