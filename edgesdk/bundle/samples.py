"""Inputs with the model's outputs, saved with the bundle to verify artefacts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgesdk.bundle.manifest import ConstantOutputRecord
from edgesdk.errors import BundleDamagedError

__all__ = ["Samples", "constant_outputs"]

#: Share of its magnitude, or of the activations, below which a difference is rounding.
_ROUNDING = 1e-6
# Larger activations are inputs of a function that bounds them, such as softmax.
_LARGEST_ACTIVATION = 1e3


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


def constant_outputs(samples: Samples, activations: float = 0.0) -> list[ConstantOutputRecord]:
    """Find outputs of the model that carry no information about its inputs.

    Only samples of the first one's shapes are compared. An output of which a single element depends
    on the inputs is not constant.

    Args:
        samples: Inputs with the model's outputs.
        activations: Largest root mean square of the activations of a layer; 0 if unknown, which
            finds no vanishing outputs.

    Returns:
        One record per such output; empty if all inputs are equal.
    """
    different = _different_inputs(samples)
    if len(different) < 2:
        return []
    found = []
    for name in samples.expected[different[0]]:
        arrays = [samples.expected[index][name] for index in different]
        if arrays[0].size == 0 or any(array.shape != arrays[0].shape for array in arrays):
            continue
        low, high = arrays[0].astype(np.float64), arrays[0].astype(np.float64)
        for array in arrays[1:]:
            low, high = np.minimum(low, array), np.maximum(high, array)
        size = np.maximum(np.abs(low), np.abs(high))
        # The median keeps the fill value of a mask from hiding differences elsewhere.
        constant = bool(np.all(high - low <= _ROUNDING * np.maximum(size, np.median(size))))
        span = float(high.max() - low.min())
        vanishing = arrays[0].dtype.kind == "f" and span <= _ROUNDING * min(
            activations, _LARGEST_ACTIVATION
        )
        if constant or vanishing:
            found.append(
                ConstantOutputRecord(
                    name=name,
                    kind="constant" if constant else "vanishing",
                    samples=len(different),
                    variation=float((high - low).max()),
                    magnitude=float(size.max()) if constant else activations,
                )
            )
    return found


def _different_inputs(samples: Samples) -> list[int]:
    """Return the places of samples of the first one's shapes, without those given before."""
    if not samples.inputs:
        return []
    usual = {name: array.shape for name, array in samples.inputs[0].items()}
    seen: set[tuple[bytes, ...]] = set()
    places = []
    for index, inputs in enumerate(samples.inputs):
        content = tuple(inputs[name].tobytes() for name in sorted(inputs))
        if content not in seen and usual == {name: one.shape for name, one in inputs.items()}:
            seen.add(content)
            places.append(index)
    return places
