"""Guided super-resolution: enlarge a painted key frame to any size, guided by the key frame.

The upscaling stage of MVStylizer (Li et al., MobiHoc 2020, arXiv:2005.11630) with the predicted
filters of Meta-SR. The frame holds the detail that the painting lost when it was made small.
Features of the painting and of the frame's gradients give the enlarged painting. A 3x3 gain matrix
per cell transfers the frame's fine detail to the painting's colours. A residual block at full size
sees the sum and the frame and removes the stylizer's artefacts. The gains start from those of the
guided filter (He et al., ECCV 2010), weighted by a learned confidence: colours that follow the
frame take its full detail, a texture of the painter's own takes none.
"""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from edgesdk.errors import UsageError, WeightsDamagedError, WeightsError
from edgesdk.models.architecture import check_width, checked_config
from edgesdk.models.initialisation import initialise
from edgesdk.models.meta_upscale import MetaUpscale, edge_padded, exact_scale
from edgesdk.models.resampling import (
    GUIDE_CHANNELS,
    area_matrix,
    cubic_matrix,
    guide_of,
    resample,
    resized,
)

__all__ = [
    "WEIGHTS",
    "GuidedUpscale",
    "guided_upscale_bytes",
    "load_guided_upscale",
    "local_detail",
    "local_likeness",
]

#: The package's weights.
WEIGHTS = Path(__file__).parent / "weights" / "meta_smoothing.safetensors"

#: Radius of the windows in which painting and frame are compared, pixels of the painting.
_RADIUS = 2
#: Scale of local detail: half precision then holds the sums of squares.
_DETAIL_SCALE = 8.0
#: Variance, at that scale, below which a window counts as flat.
_FLAT_VARIANCE = 2e-4 * _DETAIL_SCALE**2
#: Largest gain, so that the noise of a flat frame is not amplified.
_MOST_GAIN = 4.0
_KIND = "meta_smoothing"


def _window_mean(x: torch.Tensor) -> torch.Tensor:
    return functional.avg_pool2d(edge_padded(x, _RADIUS), 2 * _RADIUS + 1, 1)


def local_detail(x: torch.Tensor) -> torch.Tensor:
    """Subtract the mean of the window around each pixel and multiply by 8."""
    return (x - _window_mean(x)) * _DETAIL_SCALE


def local_likeness(mine: torch.Tensor, its: torch.Tensor) -> torch.Tensor:
    """Measure per colour channel how well a painting follows the picture of the same size.

    Args:
        mine: :func:`local_detail` of the painting, ``[N, 3, h, w]``.
        its: :func:`local_detail` of the picture, likewise.

    Returns:
        ``[N, 6, h, w]``: the least-squares gain in the window around each pixel, clipped to -4..4,
        and the correlation, -1..1. Both are near 0 where the picture is flat.
    """
    both = _window_mean(torch.cat([mine * its, mine * mine, its * its], dim=1))
    covariance, own, its_own = both.narrow(1, 0, 3), both.narrow(1, 3, 3), both.narrow(1, 6, 3)
    gain = (covariance / (its_own + _FLAT_VARIANCE)).clamp(-_MOST_GAIN, _MOST_GAIN)
    correlation = covariance / torch.sqrt((own + _FLAT_VARIANCE) * (its_own + _FLAT_VARIANCE))
    return torch.cat([gain, correlation], dim=1)


class _Block(nn.Module):
    """Residual block of two 3x3 convolutions."""

    def __init__(self, width: int, inner_width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, inner_width, 3, padding=1)
        self.activation = nn.ReLU()
        self.second = nn.Conv2d(inner_width, width, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.second(self.activation(self.first(x)))


class GuidedUpscale(nn.Module):
    """Enlarge a painting by any factor, guided by the picture it was painted from.

    Args:
        width: Channels of the features. The filter predictor makes one filter per feature and
            colour; 64 gives it the published 445,120 parameters.
        inner_widths: Channels inside each residual block of the features, one element per block.
        refine_width: Channels inside the residual block at full size, the most expensive part.
        kernel_size: Side of the predicted filters, odd.
        hidden_width: Hidden features of the filter predictor.

    Raises:
        UsageError: A width that is not a positive whole number, or an even ``kernel_size``.
    """

    def __init__(
        self,
        width: int = 16,
        inner_widths: list[int] | None = None,
        refine_width: int = 12,
        kernel_size: int = 3,
        hidden_width: int = 256,
    ) -> None:
        super().__init__()
        inner_widths = [16] * 4 if inner_widths is None else inner_widths
        self.config = checked_config(GuidedUpscale, locals())
        self.stem = nn.Conv2d(3 + GUIDE_CHANNELS + 6, width, 3, padding=1)
        self.blocks = nn.Sequential(*(_Block(width, inner) for inner in inner_widths))
        self.gains = nn.Conv2d(width + 6, 12, 1)
        self.upscale = MetaUpscale(width, kernel_size, hidden_width)
        self.refine_first = nn.Conv2d(6, refine_width, 3, padding=1)
        self.refine_second = nn.Conv2d(refine_width, 3, 3, padding=1)
        self.activation = nn.ReLU()
        initialise(self)
        # Start as cubic interpolation with most of the least-squares gains. From random weights
        # training kills the features to remove the noise.
        for last in (self.gains, self.upscale.predictor[2], self.refine_second):
            nn.init.zeros_(last.weight)
        nn.init.constant_(self.gains.bias[9:], 2.0)
        for block in self.blocks:
            block.second.weight.data.mul_(0.3)

    def features_and_gains(
        self, painted: torch.Tensor, guide: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute everything that is computed at the small size.

        Args:
            painted: ``[N, 3, h, w]``.
            guide: :func:`guide_of` the picture, at the same size.

        Returns:
            Features ``[N, width, h, w]`` and gains ``[N, 9, h, w]``: the gains of red detail in
            red, green and blue, then those of green and of blue detail.
        """
        # Means are removed, since the cubic adds them: filters need not learn to sum to zero.
        mine, its = local_detail(painted), local_detail(guide.narrow(1, 0, 3))
        likeness = local_likeness(mine, its)
        inputs = torch.cat([mine, its, guide.narrow(1, 3, 2), likeness], dim=1)
        features = self.blocks(self.stem(inputs))
        found = self.gains(torch.cat([features, likeness], dim=1))
        gain, correlation = likeness.narrow(1, 0, 3), likeness.narrow(1, 3, 3)
        # Share of the painting's variance that the picture explains: near 1 for moved colours,
        # near 0 for brush strokes.
        explained = correlation * correlation
        trusted = torch.sigmoid(found.narrow(1, 9, 3)) * explained * explained * gain
        gains = []
        for colour in range(3):
            # The least-squares gain belongs to the diagonal of the 3x3 matrix.
            parts = [found.narrow(1, 3 * colour + k, 1) for k in range(3)]
            parts[colour] = parts[colour] + trusted.narrow(1, colour, 1)
            gains += parts
        return features, torch.cat(gains, dim=1)

    def refined(
        self,
        enlarged: torch.Tensor,
        gains: torch.Tensor,
        coarse: torch.Tensor,
        original: torch.Tensor,
    ) -> torch.Tensor:
        """Add the picture's detail to the enlarged painting and refine it at full size.

        Args:
            enlarged: The painting, ``[N, 3, H, W]``.
            gains: ``[N, 9, H, W]``, see :meth:`features_and_gains`.
            coarse: The picture without its detail, ``[N, 3, H, W]``.
            original: The picture, likewise.
        """
        detail = original - coarse
        for colour in range(3):
            enlarged = enlarged + gains.narrow(1, 3 * colour, 3) * detail.narrow(1, colour, 1)
        both = torch.cat([enlarged, original], dim=1) - 0.5
        return enlarged + self.refine_second(self.activation(self.refine_first(both)))

    def forward(self, painted: torch.Tensor, original: torch.Tensor) -> torch.Tensor:
        """Enlarge paintings to the size of their pictures.

        Args:
            painted: ``[N, 3, h, w]``, RGB, 0..1.
            original: ``[N, 3, H, W]``, likewise, of the same aspect ratio but for rounding, 1 to
                :data:`~edgesdk.models.meta_upscale.LARGEST_SCALE` times as large.

        Returns:
            ``[N, 3, H, W]``, not clipped.

        Raises:
            UsageError: Tensors of other shapes, or paintings that do not match the pictures.
        """
        _check(painted, original)
        size, small = original.shape[2:], painted.shape[2:]
        guide = resample(guide_of(original), small, area_matrix)
        features, gains = self.features_and_gains(painted, guide)
        both = torch.cat([painted, guide.narrow(1, 0, 3)], dim=1)
        smooth, coarse = resample(both, size, cubic_matrix).chunk(2, dim=1)
        enlarged = self.upscale.to_size(features, size) + smooth
        return self.refined(enlarged, resized(gains, size), coarse, original)

    def at_scale(self, p: int, q: int = 1) -> nn.Module:
        """Return the network for one scale ``p / q``, with constant filters, for export to phones.

        See :class:`~edgesdk.models.guided_upscale_fixed.FixedScaleGuidedUpscale`.

        Raises:
            UsageError: ``p`` or ``q`` is not a positive whole number, or the scale is too small
                or too large.
        """
        from edgesdk.models.guided_upscale_fixed import FixedScaleGuidedUpscale

        check_width("p", p)
        check_width("q", q)
        return FixedScaleGuidedUpscale(self, exact_scale(Fraction(p, q))).train(self.training)


def _check(painted: torch.Tensor, original: torch.Tensor) -> None:
    for name, picture in (("painted", painted), ("original", original)):
        if picture.dim() != 4 or picture.shape[1] != 3 or 0 in picture.shape:
            raise UsageError(f"{name} must be [N, 3, height, width], not {list(picture.shape)}")
    if len(painted) != len(original):
        raise UsageError(f"got {len(painted)} paintings for {len(original)} pictures")
    if min(original.shape[2:]) < 2:
        raise UsageError("the original picture must have at least 2 rows and 2 columns")


def guided_upscale_bytes(model: GuidedUpscale, half: bool = True) -> bytes:
    """Return the content of a weights file for :func:`load_guided_upscale`.

    Args:
        model: The network to save.
        half: Save half precision, which halves the file without a visible difference.

    Raises:
        WeightsError: A weight is not finite, or too large for half precision.
    """
    from safetensors.torch import save

    kind = torch.float16 if half else torch.float32
    tensors = {name: value.detach().to(kind) for name, value in model.state_dict().items()}
    for name, value in tensors.items():
        if not torch.isfinite(value).all():
            raise WeightsError(f"{name} has values that are not finite or too large for {kind}")
    return save(tensors, metadata={"model": _KIND, "config": json.dumps(model.config)})


def load_guided_upscale(path: str | Path | None = None) -> GuidedUpscale:
    """Load a trained network in evaluation mode without executing anything from the file.

    Args:
        path: A ``.safetensors`` file of :func:`guided_upscale_bytes`; None for the package's own
            weights.

    Raises:
        WeightsError: The file is missing or damaged, or holds weights of another network.
    """
    from safetensors import SafetensorError, safe_open

    path = WEIGHTS if path is None else Path(path)
    if not path.is_file():
        raise WeightsError(
            f"file not found: {path}",
            remedy="correct the path, or train a network with fit_guided_upscale",
        )
    try:
        with safe_open(path, framework="pt") as file:
            described = file.metadata() or {}
            config = json.loads(described.get("config", "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, ValueError, RecursionError) as error:
        raise WeightsDamagedError(
            f"{path.name} is damaged or not a safetensors file: {error}"
        ) from error
    if described.get("model") != _KIND or not isinstance(config, dict):
        raise WeightsError(
            f"{path.name} does not hold a guided upscaling network",
            remedy="train one with fit_guided_upscale",
        )
    # Bound the claimed sizes first: a hostile file must not make us allocate memory.
    claimed = [value for values in config.values() for value in _numbers(values)]
    if len(claimed) > 64 or any(not 1 <= value <= 4096 for value in claimed):
        raise WeightsDamagedError(f"{path.name} describes a network of impossible size")
    try:
        model = GuidedUpscale(**config)
        model.load_state_dict({name: value.float() for name, value in tensors.items()})
    except (TypeError, RuntimeError, UsageError) as error:
        raise WeightsDamagedError(
            f"the weights in {path.name} do not fit its configuration: {error}"
        ) from error
    for name, value in model.state_dict().items():
        if not torch.isfinite(value).all():
            raise WeightsDamagedError(f"{path.name}: {name} has values that are not finite")
    return model.eval()


def _numbers(value: object) -> list[int]:
    if isinstance(value, list):
        return [one for inner in value for one in _numbers(inner)]
    return [value] if isinstance(value, int) else [0]
