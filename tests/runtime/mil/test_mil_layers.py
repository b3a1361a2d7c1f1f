"""Layers: convolution, pools, normalisation, products, attention."""

from __future__ import annotations

import itertools
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


def test_convolutions_pad_in_four_ways(evaluate: Evaluate) -> None:
    x, weight = np.arange(1, 6, dtype=np.float32).reshape(1, 1, 5), np.ones((1, 1, 2), np.float32)
    bias = np.array([100.0], np.float32)
    results = evaluate(
        {"x": x},
        lambda x: [
            mb.conv(x=x, weight=weight, pad_type="valid"),
            mb.conv(x=x, weight=weight, pad_type="same"),
            mb.conv(x=x, weight=weight, pad_type="same_lower"),
            mb.conv(x=x, weight=weight, pad_type="custom", pad=[2, 0], bias=bias),
            mb.conv(x=x, weight=weight, pad_type="same", strides=[3]),
            mb.conv(x=x, weight=weight, pad_type="valid", dilations=[3]),
        ],
    )
    close(
        results,
        [
            [[[3, 5, 7, 9]]],
            [[[3, 5, 7, 9, 5]]],
            [[[1, 3, 5, 7, 9]]],
            [[[100, 101, 103, 105, 107, 109]]],
            [[[3, 9]]],
            [[[5, 7]]],
        ],
    )


def test_convolutions_of_every_rank_and_grouping(evaluate: Evaluate) -> None:
    plane, volume = noise(2, 4, 7, 6), noise(1, 2, 4, 5, 3)
    w, dw, w3 = noise(6, 2, 3, 2), noise(4, 1, 3, 3), noise(3, 2, 2, 2, 2)
    weight = noise(5, 4, 1, 1)
    results = evaluate(
        {"p": plane, "v": volume, "dynamic": weight},
        lambda p, v, dynamic: [
            mb.conv(x=p, weight=w, groups=2, strides=[2, 1], pad_type="custom", pad=[1, 2, 0, 1]),
            mb.conv(x=p, weight=dw, groups=4, dilations=[2, 2], pad_type="same"),
            mb.conv(x=v, weight=w3, strides=[1, 2, 1], pad_type="valid"),
            mb.conv(x=p, weight=dynamic),
        ],
    )
    p, v = torch.from_numpy(plane), torch.from_numpy(volume)
    close(
        results,
        [
            F.conv2d(F.pad(p, (0, 1, 1, 2)), torch.from_numpy(w), stride=(2, 1), groups=2),
            F.conv2d(p, torch.from_numpy(dw), groups=4, dilation=2, padding=2),
            F.conv3d(v, torch.from_numpy(w3), stride=(1, 2, 1)),
            F.conv2d(p, torch.from_numpy(weight)),
        ],
    )


def test_transposed_convolutions(evaluate: Evaluate) -> None:
    x, weight = np.array([[[1.0, 10.0]]], np.float32), np.array([[[1.0, 2.0, 3.0]]], np.float32)
    bias = np.array([0.5], np.float32)
    # Without cropping, stride 2 gives 1, 2, 3 + 10, 20, 30.
    results = evaluate(
        {"x": x},
        lambda x: [
            mb.conv_transpose(x=x, weight=weight, strides=[2], pad_type="valid"),
            mb.conv_transpose(x=x, weight=weight, strides=[2], pad_type="custom", pad=[1, 0]),
            mb.conv_transpose(x=x, weight=weight, strides=[2], pad_type="same"),
            mb.conv_transpose(
                x=x, weight=weight, strides=[2], pad_type="custom", pad=[1, 0],
                output_shape=[1, 1, 5], bias=bias,
            ),
        ],
    )  # fmt: skip
    close(
        results,
        [
            [[[1, 2, 13, 20, 30]]],
            [[[2, 13, 20, 30]]],
            [[[1, 2, 13, 20]]],
            [[[2.5, 13.5, 20.5, 30.5, 0.5]]],
        ],
    )


def test_transposed_convolutions_of_planes(evaluate: Evaluate) -> None:
    x, weight, bias = noise(1, 4, 3, 5), noise(4, 3, 3, 4), noise(6)
    (result,) = evaluate(
        {"x": x},
        lambda x: mb.conv_transpose(
            x=x, weight=weight, bias=bias, groups=2, strides=[2, 3], dilations=[1, 2],
            pad_type="custom", pad=[1, 1, 2, 2],
        ),
    )  # fmt: skip
    wanted = F.conv_transpose2d(
        torch.from_numpy(x), torch.from_numpy(weight), torch.from_numpy(bias),
        stride=(2, 3), dilation=(1, 2), padding=(1, 2), groups=2,
    )  # fmt: skip
    close([result], [wanted])


def test_pools_by_hand(evaluate: Evaluate) -> None:
    x = np.array([[[1.0, 2.0, 3.0, 6.0, 5.0]]], np.float32)
    window: dict[str, Any] = {"kernel_sizes": [2], "strides": [2]}
    custom: dict[str, Any] = {**window, "pad_type": "custom", "pad": [1, 0]}
    results = evaluate(
        {"x": x},
        lambda x: [
            mb.avg_pool(x=x, pad_type="valid", **window),
            mb.avg_pool(x=x, pad_type="same", **window),
            mb.avg_pool(x=x, pad_type="same", exclude_padding_from_average=True, **window),
            mb.avg_pool(x=x, pad_type="same_lower", **window),
            mb.avg_pool(x=x, **custom),
            mb.avg_pool(x=x, pad_type="valid", ceil_mode=True, **window),
            mb.max_pool(x=mb.mul(x=x, y=-1.0), **custom),
            mb.max_pool(x=x, pad_type="valid", ceil_mode=True, **window),
            mb.l2_pool(x=x, pad_type="valid", **window),
        ],
    )
    close(
        results,
        [
            [[[1.5, 4.5]]],
            [[[1.5, 4.5, 2.5]]],
            [[[1.5, 4.5, 5]]],
            [[[0.5, 2.5, 5.5]]],
            [[[0.5, 2.5, 5.5]]],
            [[[1.5, 4.5, 5]]],
            [[[-1, -2, -5]]],
            [[[2, 6, 5]]],
            [[[np.sqrt(5), np.sqrt(45)]]],
        ],
    )


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("count_padding", [False, True])
def test_pools_are_those_of_torch(evaluate: Evaluate, ceil_mode: bool, count_padding: bool) -> None:
    x = noise(2, 3, 7, 8)
    tensor = torch.from_numpy(x)
    cases = list(itertools.product([2, 3], [2, 3], [0, 1]))

    def build(x: Any) -> list[Any]:
        results = []
        for kernel, stride, pad in cases:
            common: dict[str, Any] = {
                "x": x,
                "kernel_sizes": [kernel, kernel],
                "strides": [stride, stride],
                "pad_type": "custom",
                "pad": [pad] * 4,
                "ceil_mode": ceil_mode,
            }
            results.append(mb.avg_pool(exclude_padding_from_average=not count_padding, **common))
            results.append(mb.max_pool(**common))
        return results

    expected = []
    for kernel, stride, pad in cases:
        expected += [
            F.avg_pool2d(tensor, kernel, stride, pad, ceil_mode, count_padding),
            F.max_pool2d(tensor, kernel, stride, pad, ceil_mode=ceil_mode),
        ]
    close(evaluate({"x": x}, build), expected)


def test_normalisation(evaluate: Evaluate) -> None:
    x = noise(2, 4, 3, 5)
    mean, variance = noise(4), np.abs(noise(5))[:4]
    gamma, beta = noise(7)[:4], noise(8)[:4]
    g2, b2 = noise(4, 5), noise(5, 4).reshape(4, 5)
    results = evaluate(
        {"x": x},
        lambda x: [
            mb.batch_norm(x=x, mean=mean, variance=variance, gamma=gamma, beta=beta, epsilon=1e-3),
            mb.instance_norm(x=x, gamma=gamma, beta=beta, epsilon=1e-3),
            mb.instance_norm(x=x),
            mb.layer_norm(x=x, axes=[-2, -1], epsilon=1e-3),
            mb.layer_norm(x=x, axes=[1, 3], gamma=g2, beta=b2, epsilon=1e-3),
            mb.l2_norm(x=x, epsilon=1e-3),
            mb.local_response_norm(x=x, size=3, alpha=0.5, beta=0.6, k=1.5),
        ],
    )
    t = torch.from_numpy(x)
    m, v, g, b = (torch.from_numpy(value) for value in (mean, variance, gamma, beta))
    spread = x.var(axis=(1, 3), keepdims=True)
    layer = (x - x.mean(axis=(1, 3), keepdims=True)) / np.sqrt(spread + 1e-3)
    squares = np.pad(x**2, ((0, 0), (1, 1), (0, 0), (0, 0)))
    near = squares[:, :-2] + squares[:, 1:-1] + squares[:, 2:]
    close(
        results,
        [
            F.batch_norm(t, m, v, g, b, eps=1e-3),
            F.instance_norm(t, weight=g, bias=b, eps=1e-3),
            F.instance_norm(t),
            F.layer_norm(t, (3, 5), eps=1e-3),
            layer * g2[None, :, None, :] + b2[None, :, None, :],
            x / np.sqrt((x**2).sum(axis=(1, 2, 3), keepdims=True) + 1e-3),
            x / (1.5 + 0.5 / 3 * near) ** 0.6,
        ],
    )


def test_instances_of_one_pixel_are_normalised_to_zero(evaluate: Evaluate) -> None:
    (result,) = evaluate({"x": noise(1, 3, 1, 1)}, lambda x: mb.instance_norm(x=x))
    close([result], [np.zeros((1, 3, 1, 1))])


def test_products(evaluate: Evaluate) -> None:
    a, b, v = noise(2, 3, 4), noise(1, 5, 4), noise(4)
    left, right = noise(2, 3, 1, 4), noise(1, 4, 5, 2)
    weight, bias = noise(6, 4), noise(6)
    results = evaluate(
        {"a": a, "b": b, "v": v, "l": left, "r": right},
        lambda a, b, v, l, r: [  # noqa: E741
            mb.matmul(x=a, y=b, transpose_y=True),
            mb.matmul(x=mb.transpose(x=a, perm=[0, 2, 1]), y=b, transpose_x=True, transpose_y=True),
            mb.matmul(x=v, y=mb.transpose(x=b, perm=[0, 2, 1])),
            mb.linear(x=a, weight=weight, bias=bias),
            mb.linear(x=a, weight=weight),
            mb.einsum(values=(l, r), equation="nchw,nwhu->nchu"),
        ],
    )
    swapped = b.transpose(0, 2, 1)
    spread = [np.broadcast_to(left, (2, 3, 5, 4)), np.broadcast_to(right, (2, 4, 5, 2))]
    close(
        results,
        [
            a @ swapped,
            a @ swapped,
            v @ swapped,
            a @ weight.T + bias,
            a @ weight.T,
            np.einsum("nchw,nwhu->nchu", *spread),
        ],
    )


def test_attention_with_both_kinds_of_mask(evaluate: Evaluate) -> None:
    q, k, v = noise(1, 2, 3, 4), noise(1, 2, 5, 4), noise(1, 2, 5, 6)
    seen = np.array([[1, 0, 1, 1, 0]] * 3, bool)
    bias = noise(3, 5)
    results = evaluate(
        {"q": q, "k": k, "v": v},
        lambda q, k, v: [
            mb.scaled_dot_product_attention(query=q, key=k, value=v),
            mb.scaled_dot_product_attention(query=q, key=k, value=v, attn_mask=seen),
            mb.scaled_dot_product_attention(query=q, key=k, value=v, attn_mask=bias),
        ],
        ct.target.iOS18,
    )
    scores = q @ k.transpose(0, 1, 3, 2) / 2.0

    def attend(scores: np.ndarray) -> np.ndarray:
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        return weights / weights.sum(-1, keepdims=True) @ v

    close(
        results,
        [attend(scores), attend(np.where(seen, scores, -np.inf)), attend(scores + bias)],
    )
