"""The inputs that prove an artefact, with what the model answered: saved with the bundle."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgesdk.errors import BundleDamagedError

__all__ = ["Samples"]


@dataclass(frozen=True)
class Samples:
    """Inputs with the outputs that the model gave for them in eager mode.

    Attributes:
        names: A name a sample: the file it came from, or ``random 1``.
        inputs: One array an input, by name, for each sample.
        expected: One array an output, by name, for each sample.
        real: How many come from real files; these are first.
    """

    names: tuple[str, ...]
    inputs: tuple[dict[str, np.ndarray], ...]
    expected: tuple[dict[str, np.ndarray], ...]
    real: int

    def __len__(self) -> int:
        return len(self.names)

    def save(self, path: Path) -> None:
        """Write one safetensors file; the same samples give the same bytes.

        Raises:
            OSError: The disk refuses.
        """
        from safetensors.numpy import save

        tensors = {}
        for index, (inputs, expected) in enumerate(zip(self.inputs, self.expected, strict=True)):
            for kind, arrays in (("input", inputs), ("output", expected)):
                for name, array in arrays.items():
                    # np.ascontiguousarray would make a vector of a scalar.
                    tensors[f"{index:04d}/{kind}/{name}"] = np.asarray(array, order="C")
        description = json.dumps({"names": self.names, "real": self.real})
        # Its own save_file hides what the system says of a full disk, and lets no one else read.
        path.write_bytes(save(tensors, metadata={"samples": description}))

    @classmethod
    def load(cls, path: Path) -> Samples:
        """Read what :meth:`save` wrote.

        Raises:
            BundleDamagedError: Another file, or a damaged one.
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
                        raise ValueError(f"{index!r} is no number of a sample")
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
                f"the samples in {path.name} contradict themselves",
                remedy="export the bundle again",
            )
        return cls(names, tuple(inputs), tuple(expected), real)
