"""Samples for measuring parity: real and random inputs with the model's outputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from edgesdk.bundle.manifest import ConstantOutputRecord
from edgesdk.bundle.samples import Samples, constant_outputs
from edgesdk.errors import InputSpecError
from edgesdk.exporter.prepared import CaptureSpec, PreparedModel
from edgesdk.frontend.capture import first_not_finite, run_eager
from edgesdk.frontend.random_inputs import random_inputs, spread
from edgesdk.frontend.sample_files import read_sample
from edgesdk.spec import TensorSpec

__all__ = ["find_constant_outputs", "make_samples"]

_MAX_REAL = 8
_RANDOM = 3


def make_samples(
    prepared: PreparedModel,
    capture_spec: CaptureSpec,
    files: Sequence[Path] = (),
    on_progress: Callable[[int, int], None] | None = None,
) -> Samples:
    """Make real and random inputs, and run the model on them.

    Args:
        prepared: The model.
        capture_spec: Its dynamic dimensions also get samples of other sizes.
        files: Photographs or files of arrays; at most 8 are used.
        on_progress: Called with the number done and the number in all.

    Raises:
        ModelOutputError: The model outputs NaN or infinity; names the operator.
        InputSpecError: A file does not fit the inputs.
    """
    specs = prepared.input_specs(capture_spec)
    example = prepared.example()
    backgrounds = prepared.backgrounds()
    # Spread the samples over all styles, the last ones included.
    styles = spread(len(backgrounds), max(1, min(len(files), _MAX_REAL)))
    real = [
        (
            path.name,
            read_sample(
                path, specs, backgrounds[styles[place % len(styles)]], prepared.loaded.image
            ),
        )
        for place, path in enumerate(files[:_MAX_REAL])
    ]
    drawn = [
        (f"random {index + 1}", random_inputs(specs, 100 + index, example))
        for index in range(_RANDOM)
    ]
    drawn += [
        (
            ", ".join(f"{name}={size}" for name, size in sizes.items()),
            random_inputs(specs, 200 + index, example, sizes),
        )
        for index, sizes in enumerate(_other_sizes(specs))
    ]
    model = prepared.flat_model()
    pairs = [*real, *drawn]
    expected = []
    for index, (name, arrays) in enumerate(pairs):
        outputs = run_eager(model, arrays)
        if not _finite(outputs):
            if not _finite(arrays):
                raise InputSpecError(
                    f"{name} holds NaN or infinity, which reaches the model's outputs",
                    remedy="give samples of finite numbers",
                )
            error = first_not_finite(prepared.capture(capture_spec).program, arrays)
            error.message += f" (on {name})"
            raise error
        expected.append(outputs)
        if on_progress:
            on_progress(index + 1, len(pairs))
    return Samples(
        tuple(name for name, _ in pairs),
        tuple(arrays for _, arrays in pairs),
        tuple(expected),
        len(real),
    )


def find_constant_outputs(prepared: PreparedModel, samples: Samples) -> list[ConstantOutputRecord]:
    """Find outputs whose parity would prove nothing: see :func:`constant_outputs`.

    Args:
        prepared: The model.
        samples: Its samples, of :func:`make_samples`.
    """
    small = any(
        array.dtype.kind == "f" and array.size > 0 and float(np.ptp(array)) < 1
        for array in samples.expected[0].values()
    )
    # Only outputs of a small range can vanish, so the model runs once more for them alone.
    activations = _largest_activation(prepared, samples.inputs[0]) if small else 0.0
    return constant_outputs(samples, activations)


def _largest_activation(prepared: PreparedModel, inputs: Mapping[str, np.ndarray]) -> float:
    """Return the largest root mean square of the outputs of the model's layers."""
    largest = 0.0

    def keep(module: nn.Module, args: object, output: object) -> None:
        nonlocal largest
        if isinstance(output, torch.Tensor) and output.is_floating_point() and output.numel():
            level = float(output.detach().float().square().mean().sqrt())
            if math.isfinite(level):
                largest = max(largest, level)

    model = prepared.flat_model()
    layers = [module for module in model.modules() if not any(True for _ in module.children())]
    hooks = [layer.register_forward_hook(keep) for layer in layers]
    try:
        run_eager(model, inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return largest


def _other_sizes(specs: Sequence[TensorSpec]) -> list[dict[str, int]]:
    """Return the smallest sizes of the dynamic dimensions, and some above the example's."""
    dims = {
        dim.name: (dim, spec.shape[axis]) for spec in specs for axis, dim in spec.dynamic.items()
    }
    if not dims:
        return []
    smallest = {name: dim.smallest for name, (dim, _) in dims.items()}
    larger = {}
    for name, (dim, size) in dims.items():
        steps = max(1, size // (2 * dim.multiple)) if size > 8 else 2
        larger[name] = min(dim.largest, size + steps * dim.multiple)
    sizes = {name: size for name, (_, size) in dims.items()}
    return [found for found in (smallest, larger) if found != sizes]


def _finite(arrays: Mapping[str, np.ndarray]) -> bool:
    return all(bool(np.isfinite(a).all()) for a in arrays.values() if a.dtype.kind == "f")
