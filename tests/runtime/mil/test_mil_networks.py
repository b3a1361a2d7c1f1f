"""Networks converted from torch, against the same networks run eagerly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

ct = pytest.importorskip("coremltools")

Both = Callable[..., Any]


def agree(pairs: list[tuple[np.ndarray, np.ndarray]], atol: float = 1e-5) -> None:
    for number, (evaluated, eager) in enumerate(pairs):
        assert evaluated.shape == eager.shape
        np.testing.assert_allclose(evaluated, eager, atol=atol, err_msg=f"output {number}")


def cosine(pairs: list[tuple[np.ndarray, np.ndarray]]) -> float:
    (evaluated, eager) = (np.ravel(side).astype(np.float64) for side in pairs[0])
    return float(evaluated @ eager / np.linalg.norm(evaluated) / np.linalg.norm(eager))


class Activations(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.prelu = nn.PReLU(4, init=0.3)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return (
            F.relu6(x * 5), F.leaky_relu(x, 0.2), self.prelu(x), F.elu(x, 0.7), F.gelu(x),
            F.silu(x), F.hardsigmoid(x), F.hardswish(x),
            F.softplus(x), F.softsign(x), torch.tanh(x), torch.erf(x), torch.exp(x),
            torch.exp2(x), torch.log(x.abs() + 1), torch.rsqrt(x.abs() + 1),
            torch.sin(x) + torch.cos(x), F.softmax(x, 1),
            F.log_softmax(x, -1), torch.clamp(x, -0.5, 0.5), torch.where(x > 0, x, -2 * x),
            torch.remainder(x, 0.3), torch.floor_divide(x, 0.4), torch.sign(x), F.mish(x),
        )  # fmt: skip


class Shapes(nn.Module):
    def forward(self, x: Tensor, index: Tensor) -> tuple[Tensor, ...]:
        a, b = x.split([1, 3], dim=1)
        values, places = torch.topk(x, 2, dim=-1)
        return (
            torch.cat([b, a], 1), torch.stack([x, x * 2], 2), x.flatten(1), x.permute(0, 2, 3, 1),
            x[:, 1:, ::2, -3:], x[:, 0], F.pad(x, (1, 2, 0, 1)),
            F.pad(x, (2, 1, 1, 2), mode="reflect"), F.pad(x, (1, 1, 1, 1), mode="replicate"),
            F.pixel_shuffle(x, 2), F.pixel_unshuffle(x, 2), x.repeat(1, 2, 1, 1),
            x.flip([2]), x.unsqueeze(1).expand(-1, 2, -1, -1, -1), torch.gather(x, 3, index),
            x.scatter(3, index, 0.5), x.index_select(1, torch.tensor([2, 0])), values, places,
            torch.sort(x, dim=1, descending=True)[1], torch.cumsum(x, 2), torch.tril(x[0, 0]),
            torch.argmax(x, 1), x.amax((2, 3)), x.mean((2, 3), keepdim=True), x.std(1),
            torch.roll(x, 1, 2), x.masked_fill(x > 0.5, -1.0), torch.einsum("bchw,bcij->bhi", x, x),
        )  # fmt: skip


class Spatial(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2)
        self.dilated = nn.Conv2d(4, 8, 3, padding=2, dilation=2, groups=4, bias=False)
        self.line = nn.Conv1d(4, 3, 5, stride=2)
        self.volume = nn.Conv3d(1, 2, 3, padding=1)
        self.group = nn.GroupNorm(2, 4)
        self.instance = nn.InstanceNorm2d(4, affine=True)
        self.batch = nn.BatchNorm2d(4)
        self.layer = nn.LayerNorm(6)

    def forward(self, x: Tensor, grid: Tensor) -> tuple[Tensor, ...]:
        return (
            self.up(x), self.dilated(x), self.line(x[:, :, 0].repeat(1, 1, 3)),
            self.volume(x.unsqueeze(1)), self.group(x), self.instance(x), self.batch(x),
            self.layer(x), F.avg_pool2d(x, 3, 2, 1), F.max_pool2d(x, 3, 2, 1),
            F.avg_pool2d(x, 3, 2, 1, ceil_mode=True, count_include_pad=False),
            F.max_pool2d(x, 2, 2, ceil_mode=True), F.adaptive_avg_pool2d(x, 1),
            F.interpolate(x, scale_factor=2, mode="nearest"),
            F.interpolate(x, size=(9, 11), mode="bilinear", align_corners=False),
            F.interpolate(x, size=(9, 11), mode="bilinear", align_corners=True),
            F.grid_sample(x, grid, align_corners=False),
            F.grid_sample(x, grid, padding_mode="reflection", align_corners=False),
            F.grid_sample(x, grid, mode="nearest", padding_mode="border", align_corners=True),
            F.normalize(x, dim=1), F.local_response_norm(x, 3), F.unfold(x, 3),
        )  # fmt: skip


def test_activations(both: Both) -> None:
    torch.manual_seed(0)
    _, pairs = both(Activations(), torch.randn(2, 4, 3, 5))
    agree(pairs)


def test_shapes(both: Both) -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 4, 6, 6)
    index = torch.randint(0, 6, (1, 4, 6, 2), dtype=torch.int32).sort(-1)[0]
    index[..., 1] = (index[..., 0] + 1) % 6
    _, pairs = both(Shapes(), x, index.to(torch.int64), minimum_deployment_target=ct.target.iOS17)
    agree(pairs)


def test_spatial_layers(both: Both) -> None:
    torch.manual_seed(0)
    net = Spatial()
    net.batch.running_mean = torch.randn(4)
    _, pairs = both(net, torch.randn(2, 4, 5, 6), torch.rand(2, 4, 3, 2) * 3 - 1.5)
    agree(pairs, atol=2e-5)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(16, 48)
        self.norm = nn.LayerNorm(16)
        self.feed = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))
        self.embed = nn.Embedding(11, 16)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens)
        q, k, v = self.project(self.norm(x)).chunk(3, -1)
        heads = [part.unflatten(-1, (4, 4)).transpose(1, 2) for part in (q, k, v)]
        mixed = F.scaled_dot_product_attention(*heads, is_causal=True)
        x = x + mixed.transpose(1, 2).flatten(2)
        return x + self.feed(x)


@pytest.mark.parametrize("target", ["iOS15", "iOS18"])
def test_an_attention_block(both: Both, target: str) -> None:
    torch.manual_seed(0)
    tokens = torch.randint(0, 11, (2, 7), dtype=torch.int32)
    evaluator, pairs = both(Attention(), tokens, minimum_deployment_target=ct.target[target])
    assert evaluator.inputs[0].dtype == "int32"
    agree(pairs)


class Inverted(nn.Sequential):
    """An inverted bottleneck with a depthwise convolution."""

    def __init__(self, width: int, out: int, stride: int) -> None:
        inner = 4 * width
        super().__init__(
            nn.Conv2d(width, inner, 1, bias=False), nn.BatchNorm2d(inner), nn.ReLU6(),
            nn.Conv2d(inner, inner, 3, stride, 1, groups=inner, bias=False),
            nn.BatchNorm2d(inner), nn.ReLU6(),
            nn.Conv2d(inner, out, 1, bias=False), nn.BatchNorm2d(out),
        )  # fmt: skip
        self.adds = stride == 1 and width == out

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return x + y if self.adds else y


def mobile_network() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU6(),
        Inverted(8, 8, 1), Inverted(8, 12, 2),
        nn.Conv2d(12, 64, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU6(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
    # Statistics that fit the random weights, so that activations neither vanish nor explode.
    with torch.no_grad():
        net.train()(torch.randn(16, 3, 32, 32))
    return net.eval()


def test_a_mobile_network(both: Both) -> None:
    x = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    _, pairs = both(mobile_network(), x)
    agree(pairs)


def test_half_precision_stays_close_in_single_precision_arithmetic(both: Both) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 36, 10))
    evaluator, pairs = both(
        net, torch.randn(1, 3, 8, 8), compute_precision=ct.precision.FLOAT16,
        minimum_deployment_target=ct.target.iOS16,
    )  # fmt: skip
    assert evaluator.outputs[0].dtype == "float16"
    # Weights, input and output are rounded to half precision, and nothing between them.
    assert 0.99999 < cosine(pairs) < 1.0
    assert np.abs(pairs[0][0].astype(np.float32) - pairs[0][1]).max() > 0
