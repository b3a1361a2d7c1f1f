"""Enlarging a painted key frame to any size, with the key frame itself as a guide.

The smoothing stage of MVStylizer (Li et al., MobiHoc 2020, arXiv:2005.11630) around the filters of
Meta-SR. What a painting lost when it was made small stands in the frame it was made of: features
of the painting and of the frame's gradients give the enlarged painting; a matrix of three by three
gains a cell says how the frame's fine detail shows in the painting's colours; a residual block at
full size sees the sum and the frame, and takes away what the stylizer left behind. The gains begin
from those of the guided filter (He et al., ECCV 2010) and are let through where they are believed:
colours that follow the frame's take its detail whole, a texture that is the painter's own takes
none.
"""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from edgesdk.errors import UsageError, WeightsDamagedError, WeightsError
from edgesdk.models.architecture import as_lists, check_width
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

#: The weights that come with the package.
WEIGHTS = Path(__file__).parent / "weights" / "meta_smoothing.safetensors"

#: Radius of the windows in which painting and frame are compared, pixels of the painting.
_RADIUS = 2
#: Full scale becomes this where squares are summed, so that half precision holds them.
_LOUDER = 8.0
#: Variance, of that scale, below which a window counts as plain.
_PLAIN = 2e-4 * _LOUDER**2
#: No gain beyond this: a plain frame must not be blown up.
_MOST_GAIN = 4.0
_KIND = "meta_smoothing"


def _window_mean(x: torch.Tensor) -> torch.Tensor:
    return functional.avg_pool2d(edge_padded(x, _RADIUS), 2 * _RADIUS + 1, 1)


def local_detail(x: torch.Tensor) -> torch.Tensor:
    """What differs from the mean of the window around each pixel, eight times as large."""
    return (x - _window_mean(x)) * _LOUDER


def local_likeness(mine: torch.Tensor, its: torch.Tensor) -> torch.Tensor:
    """How a painting follows the picture of the same size, colour by colour.

    Args:
        mine: :func:`local_detail` of the painting, ``[N, 3, h, w]``.
        its: Of the picture, likewise.

    Returns:
        ``[N, 6, h, w]``: the gain of least squares in the window around each pixel, within 4, and
        the correlation, -1..1. Where the picture is plain both are near 0.
    """
    both = _window_mean(torch.cat([mine * its, mine * mine, its * its], dim=1))
    shared, own, plain = both.narrow(1, 0, 3), both.narrow(1, 3, 3), both.narrow(1, 6, 3)
    gain = (shared / (plain + _PLAIN)).clamp(-_MOST_GAIN, _MOST_GAIN)
    correlation = shared / torch.sqrt((own + _PLAIN) * (plain + _PLAIN))
    return torch.cat([gain, correlation], dim=1)


class _Block(nn.Module):
    """Two 3x3 convolutions and the input."""

    def __init__(self, width: int, inner_width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, inner_width, 3, padding=1)
        self.activation = nn.ReLU()
        self.second = nn.Conv2d(inner_width, width, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.second(self.activation(self.first(x)))


class GuidedUpscale(nn.Module):
    """Enlarges a painting by any factor, guided by the picture it was painted from.

    Args:
        width: Channels of the features, for each of which and each colour the small network
            predicts a filter; 64 gives it the published 445,120 parameters.
        inner_widths: Channels inside each residual block of the features; as many as elements.
        refine_width: Channels inside the residual block at full size, which is what costs most.
        kernel_size: Of the predicted filters, odd.
        hidden_width: Of the network that predicts them.

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
        self.config: dict[str, Any] = as_lists(
            {
                "width": width,
                "inner_widths": inner_widths,
                "refine_width": refine_width,
                "kernel_size": kernel_size,
                "hidden_width": hidden_width,
            }
        )
        for key, value in self.config.items():
            check_width(key, value)
        self.stem = nn.Conv2d(3 + GUIDE_CHANNELS + 6, width, 3, padding=1)
        self.blocks = nn.Sequential(*(_Block(width, inner) for inner in inner_widths))
        self.gains = nn.Conv2d(width + 6, 12, 1)
        self.upscale = MetaUpscale(width, kernel_size, hidden_width)
        self.refine_first = nn.Conv2d(6, refine_width, 3, padding=1)
        self.refine_second = nn.Conv2d(refine_width, 3, 3, padding=1)
        self.activation = nn.ReLU()
        initialise(self)
        # It begins as a cubic through the painting's pixels, with most of the gains of least
        # squares. Noise in their place would be unlearnt by killing the features.
        for last in (self.gains, self.upscale.predictor[2], self.refine_second):
            nn.init.zeros_(last.weight)
        nn.init.constant_(self.gains.bias[9:], 2.0)
        for block in self.blocks:
            block.second.weight.data.mul_(0.3)

    def seen(self, painted: torch.Tensor, guide: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Everything that is found out at the small size.

        Args:
            painted: ``[N, 3, h, w]``.
            guide: :func:`guide_of` the picture, at the same size.

        Returns:
            Features ``[N, width, h, w]``, and gains ``[N, 9, h, w]`` of red, green and blue detail
            in red, green and blue: those of red detail first.
        """
        # Without their means, which the cubic brings: filters would first have to learn to sum to
        # zero.
        mine, its = local_detail(painted), local_detail(guide.narrow(1, 0, 3))
        likeness = local_likeness(mine, its)
        seen = torch.cat([mine, its, guide.narrow(1, 3, 2), likeness], dim=1)
        features = self.blocks(self.stem(seen))
        found = self.gains(torch.cat([features, likeness], dim=1))
        gain, correlation = likeness.narrow(1, 0, 3), likeness.narrow(1, 3, 3)
        # The share of the painting's variance that the picture explains: near 1 for colours that
        # were moved, near 0 for strokes.
        explained = correlation * correlation
        believed = torch.sigmoid(found.narrow(1, 9, 3)) * explained * explained * gain
        gains = []
        for colour in range(3):
            # A colour's own gain stands among those that its detail has in the other colours.
            parts = [found.narrow(1, 3 * colour + k, 1) for k in range(3)]
            parts[colour] = parts[colour] + believed.narrow(1, colour, 1)
            gains += parts
        return features, torch.cat(gains, dim=1)

    def refined(
        self,
        enlarged: torch.Tensor,
        gains: torch.Tensor,
        coarse: torch.Tensor,
        original: torch.Tensor,
    ) -> torch.Tensor:
        """The answer at full size.

        Args:
            enlarged: The painting, ``[N, 3, H, W]``.
            gains: ``[N, 9, H, W]``, see :meth:`seen`.
            coarse: The picture without its detail, ``[N, 3, H, W]``.
            original: The picture, likewise.
        """
        detail = original - coarse
        for colour in range(3):
            enlarged = enlarged + gains.narrow(1, 3 * colour, 3) * detail.narrow(1, colour, 1)
        seen = torch.cat([enlarged, original], dim=1) - 0.5
        return enlarged + self.refine_second(self.activation(self.refine_first(seen)))

    def forward(self, painted: torch.Tensor, original: torch.Tensor) -> torch.Tensor:
        """Enlarge paintings to the size of their pictures.

        Args:
            painted: ``[N, 3, h, w]``, RGB, 0..1.
            original: ``[N, 3, H, W]``, likewise, of the same shape but for rounding, 1 to
                :data:`~edgesdk.models.meta_upscale.LARGEST_SCALE` times as large.

        Returns:
            ``[N, 3, H, W]``, not clipped.

        Raises:
            UsageError: Tensors of other shapes, or pictures that do not belong together.
        """
        _check(painted, original)
        size, small = original.shape[2:], painted.shape[2:]
        guide = resample(guide_of(original), small, area_matrix)
        features, gains = self.seen(painted, guide)
        both = torch.cat([painted, guide.narrow(1, 0, 3)], dim=1)
        smooth, coarse = resample(both, size, cubic_matrix).chunk(2, dim=1)
        enlarged = self.upscale.to_size(features, size) + smooth
        return self.refined(enlarged, resized(gains, size), coarse, original)

    def at_scale(self, p: int, q: int = 1) -> nn.Module:
        """The same for one scale ``p / q``, with constant filters: what is exported to a phone.

        See :class:`~edgesdk.models.guided_upscale_fixed.FixedScaleGuidedUpscale`.

        Raises:
            UsageError: Not two positive whole numbers, or a scale that is too small or too large.
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
        raise UsageError(f"{len(painted)} paintings of {len(original)} pictures")
    if min(original.shape[2:]) < 2:
        raise UsageError("a picture of a single row or column cannot guide")


def guided_upscale_bytes(model: GuidedUpscale, half: bool = True) -> bytes:
    """A file of weights as :func:`load_guided_upscale` reads it.

    Args:
        model: To save.
        half: In half precision, which halves the file and does not show.

    Raises:
        WeightsError: A weight is not finite, or half precision does not hold it.
    """
    from safetensors.torch import save

    kind = torch.float16 if half else torch.float32
    tensors = {name: value.detach().to(kind) for name, value in model.state_dict().items()}
    for name, value in tensors.items():
        if not torch.isfinite(value).all():
            raise WeightsError(f"{name} has values that are not finite or too large for {kind}")
    return save(tensors, metadata={"model": _KIND, "config": json.dumps(model.config)})


def load_guided_upscale(path: str | Path | None = None) -> GuidedUpscale:
    """Read a trained network, in evaluation mode. Nothing in the file is executed.

    Args:
        path: A ``.safetensors`` file of :func:`guided_upscale_bytes`; None: the package's own
            weights.

    Raises:
        WeightsError: No such file, a damaged one, or weights of something else.
    """
    from safetensors import SafetensorError, safe_open

    path = WEIGHTS if path is None else Path(path)
    if not path.is_file():
        raise WeightsError(
            f"no file {path}", remedy="train one with fit_guided_upscale, or correct it"
        )
    try:
        with safe_open(path, framework="pt") as file:
            described = file.metadata() or {}
            config = json.loads(described.get("config", "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, ValueError, RecursionError) as error:
        raise WeightsDamagedError(
            f"{path.name} is damaged or no safetensors file: {error}"
        ) from error
    if described.get("model") != _KIND or not isinstance(config, dict):
        raise WeightsError(
            f"{path.name} holds no meta-smoothing network",
            remedy="train one with fit_guided_upscale",
        )
    # What a file claims must not make memory for it before its weights are seen.
    claimed = [value for values in config.values() for value in _numbers(values)]
    if len(claimed) > 64 or any(not 1 <= value <= 4096 for value in claimed):
        raise WeightsDamagedError(f"{path.name} describes a network of impossible size")
    try:
        model = GuidedUpscale(**config)
        model.load_state_dict({name: value.float() for name, value in tensors.items()})
    except (TypeError, RuntimeError, UsageError) as error:
        raise WeightsDamagedError(
            f"{path.name} does not fit its own description: {error}"
        ) from error
    for name, value in model.state_dict().items():
        if not torch.isfinite(value).all():
            raise WeightsDamagedError(f"{path.name}: {name} has values that are not finite")
    return model.eval()


def _numbers(value: object) -> list[int]:
    if isinstance(value, list):
        return [one for inner in value for one in _numbers(inner)]
    return [value] if isinstance(value, int) else [0]
