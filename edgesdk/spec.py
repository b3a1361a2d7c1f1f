"""Specs of a model's inputs and outputs: tensors, free dimensions and images.

This module imports nothing heavy: the command line, the converters, the runtimes and the manifest
share it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from edgesdk.errors import InputSpecError, UnknownNameError

__all__ = [
    "DTYPES",
    "IMAGE_PRESETS",
    "DynamicDim",
    "ImageSpec",
    "TensorSpec",
    "parse_dynamic",
    "parse_image",
    "parse_input",
]

#: Element types an input or output may have, by the name NumPy and torch share.
DTYPES = ("float32", "float16", "float64", "int64", "int32", "int16", "int8", "uint8", "bool")

_MAX_ELEMENTS = 2**31
#: Sizes are 32-bit numbers in most artefacts.
_MAX_SIZE = 2**31 - 1


@dataclass(frozen=True)
class DynamicDim:
    """A dimension that stays free in the artefact.

    Attributes:
        name: Name; free dimensions with the same name have the same size.
        min: Smallest size, at least 1.
        max: Largest size; runtimes that plan memory ahead plan for it.
        multiple: Sizes are multiples of this (a network with four halvings needs 16).
    """

    name: str
    min: int = 1
    max: int = 8
    multiple: int = 1

    def __post_init__(self) -> None:
        shown = f"{self.min}..{self.max}" + (f"/{self.multiple}" if self.multiple != 1 else "")
        if self.min < 1 or self.multiple < 1 or self.max > _MAX_SIZE:
            raise InputSpecError(
                f"dynamic dimension {self.name!r} has no room: {shown}",
                remedy=f"give sizes of 1 to {_MAX_SIZE} and a multiple of at least 1",
            )
        # torch.export refuses a free dimension with a single legal size.
        if self.largest <= self.smallest:
            raise InputSpecError(
                f"dynamic dimension {self.name!r} has no room: {shown}",
                remedy="give a range that contains at least two sizes",
            )

    @property
    def smallest(self) -> int:
        """Smallest multiple in the range."""
        return -(-self.min // self.multiple) * self.multiple

    @property
    def largest(self) -> int:
        """Largest multiple in the range."""
        return self.max // self.multiple * self.multiple


@dataclass(frozen=True)
class TensorSpec:
    """One named input or output of a model or an artefact.

    Attributes:
        name: Name of the tensor.
        shape: Shape of the example; a free dimension has its example size here.
        dtype: One of :data:`DTYPES`.
        dynamic: Free dimensions by axis.
        layout: ``NCHW`` or ``NHWC`` for images, else empty.
        image: Preprocessing baked into the artefact, if it takes camera bytes.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    dynamic: Mapping[int, DynamicDim] = field(default_factory=dict)
    layout: str = ""
    image: ImageSpec | None = None

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise UnknownNameError("dtype", self.dtype, DTYPES)
        if any(size < 0 for size in self.shape):
            raise InputSpecError(f"input {self.name!r} has a negative size in {self.shape}")
        if math.prod(self.shape) > _MAX_ELEMENTS:
            raise InputSpecError(
                f"input {self.name!r} of shape {self.shape} has more than {_MAX_ELEMENTS} elements"
            )
        for axis in self.dynamic:
            if not 0 <= axis < len(self.shape):
                raise InputSpecError(f"input {self.name!r} has no axis {axis}")

    def renamed(self, name: str) -> TensorSpec:
        """Return the spec under another name."""
        return replace(self, name=name)

    def __str__(self) -> str:
        sizes = [
            f"{self.dynamic[axis].name}={size}" if axis in self.dynamic else str(size)
            for axis, size in enumerate(self.shape)
        ]
        return f"{self.name}:{'x'.join(sizes)}:{self.dtype}"


@dataclass(frozen=True)
class ImageSpec:
    """Preprocessing baked into an artefact, so that an app passes camera bytes.

    The artefact takes ``uint8`` of shape ``[batch, height, width, channels]`` and computes
    ``(value / 255 * (high - low) + low - mean) / std`` per channel.

    Attributes:
        color: Channel order of the camera bytes: ``rgb``, ``bgr`` or ``grey``.
        model_color: Channel order the model was trained with: ``rgb``, ``bgr`` or ``grey``.
        low: Value of black before mean and std.
        high: Value of white before mean and std.
        mean: One value per channel of the model, in units of ``low..high``.
        std: One non-zero value per channel of the model, in units of ``low..high``.
    """

    color: str = "rgb"
    model_color: str = "rgb"
    low: float = 0.0
    high: float = 1.0
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        for order in (self.color, self.model_color):
            if order not in _COLORS:
                raise UnknownNameError("colour order", order, _COLORS)
        if (self.color == "grey") != (self.model_color == "grey"):
            raise InputSpecError(
                "a grey camera cannot feed a colour model, nor a colour camera a grey model",
                remedy="use grey for both color and model-color, or for neither",
            )
        channels = self.channels
        for label, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != channels:
                raise InputSpecError(
                    f"--image {label} has {len(values)} values for {channels} channels"
                )
            if not all(math.isfinite(value) for value in values):
                raise InputSpecError(f"--image {label} must be finite")
        if any(value == 0 for value in self.std):
            raise InputSpecError("--image std must not be zero")
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise InputSpecError(f"--image range {self.low}..{self.high} is empty")

    @property
    def channels(self) -> int:
        """Number of channels of the camera bytes: 1 for grey, else 3."""
        return 1 if self.color == "grey" else 3


_COLORS = ("bgr", "grey", "rgb")

#: Preprocessing of common model families, by name.
IMAGE_PRESETS: dict[str, ImageSpec] = {
    # torchvision's classifiers
    "imagenet": ImageSpec(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    # [-1, 1] networks: EfficientNet-Lite and MobileNet from TensorFlow
    "inception": ImageSpec(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
    "unit": ImageSpec(),
    "byte": ImageSpec(high=255.0),
    "grey": ImageSpec(color="grey", model_color="grey", mean=(0.0,), std=(1.0,)),
}

# Sizes of more than ten digits are refused: Python itself refuses to parse very long numbers.
_INPUT_FORM = re.compile(
    r"(?:(?P<name>[A-Za-z_]\w*):)?(?P<shape>\d{1,10}(?:x\d{1,10})*)(?::(?P<dtype>\w+))?", re.ASCII
)


def parse_input(text: str) -> TensorSpec:
    """Read ``[name:]1x3x224x224[:dtype]``.

    Args:
        text: Value of ``--input``. Without a name the tensor is called ``x``.

    Raises:
        InputSpecError: The text cannot be parsed.
        UnknownNameError: The dtype does not exist.
    """
    match = _INPUT_FORM.fullmatch(text.strip())
    if match is None:
        raise InputSpecError(
            f"cannot read the input {text!r}",
            remedy="write it as NAME:1x3x224x224 or NAME:1x16:int64",
        )
    shape = tuple(int(size) for size in match["shape"].split("x"))
    if 0 in shape:
        raise InputSpecError(f"the input {text!r} has a size of zero")
    return TensorSpec(match["name"] or "x", shape, match["dtype"] or "float32")


def _floats(text: str, key: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split("/"))
    except ValueError as error:
        raise InputSpecError(
            f"--image {key}={text} is not a list of numbers",
            remedy=f"write {key}=0.5/0.5/0.5",
        ) from error


_NUMBER = r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d{1,3})?"


def parse_image(text: str) -> ImageSpec:
    """Read a preset or ``key=value`` pairs: ``imagenet`` or ``color=bgr,range=0..255,mean=1/2/3``.

    A preset may come first; the pairs after it change it. Keys: ``color``, ``model-color``,
    ``range`` (``low..high``), ``mean`` and ``std`` (values separated by ``/``).

    Raises:
        InputSpecError: A pair cannot be parsed or the values contradict each other.
        UnknownNameError: The preset or a key is unknown.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise InputSpecError(
            "--image is empty", remedy=f"name a preset: {', '.join(sorted(IMAGE_PRESETS))}"
        )
    spec = IMAGE_PRESETS["unit"]
    if "=" not in parts[0]:
        if parts[0] not in IMAGE_PRESETS:
            raise UnknownNameError("image preset", parts[0], IMAGE_PRESETS)
        spec = IMAGE_PRESETS[parts.pop(0)]
    changes: dict[str, object] = {}
    for part in parts:
        key, separator, value = part.partition("=")
        if not separator:
            raise InputSpecError(f"--image part {part!r} is not a key=value pair")
        if key in ("color", "model-color"):
            changes[key.replace("-", "_")] = value
        elif key == "range":
            ends = re.fullmatch(rf"({_NUMBER})\.\.({_NUMBER})", value, re.ASCII)
            if ends is None:
                raise InputSpecError(
                    f"--image range={value} is not a range", remedy="write range=0..1"
                )
            changes["low"], changes["high"] = (_floats(end, "range")[0] for end in ends.groups())
        elif key in ("mean", "std"):
            changes[key] = _floats(value, key)
        else:
            raise UnknownNameError(
                "image key", key, ("color", "model-color", "range", "mean", "std")
            )
    return replace(spec, **changes)  # type: ignore[arg-type]


_DYNAMIC_FORM = re.compile(
    r"(?P<kind>[a-z]+)(?:=(?P<min>\d{1,10})\.\.(?P<max>\d{1,10})(?:/(?P<multiple>\d{1,10}))?)?",
    re.ASCII,
)
_DYNAMIC_DEFAULTS = {"batch": (1, 8, 1), "hw": (64, 1024, 32)}


def parse_dynamic(text: str) -> dict[str, DynamicDim]:
    """Read ``batch``, ``batch=1..16``, ``hw`` or ``hw=64..1024/32`` (``/32``: multiples of 32).

    Returns:
        Free dimensions by axis: ``batch``, ``height``, ``width``.

    Raises:
        InputSpecError: The text cannot be parsed or the range is empty.
        UnknownNameError: The axis is neither ``batch`` nor ``hw``.
    """
    match = _DYNAMIC_FORM.fullmatch(text.strip())
    if match is None:
        raise InputSpecError(
            f"cannot read the dynamic axis {text!r}",
            remedy="write batch, batch=1..16, hw or hw=64..1024/32",
        )
    kind = match["kind"]
    if kind not in _DYNAMIC_DEFAULTS:
        raise UnknownNameError("dynamic axis", kind, _DYNAMIC_DEFAULTS)
    low, high, multiple = _DYNAMIC_DEFAULTS[kind]
    if match["min"]:
        low, high, multiple = int(match["min"]), int(match["max"]), int(match["multiple"] or 1)
    axes = ("batch",) if kind == "batch" else ("height", "width")
    return {axis: DynamicDim(axis, low, high, multiple) for axis in axes}
