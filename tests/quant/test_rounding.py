from __future__ import annotations

import numpy as np
import pytest

from edgesdk.quant.rounding import InputMoments, _error_factors, mean_shift, round_rows


def moments_of(vectors: np.ndarray, groups: int = 1) -> InputMoments:
    """Moments of vectors of shape ``[number, groups * inputs]``."""
    inputs = vectors.shape[1] // groups
    moments = InputMoments.empty(groups, inputs)
    apart = vectors.reshape(-1, groups, inputs).transpose(1, 2, 0).astype(np.float64)
    moments.second += apart @ apart.transpose(0, 2, 1)
    moments.total += apart.sum(2)
    moments.count += len(vectors)
    return moments


def correlated(number: int, inputs: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    mixing = generator.standard_normal((4, inputs))
    noise = 0.1 * generator.standard_normal((number, inputs))
    return np.maximum(generator.standard_normal((number, 4)) @ mixing + noise, 0)


def test_numbers_by_hand() -> None:
    rounded = round_rows(np.array([[1.27, -0.64, 0.004], [0.0, 0.0, 0.0]]), 8)
    assert rounded.integers.tolist() == [[127, -64, 0], [0, 0, 0]]
    assert rounded.scales[0, 0] == pytest.approx(0.01)
    assert (rounded.values()[1] == 0).all()
    assert rounded.values()[0].tolist() == pytest.approx([1.27, -0.64, 0.0])


def test_four_bits_never_leave_their_range() -> None:
    rows = np.random.default_rng(0).standard_normal((6, 50))
    for block in (0, 16):
        rounded = round_rows(rows, 4, block, moments_of(correlated(200, 50)))
        assert rounded.integers.min() >= -7
        assert rounded.integers.max() <= 7
        assert rounded.scales.shape == (6, 4 if block else 1)
        assert rounded.values().shape == rows.shape


def test_a_block_has_a_scale_of_its_own() -> None:
    rows = np.concatenate([np.full((1, 4), 7.0), np.full((1, 3), 0.07)], axis=1)
    rounded = round_rows(rows, 4, block=4)
    assert rounded.scales.tolist() == [pytest.approx([1.0, 0.01])]
    assert rounded.values() == pytest.approx(rows)


def test_a_scale_of_few_bits_clips_one_weight_for_the_sake_of_all_others() -> None:
    rows = np.concatenate([np.full(200, 0.1), [-0.07], [1.0]])[None]
    # With the largest weight's scale, 1/7, all others would be 0.143 or 0.
    assert np.abs(round_rows(rows, 4).values()[0, :200] - 0.1).max() < 0.03


@pytest.mark.parametrize(("bits", "block"), [(8, 0), (4, 0), (4, 16)])
def test_compensation_keeps_products_nearer(bits: int, block: int) -> None:
    rows = np.random.default_rng(1).standard_normal((8, 40))
    seen, unseen = correlated(600, 40, seed=2)[:400], correlated(600, 40, seed=2)[400:]
    alone = round_rows(rows, bits, block)
    together = round_rows(rows, bits, block, moments_of(seen))

    def error(values: np.ndarray) -> float:
        return float((((values - rows) @ unseen.T) ** 2).mean())

    assert error(together.values()) < 0.5 * error(alone.values())


def test_groups_are_rounded_as_if_alone() -> None:
    rows = np.random.default_rng(3).standard_normal((6, 9))
    vectors = np.concatenate([correlated(200, 9, seed) for seed in range(3)], axis=1)
    whole = round_rows(rows, 4, 0, moments_of(vectors, groups=3))
    for group in range(3):
        part = rows[2 * group : 2 * group + 2]
        own = moments_of(vectors[:, 9 * group : 9 * group + 9])
        assert (round_rows(part, 4, 0, own).integers == whole.integers[2 * group :][:2]).all()


def test_long_rows_hand_errors_on_from_stride_to_stride() -> None:
    """With one vector alone, the very last weights can make good all that was lost."""
    rows = np.random.default_rng(4).standard_normal((2, 300))
    vectors = np.ones((1, 300))
    alone = round_rows(rows, 8).values().sum(1) - rows.sum(1)
    together = round_rows(rows, 8, 0, moments_of(vectors)).values().sum(1) - rows.sum(1)
    assert np.abs(together).max() < 0.02 < np.abs(alone).max()


def test_inputs_that_are_always_zero_do_no_harm() -> None:
    rows = np.random.default_rng(5).standard_normal((3, 12))
    vectors = correlated(100, 12)
    vectors[:, 3] = 0
    assert np.isfinite(round_rows(rows, 8, 0, moments_of(vectors)).values()).all()
    nothing = moments_of(np.zeros((10, 12)))
    assert (round_rows(rows, 8, 0, nothing).integers == round_rows(rows, 8).integers).all()


def test_mean_shift_is_what_products_lose_on_average() -> None:
    rows = np.random.default_rng(6).standard_normal((4, 10))
    vectors = correlated(50, 10) + 1.0
    rounded = round_rows(rows, 4)
    lost = ((rows - rounded.values()) @ vectors.T).mean(1)
    assert mean_shift(rows, rounded, moments_of(vectors)) == pytest.approx(lost)


def test_tiny_weights_keep_normal_scales() -> None:
    rounded = round_rows(np.full((1, 4), 1e-42), 8)
    assert rounded.scales[0, 0] >= np.finfo(np.float32).tiny


def test_the_best_clipping_limit_by_hand() -> None:
    # Integers -1, 0, 1: the loss (1 - s)^2 + 7 (0.5 - s)^2 is least at s = 4.5 / 8.
    found = round_rows(np.array([[1.0] + [0.5] * 7]), 2)
    np.testing.assert_allclose(found.scales, [[0.5625]])
    assert found.integers.tolist() == [[1] * 8]


def test_zeros_keep_the_widest_scale() -> None:
    found = round_rows(np.zeros((1, 3)), 4)
    assert found.scales.tolist() == [[1.0]] and not found.values().any()


def test_error_factors_by_hand() -> None:
    # Damped by 1 % of the diagonal's mean: 2.02; the inverse is [[2.02, -1], [-1, 2.02]] / 3.0804.
    (found,) = _error_factors(np.array([[[2.0, 1.0], [1.0, 2.0]]]))
    np.testing.assert_allclose(found, [[0.80979, -0.40089], [0, 0.7036]], atol=1e-5)


def test_the_mean_of_one_vector_is_the_vector() -> None:
    moments = InputMoments(np.ones((1, 2, 2)), np.array([[3.0, -1.0]]), 1)
    assert moments.mean.tolist() == [[3.0, -1.0]]
    assert InputMoments.empty(1, 2).mean.tolist() == [[0.0, 0.0]]
