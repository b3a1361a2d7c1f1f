"""Recurrent layers, step by step."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from edgesdk.runtime.mil.operators.registry import operator

__all__: list[str] = []

_Activation = Callable[[Tensor], Tensor]


def _hard_sigmoid(x: Tensor) -> Tensor:
    return torch.clamp(0.2 * x + 0.5, 0.0, 1.0)


_ACTIVATIONS: dict[str, _Activation] = {
    "hard_sigmoid": _hard_sigmoid,
    "linear": lambda x: x,
    "relu": torch.relu,
    # The scaled form with default parameters is the plain one.
    "scaled_tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "sigmoid_hard": _hard_sigmoid,
    "tanh": torch.tanh,
}


def _activation(name: str) -> _Activation:
    if name not in _ACTIVATIONS:
        raise ValueError(f"the evaluator has no rule for the recurrent activation {name!r}")
    return _ACTIVATIONS[name]


def _sequence(hidden: list[Tensor], output_sequence: bool) -> Tensor:
    """Stack hidden states in computed order: a reversed layer starts at the last step."""
    return torch.stack(hidden) if output_sequence else hidden[-1].unsqueeze(0)


@operator("rnn")
def _rnn(
    x: Tensor,
    initial_h: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    direction: str,
    output_sequence: bool,
    activation: str,
    bias: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    squash = _activation(activation)
    state, hidden = initial_h, []
    for step in x.flip(0) if direction == "reverse" else x:
        state = squash(F.linear(step, weight_ih, bias) + F.linear(state, weight_hh))
        hidden.append(state)
    return _sequence(hidden, output_sequence), state


@operator("gru")
def _gru(
    x: Tensor,
    initial_h: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    direction: str,
    output_sequence: bool,
    recurrent_activation: str,
    activation: str,
    bias: Tensor | None = None,
    reset_after: bool = False,
    input_bias: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    gate, squash = _activation(recurrent_activation), _activation(activation)
    size = weight_hh.shape[1]
    hidden_bias = torch.zeros(3 * size) if bias is None else bias
    # Row order: reset, output, update.
    hidden_reset, hidden_out, hidden_update = weight_hh.split(size)
    bias_reset, bias_out, bias_update = hidden_bias.split(size)
    state, hidden = initial_h, []
    for step in x.flip(0) if direction == "reverse" else x:
        in_reset, in_out, in_update = F.linear(step, weight_ih, input_bias).split(size, dim=-1)
        reset = gate(in_reset + F.linear(state, hidden_reset, bias_reset))
        update = gate(in_update + F.linear(state, hidden_update, bias_update))
        if reset_after:
            memory = reset * F.linear(state, hidden_out, bias_out)
        else:
            memory = F.linear(reset * state, hidden_out, bias_out)
        state = (1 - update) * squash(in_out + memory) + update * state
        hidden.append(state)
    return _sequence(hidden, output_sequence), state


@operator("lstm")
def _lstm(
    x: Tensor,
    initial_h: Tensor,
    initial_c: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    direction: str,
    output_sequence: bool,
    recurrent_activation: str,
    cell_activation: str,
    activation: str,
    bias: Tensor | None = None,
    peephole: Tensor | None = None,
    weight_ih_back: Tensor | None = None,
    weight_hh_back: Tensor | None = None,
    bias_back: Tensor | None = None,
    peephole_back: Tensor | None = None,
    clip: float | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    functions = tuple(map(_activation, (recurrent_activation, cell_activation, activation)))
    size = weight_hh.shape[1]
    forward = (weight_ih, weight_hh, bias, peephole)
    if direction != "bidirectional":
        reverse = direction == "reverse"
        hidden, state, cell = _lstm_pass(x, initial_h, initial_c, forward, functions, reverse, clip)
        return _sequence(hidden, output_sequence), state, cell
    if weight_ih_back is None or weight_hh_back is None:
        raise ValueError("a bidirectional lstm needs weights for both directions")
    backward = (weight_ih_back, weight_hh_back, bias_back, peephole_back)
    passes = [
        _lstm_pass(x, start_h, start_c, weights, functions, reverse, clip)
        for start_h, start_c, weights, reverse in zip(
            initial_h.split(size, dim=-1),
            initial_c.split(size, dim=-1),
            (forward, backward),
            (False, True),
            strict=True,
        )
    ]
    outputs = [
        # Align both directions in time.
        _sequence(hidden[::-1] if reverse and output_sequence else hidden, output_sequence)
        for (hidden, _, _), reverse in zip(passes, (False, True), strict=True)
    ]
    return (
        torch.cat(outputs, dim=-1),
        torch.cat([state for _, state, _ in passes], dim=-1),
        torch.cat([cell for _, _, cell in passes], dim=-1),
    )


def _lstm_pass(
    x: Tensor,
    state: Tensor,
    cell: Tensor,
    weights: tuple[Tensor, Tensor, Tensor | None, Tensor | None],
    functions: tuple[_Activation, ...],
    reverse: bool,
    clip: float | None,
) -> tuple[list[Tensor], Tensor, Tensor]:
    weight_ih, weight_hh, bias, peephole = weights
    gate, squash_cell, squash = functions
    size = weight_hh.shape[1]
    look_in, look_forget, look_out = (
        (torch.zeros(size),) * 3 if peephole is None else peephole.split(size)
    )
    hidden = []
    for step in x.flip(0) if reverse else x:
        # Row order: input, forget, output, cell.
        raw = F.linear(step, weight_ih, bias) + F.linear(state, weight_hh)
        raw_in, raw_forget, raw_out, raw_cell = raw.split(size, dim=-1)
        taken = gate(raw_in + look_in * cell)
        kept = gate(raw_forget + look_forget * cell)
        cell = kept * cell + taken * squash_cell(raw_cell)
        if clip is not None:
            cell = torch.clamp(cell, -clip, clip)
        state = gate(raw_out + look_out * cell) * squash(cell)
        hidden.append(state)
    return hidden, state, cell
