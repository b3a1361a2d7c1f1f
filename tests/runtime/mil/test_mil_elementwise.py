"""Operators that work element by element, against NumPy and numbers by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

ct = pytest.importorskip("coremltools")
from coremltools.converters.mil.mil import Builder as mb  # noqa: E402

Evaluate = Callable[..., list[np.ndarray]]

X = np.array([[-1.75, -0.5, 0.0], [0.25, 0.75, 2.5]], np.float32)
POSITIVE = np.array([0.04, 0.25, 1.0, 9.0], np.float32)


def check(
    evaluate: Evaluate,
    inputs: dict[str, np.ndarray],
    build: Callable[..., list[Any]],
    expected: list[Any],
    target: Any = None,
    atol: float = 1e-6,
) -> None:
    results = evaluate(inputs, build, target)
    assert len(results) == len(expected)
    for number, (result, wanted) in enumerate(zip(results, expected, strict=True)):
        np.testing.assert_allclose(
            result, np.asarray(wanted), atol=atol, rtol=1e-6, err_msg=f"output {number}"
        )


def test_functions_of_one_value(evaluate: Evaluate) -> None:
    names = [
        "abs", "atan", "ceil", "cos", "cosh", "exp", "exp2", "floor", "round", "sign", "sin",
        "sinh", "square", "tan", "tanh",
    ]  # fmt: skip
    functions = {name: getattr(np, "arctan" if name == "atan" else name) for name in names}
    erf = np.vectorize(math.erf)
    check(
        evaluate,
        {"x": X},
        lambda x: [getattr(mb, name)(x=x) for name in names] + [mb.erf(x=x)],
        [function(X) for function in functions.values()] + [erf(X)],
    )


def test_functions_with_a_domain_and_epsilons(evaluate: Evaluate) -> None:
    inside = np.array([-0.9, 0.0, 0.5], np.float32)
    check(
        evaluate,
        {"x": inside, "p": POSITIVE},
        lambda x, p: [
            mb.acos(x=x),
            mb.asin(x=x),
            mb.atanh(x=x),
            mb.sqrt(x=p),
            mb.rsqrt(x=p, epsilon=0.75),
            mb.log(x=p, epsilon=0.0),
            mb.log(x=p, epsilon=1.0),
            mb.inverse(x=p, epsilon=1.0),
            mb.inverse(x=p),
        ],
        [
            np.arccos(inside),
            np.arcsin(inside),
            np.arctanh(inside),
            [0.2, 0.5, 1, 3],
            1 / np.sqrt(POSITIVE + 0.75),
            np.log(POSITIVE),
            np.log(POSITIVE + 1),
            1 / (POSITIVE + 1),
            1 / (POSITIVE + 1e-4),
        ],
    )


def test_rounding_takes_the_even_neighbour(evaluate: Evaluate) -> None:
    halves = np.array([-1.5, -0.5, 0.5, 1.5, 2.5], np.float32)
    check(evaluate, {"x": halves}, lambda x: [mb.round(x=x)], [[-2, 0, 0, 2, 2]])


def test_functions_of_two_values_broadcast(evaluate: Evaluate) -> None:
    y = np.array([[2.0], [-4.0]], np.float32)
    with np.errstate(divide="ignore"):
        powers = np.abs(X).astype(np.float64) ** y
    check(
        evaluate,
        {"x": X, "y": y},
        lambda x, y: [
            mb.add(x=x, y=y),
            mb.sub(x=x, y=y),
            mb.mul(x=x, y=y),
            mb.real_div(x=x, y=y),
            mb.floor_div(x=x, y=y),
            mb.mod(x=x, y=y),
            mb.maximum(x=x, y=y),
            mb.minimum(x=x, y=y),
            mb.pow(x=mb.abs(x=x), y=y),
        ],
        [
            *(X + y, X - y, X * y, X / y, X // y, np.mod(X, y)),
            *(np.maximum(X, y), np.minimum(X, y), powers),
        ],
    )


def test_integers_stay_integers(evaluate: Evaluate) -> None:
    a, b = np.array([7, -7, 9], np.int32), np.array([2, 2, -4], np.int32)
    results = evaluate(
        {"a": a, "b": b},
        lambda a, b: [
            mb.floor_div(x=a, y=b),
            mb.mod(x=a, y=b),
            mb.mul(x=a, y=b),
            mb.abs(x=a),
            mb.sign(x=a),
            mb.square(x=b),
        ],
    )
    wanted = [[3, -4, -3], [1, 1, -3], [14, -14, -36], [7, 7, 9], [1, -1, 1], [4, 4, 16]]
    for result, expected in zip(results, wanted, strict=True):
        assert result.dtype == np.int32
        np.testing.assert_array_equal(result, expected)


def test_comparison_logic_and_choice(evaluate: Evaluate) -> None:
    a, b = np.array([1.0, 2.0, 3.0], np.float32), np.array([1.0, 3.0, 2.0], np.float32)

    def build(a: Any, b: Any) -> list[Any]:
        less, equal = mb.less(x=a, y=b), mb.equal(x=a, y=b)
        found = [
            less,
            equal,
            mb.less_equal(x=a, y=b),
            mb.greater(x=a, y=b),
            mb.greater_equal(x=a, y=b),
            mb.not_equal(x=a, y=b),
            mb.logical_and(x=less, y=equal),
            mb.logical_or(x=less, y=equal),
            mb.logical_xor(x=less, y=mb.logical_not(x=equal)),
        ]
        chosen = mb.select(cond=less, a=a, b=mb.mul(x=b, y=10.0))
        return [mb.cast(x=value, dtype="int32") for value in found] + [chosen]

    check(
        evaluate,
        {"a": a, "b": b},
        build,
        [
            [0, 1, 0],
            [1, 0, 0],
            [1, 1, 0],
            [0, 0, 1],
            [1, 0, 1],
            [0, 1, 1],
            [0, 0, 0],
            [1, 1, 0],
            [0, 0, 1],
            [10, 2, 20],
        ],
    )


def test_casts_truncate_and_wrap(evaluate: Evaluate) -> None:
    x = np.array([-1.9, -0.4, 0.0, 1.9, 300.0], np.float32)
    check(
        evaluate,
        {"x": x},
        lambda x: [
            mb.cast(x=x, dtype="int32"),
            mb.cast(x=mb.cast(x=x, dtype="bool"), dtype="fp32"),
            mb.cast(x=mb.cast(x=mb.cast(x=x, dtype="int32"), dtype="uint8"), dtype="fp32"),
            mb.cast(x=mb.cast(x=mb.cast(x=x, dtype="int32"), dtype="int8"), dtype="fp32"),
        ],
        [[-1, 0, 0, 1, 300], [1, 1, 0, 1, 1], [255, 0, 0, 1, 44], [-1, 0, 0, 1, 44]],
    )


def test_activations(evaluate: Evaluate) -> None:
    sigmoid = 1 / (1 + np.exp(-X))
    erf = np.vectorize(math.erf)
    check(
        evaluate,
        {"x": X},
        lambda x: [
            mb.relu(x=x),
            mb.relu6(x=mb.mul(x=x, y=4.0)),
            mb.leaky_relu(x=x, alpha=0.1),
            mb.elu(x=x, alpha=0.5),
            mb.sigmoid(x=x),
            mb.silu(x=x),
            mb.sigmoid_hard(x=x, alpha=0.4, beta=0.5),
            mb.clamped_relu(x=x, alpha=0.5, beta=0.6),
            mb.softplus(x=x),
            mb.softsign(x=x),
            mb.thresholded_relu(x=x, alpha=0.5),
            mb.scaled_tanh(x=x, alpha=2.0, beta=0.5),
            mb.linear_activation(x=x, alpha=3.0, beta=-1.0),
            mb.softmax(x=x, axis=0),
            mb.clip(x=x, alpha=-1.0, beta=0.5),
            mb.threshold(x=x, alpha=0.5),
            mb.gelu(x=x, mode="EXACT"),
            mb.gelu(x=x, mode="TANH_APPROXIMATION"),
            mb.gelu(x=x, mode="SIGMOID_APPROXIMATION"),
        ],
        [
            np.maximum(X, 0),
            np.clip(4 * X, 0, 6),
            np.where(X < 0, 0.1 * X, X),
            np.where(X < 0, 0.5 * np.expm1(X), X),
            sigmoid,
            X * sigmoid,
            np.clip(0.4 * X + 0.5, 0, 1),
            np.minimum(np.where(X < 0, 0.5 * X, X), 0.6),
            np.log1p(np.exp(X)),
            X / (1 + np.abs(X)),
            np.where(X >= 0.5, X, 0),
            2 * np.tanh(0.5 * X),
            3 * X - 1,
            np.exp(X) / np.exp(X).sum(0),
            np.clip(X, -1, 0.5),
            np.maximum(X, 0.5),
            0.5 * X * (1 + erf(X / math.sqrt(2))),
            0.5 * X * (1 + np.tanh(math.sqrt(2 / math.pi) * (X + 0.044715 * X**3))),
            X / (1 + np.exp(-1.702 * X)),
        ],
    )


def test_activations_with_parameters_a_channel(evaluate: Evaluate) -> None:
    x = np.stack([X, X])[None].transpose(0, 2, 1, 3).copy()
    a, b = np.array([0.5, 2.0], np.float32), np.array([1.0, 3.0], np.float32)
    spread = a.reshape(1, 2, 1, 1)
    check(
        evaluate,
        {"x": x},
        lambda x: [mb.prelu(x=x, alpha=a), mb.softplus_parametric(x=x, alpha=a, beta=b)],
        [
            np.where(x < 0, spread * x, x),
            spread * np.log1p(np.exp(x * b.reshape(1, 2, 1, 1))),
        ],
    )


@pytest.mark.parametrize("axes", [None, [0, -1]])
@pytest.mark.parametrize("keep", [False, True])
def test_reductions(evaluate: Evaluate, axes: list[int] | None, keep: bool) -> None:
    x = np.array([[[1, 2, 3], [-1, 0.5, 4]], [[2, -2, 1], [3, 1.5, -0.5]]], np.float32)
    axis = None if axes is None else tuple(axes)
    options: dict[str, Any] = {"axis": axis, "keepdims": keep}
    names = ["l1_norm", "l2_norm", "log_sum_exp", "max", "mean", "min", "prod", "sum"]
    arguments: dict[str, Any] = {"keep_dims": keep} | ({"axes": axes} if axes else {})
    check(
        evaluate,
        {"x": x},
        lambda x: (
            [getattr(mb, f"reduce_{name}")(x=x, **arguments) for name in names]
            + [mb.reduce_sum_square(x=x, **arguments)]
            + [mb.reduce_log_sum(x=mb.abs(x=x), **arguments)]
        ),
        [
            np.abs(x).sum(**options),
            np.sqrt((x**2).sum(**options)),
            np.log(np.exp(x).sum(**options)),
            x.max(**options),
            x.mean(**options),
            x.min(**options),
            x.prod(**options),
            x.sum(**options),
            (x**2).sum(**options),
            np.log(np.abs(x).sum(**options)),
        ],
        atol=1e-5,
    )


def test_places_of_the_largest_and_smallest(evaluate: Evaluate) -> None:
    check(
        evaluate,
        {"x": X},
        lambda x: [
            mb.reduce_argmax(x=x, axis=1),
            mb.reduce_argmin(x=x, axis=0, keep_dims=True),
        ],
        [[2, 2], [[0, 0, 0]]],
    )


def test_quantizing_saturates_and_comes_back(evaluate: Evaluate) -> None:
    x = np.array([[-100.0, -1.0, 0.26], [0.74, 1.0, 100.0]], np.float32)
    scales = np.array([0.5, 2.0, 1.0], np.float32)

    def build(x: Any) -> list[Any]:
        whole = mb.quantize(input=x, scale=0.5, zero_point=np.int8(3), output_dtype="int8")
        channel = mb.quantize(input=x, scale=scales, axis=1, output_dtype="uint8")
        return [
            mb.dequantize(input=whole, scale=0.5, zero_point=np.int8(3)),
            mb.dequantize(input=channel, scale=scales, axis=1),
        ]

    check(
        evaluate,
        {"x": x},
        build,
        [
            # -128 and 127 less the zero point, times the step.
            [[-65.5, -1.0, 0.5], [0.5, 1.0, 62.0]],
            [[0, 0, 0], [0.5, 0, 100]],
        ],
    )
