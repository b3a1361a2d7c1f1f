"""Weights that are pruned, palettized or quantized: decoded exactly, whatever damage they did."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgesdk.runtime.mil import MilEvaluator
from edgesdk.runtime.mil.operators import rule_of

ct = pytest.importorskip("coremltools")
import coremltools.optimize.coreml as cto  # noqa: E402

Weights = dict[str, np.ndarray]


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2), nn.ReLU(),
        nn.Flatten(), nn.Linear(32 * 9, 8),
    ).eval()  # fmt: skip


SAMPLE = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(7))


@pytest.fixture(scope="module")
def dense(convert: Callable[..., Any]) -> dict[str, Any]:
    return {
        target: convert(net(), [SAMPLE], minimum_deployment_target=ct.target[target])
        for target in ("iOS16", "iOS18")
    }


def eager_with(change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The network run eagerly with every weight that is large enough to be compressed changed."""
    changed = copy.deepcopy(net())
    with torch.inference_mode():
        for weight in changed.parameters():
            if weight.dim() > 1:
                weight.copy_(torch.from_numpy(change(weight.numpy().copy())))
        return changed(SAMPLE).numpy()


def evaluate(path: Path) -> np.ndarray:
    evaluator = MilEvaluator(path, threads=1)
    (result,) = evaluator.run({evaluator.inputs[0].name: SAMPLE.numpy()}).values()
    return result


def configured(operator: Any) -> Any:
    return cto.OptimizationConfig(global_config=operator)


def prune_half(weight: np.ndarray) -> np.ndarray:
    flat = weight.reshape(-1)
    flat[np.argsort(np.abs(flat), kind="stable")[: round(flat.size / 2)]] = 0
    return weight


@pytest.mark.parametrize("target", ["iOS16", "iOS18"])
def test_a_pruned_package_equals_the_network_pruned_by_hand(
    dense: dict[str, Any], save: Callable[[Any], Path], target: str
) -> None:
    config = configured(cto.OpMagnitudePrunerConfig(target_sparsity=0.5, weight_threshold=1))
    result = evaluate(save(cto.prune_weights(dense[target], config)))
    np.testing.assert_allclose(result, eager_with(prune_half), atol=1e-6)
    # The damage itself is large, which is why it must not be mistaken for a decoding error.
    assert np.abs(result - eager_with(lambda weight: weight)).max() > 0.01


def decompressed(model: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    """Every compressed weight of a model, as our rules and as coremltools decode it."""
    pairs = []
    for operation in model._mil_program.functions["main"].operations:
        if not operation.op_type.startswith("constexpr_"):
            continue
        rule = rule_of(operation.op_type)
        assert rule is not None
        arguments = {
            name: rule.readers[name](
                torch.from_numpy(np.asarray(source.val).astype(_plain(source)))
            )
            for name, source in operation.inputs.items()
            if source is not None and source.val is not None
        }
        if len(arguments) < sum(source is not None for source in operation.inputs.values()):
            continue  # fed by another compressed constant; the whole is compared elsewhere
        ours = rule.function(**arguments)
        theirs = operation.materialized_val_inference()
        for mine, other in zip(
            ours if isinstance(ours, tuple) else (ours,),
            theirs if isinstance(theirs, tuple) else (theirs,),
            strict=True,
        ):
            pairs.append((mine.numpy(), np.asarray(other)))
    return pairs


def _plain(source: Any) -> Any:
    return np.float32 if np.asarray(source.val).dtype.kind == "f" else np.int32


@pytest.mark.parametrize("target", ["iOS16", "iOS18"])
@pytest.mark.parametrize("bits", [1, 4, 6])
def test_palettes_are_decoded_exactly(
    dense: dict[str, Any], save: Callable[[Any], Path], target: str, bits: int
) -> None:
    config = configured(cto.OpPalettizerConfig(mode="uniform", nbits=bits, weight_threshold=1))
    model = cto.palettize_weights(dense[target], config)
    pairs = decompressed(model)
    assert pairs
    for ours, theirs in pairs:
        np.testing.assert_array_equal(ours, theirs)
        assert np.unique(ours).size <= 2**bits

    palettes = iter(np.unique(theirs) for _, theirs in pairs)

    def nearest(weight: np.ndarray) -> np.ndarray:
        palette = next(palettes)
        return palette[np.abs(weight[..., None] - palette).argmin(-1)].astype(np.float32)

    # Every weight holds the value of its palette that is nearest to it, in its own place.
    np.testing.assert_allclose(evaluate(save(model)), eager_with(nearest), atol=2e-5)


@pytest.mark.parametrize("target", ["iOS16", "iOS18"])
@pytest.mark.parametrize("mode", ["linear", "linear_symmetric"])
def test_eight_bit_weights_equal_rounding_by_hand(
    dense: dict[str, Any], save: Callable[[Any], Path], target: str, mode: str
) -> None:
    config = configured(cto.OpLinearQuantizerConfig(mode=mode, weight_threshold=1))
    result = evaluate(save(cto.linear_quantize_weights(dense[target], config)))

    def round_channels(weight: np.ndarray) -> np.ndarray:
        axes = tuple(range(1, weight.ndim))
        low = np.minimum(weight.min(axes, keepdims=True), 0)
        high = np.maximum(weight.max(axes, keepdims=True), 0)
        if mode == "linear_symmetric":
            scale = np.maximum(-low, high) / 127
            return np.clip(np.round(weight / scale), -127, 127) * scale
        scale = (high - low) / 255
        zero = np.round(-128 - low / scale)
        return (np.clip(np.round(weight / scale) + zero, -128, 127) - zero) * scale

    wanted = eager_with(lambda weight: round_channels(weight).astype(np.float32))
    # A tie may round either way in another order of operations; one step of one weight is far
    # below this.
    np.testing.assert_allclose(result, wanted, atol=2e-4)
    assert np.abs(result - eager_with(lambda weight: weight)).max() > 1e-4


@pytest.mark.parametrize(
    "options",
    [
        {"dtype": "int4", "granularity": "per_block", "block_size": 16, "mode": "linear_symmetric"},
        {"dtype": "uint4", "granularity": "per_channel", "mode": "linear"},
        {"dtype": "int8", "granularity": "per_tensor", "mode": "linear"},
    ],
)
def test_blocks_and_four_bits_are_decoded_exactly(
    dense: dict[str, Any], save: Callable[[Any], Path], options: dict[str, Any]
) -> None:
    config = configured(cto.OpLinearQuantizerConfig(weight_threshold=1, **options))
    model = cto.linear_quantize_weights(dense["iOS18"], config)
    pairs = decompressed(model)
    assert pairs
    for ours, theirs in pairs:
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-8)
    # A first layer of three channels cannot be cut into blocks and stays as it is.
    decoded = {theirs.shape: theirs for _, theirs in pairs}
    wanted = eager_with(lambda weight: decoded.get(weight.shape, weight))
    np.testing.assert_allclose(evaluate(save(model)), wanted, atol=2e-5)


@pytest.mark.parametrize(
    "second",
    [
        cto.OpPalettizerConfig(mode="kmeans", nbits=4, weight_threshold=1),
        cto.OpLinearQuantizerConfig(mode="linear_symmetric", weight_threshold=1),
    ],
)
def test_pruned_and_then_compressed_again(
    dense: dict[str, Any], save: Callable[[Any], Path], second: Any
) -> None:
    sparse = cto.prune_weights(
        dense["iOS18"],
        configured(cto.OpMagnitudePrunerConfig(target_sparsity=0.5, weight_threshold=1)),
    )
    compress = (
        cto.palettize_weights
        if isinstance(second, cto.OpPalettizerConfig)
        else cto.linear_quantize_weights
    )
    model = compress(sparse, configured(second), joint_compression=True)
    kinds = {op.op_type for op in model._mil_program.functions["main"].operations}
    assert kinds & {"constexpr_lut_to_sparse", "constexpr_sparse_blockwise_shift_scale"}
    pruned = eager_with(prune_half)
    result = evaluate(save(model))
    error = np.abs(result - pruned).max()
    assert 0 < error < 0.1 * np.abs(pruned).max()


def test_packed_numbers_straddle_bytes() -> None:
    rule = rule_of("constexpr_lut_to_dense")
    assert rule is not None
    # Six bits each, lowest bit first: 1, 2, 63, 5 packed into three bytes.
    stream = 1 | 2 << 6 | 63 << 12 | 5 << 18
    packed = torch.tensor(list(stream.to_bytes(3, "little")), dtype=torch.int32)
    result = rule.function(indices=packed, lut=torch.arange(64.0) * 10, shape=(2, 2))
    assert result.tolist() == [[10, 20], [630, 50]]


def test_vectors_fill_the_axis_they_name() -> None:
    rule = rule_of("constexpr_lut_to_dense")
    assert rule is not None
    indices = torch.tensor([[[0, 0], [1, 0]], [[1, 1], [0, 0]]])
    lut = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]).reshape(1, 1, 1, 2, 3)
    rows = rule.function(indices=indices, lut=lut, vector_axis=1)
    assert rows[0].tolist() == [[1, 1], [2, 2], [3, 3], [4, 1], [5, 2], [6, 3]]
    columns = rule.function(indices=indices, lut=lut, vector_axis=2)
    assert columns[0].tolist() == [[1, 2, 3, 1, 2, 3], [4, 5, 6, 1, 2, 3]]


def test_each_block_has_its_own_palette() -> None:
    rule = rule_of("constexpr_lut_to_dense")
    assert rule is not None
    indices = torch.tensor([[2, 3], [3, 0], [1, 0], [3, 0], [2, 1], [0, 3]])
    lut = torch.tensor([1.0, 5, 9, 13, 2, 10, 18, 26]).reshape(2, 1, 4, 1)
    result = rule.function(indices=indices, lut=lut)
    assert result.tolist() == [[9, 13], [13, 1], [5, 1], [26, 2], [18, 10], [2, 26]]
