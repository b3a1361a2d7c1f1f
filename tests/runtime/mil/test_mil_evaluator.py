"""The evaluator's face: shapes, types, images, intermediate values, control flow, states."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgesdk.errors import InputSpecError, SessionError, UnknownNameError, UsageError
from edgesdk.runtime.mil import EVALUATOR_NOTE, MilEvaluator, SizeRange, load

ct = pytest.importorskip("coremltools")
from coremltools.converters.mil.mil import Builder as mb  # noqa: E402

Evaluate = Callable[..., list[np.ndarray]]


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.conv(x)) * 2.0


@pytest.fixture(scope="module")
def scaled(save: Callable[[Any], Path], convert: Callable[..., Any]) -> tuple[Scaled, Path]:
    torch.manual_seed(1)
    module = Scaled()
    return module, save(convert(module, [torch.zeros(1, 3, 6, 6)]))


def image(*shape: int) -> np.ndarray:
    return np.random.default_rng(5).standard_normal(shape).astype(np.float32)


def test_kept_and_traced_values_are_the_ones_that_were_computed(
    scaled: tuple[Scaled, Path],
) -> None:
    module, path = scaled
    evaluator = MilEvaluator(path, threads=1)
    feature, x = evaluator.inputs[0], image(1, 3, 6, 6)
    with torch.inference_mode():
        convolved = module.conv(torch.from_numpy(x)).numpy()
    traced = list(evaluator.trace({feature.name: x}))
    assert [value.operator for value in traced] == ["conv", "relu", "mul"]
    np.testing.assert_allclose(traced[0].value, convolved, atol=1e-6)
    np.testing.assert_array_equal(traced[1].value, np.maximum(traced[0].value, 0))
    results = evaluator.run({feature.name: x}, keep=[traced[0].name])
    np.testing.assert_array_equal(results[traced[0].name], traced[0].value)
    np.testing.assert_array_equal(results[evaluator.outputs[0].name], traced[2].value)
    assert traced[0].name in evaluator.value_names


def test_a_trace_can_stop_anywhere_and_leaves_torch_as_it_was(scaled: tuple[Scaled, Path]) -> None:
    evaluator = MilEvaluator(scaled[1], threads=1)
    before = torch.get_num_threads()
    for _ in evaluator.trace({evaluator.inputs[0].name: image(1, 3, 6, 6)}):
        assert not torch.is_inference_mode_enabled()
        assert torch.get_num_threads() == before
        break
    assert not torch.is_inference_mode_enabled()


def test_equal_inputs_give_equal_outputs_whatever_ran_between(scaled: tuple[Scaled, Path]) -> None:
    evaluator = MilEvaluator(load(scaled[1]))
    name, x = evaluator.inputs[0].name, image(1, 3, 6, 6)
    first = evaluator.run({name: x})
    evaluator.run({name: -x})
    again = evaluator.run({name: x})
    for key, value in first.items():
        np.testing.assert_array_equal(again[key], value)


def test_outputs_share_no_memory_with_inputs_or_weights(evaluate: Evaluate) -> None:
    x = np.arange(4, dtype=np.float32)
    same, reshaped = evaluate({"x": x}, lambda x: (mb.identity(x=x), mb.reshape(x=x, shape=[2, 2])))
    same[:] = -1
    reshaped[:] = -1
    np.testing.assert_array_equal(x, [0, 1, 2, 3])


def test_operator_times_name_every_operator_once(scaled: tuple[Scaled, Path]) -> None:
    evaluator = MilEvaluator(scaled[1], threads=1)
    times = evaluator.operator_times({evaluator.inputs[0].name: image(1, 3, 6, 6)}, runs=3)
    assert [time.operator for time in times] == ["conv", "relu", "mul"]
    assert all(time.milliseconds > 0 for time in times)
    with pytest.raises(UsageError, match="runs is 0"):
        evaluator.operator_times({}, runs=0)


def test_bad_calls_say_what_was_wrong(scaled: tuple[Scaled, Path]) -> None:
    evaluator = MilEvaluator(scaled[1], threads=1)
    name, x = evaluator.inputs[0].name, image(1, 3, 6, 6)
    with pytest.raises(InputSpecError, match="is missing"):
        evaluator.run({})
    with pytest.raises(UnknownNameError, match="unknown input 'other'"):
        evaluator.run({name: x, "other": x})
    with pytest.raises(UnknownNameError, match="unknown value 'nothing'"):
        evaluator.run({name: x}, keep=["nothing"])
    for wrong in (x[0], x[:, :2], np.zeros((2, 3, 6, 6), np.float32)):
        with pytest.raises(InputSpecError, match="has shape"):
            evaluator.run({name: wrong})
    with pytest.raises(InputSpecError):
        evaluator.run({name: x.astype(np.complex64)})
    with pytest.raises(UsageError, match="threads is 0"):
        MilEvaluator(scaled[1], threads=0)


def test_the_note_says_what_is_not_proven() -> None:
    assert "does not prove Apple's arithmetic" in EVALUATOR_NOTE


def test_a_free_batch_runs_at_every_size(
    save: Callable[[Any], Path], convert: Callable[..., Any]
) -> None:
    torch.manual_seed(2)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 5),
    ).eval()
    path = save(
        convert(
            net,
            [torch.zeros(2, 3, 9, 9)],
            dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=4)},),
            inputs=[ct.TensorType("x", shape=(ct.RangeDim(1, 4, 2), 3, 9, 9))],
        )
    )
    evaluator = MilEvaluator(path, threads=1)
    assert evaluator.inputs[0].ranges[0] == SizeRange(1, 4)
    assert not evaluator.outputs[0].ranges[0].fixed
    assert evaluator.inputs[0].spec().dynamic[0].max == 4
    for batch in (1, 2, 4):
        x = image(batch, 3, 9, 9)
        with torch.inference_mode():
            eager = net(torch.from_numpy(x)).numpy()
        (result,) = evaluator.run({"x": x}).values()
        np.testing.assert_allclose(result, eager, atol=1e-6)
    with pytest.raises(InputSpecError, match=r"1\.\.4x3x9x9"):
        evaluator.run({"x": image(5, 3, 9, 9)})


def test_enumerated_shapes_admit_the_listed_ones_only(
    save: Callable[[Any], Path], convert: Callable[..., Any]
) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()).eval()
    shapes = ct.EnumeratedShapes(shapes=[(1, 3, 8, 8), (1, 3, 4, 12)], default=(1, 3, 8, 8))
    size = torch.export.Dim("h", min=2, max=64), torch.export.Dim("w", min=2, max=64)
    path = save(
        convert(
            net,
            [torch.zeros(1, 3, 8, 10)],
            dynamic_shapes=({2: size[0], 3: size[1]},),
            inputs=[ct.TensorType("x", shape=shapes)],
        )
    )
    evaluator = MilEvaluator(path, threads=1)
    assert evaluator.inputs[0].shape == (1, 3, 8, 8)
    assert set(evaluator.inputs[0].enumerated) == {(1, 3, 8, 8), (1, 3, 4, 12)}
    for shape in evaluator.inputs[0].enumerated:
        x = image(*shape)
        with torch.inference_mode():
            eager = net(torch.from_numpy(x)).numpy()
        (result,) = evaluator.run({"x": x}).values()
        np.testing.assert_allclose(result, eager, atol=1e-6)
    with pytest.raises(InputSpecError, match="1x3x4x12"):
        evaluator.run({"x": image(1, 3, 8, 12)})


@pytest.mark.parametrize("colour", ["RGB", "BGR", "GRAYSCALE"])
def test_an_image_input_takes_bytes_and_carries_its_scale_and_bias(
    save: Callable[[Any], Path], convert: Callable[..., Any], colour: str
) -> None:
    channels = 1 if colour == "GRAYSCALE" else 3
    net = nn.Conv2d(channels, 2, 1).eval()
    bias = [-0.5] * channels if channels == 3 else -0.5
    path = save(
        convert(
            net,
            [torch.zeros(1, channels, 4, 5)],
            inputs=[
                ct.ImageType(
                    "x",
                    shape=(1, channels, 4, 5),
                    scale=1 / 255,
                    bias=bias,
                    color_layout=ct.colorlayout[colour],
                )
            ],
        )
    )
    evaluator = MilEvaluator(path, threads=1)
    feature = evaluator.inputs[0]
    assert (feature.colour, feature.dtype, feature.shape) == (colour, "uint8", (1, channels, 4, 5))
    pixels = np.random.default_rng(0).integers(0, 256, feature.shape, dtype=np.uint8)
    with torch.inference_mode():
        eager = net(torch.from_numpy(pixels.astype(np.float32) / 255 - 0.5)).numpy()
    (result,) = evaluator.run({"x": pixels}).values()
    np.testing.assert_allclose(result, eager, atol=1e-6)
    with pytest.raises(InputSpecError, match="takes uint8"):
        evaluator.run({"x": pixels.astype(np.float32)})


def test_a_branch_runs_one_side(program: Callable[..., MilEvaluator]) -> None:
    def build(x: Any) -> Any:
        positive = mb.greater(x=mb.reduce_sum(x=x, keep_dims=False), y=0.0)
        return mb.cond(
            pred=positive,
            _true_fn=lambda: mb.mul(x=x, y=2.0, name="doubled"),
            _false_fn=lambda: mb.sub(x=x, y=1.0, name="less"),
        )

    evaluator = program({"x": np.zeros(2, np.float32)}, build)
    (doubled,) = evaluator.run({"x": np.array([1, 2], np.float32)}).values()
    np.testing.assert_array_equal(doubled, [2, 4])
    (less,) = evaluator.run({"x": np.array([-1, -2], np.float32)}).values()
    np.testing.assert_array_equal(less, [-2, -3])
    operators = [value.operator for value in evaluator.trace({"x": np.ones(2, np.float32)})]
    assert "mul" in operators
    assert "sub" not in operators


def test_a_loop_runs_until_its_condition_fails(program: Callable[..., MilEvaluator]) -> None:
    def build(count: Any, x: Any) -> Any:
        return mb.while_loop(
            _cond=lambda i, y: mb.less(x=i, y=count),
            _body=lambda i, y: (mb.add(x=i, y=1), mb.mul(x=y, y=3.0)),
            loop_vars=(np.int32(0), x),
        )[1]

    inputs = {"count": np.array([0], np.int32), "x": np.ones(2, np.float32)}

    def squeezed(count: Any, x: Any) -> Any:
        return build(mb.squeeze(x=count, axes=[0]), x)

    evaluator = program(inputs, squeezed)
    for count, expected in ((0, 1.0), (1, 3.0), (4, 81.0)):
        (result,) = evaluator.run(
            {"count": np.array([count], np.int32), "x": np.ones(2, np.float32)}
        ).values()
        np.testing.assert_array_equal(result, [expected, expected])


def test_a_state_starts_at_zero_in_every_run(save: Callable[[Any], Path]) -> None:
    from coremltools.converters.mil.mil import types

    @mb.program(
        input_specs=[mb.TensorSpec((2,), types.fp16), mb.StateTensorSpec((2,), types.fp16)],
        opset_version=ct.target.iOS18,
    )
    def counter(x: Any, total: Any) -> Any:
        first = mb.coreml_update_state(state=total, value=mb.add(x=mb.read_state(input=total), y=x))
        return mb.coreml_update_state(state=total, value=mb.mul(x=first, y=np.float16(3)))

    model = ct.convert(counter, convert_to="mlprogram", minimum_deployment_target=ct.target.iOS18)
    evaluator = MilEvaluator(save(model), threads=1)
    assert [feature.name for feature in evaluator.inputs] == ["x"]
    for _ in range(2):
        (result,) = evaluator.run({"x": np.array([1, 2], np.float16)}).values()
        np.testing.assert_array_equal(result, [3, 6])


def test_an_operator_without_a_rule_is_named_before_anything_runs(
    program: Callable[..., MilEvaluator],
) -> None:
    with pytest.raises(SessionError, match=r"no rule for random_normal \(of 'noise'\)") as raised:
        program(
            {"x": np.zeros((2, 2), np.float32)},
            lambda x: mb.add(x=x, y=mb.random_normal(shape=[2, 2], name="noise")),
        )
    assert raised.value.remedy


def test_an_operator_that_fails_is_named_with_its_value(
    program: Callable[..., MilEvaluator],
) -> None:
    evaluator = program(
        {"x": np.zeros(4, np.float32), "at": np.zeros(1, np.int32)},
        lambda x, at: mb.gather(x=x, indices=at, axis=0, name="taken"),
    )
    inputs = {"x": np.arange(4, dtype=np.float32), "at": np.array([3], np.int32)}
    (taken,) = evaluator.run(inputs).values()
    np.testing.assert_array_equal(taken, [3])
    with pytest.raises(SessionError, match=r"operator gather of 'taken'.*size 4"):
        evaluator.run({**inputs, "at": np.array([4], np.int32)})


def test_validated_indices_may_not_be_negative(program: Callable[..., MilEvaluator]) -> None:
    inputs = {"x": np.arange(4, dtype=np.float32), "at": np.array([-1], np.int32)}
    loose = program(inputs, lambda x, at: mb.gather(x=x, indices=at, axis=0))
    (taken,) = loose.run(inputs).values()
    np.testing.assert_array_equal(taken, [3])
    strict = program(
        inputs, lambda x, at: mb.gather(x=x, indices=at, axis=0, validate_indices=True)
    )
    with pytest.raises(SessionError, match="an index is outside"):
        strict.run(inputs)


@pytest.mark.parametrize("labels", [["cat", "dog", "owl"], [7, 8, 9]])
def test_a_classifier_names_its_class(
    save: Callable[[Any], Path], convert: Callable[..., Any], labels: list[Any]
) -> None:
    net = nn.Sequential(nn.Linear(4, 3), nn.Softmax(-1)).eval()
    model = convert(net, [torch.zeros(1, 4)], classifier_config=ct.ClassifierConfig(labels))
    evaluator = MilEvaluator(save(model), threads=1)
    x = image(1, 4)
    with torch.inference_mode():
        eager = net(torch.from_numpy(x)).numpy().reshape(-1)
    results = evaluator.run({evaluator.inputs[0].name: x})
    assert results["classLabel"].item() == labels[int(eager.argmax())]
    (scores,) = (value for name, value in results.items() if name != "classLabel")
    np.testing.assert_allclose(scores, eager, atol=1e-6)
