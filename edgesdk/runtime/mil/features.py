"""Inputs and outputs of a Core ML model: names, element types, size ranges, images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgesdk.errors import InputSpecError, SessionError
from edgesdk.spec import DynamicDim, TensorSpec

__all__ = ["MilFeature", "SizeRange", "input_feature", "output_feature"]

# Numbers of the Core ML model format.
_ARRAY_DTYPES = {
    65552: "float16",
    65568: "float32",
    65600: "float64",
    131080: "int8",
    131104: "int32",
}
_COLOURS = {10: "GRAYSCALE", 20: "RGB", 30: "BGR", 40: "GRAYSCALE_FLOAT16"}
_CHANNELS = {"GRAYSCALE": 1, "GRAYSCALE_FLOAT16": 1, "RGB": 3, "BGR": 3}
_UNBOUNDED = 2**31 - 1


@dataclass(frozen=True)
class SizeRange:
    """Legal sizes of one dimension.

    Attributes:
        min: Smallest size.
        max: Largest size; None without a bound.
    """

    min: int
    max: int | None

    @property
    def fixed(self) -> bool:
        """True if only one size is legal."""
        return self.max == self.min

    def __contains__(self, size: object) -> bool:
        return isinstance(size, int) and self.min <= size and (self.max is None or size <= self.max)


@dataclass(frozen=True)
class MilFeature:
    """One input or output.

    An image input takes pixels as ``uint8 [1, channels, height, width]``, 0 to 255, with channels
    in the order of ``colour``. Scale and bias of an image input are operators of the program.

    Attributes:
        name: Name of the feature.
        shape: Default shape; an output has 1 where the size depends on the inputs.
        dtype: NumPy name of the element type.
        ranges: Legal sizes, one range per dimension.
        enumerated: Legal shapes if the model lists them; else empty.
        colour: ``RGB``, ``BGR``, ``GRAYSCALE`` or ``GRAYSCALE_FLOAT16`` of an image, else empty.
        default: Fill value of an omitted input; None if it is required.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    ranges: tuple[SizeRange, ...] = ()
    enumerated: tuple[tuple[int, ...], ...] = field(default=())
    colour: str = ""
    default: float | None = None

    def check(self, shape: Sequence[int]) -> None:
        """Refuse an illegal shape.

        Raises:
            InputSpecError: The rank is wrong, a size out of range, or the shape not listed.
        """
        given = tuple(int(size) for size in shape)
        if self.enumerated:
            if given not in self.enumerated:
                listed = ", ".join("x".join(map(str, legal)) for legal in self.enumerated)
                raise InputSpecError(
                    f"input {self.name!r} has shape {given}, but the model takes {listed}"
                )
            return
        fits = len(given) == len(self.ranges) and all(
            size in legal for size, legal in zip(given, self.ranges, strict=True)
        )
        if not fits:
            raise InputSpecError(
                f"input {self.name!r} has shape {given}, but the model takes {self}"
            )

    def spec(self) -> TensorSpec:
        """Convert to the spec shared by all targets."""
        dynamic = {
            axis: DynamicDim(
                f"{self.name}_{axis}",
                max(1, legal.min),
                _UNBOUNDED if legal.max is None else legal.max,
            )
            for axis, legal in enumerate(self.ranges)
            if not legal.fixed
        }
        layout = "NCHW" if self.colour else ""
        return TensorSpec(self.name, self.shape, self.dtype, dynamic, layout)

    def __str__(self) -> str:
        sizes = [
            str(legal.min)
            if legal.fixed
            else f"{legal.min}..{'' if legal.max is None else legal.max}"
            for legal in self.ranges
        ]
        kind = f" {self.colour}" if self.colour else ""
        return f"{self.name}:{'x'.join(sizes)}:{self.dtype}{kind}"


def _range_of(bounds: Any) -> SizeRange:
    # The format encodes a missing upper bound as -1.
    upper = int(bounds.upperBound)
    return SizeRange(int(bounds.lowerBound), None if upper < 0 else upper)


def _span(shapes: Iterable[Sequence[int]]) -> tuple[SizeRange, ...]:
    return tuple(SizeRange(min(sizes), max(sizes)) for sizes in zip(*shapes, strict=True))


def _fixed(shape: Sequence[int]) -> tuple[SizeRange, ...]:
    return tuple(SizeRange(size, size) for size in shape)


def _image(name: str, image: Any) -> MilFeature:
    colour = _COLOURS.get(image.colorSpace, "")
    if not colour:
        raise SessionError(
            f"input {name!r} is an image in an unknown colour space",
            remedy="convert the model again with RGB, BGR or GRAYSCALE images",
        )
    lead = (1, _CHANNELS[colour])
    shape = (*lead, int(image.height), int(image.width))
    ranges = _fixed(shape)
    enumerated: tuple[tuple[int, ...], ...] = ()
    flexible = image.WhichOneof("SizeFlexibility")
    if flexible == "imageSizeRange":
        height = _range_of(image.imageSizeRange.heightRange)
        width = _range_of(image.imageSizeRange.widthRange)
        ranges = (*_fixed(lead), height, width)
    elif flexible == "enumeratedSizes":
        sizes = image.enumeratedSizes.sizes
        enumerated = tuple((*lead, int(size.height), int(size.width)) for size in sizes)
        ranges = _span(enumerated)
    dtype = "float16" if colour == "GRAYSCALE_FLOAT16" else "uint8"
    return MilFeature(name, shape, dtype, ranges, enumerated, colour)


def input_feature(description: Any) -> MilFeature:
    """Read an input from its ``FeatureDescription`` in the model file.

    Raises:
        SessionError: ML Programs do not have this kind of input.
    """
    name, kind = description.name, description.type
    which = kind.WhichOneof("Type")
    if which == "imageType":
        return _image(name, kind.imageType)
    if which != "multiArrayType":
        raise SessionError(
            f"input {name!r} is a {which}, and only arrays and images can be evaluated",
            remedy="convert the model with tensor or image inputs",
        )
    array = kind.multiArrayType
    shape = tuple(int(size) for size in array.shape)
    ranges = _fixed(shape)
    enumerated: tuple[tuple[int, ...], ...] = ()
    flexible = array.WhichOneof("ShapeFlexibility")
    if flexible == "shapeRange" and len(array.shapeRange.sizeRanges):
        ranges = tuple(_range_of(bounds) for bounds in array.shapeRange.sizeRanges)
    elif flexible == "enumeratedShapes":
        listed = array.enumeratedShapes.shapes
        enumerated = tuple(tuple(int(size) for size in legal.shape) for legal in listed)
        ranges = _span(enumerated)
    value = array.WhichOneof("defaultOptionalValue") if kind.isOptional else None
    default = float(getattr(array, value)) if value else None
    return MilFeature(
        name, shape, _dtype(name, array.dataType), ranges, enumerated, default=default
    )


def _dtype(name: str, number: int) -> str:
    if number not in _ARRAY_DTYPES:
        raise SessionError(
            f"{name!r} has element type {number}, which this version of the SDK does not support",
            remedy="convert the model for an older deployment target",
        )
    return _ARRAY_DTYPES[number]


def output_feature(description: Any, shape: Sequence[int | None]) -> MilFeature:
    """Read an output from its description and the shape the program infers for it.

    Args:
        description: The ``FeatureDescription`` in the model file.
        shape: Size per dimension; None if it depends on the inputs.

    Raises:
        SessionError: The SDK does not support the element type.
    """
    name, kind = description.name, description.type
    which = kind.WhichOneof("Type")
    if which == "multiArrayType":
        dtype = _dtype(name, kind.multiArrayType.dataType)
    else:
        # Image outputs are the computed numbers; class labels stay text.
        dtype = "int64" if which == "int64Type" else "float32"
    ranges = tuple(SizeRange(1, None) if size is None else SizeRange(size, size) for size in shape)
    colour = _COLOURS.get(kind.imageType.colorSpace, "") if which == "imageType" else ""
    default_shape = tuple(1 if size is None else size for size in shape)
    return MilFeature(name, default_shape, dtype, ranges, colour=colour)
