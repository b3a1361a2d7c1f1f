"""GoogLeNet with batch normalisation, without the auxiliary classifiers.

Szegedy et al., "Going Deeper with Convolutions", CVPR 2015; batch normalisation after Ioffe
and Szegedy, ICML 2015.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from edgesdk.models.architecture import check_choice, check_lengths, checked_config
from edgesdk.models.initialisation import initialise
from edgesdk.models.layers import ConvNormAct

__all__ = ["GoogLeNet", "Inception"]

#: Table 1 of the paper: 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection.
_INCEPTION_WIDTHS = (
    (64, 96, 128, 16, 32, 32),
    (128, 128, 192, 32, 96, 64),
    (192, 96, 208, 16, 48, 64),
    (160, 112, 224, 24, 64, 64),
    (128, 128, 256, 24, 64, 64),
    (112, 144, 288, 32, 64, 64),
    (256, 160, 320, 32, 128, 128),
    (256, 160, 320, 32, 128, 128),
    (384, 192, 384, 48, 128, 128),
)
#: Size of the pooling in front of an inception module.
_POOLED = {0: 3, 2: 3, 7: 2}
# The normalisation constant of the published TensorFlow weights.
_EPS = 1e-3


class _RoundedUpMaxPool(nn.Module):
    """Max pooling with stride 2 and ``ceil_mode``, made from explicit padding.

    Padding with zeros is exact because the input comes from a ReLU. Delegates do not support
    ``ceil_mode``.
    """

    def __init__(self, kernel_size: int) -> None:
        super().__init__()
        self.kernel_size = kernel_size

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        below = (x.shape[-2] - self.kernel_size) % 2
        right = (x.shape[-1] - self.kernel_size) % 2
        if below or right:
            x = functional.pad(x, (0, right, 0, below))
        return functional.max_pool2d(x, self.kernel_size, stride=2)


class Inception(nn.Module):
    """Inception module: four concatenated branches.

    Args:
        in_width: Input channels.
        widths: Channels of the 1x1 branch, the reduction and the output of the second and of
            the third branch, and of the projection behind the pooling.
        third_kernel: Side of the kernel of the third branch.
    """

    def __init__(self, in_width: int, widths: list[int], third_kernel: int) -> None:
        super().__init__()
        point, reduced3, area3, reduced5, area5, pooled = widths
        self.width = point + area3 + area5 + pooled
        self.branches = nn.ModuleList(
            [
                ConvNormAct(in_width, point, eps=_EPS),
                nn.Sequential(
                    ConvNormAct(in_width, reduced3, eps=_EPS),
                    ConvNormAct(reduced3, area3, 3, eps=_EPS),
                ),
                nn.Sequential(
                    ConvNormAct(in_width, reduced5, eps=_EPS),
                    ConvNormAct(reduced5, area5, third_kernel, eps=_EPS),
                ),
                nn.Sequential(
                    nn.MaxPool2d(3, stride=1, padding=1), ConvNormAct(in_width, pooled, eps=_EPS)
                ),
            ]
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``[N, in_width, H, W]`` to ``[N, width, H, W]``."""
        return torch.cat([branch(x) for branch in self.branches], dim=1)


class GoogLeNet(nn.Module):
    """Stem of three convolutions, nine inception modules, linear classifier.

    Args:
        stem_widths: Channels of the three convolutions of the stem.
        inception_widths: Six numbers of channels for each of the nine modules, see
            :class:`Inception`.
        third_kernel: Side of the kernel of each third branch: 5 in the paper, 3 in the commonly
            used weights.
        num_classes: Classes.
        in_channels: Channels of the image.
        dropout: Probability of dropping a feature in front of the classifier.

    Raises:
        UsageError: Lists of different lengths, or a width that is not a positive whole number.
    """

    def __init__(
        self,
        stem_widths: list[int] | None = None,
        inception_widths: list[list[int]] | None = None,
        third_kernel: int = 3,
        num_classes: int = 1000,
        in_channels: int = 3,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        stem_widths = stem_widths or [64, 64, 192]
        check_lengths(3, stem_widths=stem_widths)
        inception_widths = inception_widths or [list(widths) for widths in _INCEPTION_WIDTHS]
        check_lengths(len(_INCEPTION_WIDTHS), inception_widths=inception_widths)
        check_lengths(6, **{f"inception_widths[{i}]": w for i, w in enumerate(inception_widths)})
        check_choice("third_kernel", third_kernel, (3, 5))
        self.config = checked_config(GoogLeNet, locals())

        first, second, third = stem_widths
        self.stem = nn.Sequential(
            ConvNormAct(in_channels, first, 7, stride=2, eps=_EPS),
            _RoundedUpMaxPool(3),
            ConvNormAct(first, second, eps=_EPS),
            ConvNormAct(second, third, 3, eps=_EPS),
        )
        modules: list[nn.Module] = []
        previous = third
        for index, widths in enumerate(inception_widths):
            if index in _POOLED:
                modules.append(_RoundedUpMaxPool(_POOLED[index]))
            inception = Inception(previous, widths, third_kernel)
            modules.append(inception)
            previous = inception.width
        self.body = nn.Sequential(*modules)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(previous, num_classes)
        initialise(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map images ``[N, in_channels, H, W]`` to logits ``[N, num_classes]``."""
        x = self.body(self.stem(x)).mean((2, 3), keepdim=True).flatten(1)
        return self.classifier(self.dropout(x))
