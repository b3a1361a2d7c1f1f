"""Meta-SR upscaling: one set of weights for any factor, since a small network predicts the filters.

Hu et al., "Meta-SR: A Magnification-Arbitrary Network for Super-Resolution", CVPR 2019
(arXiv:1903.00875), after its equations. Pixel ``i`` of the large picture lies in cell
``floor(i / r)`` of the small one; its position in that cell determines its filter. A scale
``r = p / q`` has only ``p * p`` different filters, which are cached.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import nn
from torch.nn import functional

from edgesdk.errors import UsageError
from edgesdk.models.architecture import checked_config
from edgesdk.models.initialisation import initialise

__all__ = ["LARGEST_SCALE", "Axis", "MetaUpscale", "axis_of", "edge_padded", "exact_scale"]

#: Largest supported scale.
LARGEST_SCALE = 8
#: Largest number of distinct positions in a cell; finer ones are rounded to sixteenths of it.
_MOST_PLACES = 64
_ROUNDED_PLACES = 16
#: A float scale this close to a fraction with a denominator up to 100 is that fraction.
_NEAR = 1e-9


@dataclass(frozen=True)
class Axis:
    """Positions of the rows or columns of the large picture in the small one.

    Attributes:
        cells: Row of the small picture for each row of the large one.
        places: Index into ``offsets`` for each row of the large picture.
        offsets: Distinct positions in a cell, 0 to below 1.
        inverse_scale: ``1 / r``.
    """

    cells: tuple[int, ...]
    places: tuple[int, ...]
    offsets: tuple[float, ...]
    inverse_scale: float


def exact_scale(scale: float | Fraction) -> Fraction:
    """Convert a scale to a fraction.

    Args:
        scale: From 1 to :data:`LARGEST_SCALE`. A float is rounded to a fraction with a
            denominator up to 100 if one is close enough: 1.1 becomes 11/10.

    Raises:
        UsageError: ``scale`` is not a number, not finite, or out of range.
    """
    if isinstance(scale, bool) or not isinstance(scale, int | float | Fraction):
        raise UsageError(f"the scale must be a number or a fraction, not {scale!r}")
    if not math.isfinite(scale) or not 1 <= scale <= LARGEST_SCALE:
        raise UsageError(f"the scale is {scale}", remedy=f"give a scale from 1 to {LARGEST_SCALE}")
    if not isinstance(scale, float):
        return Fraction(scale)
    near = Fraction(scale).limit_denominator(100)
    return near if abs(float(near) - scale) <= _NEAR * scale else Fraction(scale)


def axis_of(length: int, scale: Fraction, wanted: int | None = None) -> Axis:
    """Compute the positions of ``floor(scale * length)`` rows, or of ``wanted`` rows.

    Args:
        length: Rows of the small picture.
        scale: Scale of the rows.
        wanted: Rows of the large picture, if known; may exceed the floor by up to one cell.
    """
    rows = math.floor(scale * length) if wanted is None else wanted
    p, q = scale.numerator, scale.denominator
    steps = p
    exact = [(i * q // p, i * q % p) for i in range(rows)]
    if p > _MOST_PLACES:
        steps = _ROUNDED_PLACES
        rounded = [(2 * i * q * steps + p) // (2 * p) for i in range(rows)]
        exact = [divmod(place, steps) for place in rounded]
    numbers = {place: number for number, place in enumerate(sorted({place for _, place in exact}))}
    return Axis(
        # Clamp rows that rounding puts beyond the far edge.
        cells=tuple(min(cell, length - 1) for cell, _ in exact),
        places=tuple(numbers[place] for _, place in exact),
        offsets=tuple(place / steps for place in numbers),
        inverse_scale=q / p,
    )


def edge_padded(x: torch.Tensor, padding: int) -> torch.Tensor:
    """Pad ``[N, C, H, W]`` by repeating its edges, as a concatenation of rows and columns.

    Delegates do not support the replication padding operator.
    """
    for axis in (2, 3):
        first, last = x.narrow(axis, 0, 1), x.narrow(axis, x.shape[axis] - 1, 1)
        x = torch.cat([*[first] * padding, x, *[last] * padding], dim=axis)
    return x


class MetaUpscale(nn.Module):
    """Upscale features to pictures of any size by filters that depend on the position in a cell.

    Two linear layers with a ReLU in between predict the filter of an output pixel from
    ``(1 / r, i / r - floor(i / r), j / r - floor(j / r))``.

    Args:
        width: Channels of the features; 64 as published.
        kernel_size: Side of a filter, odd; 3 as published.
        hidden_width: Features between the linear layers; 256 as published.
        channels: Channels of the picture.

    Raises:
        UsageError: A width that is not a positive whole number, or an even ``kernel_size``.
    """

    def __init__(
        self, width: int = 64, kernel_size: int = 3, hidden_width: int = 256, channels: int = 3
    ) -> None:
        super().__init__()
        checked_config(MetaUpscale, locals())
        if kernel_size % 2 == 0:
            raise UsageError(f"kernel_size is {kernel_size}", remedy="give an odd number")
        self.width, self.kernel_size, self.channels = width, kernel_size, channels
        self.predictor = nn.Sequential(
            nn.Linear(3, hidden_width),
            nn.ReLU(),
            nn.Linear(hidden_width, kernel_size**2 * width * channels),
        )
        initialise(self)
        self._kept: dict[tuple[float, ...], torch.Tensor] = {}
        self._kept_for: tuple[tuple[int, int], ...] = ()

    def predicted(self, descriptors: torch.Tensor) -> torch.Tensor:
        """Predict filters ``[D, channels, width, k, k]`` from descriptors ``[D, 3]``."""
        size = self.kernel_size
        flat = self.predictor(descriptors)
        return flat.view(-1, self.channels, self.width, size, size)

    def filters_for(self, scale: float | Fraction) -> torch.Tensor:
        """Return the ``p * p`` filters of scale ``p / q``, by row and column of the large picture.

        Predicted once and cached until the weights change or gradients are needed.

        Args:
            scale: 1 to :data:`LARGEST_SCALE`, with a numerator up to 64.

        Returns:
            ``[p, p, channels, width, k, k]``.

        Raises:
            UsageError: The scale or its numerator is out of range.
        """
        fraction = exact_scale(scale)
        p, q = fraction.numerator, fraction.denominator
        if p > _MOST_PLACES:
            raise UsageError(
                f"the scale {fraction} needs {p} x {p} filters",
                remedy=f"give a scale p / q with p up to {_MOST_PLACES}",
            )
        offsets = tuple(i * q % p / p for i in range(p))
        return self._filters(q / p, offsets, offsets)

    def _filters(
        self, inverse_scale: float, down: tuple[float, ...], across: tuple[float, ...]
    ) -> torch.Tensor:
        if torch.is_grad_enabled():
            return self._predicted_grid(inverse_scale, down, across)
        weights = tuple((one.data_ptr(), one._version) for one in self.predictor.parameters())
        if weights != self._kept_for:
            self._kept.clear()
            self._kept_for = weights
        # Each tuple's length precedes it, so that different pairs have different keys.
        known = (inverse_scale, len(down), *down, len(across), *across)
        if known not in self._kept:
            if len(self._kept) >= 8:
                del self._kept[next(iter(self._kept))]
            self._kept[known] = self._predicted_grid(inverse_scale, down, across)
        return self._kept[known]

    def _predicted_grid(
        self, inverse_scale: float, down: tuple[float, ...], across: tuple[float, ...]
    ) -> torch.Tensor:
        weight = self.predictor[0].weight
        rows, columns = (torch.tensor(values).to(weight) for values in (down, across))
        places = torch.cartesian_prod(rows, columns).view(-1, 2)
        scale = torch.full((len(places), 1), inverse_scale).to(weight)
        filters = self.predicted(torch.cat([scale, places], dim=1))
        return filters.view(len(down), len(across), *filters.shape[1:])

    def forward(self, features: torch.Tensor, scale: float | Fraction) -> torch.Tensor:
        """Map ``[N, width, h, w]`` to ``[N, channels, floor(r * h), floor(r * w)]``.

        Features are padded by repeating their edges.

        Raises:
            UsageError: Features of another shape, or a scale out of range.
        """
        _, _, height, width = self._checked(features)
        fraction = exact_scale(scale)
        return self.on_axes(features, axis_of(height, fraction), axis_of(width, fraction))

    def to_size(self, features: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """Map ``[N, width, h, w]`` to a size of the same aspect ratio but for rounding.

        Args:
            features: ``[N, width, h, w]``.
            size: Height and width of the result.

        Raises:
            UsageError: Features of another shape, a smaller or too large size, or another aspect
                ratio.
        """
        _, _, height, width = self._checked(features)
        for full, small in zip(size, (height, width), strict=True):
            exact_scale(Fraction(full, small))
        if abs(height * size[1] - width * size[0]) > max(size):
            raise UsageError(
                f"the aspect ratio of {width} x {height} pixels differs from that of "
                f"{size[1]} x {size[0]}",
                remedy="give two pictures of the same aspect ratio",
            )
        down = axis_of(height, Fraction(size[0], height), size[0])
        across = axis_of(width, Fraction(size[1], width), size[1])
        return self.on_axes(features, down, across)

    def on_axes(self, features: torch.Tensor, down: Axis, across: Axis) -> torch.Tensor:
        """Map ``[N, width, h, w]`` to ``[N, channels, rows, columns]`` of two axes."""
        # Both scales are equal unless each side of the picture was rounded by itself.
        inverse_scale = (down.inverse_scale + across.inverse_scale) / 2
        filters = self._filters(inverse_scale, down.offsets, across.offsets)
        size, device = self.kernel_size, features.device
        columns = features.shape[3]
        padded = edge_padded(features, size // 2)
        reach = torch.arange(size, device=device)
        # Compute every position of each cell; positions without a pixel are dropped.
        taken = torch.tensor(
            [
                place * columns + cell
                for place, cell in zip(across.places, across.cells, strict=True)
            ],
            device=device,
        )
        bands, order = [], []
        for place in range(len(down.offsets)):
            rows = [row for row, its in enumerate(down.places) if its == place]
            cells = torch.tensor([down.cells[row] for row in rows], device=device)
            lines = padded.index_select(2, (cells + reach[:, None]).flatten())
            # Stack channels and rows as the channels of a convolution along rows.
            lines = lines.unflatten(2, (size, -1)).flatten(1, 2)
            kernel = filters[place].flatten(2, 3).flatten(0, 1).unsqueeze(2)
            answers = functional.conv2d(lines, kernel).unflatten(1, (-1, self.channels))
            bands.append(answers.permute(0, 2, 3, 1, 4).flatten(3).index_select(3, taken))
            order += rows
        back = torch.tensor(order, device=device).argsort()
        return torch.cat(bands, dim=2).index_select(2, back)

    def directly(self, features: torch.Tensor, scale: float | Fraction) -> torch.Tensor:
        """Compute :meth:`forward` by the paper's definition, one filter per pixel: slow, for tests.

        Args:
            features: ``[N, width, h, w]``.
            scale: Any real number, 1 to :data:`LARGEST_SCALE`.
        """
        _, _, height, width = self._checked(features)
        exact = exact_scale(scale)
        size, kernel = (math.floor(exact * height), math.floor(exact * width)), self.kernel_size
        patches = functional.unfold(edge_padded(features, kernel // 2), kernel)
        patches = patches.view(len(features), -1, height, width)
        weight = self.predictor[0].weight
        answer = features.new_empty(len(features), self.channels, *size)
        for i in range(size[0]):
            for j in range(size[1]):
                y, x = math.floor(i / exact), math.floor(j / exact)
                values = [float(one) for one in (1 / exact, i / exact - y, j / exact - x)]
                descriptor = torch.tensor([values]).to(weight)
                filters = self.predicted(descriptor).view(self.channels, -1)
                answer[:, :, i, j] = patches[:, :, y, x] @ filters.T
        return answer

    def _checked(self, features: torch.Tensor) -> torch.Size:
        if features.dim() != 4 or features.shape[1] != self.width or 0 in features.shape:
            raise UsageError(
                f"features must be [N, {self.width}, h, w], not {list(features.shape)}"
            )
        return features.shape
