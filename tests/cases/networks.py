"""Small networks of the kinds that people deploy, on which converters fail without help."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

__all__ = ["CASES", "build"]


class Several(nn.Module):
    """Layers that read the same features, by the name of their output."""

    def __init__(self, channels: int, **layers: nn.Module) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 3, padding=1)
        self.heads = nn.ModuleDict(layers)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y = self.stem(x)
        return {name: layer(y) for name, layer in self.heads.items()}


class Function(nn.Module):
    def __init__(self, compute: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.compute = compute

    def forward(self, x: Tensor) -> Tensor:
        return self.compute(x)


class Normalizes(nn.Module):
    """Normalizes the picture that it is given in place, and returns it as well."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x.sub_(0.5).div_(0.25)
        return torch.relu(self.conv(x))


class SwapsColors(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x[:, [0, 2]] = x[:, [2, 0]]
        x[:, :, :2] *= 0.5
        return self.conv(x)


class Passes(nn.Module):
    """Returns its input beside its result."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"mask": self.conv(x).sigmoid(), "image": x}


class Detects(nn.Module):
    """The end of a detector without the suppression of overlaps."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 9, 3, stride=4, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        y = self.conv(x).flatten(2).transpose(1, 2)
        boxes, scores = y[..., :4], y[..., 4:].sigmoid()
        best, label = scores.max(-1)
        value, order = best.topk(8, dim=1)
        chosen = boxes.gather(1, order.unsqueeze(-1).expand(-1, -1, 4)).clone()
        chosen[..., 2:] += chosen[..., :2]
        chosen[value < 0.55] = -1.0
        rank = torch.cumsum((value > 0.5).to(torch.int64), 1)
        return chosen, value, label.gather(1, order), rank


class Normalizations(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.instance = nn.InstanceNorm2d(8, affine=True, track_running_stats=True)
        nn.init.normal_(self.instance.running_mean)
        nn.init.uniform_(self.instance.running_var, 0.4, 2.0)
        self.response, self.group = nn.LocalResponseNorm(5, alpha=0.02), nn.GroupNorm(8, 8)
        self.rms = nn.RMSNorm(8)

    def forward(self, x: Tensor) -> Tensor:
        y = self.group(self.response(self.instance(self.conv(x))))
        return self.rms(y.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Vocoder(nn.Module):
    """Upsampling of a spectrogram to samples."""

    def __init__(self) -> None:
        super().__init__()
        norm = parametrizations.weight_norm
        self.pre = norm(nn.Conv1d(20, 16, 7, padding=3))
        self.first = norm(nn.ConvTranspose1d(16, 8, 8, 4, padding=2))
        self.second = norm(nn.ConvTranspose1d(8, 4, 5, 3, padding=1, output_padding=1))
        self.wide = norm(nn.Conv1d(4, 4, 3, dilation=5, padding=5))
        self.post = norm(nn.Conv1d(4, 1, 7, padding=3))

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(functional.leaky_relu(self.pre(x), 0.1))
        y = self.second(functional.leaky_relu(y, 0.1))
        y = y + self.wide(functional.leaky_relu(y, 0.1))
        return torch.tanh(self.post(functional.leaky_relu(y)))


def in_channels_last() -> nn.Module:
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)


def fold(y: Tensor) -> Tensor:
    patches = functional.unfold(y, 4, stride=2, padding=1) * 0.5
    return functional.fold(patches, y.shape[-2:], 4, stride=2, padding=1)


def resized(**options: object) -> Function:
    return Function(lambda y: functional.interpolate(y, **options))


Case = tuple[Callable[[], nn.Module], tuple[int, ...]]

#: Network and shape of its input, by name.
CASES: dict[str, Case] = {
    "normalizes in place": (Normalizes, (2, 3, 8, 8)),
    "swaps colors in place": (SwapsColors, (2, 3, 8, 8)),
    "channels_last": (in_channels_last, (1, 3, 16, 16)),
    "reflection of volumes": (
        lambda: nn.Sequential(nn.ReflectionPad3d(1), nn.Conv3d(2, 3, 3)),
        (1, 2, 6, 6, 6),
    ),
    "input returned": (Passes, (1, 3, 16, 16)),
    "padding": (
        lambda: Several(
            4,
            circular=nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"),
            replicate=nn.Conv2d(4, 4, 5, padding=2, padding_mode="replicate"),
            wrapped=nn.CircularPad2d((2, 2, 0, 0)),
            even=nn.Conv2d(4, 4, (4, 2), padding="same"),
        ),
        (1, 3, 16, 16),
    ),
    "pooling": (
        lambda: Several(
            6,
            count=nn.AvgPool2d(3, 2, 1, ceil_mode=True),
            skip=nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False),
            divisor=nn.AvgPool2d((2, 3), 2, divisor_override=4),
            most=nn.MaxPool2d(3, 2, 1, ceil_mode=True),
            wide=nn.MaxPool2d(1, 3, ceil_mode=True),
        ),
        (1, 3, 17, 19),
    ),
    "transposed convolution": (
        lambda: Several(
            12,
            grouped=nn.ConvTranspose2d(12, 12, 3, 2, 1, groups=4),
            single=nn.ConvTranspose2d(12, 1, 3, 2, 1, output_padding=(1, 0), bias=False),
            longer=nn.ConvTranspose2d(12, 6, 3, 2, 1, output_padding=1),
        ),
        (1, 3, 9, 11),
    ),
    "vocoder": (Vocoder, (1, 20, 16)),
    "normalization": (Normalizations, (1, 3, 12, 12)),
    "fold": (lambda: Several(3, folded=Function(fold)), (1, 3, 16, 16)),
    "resizing by scales": (
        lambda: Several(
            5,
            bilinear=resized(scale_factor=1.3, mode="bilinear"),
            nearest=resized(scale_factor=(0.6, 1.7), mode="nearest"),
            bicubic=resized(size=(7, 31), mode="bicubic"),
            exact=resized(size=(7, 31), mode="nearest-exact"),
        ),
        (1, 3, 17, 11),
    ),
    "detector": (Detects, (1, 3, 32, 32)),
    "spectral norm": (
        lambda: nn.Sequential(
            parametrizations.spectral_norm(nn.Conv2d(3, 8, 3, padding=1)), nn.LeakyReLU(0.2)
        ),
        (1, 3, 16, 16),
    ),
}


def build(name: str) -> tuple[nn.Module, Tensor]:
    """The network and an example of its input, the same every time."""
    make, shape = CASES[name]
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return make().eval(), torch.randn(shape)
