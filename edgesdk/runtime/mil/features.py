"""What a Core ML model takes and gives: names, element types, sizes that may vary, images."""

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
    """Sizes one dimension may have.

    Attributes:
        min: Smallest size.
        max: Largest size; None where there is no bound.
    """

    min: int
    max: int | None

    @property
    def fixed(self) -> bool:
        """True where only one size is legal."""
        return self.max == self.min

    def __contains__(self, size: object) -> bool:
        return isinstance(size, int) and self.min <= size and (self.max is None or size <= self.max)


@dataclass(frozen=True)
class MilFeature:
    """One input or output.

    An image input takes its pixels as ``uint8 [1, channels, height, width]``, 0 to 255, channels
    in the order of ``colour``. The scale and bias that an image input was converted with are
    operators of the program, so they are evaluated like every other.

    Attributes:
        name: Its name.
        shape: The default shape; of an output, 1 stands where the size follows the inputs.
        dtype: NumPy name of the element type.
        ranges: Legal sizes, one range a dimension.
        enumerated: The only legal shapes, where the model lists them; else empty.
        colour: ``RGB``, ``BGR``, ``GRAYSCALE`` or ``GRAYSCALE_FLOAT16`` of an image, else empty.
        default: Value an input left out is filled with; None where it is required.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    ranges: tuple[SizeRange, ...] = ()
    enumerated: tuple[tuple[int, ...], ...] = field(default=())
    colour: str = ""
    default: float | None = None

    def check(self, shape: Sequence[int]) -> None:
        """Refuse a shape the model does not take.

        Raises:
            InputSpecError: Wrong rank, a size out of range or a shape that is not listed.
        """
        given = tuple(int(size) for size in shape)
        if self.enumerated:
            if given not in self.enumerated:
                listed = ", ".join("x".join(map(str, legal)) for legal in self.enumerated)
                raise InputSpecError(
                    f"input {self.name!r} has shape {given}, the model takes {listed}"
                )
            return
        fits = len(given) == len(self.ranges) and all(
            size in legal for size, legal in zip(given, self.ranges, strict=True)
        )
        if not fits:
            raise InputSpecError(f"input {self.name!r} has shape {given}, the model takes {self}")

    def spec(self) -> TensorSpec:
        """The same in the words every target shares."""
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
    # The format writes -1 for no upper bound.
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


def _default_value(array: Any) -> float | None:
    kind = array.WhichOneof("defaultOptionalValue")
    return float(getattr(array, kind)) if kind else None


def input_feature(description: Any) -> MilFeature:
    """An input, from its ``FeatureDescription`` in the model file.

    Raises:
        SessionError: A kind of input that ML Programs do not have.
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
    default = _default_value(array) if kind.isOptional else None
    return MilFeature(
        name, shape, _dtype(name, array.dataType), ranges, enumerated, default=default
    )


def _dtype(name: str, number: int) -> str:
    if number not in _ARRAY_DTYPES:
        raise SessionError(
            f"{name!r} has element type {number}, which this version of the SDK does not know",
            remedy="convert the model for an older deployment target",
        )
    return _ARRAY_DTYPES[number]


def output_feature(description: Any, shape: Sequence[int | None]) -> MilFeature:
    """An output, from its description and the shape the program infers for it.

    Args:
        description: The ``FeatureDescription`` in the model file.
        shape: Size a dimension; None where it follows the inputs.

    Raises:
        SessionError: An element type this SDK does not know.
    """
    name, kind = description.name, description.type
    which = kind.WhichOneof("Type")
    if which == "multiArrayType":
        dtype = _dtype(name, kind.multiArrayType.dataType)
    else:
        # Image outputs come as the numbers the program computes, class labels as themselves.
        dtype = "int64" if which == "int64Type" else "float32"
    ranges = tuple(SizeRange(1, None) if size is None else SizeRange(size, size) for size in shape)
    colour = _COLOURS.get(kind.imageType.colorSpace, "") if which == "imageType" else ""
    default_shape = tuple(1 if size is None else size for size in shape)
    return MilFeature(name, default_shape, dtype, ranges, colour=colour)
