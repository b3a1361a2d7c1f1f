"""Quality of one picture against another: PSNR and SSIM."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edgesdk.errors import MissingBackendError, UsageError
from edgesdk.video.frames import is_rgb_picture

__all__ = ["check_picture", "decibels", "luma", "mean_square", "psnr", "square_sum", "ssim"]

Picture = NDArray[np.uint8]


def luma(picture: Picture) -> NDArray[np.float32]:
    """Return the brightness after Rec. 709: float32, H x W, 0..255."""
    weights = np.array([0.2126, 0.7152, 0.0722], np.float32)
    return picture.astype(np.float32) @ weights


def ssim(first: Picture, second: Picture) -> float:
    """Return the structural similarity of two pictures' brightness, -1..1; 1 if they are equal.

    Wang et al. 2004: windows weighted by a Gaussian of sigma 1.5, K1 0.01, K2 0.03.

    Args:
        first: uint8, H x W x 3, 11 pixels and more on a side.
        second: Picture of the same size.

    Raises:
        MissingBackendError: scikit-image is not installed.
        UsageError: They are not pictures, differ in size or are too small.
    """
    try:
        from skimage.metrics import structural_similarity
    except ModuleNotFoundError as error:
        raise MissingBackendError("skimage", "video") from error
    _check_pair(first, second)
    if min(first.shape[:2]) < 11:
        raise UsageError("SSIM needs pictures of 11 pixels and more on a side")
    value = structural_similarity(
        luma(first),
        luma(second),
        data_range=255.0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    return float(value)


def psnr(first: Picture, second: Picture) -> float:
    """Return the peak signal-to-noise ratio of two pictures, dB; infinite if they are equal.

    Raises:
        UsageError: They are not pictures, or differ in size.
    """
    return decibels(mean_square(first, second))


def decibels(mean_square: float) -> float:
    """Return the PSNR in dB of a mean squared difference of 8-bit values; infinite for 0."""
    return math.inf if mean_square == 0 else 10 * math.log10(255**2 / mean_square)


def mean_square(first: Picture, second: Picture) -> float:
    """Return the mean squared difference of two pictures of the same size."""
    _check_pair(first, second)
    everywhere = np.ones(first.shape[:2], np.bool_)
    return square_sum(first, second, everywhere) / first.size


def square_sum(a: Picture, b: Picture, mask: NDArray[np.bool_]) -> float:
    """Return the sum of squared differences over the pixels ``mask`` selects, bool, H x W."""
    total = 0
    # Some rows at a time, so that nothing of the size of a frame is allocated.
    for top in range(0, a.shape[0], 64):
        rows = slice(top, top + 64)
        difference = a[rows].astype(np.int32) - b[rows]
        total += int(np.einsum("yxc,yxc,yx->", difference, difference, mask[rows].astype(np.int32)))
    return float(total)


def check_picture(picture: object, size: tuple[int, int] | None) -> None:
    """Check that a picture is uint8, H x W x 3, of ``size`` (width, height) if that is given.

    Raises:
        UsageError: It is not.
    """
    if not is_rgb_picture(picture):
        raise UsageError("a picture must be a NumPy array of uint8, H x W x 3")
    if size is not None and picture.shape[:2] != (size[1], size[0]):
        raise UsageError(
            f"a picture of {picture.shape[1]} x {picture.shape[0]} in a video of "
            f"{size[0]} x {size[1]}"
        )


def _check_pair(first: Picture, second: Picture) -> None:
    check_picture(first, None)
    check_picture(second, (first.shape[1], first.shape[0]))
