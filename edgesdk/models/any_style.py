"""Any style in one small network: a painting's statistics, taken once, tell it how to paint.

Huang and Belongie, ICCV 2017 (arXiv:1703.06868): a style is the mean and the deviation of features
of the painting. Ghiasi et al., BMVC 2017 (arXiv:1705.06830): a network of many styles paints in one
that it was never trained on when its vector is predicted from the painting. Here the first is what
an app stores, and the second is a pair of 1x1 convolutions inside the network that paints, so that
blending two styles is blending their statistics.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from edgesdk.models.architecture import as_lists, check_lengths, check_width
from edgesdk.models.initialisation import initialise
from edgesdk.models.multi_style import MultiStyleNet
from edgesdk.models.shipped_weights import load_shipped

__all__ = ["AnyStyleNet", "StyleEncoder"]

_LEVELS = [16, 32, 48, 64]
_WEIGHTS = "any_style"


class StyleEncoder(nn.Module):
    """The statistics of a painting: means and deviations of features at four sizes.

    Args:
        level_widths: Channels at a half, a quarter, an eighth and a sixteenth of the size.
        pretrained: Load the package's weights, which fit the default widths only; ``config`` keeps
            this as false.

    Raises:
        UsageError: A list of another length, a width that is not a positive whole number, or
            ``pretrained`` with other widths.
        WeightsError: The package's weights are missing or damaged.
    """

    def __init__(self, level_widths: list[int] | None = None, pretrained: bool = False) -> None:
        super().__init__()
        level_widths = list(_LEVELS) if level_widths is None else level_widths
        self.config: dict[str, Any] = as_lists({"level_widths": level_widths, "pretrained": False})
        check_lengths(4, level_widths=level_widths)
        check_width("level_widths", level_widths)
        first, *rest = level_widths
        # Nothing is normalised here: that would remove what is to be measured.
        levels: list[nn.Module] = [
            nn.Sequential(nn.Conv2d(3, first, 3, 2, 1), nn.ReLU6(), nn.Conv2d(first, first, 1))
        ]
        for into, width in zip(level_widths, rest, strict=False):
            levels.append(
                nn.Sequential(
                    nn.ReLU6(),
                    nn.Conv2d(into, into, 3, 2, 1, groups=into),
                    nn.Conv2d(into, width, 1),
                )
            )
        self.levels = nn.ModuleList(levels)
        initialise(self)
        if pretrained:
            load_shipped(self, _WEIGHTS, "encoder")

    @property
    def width(self) -> int:
        """How many numbers a style is."""
        return 2 * sum(self.config["level_widths"])

    def forward(self, painting: torch.Tensor) -> torch.Tensor:
        """Measure.

        Args:
            painting: ``[N, 3, H, W]``, 0..1; H and W at least 32.

        Returns:
            ``[N, width, 1, 1]``: the means of every level, then the deviations.
        """
        x = painting - 0.5
        means, deviations = [], []
        for level in self.levels:
            x = level(x)
            mean = x.mean(dim=(2, 3), keepdim=True)
            centred = x - mean
            means.append(mean)
            deviations.append(torch.sqrt((centred * centred).mean(dim=(2, 3), keepdim=True) + 1e-5))
        return torch.cat([*means, *deviations], dim=1)


class AnyStyleNet(nn.Module):
    """Paints a picture in the style whose statistics it is given.

    Args:
        statistics: How many numbers a style is, see :attr:`StyleEncoder.width`.
        code: Length of the vector that they are turned into; of so many styles learnt in training
            every other style is a mixture.
        encoder_widths: See :class:`~edgesdk.models.multi_style.MultiStyleNet`, like the next three.
        expanded_widths: Likewise.
        decoder_widths: Likewise.
        refined_widths: Likewise, but none by default.
        pretrained: Load the package's weights, which fit the default widths only; ``config`` keeps
            this as false.

    Raises:
        UsageError: Lists of another length, a width that is not a positive whole number, or
            ``pretrained`` with other widths.
        WeightsError: The package's weights are missing or damaged.
    """

    def __init__(
        self,
        statistics: int = 2 * sum(_LEVELS),
        code: int = 64,
        encoder_widths: list[int] | None = None,
        expanded_widths: list[int] | None = None,
        decoder_widths: list[int] | None = None,
        refined_widths: list[int] | None = None,
        pretrained: bool = False,
    ) -> None:
        super().__init__()
        check_width("statistics", statistics)
        refined_widths = [0, 0] if refined_widths is None else refined_widths
        self.painter = MultiStyleNet(
            code, encoder_widths, expanded_widths, decoder_widths, refined_widths
        )
        widths = ("encoder_widths", "expanded_widths", "decoder_widths", "refined_widths")
        self.config: dict[str, Any] = {
            "statistics": statistics,
            "code": code,
            **{key: self.painter.config[key] for key in widths},
            "pretrained": False,
        }
        self.mix = nn.Sequential(
            nn.Conv2d(statistics, code, 1), nn.ReLU6(), nn.Conv2d(code, code, 1)
        )
        initialise(self.mix)
        last = self.mix[-1]
        if isinstance(last, nn.Conv2d) and last.bias is not None:
            # Every style begins as the same mixture, which is the plain instance normalisation.
            nn.init.normal_(last.weight, std=0.1 / code)
            nn.init.constant_(last.bias, 1 / code)
        if pretrained:
            load_shipped(self, _WEIGHTS, "painter")

    def forward(self, picture: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        """Paint.

        Args:
            picture: ``[N, 3, H, W]``, 0..1; H and W multiples of 8, at least 16.
            style: Of :class:`StyleEncoder`, ``[N or 1, statistics, 1, 1]``; a blend of styles is
                the blend of theirs.

        Returns:
            ``[N, 3, H, W]``, 0..1.
        """
        return self.painter(picture, self.mix(style))
