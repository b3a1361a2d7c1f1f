"""Arbitrary style transfer: one small network, conditioned on the statistics of a painting.

Huang and Belongie, ICCV 2017 (arXiv:1703.06868): the mean and the standard deviation of features
of a painting describe its style. Ghiasi et al., BMVC 2017 (arXiv:1705.06830): a multi-style network
paints in an unseen style if its style vector is predicted from the painting. An app stores the
statistics; two 1x1 convolutions inside the painting network predict the vector from them, so
blending two styles means blending their statistics.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from edgesdk.models.architecture import check_lengths, check_width, checked_config
from edgesdk.models.initialisation import initialise
from edgesdk.models.multi_style import MultiStyleNet
from edgesdk.models.shipped_weights import load_shipped

__all__ = ["AnyStyleNet", "StyleEncoder"]

_LEVELS = [16, 32, 48, 64]
_WEIGHTS = "any_style"


class StyleEncoder(nn.Module):
    """Compute the statistics of a painting: mean and deviation of features at four sizes.

    Args:
        level_widths: Channels at a half, a quarter, an eighth and a sixteenth of the size.
        pretrained: Load the package's weights, which fit the default widths only; ``config``
            always holds false.

    Raises:
        UsageError: A list of another length, a width that is not a positive whole number, or
            ``pretrained`` with other widths.
        WeightsError: The package's weights are missing or damaged.
    """

    def __init__(self, level_widths: list[int] | None = None, pretrained: bool = False) -> None:
        super().__init__()
        level_widths = list(_LEVELS) if level_widths is None else level_widths
        check_lengths(4, level_widths=level_widths)
        self.config = checked_config(StyleEncoder, locals())
        first, *rest = level_widths
        # No normalisation: it would remove the statistics that the encoder measures.
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
        """Length of the style statistics."""
        return 2 * sum(self.config["level_widths"])

    def forward(self, painting: torch.Tensor) -> torch.Tensor:
        """Compute the statistics of paintings.

        Args:
            painting: ``[N, 3, H, W]``, 0..1; H and W at least 32.

        Returns:
            ``[N, width, 1, 1]``: the means of all levels, then the standard deviations.
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
    """Paint a picture in the style that a painting's statistics describe.

    Args:
        statistics: Length of the style statistics, see :attr:`StyleEncoder.width`.
        code: Length of the style vector predicted from the statistics: number of base styles that
            the network mixes.
        encoder_widths: See :class:`~edgesdk.models.multi_style.MultiStyleNet`, like the next three.
        expanded_widths: Likewise.
        decoder_widths: Likewise.
        refined_widths: Likewise, but no such blocks by default.
        pretrained: Load the package's weights, which fit the default widths only; ``config``
            always holds false.

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
            # Every style starts as the same mixture, which equals plain instance normalisation.
            nn.init.normal_(last.weight, std=0.1 / code)
            nn.init.constant_(last.bias, 1 / code)
        if pretrained:
            load_shipped(self, _WEIGHTS, "painter")

    def forward(self, picture: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        """Paint pictures.

        Args:
            picture: ``[N, 3, H, W]``, 0..1; H and W multiples of 8, at least 16.
            style: Output of :class:`StyleEncoder`, ``[N or 1, statistics, 1, 1]``; average the
                statistics of several styles to blend them.

        Returns:
            ``[N, 3, H, W]``, 0..1.
        """
        return self.painter(picture, self.mix(style))
