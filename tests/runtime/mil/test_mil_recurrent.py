"""Recurrent layers, against those of torch and steps by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

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


def _rows(weight: torch.Tensor, order: list[int]) -> np.ndarray:
    parts = weight.detach().chunk(len(order))
    return torch.cat([parts[index] for index in order]).numpy()


def test_long_short_term_memory_is_that_of_torch(evaluate: Evaluate) -> None:
    torch.manual_seed(3)
    layer = nn.LSTM(3, 4, bidirectional=True)
    x = noise(5, 2, 3)
    h, c = noise(2, 2, 4), noise(2, 4, 2).reshape(2, 2, 4)
    # torch keeps the gates in the order input, forget, cell, output.
    order = [0, 1, 3, 2]
    weights = {
        f"{name}{back}": _rows(getattr(layer, f"{source}_l0{suffix}"), order)
        for name, source in (("weight_ih", "weight_ih"), ("weight_hh", "weight_hh"))
        for back, suffix in (("", ""), ("_back", "_reverse"))
    }
    biases = {
        f"bias{back}": _rows(
            getattr(layer, f"bias_ih_l0{suffix}") + getattr(layer, f"bias_hh_l0{suffix}"), order
        )
        for back, suffix in (("", ""), ("_back", "_reverse"))
    }
    joined = {"h": np.concatenate(list(h), -1), "c": np.concatenate(list(c), -1)}
    results = evaluate(
        {"x": x, **joined},
        lambda x, h, c: mb.lstm(
            x=x, initial_h=h, initial_c=c, direction="bidirectional", output_sequence=True,
            **weights, **biases,
        ),
    )  # fmt: skip
    with torch.inference_mode():
        out, (last_h, last_c) = layer(
            *map(torch.from_numpy, (x,)), tuple(map(torch.from_numpy, (h, c)))
        )
    close(results, [out, torch.cat(list(last_h), -1), torch.cat(list(last_c), -1)])


def test_gated_units_reset_before_or_after_the_product(evaluate: Evaluate) -> None:
    torch.manual_seed(4)
    layer = nn.GRU(3, 4)
    x, h = noise(5, 2, 3), noise(1, 2, 4)[0]
    # torch: reset, update, new. MIL: reset, output, update.
    order = [0, 2, 1]
    arrays = {
        name: _rows(getattr(layer, f"{source}_l0"), order)
        for name, source in (
            ("weight_ih", "weight_ih"),
            ("weight_hh", "weight_hh"),
            ("input_bias", "bias_ih"),
            ("bias", "bias_hh"),
        )
    }
    after, last = evaluate(
        {"x": x, "h": h},
        lambda x, h: mb.gru(x=x, initial_h=h, output_sequence=True, reset_after=True, **arrays),
        ct.target.iOS18,
    )
    with torch.inference_mode():
        out, state = layer(torch.from_numpy(x), torch.from_numpy(h)[None])
    close([after, last], [out, state[0]])

    before, _ = evaluate(
        {"x": x[:1], "h": h},
        lambda x, h: mb.gru(
            x=x, initial_h=h, weight_ih=arrays["weight_ih"], weight_hh=arrays["weight_hh"]
        ),
    )
    in_r, in_o, in_z = np.split(x[0] @ arrays["weight_ih"].T, 3, -1)
    w_r, w_o, w_z = np.split(arrays["weight_hh"], 3)
    reset, update = (1 / (1 + np.exp(-(i + h @ w.T))) for i, w in ((in_r, w_r), (in_z, w_z)))
    new = np.tanh(in_o + (reset * h) @ w_o.T)
    close([before], [((1 - update) * new + update * h)[None]])


def test_a_reversed_layer_gives_its_steps_in_the_order_it_takes_them(evaluate: Evaluate) -> None:
    x = np.array([1.0, 2.0, 3.0], np.float32).reshape(3, 1, 1)
    one, zero = np.ones((1, 1), np.float32), np.zeros((1, 1), np.float32)
    steps, last = evaluate(
        {"x": x},
        lambda x: mb.rnn(
            x=x, initial_h=zero, weight_ih=one, weight_hh=one, direction="reverse",
            output_sequence=True, activation="relu",
        ),
    )  # fmt: skip
    close([steps, last], [np.reshape([3, 5, 6], (3, 1, 1)), [[6]]])
