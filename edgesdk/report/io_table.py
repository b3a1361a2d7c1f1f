"""Tables of inputs and outputs: shapes with dynamic dimensions, and image preprocessing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgesdk.bundle.manifest import Manifest, artefact_names
from edgesdk.spec import DynamicDim, ImageSpec, TensorSpec

__all__ = ["IOTable", "image_text", "io_tables", "shape_text"]

_COLORS = {"rgb": "RGB", "bgr": "BGR", "grey": "grey"}


@dataclass(frozen=True)
class IOTable:
    """Inputs and outputs that several artefacts share.

    Attributes:
        owners: ``The model``, or labels of artefacts.
        inputs: Inputs, in order.
        outputs: Outputs, in order.
    """

    owners: tuple[str, ...]
    inputs: Sequence[TensorSpec]
    outputs: Sequence[TensorSpec]


def _dynamic(size: DynamicDim) -> str:
    multiple = f", multiples of {size.multiple}" if size.multiple > 1 else ""
    return f"{size.name} ({size.min}–{size.max}{multiple})"


def shape_text(spec: TensorSpec) -> str:
    """Return the shape with its dynamic dimensions: ``batch (1–8) × 3 × 224 × 224``."""
    sizes = [
        _dynamic(spec.dynamic[axis]) if axis in spec.dynamic else str(size)
        for axis, size in enumerate(spec.shape)
    ]
    return " × ".join(sizes) or "scalar"


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def image_text(image: ImageSpec) -> str:
    """Describe the preprocessing that an artefact does itself, in two sentences."""
    channels = "one byte" if image.channels == 1 else f"three bytes in {_COLORS[image.color]} order"
    steps = [f"scales 0..255 to {image.low:g}..{image.high:g}"]
    if image.color != image.model_color:
        steps.append(f"reorders to {_COLORS[image.model_color]}")
    if any(image.mean):
        steps.append(f"subtracts the mean ({_numbers(image.mean)})")
    if any(value != 1 for value in image.std):
        steps.append(f"divides by the standard deviation ({_numbers(image.std)})")
    done = " and ".join(filter(None, [", ".join(steps[:-1]), steps[-1]]))
    return (
        f"Takes camera bytes, {channels} per pixel. The artefact itself {done}: "
        "pass the image unchanged."
    )


def io_tables(manifest: Manifest) -> list[IOTable]:
    """Return the model's table, then those of artefacts that differ; equal ones share a table."""
    found = [(manifest.inputs, manifest.outputs, ["The model"])]
    labels = artefact_names(manifest.artefacts)
    for artefact, label in zip(manifest.artefacts, labels, strict=True):
        for inputs, outputs, owners in found:
            if inputs == artefact.inputs and outputs == artefact.outputs:
                owners.append(label)
                break
        else:
            found.append((artefact.inputs, artefact.outputs, [label]))
    return [IOTable(tuple(owners), inputs, outputs) for inputs, outputs, owners in found]
