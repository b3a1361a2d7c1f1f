"""The inputs that prove an artefact, with what the model answered: saved with the bundle."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgesdk.errors import BundleDamagedError, InputSpecError
from edgesdk.spec import TensorSpec

__all__ = ["IMAGE_SUFFIXES", "Samples", "image_tensor", "random_inputs"]

#: Files that are taken for photographs.
IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")

# A photograph of more pixels than this is refused unread: decompression bombs.
_MAX_PIXELS = 100_000_000


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
        """Write one safetensors file; the same samples give the same bytes."""
        from safetensors.numpy import save_file

        tensors = {}
        for index, (inputs, expected) in enumerate(zip(self.inputs, self.expected, strict=True)):
            for kind, arrays in (("input", inputs), ("output", expected)):
                for name, array in arrays.items():
                    tensors[f"{index:04d}/{kind}/{name}"] = np.ascontiguousarray(array)
        description = json.dumps({"names": self.names, "real": self.real})
        save_file(tensors, path, metadata={"samples": description})

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
                    column[int(index)][name] = file.get_tensor(key)
        except (OSError, SafetensorError, KeyError, ValueError, IndexError, TypeError) as error:
            raise BundleDamagedError(
                f"the samples in {path.name} cannot be read: {type(error).__name__}",
                remedy="export the bundle again",
            ) from error
        if not 0 <= real <= len(names):
            raise BundleDamagedError(f"the samples in {path.name} contradict themselves")
        return cls(names, tuple(inputs), tuple(expected), real)


def image_tensor(path: Path, spec: TensorSpec) -> np.ndarray:
    """A photograph as one input: scaled to cover the input, cropped in the middle.

    Args:
        path: Image file.
        spec: Camera bytes (``uint8 NHWC`` with ``image``), or ``float NCHW``, which gets 0..1
            unless ``image`` says otherwise.

    Raises:
        InputSpecError: A file that is no picture, or an input that is no image.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    planar = spec.layout != "NHWC"
    if len(spec.shape) != 4:
        raise InputSpecError(f"input {spec} is no image")
    batch = spec.shape[0]
    height, width, channels = (
        (spec.shape[2], spec.shape[3], spec.shape[1]) if planar else spec.shape[1:]
    )
    if channels not in (1, 3):
        raise InputSpecError(f"input {spec} has {channels} channels, an image has 1 or 3")
    try:
        with Image.open(path) as opened:
            if opened.width * opened.height > _MAX_PIXELS:
                raise InputSpecError(f"{path.name} has more than {_MAX_PIXELS} pixels")
            upright = ImageOps.exif_transpose(opened) or opened
            picture = ImageOps.fit(
                upright.convert("L" if channels == 1 else "RGB"),
                (width, height),
                Image.Resampling.BICUBIC,
            )
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise InputSpecError(
            f"{path.name} is no picture that can be read", remedy="give a JPEG, PNG or WebP file"
        ) from error
    pixels = np.asarray(picture, dtype=np.uint8).reshape(height, width, channels)
    image = spec.image
    if image is not None and image.color == "bgr":
        pixels = pixels[:, :, ::-1]
    if not planar:
        return np.ascontiguousarray(np.repeat(pixels[None], batch, axis=0).astype(spec.dtype))
    planes = np.repeat(pixels.transpose(2, 0, 1)[None], batch, axis=0).astype(np.float32)
    return np.ascontiguousarray((planes / 255.0).astype(spec.dtype))


def random_inputs(
    specs: Sequence[TensorSpec],
    seed: int,
    example: Mapping[str, np.ndarray] | None = None,
    sizes: Mapping[str, int] | None = None,
) -> dict[str, np.ndarray]:
    """Random inputs of the right shapes and dtypes.

    Floats are normal, bytes uniform. Other integers take values of the example, shuffled, because
    an index beyond a table would be the sample's fault and not the artefact's; without an example
    they are 0 or 1.

    Args:
        specs: The inputs.
        seed: Same seed, same arrays.
        example: Arrays by input name.
        sizes: Sizes of free dimensions by name, in place of the example's.
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
        if kind == "f":
            array = generator.standard_normal(shape)
        elif spec.dtype == "uint8" and spec.image is not None:
            array = generator.integers(0, 256, shape)
        elif example is not None and spec.name in example:
            array = generator.choice(example[spec.name].ravel(), shape)
        else:
            array = generator.integers(0, 2, shape)
        arrays[spec.name] = array.astype(spec.dtype)
    return arrays
