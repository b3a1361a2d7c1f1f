"""Images that are resized, cut and sampled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

ct = pytest.importorskip("coremltools")
from coremltools.converters.mil.mil import Builder as mb  # noqa: E402

Evaluate = Callable[..., list[np.ndarray]]


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def close(results: list[np.ndarray], expected: list[Any], atol: float = 1e-5) -> None:
    assert len(results) == len(expected)
    for number, (result, wanted) in enumerate(zip(results, expected, strict=True)):
        np.testing.assert_allclose(
            result, np.asarray(wanted), atol=atol, err_msg=f"output {number}"
        )


def test_resizing_samples_as_each_mode_says(evaluate: Evaluate) -> None:
    x = np.array([0.0, 1.0], np.float32).reshape(1, 1, 1, 2)
    modes = ["STRICT_ALIGN_CORNERS", "DEFAULT", "OFFSET_CORNERS", "UNALIGN_CORNERS"]
    shape = np.array([1, 5], np.int32)
    results = evaluate(
        {"x": x, "shape": shape},
        lambda x, shape: [
            *(
                mb.resize_bilinear(
                    x=x, target_size_height=1, target_size_width=5, sampling_mode=mode
                )
                for mode in modes
            ),
            mb.resize_bilinear(
                x=x, target_size_height=1, target_size_width=1, sampling_mode="ALIGN_CORNERS"
            ),
            mb.resize_bilinear(
                x=x, target_size_height=1, target_size_width=1,
                sampling_mode="STRICT_ALIGN_CORNERS",
            ),
            mb.resize(x=x, shape=shape, resized_dims=np.uint32(2), sampling_mode="UNALIGN_CORNERS"),
            mb.resize(
                x=x, shape=[0, 3], resized_dims=np.uint32(2),
                interpolation_mode="NEAREST_NEIGHBOR",
            ),
            mb.resize_nearest_neighbor(x=x, target_size_height=2, target_size_width=4),
            mb.upsample_nearest_neighbor(x=x, scale_factor_height=2, scale_factor_width=2),
            mb.upsample_bilinear(x=x, scale_factor_height=1.0, scale_factor_width=2.5,
                                 align_corners=True),
            mb.upsample_bilinear(x=x, scale_factor_height=1.0, scale_factor_width=2.5,
                                 align_corners=False),
        ],
    )  # fmt: skip
    rows = [
        [0, 0.25, 0.5, 0.75, 1],
        [0, 0.4, 0.8, 1, 1],
        [0.1, 0.3, 0.5, 0.7, 0.9],
        [0, 0.1, 0.5, 0.9, 1],
        [0.5],
        [0],
        [0, 0.1, 0.5, 0.9, 1],
        [0, 1, 1],
        [[0, 0, 1, 1], [0, 0, 1, 1]],
        [[0, 0, 1, 1], [0, 0, 1, 1]],
        [0, 0.25, 0.5, 0.75, 1],
        [0, 0.1, 0.5, 0.9, 1],
    ]
    close(results, [np.reshape(row, (1, 1, -1, len(np.atleast_2d(row)[0]))) for row in rows])


def test_boxes_are_cut_and_resized(evaluate: Evaluate) -> None:
    x = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    box = np.array([[1, 1, 2, 3]], np.float32)

    def cut(x: Any, mode: str, boxes: np.ndarray, **options: Any) -> Any:
        return mb.crop_resize(
            x=x, boxes=boxes, box_indices=[0], target_height=2, target_width=3,
            sampling_mode=mode, **options,
        )  # fmt: skip

    results = evaluate(
        {"x": x},
        lambda x: [
            cut(x, "STRICT_ALIGN_CORNERS", box),
            cut(x, "ALIGN_CORNERS", box / 3, normalized_coordinates=True),
            cut(x, "ALIGN_CORNERS", box[:, [1, 0, 3, 2]],
                box_coordinate_mode="CORNERS_WIDTH_FIRST"),
            cut(x, "ALIGN_CORNERS", np.array([[1.5, 2, 1, 2]], np.float32),
                box_coordinate_mode="CENTER_SIZE_HEIGHT_FIRST"),
            cut(x, "ALIGN_CORNERS", box * 2, spatial_scale=0.5),
            cut(x, "ALIGN_CORNERS", np.array([[0, 2, 1, 4]], np.float32), pad_value=-1.0),
        ],
    )  # fmt: skip
    inner = [[[[5, 6, 7], [9, 10, 11]]]]
    close(results, [inner] * 5 + [[[[[2, 3, -1], [6, 7, -1]]]]])


@pytest.mark.parametrize("align_corners", [False, True])
def test_sampling_is_that_of_torch(evaluate: Evaluate, align_corners: bool) -> None:
    x = noise(2, 3, 5, 6)
    grid = noise(2, 4, 3, 2) * 1.2
    reflect = "reflection" if align_corners else "symmetric"
    other = "symmetric" if align_corners else "reflection"
    sizes = np.array([6, 5], np.float32)
    unit = (grid + 1) / 2
    pixels = unit * (sizes - 1) if align_corners else unit * sizes - 0.5
    theta = noise(2, 6)

    def sample(x: Any, at: Any, padding: str, **options: Any) -> Any:
        chosen = {
            "sampling_mode": "bilinear",
            "padding_value": 0.0,
            "coordinates_mode": "normalized_minus_one_to_one",
            **options,
        }
        return mb.resample(
            x=x, coordinates=at, padding_mode=padding, align_corners=align_corners, **chosen
        )

    results = evaluate(
        {"x": x, "grid": grid, "unit": unit, "pixels": pixels},
        lambda x, grid, unit, pixels: [
            sample(x, grid, "constant"),
            sample(x, grid, "border"),
            sample(x, grid, reflect),
            sample(x, grid, "constant", sampling_mode="nearest"),
            sample(x, unit, "border", coordinates_mode="normalized_zero_to_one"),
            sample(x, pixels, "constant", coordinates_mode="unnormalized"),
            sample(x, pixels, reflect, coordinates_mode="unnormalized"),
            sample(mb.sub(x=x, y=2.0), grid, "constant", padding_value=-2.0),
            sample(x, grid, other),
        ]
        + (
            [
                mb.affine(
                    x=x, transform_matrix=theta, output_height=3, output_width=4,
                    sampling_mode="bilinear", padding_mode="constant", padding_value=0.0,
                    coordinates_mode="normalized_minus_one_to_one", align_corners=True,
                )
            ]
            if align_corners
            else []
        ),
    )  # fmt: skip
    t, g = torch.from_numpy(x), torch.from_numpy(grid)

    def wanted(padding: str, mode: str = "bilinear") -> torch.Tensor:
        return F.grid_sample(t, g, mode, padding, align_corners)

    expected = [
        wanted("zeros"),
        wanted("border"),
        wanted("reflection"),
        wanted("zeros", "nearest"),
        wanted("border"),
        wanted("zeros"),
        wanted("reflection"),
        wanted("zeros") - 2,
    ]
    # The other reflection is that of torch with the other kind of corners, at the same pixels.
    p = torch.from_numpy(pixels)
    s = torch.from_numpy(sizes)
    at = (2 * p + 1) / s - 1 if align_corners else 2 * p / (s - 1) - 1
    expected.append(F.grid_sample(t, at, "bilinear", "reflection", not align_corners))
    if align_corners:
        matrix = torch.from_numpy(theta).reshape(2, 2, 3)
        placed = F.affine_grid(matrix, [2, 3, 3, 4], align_corners=True)
        expected.append(F.grid_sample(t, placed, align_corners=True))
    close(results, expected, atol=2e-5)


def test_an_image_of_one_pixel_can_be_sampled(evaluate: Evaluate) -> None:
    (result,) = evaluate(
        {"x": np.full((1, 1, 1, 1), 3.0, np.float32), "at": np.zeros((1, 1, 2, 2), np.float32)},
        lambda x, at: mb.resample(
            x=x, coordinates=at, sampling_mode="bilinear", padding_mode="border",
            padding_value=0.0, coordinates_mode="unnormalized", align_corners=True,
        ),
    )  # fmt: skip
    close([result], [np.full((1, 1, 1, 2), 3.0)])
