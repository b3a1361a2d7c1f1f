"""Operators that move elements: shapes, slices, indices, padding, orders."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgesdk.runtime.mil.operators import rule_of

ct = pytest.importorskip("coremltools")
from coremltools.converters.mil.mil import Builder as mb  # noqa: E402

Evaluate = Callable[..., list[np.ndarray]]

X = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def check(results: list[np.ndarray], expected: list[Any]) -> None:
    assert len(results) == len(expected)
    for number, (result, wanted) in enumerate(zip(results, expected, strict=True)):
        np.testing.assert_array_equal(result, np.asarray(wanted), err_msg=f"output {number}")


def test_reshaping_and_reordering(evaluate: Evaluate) -> None:
    results = evaluate(
        {"x": X},
        lambda x: [
            mb.reshape(x=x, shape=[4, -1]),
            mb.reshape(x=x, shape=[0, 4, 3]),
            # A zero takes the size as far from the end, or one where there is none.
            mb.reshape(x=x, shape=[0, -1, 0]),
            mb.transpose(x=x, perm=[2, 0, 1]),
            mb.expand_dims(x=x, axes=[0, -1]),
            mb.squeeze(x=mb.expand_dims(x=x, axes=[0, 2]), axes=[0, 2]),
            mb.flatten2d(x=x, axis=2),
            mb.flatten2d(x=x, axis=-3),
            mb.reverse(x=x, axes=[0, -1]),
            mb.tile(x=x, reps=[1, 2, 1]),
            mb.stack(values=[x, x], axis=1),
            mb.concat(values=[x, x], axis=-1),
            mb.concat(values=[x, mb.mul(x=x, y=-1.0)], axis=1, interleave=True),
            mb.sliding_windows(x=x, axis=-1, size=2, stride=2),
            mb.reverse_sequence(x=x, lengths=[1, 3], seq_axis=1, batch_axis=0),
            mb.reshape_like(
                x=x, ref_tensors=[mb.reshape(x=x, shape=[6, 4])], begins=[0], ends=[2],
                end_masks=[False],
            ),
        ],
    )  # fmt: skip
    reversed_rows = X.copy()
    reversed_rows[1] = X[1, ::-1]
    interleaved = np.stack([X, -X], axis=2).reshape(2, 6, 4)
    check(
        results,
        [
            X.reshape(4, 6),
            X.reshape(2, 4, 3),
            X.reshape(2, 3, 4),
            X.transpose(2, 0, 1),
            X[None, ..., None],
            X,
            X.reshape(6, 4),
            X.reshape(1, 24),
            X[::-1, :, ::-1],
            np.tile(X, (1, 2, 1)),
            np.stack([X, X], 1),
            np.concatenate([X, X], -1),
            interleaved,
            X.reshape(2, 3, 2, 2),
            reversed_rows,
            X.reshape(6, 4),
        ],
    )


def test_splitting(evaluate: Evaluate) -> None:
    results = evaluate(
        {"x": X},
        lambda x: [
            *mb.split(x=x, num_splits=2, axis=2),
            *mb.split(x=x, split_sizes=[1, 2], axis=1),
        ],
    )
    check(results, [X[..., :2], X[..., 2:], X[:, :1], X[:, 1:]])


def test_slices_with_every_mask(evaluate: Evaluate) -> None:
    def cut(x: Any, begin: list[int], end: list[int], **masks: Any) -> Any:
        return mb.slice_by_index(x=x, begin=begin, end=end, **masks)

    no, yes = False, True
    results = evaluate(
        {"x": X},
        lambda x: [
            cut(x, [0, 1, 1], [2, 3, 4]),
            cut(x, [0, 0, 3], [2, 3, 0], stride=[1, 1, -1]),
            cut(x, [1, 5, 2], [0, 0, 9], begin_mask=[yes, yes, no], end_mask=[yes, yes, yes]),
            cut(x, [0, -1, 0], [2, 0, 4], squeeze_mask=[no, yes, no]),
            cut(x, [1, 2, -1], [0, 0, 0], squeeze_mask=[yes, yes, yes]),
            cut(
                x, [-1, 0, 0], [0, 3, 4], stride=[-1, 2, 3], begin_mask=[yes, no, no],
                end_mask=[yes, yes, yes],
            ),
            mb.slice_by_size(x=x, begin=[0, 1, -2], size=[1, 2, 2]),
            mb.slice_by_size(x=x, begin=[1, 0, 1], size=[-1, 2, -1]),
        ],
    )  # fmt: skip
    check(
        results,
        [
            X[0:2, 1:3, 1:4],
            X[:, :, 3:0:-1],
            X[:, :, 2:],
            X[:, -1],
            X[1, 2, -1],
            X[::-1, ::2, ::3],
            X[:1, 1:3, -2:],
            X[1:, :2, 1:],
        ],
    )


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    size=st.integers(1, 7),
    begin=st.integers(-9, 9),
    end=st.integers(-9, 9),
    stride=st.integers(-3, 3).filter(bool),
    begin_open=st.booleans(),
    end_open=st.booleans(),
)
def test_slices_are_those_of_python(
    size: int, begin: int, end: int, stride: int, begin_open: bool, end_open: bool
) -> None:
    rule = rule_of("slice_by_index")
    assert rule is not None
    data = torch.arange(size)
    result = rule.function(
        x=data,
        begin=(begin,),
        end=(end,),
        stride=(stride,),
        begin_mask=(begin_open,),
        end_mask=(end_open,),
    )
    wanted = slice(None if begin_open else begin, None if end_open else end, stride)
    assert result.tolist() == data.tolist()[wanted]


def test_slices_whose_ends_are_computed(evaluate: Evaluate) -> None:
    ends = np.array([1, 3, 2], np.int32)
    (result,) = evaluate(
        {"x": X, "ends": ends}, lambda x, ends: mb.slice_by_index(x=x, begin=[0, 0, 0], end=ends)
    )
    check([result], [X[:1, :3, :2]])


def test_a_slice_is_replaced(evaluate: Evaluate) -> None:
    update = np.full((2, 1, 2), -1, np.float32)
    (result,) = evaluate(
        {"x": X, "u": update},
        lambda x, u: mb.slice_update(
            x=x, update=u, begin=[0, 1, 0], end=[2, 2, 4], stride=[1, 1, 2]
        ),
        ct.target.iOS18,
    )
    wanted = X.copy()
    wanted[:, 1:2, ::2] = -1
    check([result], [wanted])


def test_padding(evaluate: Evaluate) -> None:
    results = evaluate(
        {"x": X},
        lambda x: [
            mb.pad(x=x, pad=[1, 2], mode="constant", constant_val=7.0),
            mb.pad(x=x, pad=[2, 1, 3, 0], mode="reflect"),
            mb.pad(x=x, pad=[1, 0, 0, 0, 2, 3], mode="replicate"),
            mb.band_part(x=x, lower=1, upper=0),
            mb.band_part(x=x, lower=-1, upper=1),
        ],
    )
    check(
        results,
        [
            np.pad(X, ((0, 0), (0, 0), (1, 2)), constant_values=7),
            np.pad(X, ((0, 0), (2, 1), (3, 0)), mode="reflect"),
            np.pad(X, ((1, 0), (0, 0), (2, 3)), mode="edge"),
            np.stack([np.tril(np.triu(m, -1)) for m in X]),
            np.stack([np.tril(m, 1) for m in X]),
        ],
    )


def test_gathering(evaluate: Evaluate) -> None:
    along = np.array([[[2, 0], [1, 1], [3, 0]]] * 2, np.int32)
    pairs = np.array([[1, 2], [0, 0]], np.int32)
    rows = np.array([[0, 2], [1, 1]], np.int32)
    results = evaluate(
        {"x": X, "along": along, "pairs": pairs, "rows": rows},
        lambda x, along, pairs, rows: [
            mb.gather(x=x, indices=rows, axis=1),
            mb.gather(x=x, indices=1, axis=-1),
            mb.gather(x=x, indices=[-1, 0], axis=0),
            mb.gather(x=x, indices=rows, axis=1, batch_dims=1),
            mb.gather_along_axis(x=x, indices=along, axis=2),
            mb.gather_nd(x=x, indices=pairs),
            mb.gather_nd(x=x, indices=mb.expand_dims(x=rows, axes=[-1]), batch_dims=1),
        ],
        ct.target.iOS16,
    )
    check(
        results,
        [
            X[:, rows],
            X[..., 1],
            X[[-1, 0]],
            np.stack([X[i][rows[i]] for i in range(2)]),
            np.take_along_axis(X, along, 2),
            np.stack([X[1, 2], X[0, 0]]),
            np.stack([X[i][rows[i]] for i in range(2)]),
        ],
    )


@pytest.mark.parametrize(
    ("mode", "work"),
    [
        ("update", lambda old, new: new),
        ("add", lambda old, new: old + new),
        ("sub", lambda old, new: old - new),
        ("mul", lambda old, new: old * new),
        ("div", lambda old, new: old / new),
        ("max", max),
        ("min", min),
    ],
)
def test_scattering(evaluate: Evaluate, mode: str, work: Callable[[float, float], float]) -> None:
    data = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
    updates = np.array([[10, 0.5], [2, 8]], np.float32)
    along = np.array([[2, 0], [1, 2]], np.int32)
    pairs = np.array([[0, 1], [1, 2]], np.int32)
    results = evaluate(
        {"data": data, "updates": updates, "along": along, "pairs": pairs},
        lambda data, updates, along, pairs: [
            mb.scatter_along_axis(data=data, indices=along, updates=updates, axis=1, mode=mode),
            mb.scatter(data=data, indices=[2, 0], updates=updates, axis=1, mode=mode),
            mb.scatter_nd(
                data=data,
                indices=pairs,
                updates=mb.squeeze(
                    x=mb.slice_by_size(x=updates, begin=[0, 0], size=[1, 2]), axes=[0]
                ),
                mode=mode,
            ),
        ],
    )
    first, second, third = data.copy(), data.copy(), data.copy()
    for row in range(2):
        for column in range(2):
            place = (row, along[row, column])
            first[place] = work(first[place], updates[row, column])
            place = (row, [2, 0][column])
            second[place] = work(second[place], updates[row, column])
    for pair, update in zip(pairs, updates[0], strict=True):
        third[tuple(pair)] = work(third[tuple(pair)], update)
    check(results, [first, second, third])


def test_made_tensors(evaluate: Evaluate) -> None:
    classes = np.array([2, 0], np.int32)
    results = evaluate(
        {"x": X, "classes": classes},
        lambda x, classes: [
            mb.shape(x=x),
            mb.fill(shape=[2, 3], value=1.5),
            mb.fill_like(ref_tensor=x, value=3),
            mb.range_1d(start=1, end=10, step=4),
            mb.one_hot(indices=classes, one_hot_vector_size=3, on_value=2.0, off_value=-1.0),
            mb.one_hot(indices=classes, one_hot_vector_size=3, axis=0),
            mb.non_zero(x=mb.greater(x=x, y=21.0)),
        ],
    )
    check(
        results,
        [
            [2, 3, 4],
            np.full((2, 3), 1.5),
            np.full_like(X, 3),
            [1, 5, 9],
            [[-1, -1, 2], [2, -1, -1]],
            [[0, 1], [0, 0], [1, 0]],
            [[1, 2, 2], [1, 2, 3]],
        ],
    )


def test_orders_keep_ties_in_place(evaluate: Evaluate) -> None:
    x = np.array([[3, 1, 3, 2], [0, 0, -1, 5]], np.float32)
    results = evaluate(
        {"x": x},
        lambda x: [
            mb.argsort(x=x, axis=1, ascending=True),
            mb.argsort(x=x, axis=-1, ascending=False),
            *mb.topk(x=x, k=2, axis=1),
            *mb.topk(x=x, k=1, axis=0, ascending=True),
            mb.topk(x=x, k=3, axis=1, return_indices=False),
            mb.cumsum(x=x, axis=1),
            mb.cumsum(x=x, axis=1, exclusive=True),
            mb.cumsum(x=x, axis=1, reverse=True),
            mb.cumsum(x=x, axis=1, exclusive=True, reverse=True),
        ],
    )
    check(
        results,
        [
            [[1, 3, 0, 2], [2, 0, 1, 3]],
            [[0, 2, 3, 1], [3, 0, 1, 2]],
            [[3, 3], [5, 0]],
            [[0, 2], [3, 0]],
            [[0, 0, -1, 2]],
            [[1, 1, 1, 0]],
            [[3, 3, 2], [5, 0, 0]],
            [[3, 4, 7, 9], [0, 0, -1, 4]],
            [[0, 3, 4, 7], [0, 0, 0, -1]],
            [[9, 6, 5, 2], [4, 4, 4, 5]],
            [[6, 5, 2, 0], [4, 4, 5, 0]],
        ],
    )


def test_between_channels_batch_and_space(evaluate: Evaluate) -> None:
    x = np.arange(32, dtype=np.float32).reshape(1, 8, 2, 2)
    results = evaluate(
        {"x": x},
        lambda x: [
            mb.pixel_shuffle(x=x, upscale_factor=2),
            mb.pixel_unshuffle(x=x, downscale_factor=np.uint32(2)),
            mb.depth_to_space(x=x, block_size=2),
            mb.space_to_depth(x=mb.depth_to_space(x=x, block_size=2), block_size=2),
            mb.space_to_batch(x=x, block_shape=[2, 2], paddings=[[0, 0], [2, 0]]),
            mb.batch_to_space(
                x=mb.space_to_batch(x=x, block_shape=[2, 2], paddings=[[0, 0], [2, 0]]),
                block_shape=[2, 2], crops=[[0, 0], [2, 0]],
            ),
            mb.crop(x=x, crop_height=[1, 0], crop_width=[0, 1]),
        ],
    )  # fmt: skip
    tensor = torch.from_numpy(x)
    padded = np.pad(x, ((0, 0), (0, 0), (0, 0), (2, 0)))
    check(
        results,
        [
            F.pixel_shuffle(tensor, 2),
            F.pixel_unshuffle(tensor, 2),
            # Depth to space: channel k of the output draws from channels k, k+2, k+4, k+6.
            x.reshape(2, 2, 2, 2, 2).transpose(2, 3, 0, 4, 1).reshape(1, 2, 4, 4),
            x,
            np.concatenate([padded[:, :, i::2, j::2] for i in range(2) for j in range(2)]),
            x,
            x[:, :, 1:, :1],
        ],
    )
