"""Colour transfer: give pictures the colours of a style picture, without a network.

``reinhard`` (Reinhard et al. 2001) matches mean and deviation of each channel of an opponent colour
space in which the channels of natural pictures are nearly independent. ``wct`` matches mean and
covariance of the RGB values themselves: whitening, then colouring with the style's covariance.

Statistics of the style are computed once, those of each picture anew.
"""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from edgesdk.errors import MediaError, UnknownNameError
from edgesdk.video.frames import Painter
from edgesdk.video.picture_quality import check_picture

__all__ = ["METHODS", "colour_painter", "reinhard", "wct"]

Picture = NDArray[np.uint8]
Values = NDArray[np.float32]

#: Methods of colour transfer.
METHODS = ("reinhard", "wct")

_MAX_STYLE_PIXELS = 100_000_000
_STYLE_SIDE = 1024
# Cone responses of RGB, then the opponent space of Ruderman et al. 1998, on their logarithms.
_CONES = np.array(
    [[0.3811, 0.5783, 0.0402], [0.1967, 0.7244, 0.0782], [0.0241, 0.1288, 0.8444]], np.float64
)
_OPPONENT = np.diag([1 / np.sqrt(3), 1 / np.sqrt(6), 1 / np.sqrt(2)]) @ np.array(
    [[1, 1, 1], [1, 1, -2], [1, -1, 0]], np.float64
)
# Below one level of 255 the logarithm amplifies noise.
_DARK = 1 / 255
_SINGULAR = 1e-5


def _to_lab(values: Values) -> Values:
    cones = np.maximum(values @ _CONES.T.astype(np.float32), np.float32(_DARK))
    return np.log10(cones) @ _OPPONENT.T.astype(np.float32)


def _from_lab(values: Values) -> Values:
    cones = np.power(np.float32(10), values @ np.linalg.inv(_OPPONENT).T.astype(np.float32))
    return cones @ np.linalg.inv(_CONES).T.astype(np.float32)


def _flat(picture: Picture) -> Values:
    check_picture(picture, None)
    return picture.reshape(-1, 3).astype(np.float32) / np.float32(255)


def reinhard(picture: Picture, style: Picture) -> Values:
    """Give a picture the style's mean and deviation in the opponent space.

    Args:
        picture: uint8, H x W x 3, RGB.
        style: uint8, any size, RGB.

    Returns:
        float32, H x W x 3, nominally 0..1, not clipped.

    Raises:
        UsageError: One of them is not a picture.
    """
    return _reinhard(picture, *_moments(_to_lab(_flat(style))))


def _moments(values: Values) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return values.mean(axis=0, dtype=np.float64), values.std(axis=0, dtype=np.float64)


def _reinhard(
    picture: Picture, mean: NDArray[np.float64], deviation: NDArray[np.float64]
) -> Values:
    lab = _to_lab(_flat(picture))
    own_mean, own_deviation = _moments(lab)
    # A channel without variation cannot be stretched.
    gain = np.where(own_deviation > _SINGULAR, deviation / np.maximum(own_deviation, _SINGULAR), 1)
    moved = (lab - own_mean.astype(np.float32)) * gain.astype(np.float32) + mean.astype(np.float32)
    return _from_lab(moved).reshape(picture.shape)


def wct(picture: Picture, style: Picture) -> Values:
    """Give a picture's pixels the style's mean and covariance.

    Args:
        picture: uint8, H x W x 3, RGB.
        style: uint8, any size, RGB.

    Returns:
        float32, H x W x 3, nominally 0..1, not clipped. Its mean and covariance are the
        style's, except in directions of colour in which the picture does not vary.

    Raises:
        UsageError: One of them is not a picture.
    """
    return _wct(picture, *_covariance(_flat(style)))


def _covariance(values: Values) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    mean = values.mean(axis=0, dtype=np.float64)
    centred = values - mean
    return mean, centred.T @ centred / len(values)


def _root(covariance: NDArray[np.float64], power: float) -> NDArray[np.float64]:
    """Return a power of a symmetric matrix, without directions that have no variance."""
    values, vectors = np.linalg.eigh(covariance)
    kept = values > _SINGULAR**2
    scaled = np.where(kept, np.power(np.maximum(values, _SINGULAR**2), power), 0.0)
    root: NDArray[np.float64] = (vectors * scaled) @ vectors.T
    return root


def _wct(picture: Picture, mean: NDArray[np.float64], covariance: NDArray[np.float64]) -> Values:
    values = _flat(picture)
    own_mean, own_covariance = _covariance(values)
    matrix = _root(covariance, 0.5) @ _root(own_covariance, -0.5)
    shift = mean - matrix @ own_mean
    moved = values @ matrix.T.astype(np.float32) + shift.astype(np.float32)
    return moved.reshape(picture.shape)


def colour_painter(style: Picture | str | os.PathLike[str], *, method: str = "reinhard") -> Painter:
    """Make a painter that gives pictures the colours of a style picture.

    >>> painter = colour_painter("sunset.jpg", method="wct")     # doctest: +SKIP
    >>> painted = painter(pixels)                                # doctest: +SKIP

    Args:
        style: The style picture: a file Pillow reads, or uint8, H x W x 3, RGB.
        method: One of :data:`METHODS`.

    Raises:
        MediaError: The file cannot be read as a picture.
        UnknownNameError: The method is unknown.
        UsageError: The array is not a picture.
    """
    if method not in METHODS:
        raise UnknownNameError("method of colour transfer", method, METHODS)
    picture = style if isinstance(style, np.ndarray) else _read(style)
    if method == "wct":
        fitted = _covariance(_flat(picture))
        return lambda pixels: _bytes(_wct(pixels, *fitted))
    moments = _moments(_to_lab(_flat(picture)))
    return lambda pixels: _bytes(_reinhard(pixels, *moments))


def _bytes(values: Values) -> Picture:
    return (np.clip(values, 0, 1) * np.float32(255) + np.float32(0.5)).astype(np.uint8)


def _read(path: str | os.PathLike[str]) -> Picture:
    try:
        with Image.open(path) as image:
            if image.width * image.height > _MAX_STYLE_PIXELS:
                raise MediaError(
                    f"{os.fspath(path)} has more than {_MAX_STYLE_PIXELS // 10**6} million pixels",
                    remedy="scale it down",
                )
            # A million pixels are enough for the statistics.
            image.thumbnail((_STYLE_SIDE, _STYLE_SIDE), Image.Resampling.BOX)
            return np.asarray(image.convert("RGB"))
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise MediaError(
            f"{os.fspath(path)} cannot be read as a picture: {error}",
            remedy="give a JPEG, PNG or WebP",
        ) from error
