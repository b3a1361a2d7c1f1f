"""Captured programs: names, free dimensions, origins, and failures led back to the user's line."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgesdk.errors import CaptureError, FactoryError, InputSpecError, ModelOutputError
from edgesdk.frontend.capture import Capture, capture, dynamic_shapes, run_eager
from edgesdk.frontend.flatten import flat_example
from edgesdk.frontend.provenance import frames, module_path, where
from edgesdk.frontend.tensor_specs import spec_of
from edgesdk.spec import DynamicDim, TensorSpec, parse_dynamic

HERE = Path(__file__)


def line_of(text: str) -> str:
    """Where this file holds a line that ends with a mark, as errors show it."""
    lines = HERE.read_text(encoding="utf-8").splitlines()
    number = next(n for n, line in enumerate(lines, 1) if line.endswith(f"# {text}"))
    shown = HERE.relative_to(Path.cwd()) if HERE.is_relative_to(Path.cwd()) else HERE
    return f"{shown.as_posix()}:{number}"


def captured(model: nn.Module, *example: Any, **free: dict[int, DynamicDim]) -> Capture:
    """Capture on an example; ``free`` names the free dimensions of inputs."""
    names, tensors, structure = flat_example(model, example)
    specs = []
    for name, tensor in zip(names, tensors, strict=True):
        spec = spec_of(name, tensor)
        dynamic = free.get(name, {})
        specs.append(TensorSpec(name, spec.shape, spec.dtype, dynamic, spec.layout))
    return capture(model, specs, tensors, structure)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
        self.head = nn.Linear(4, 2)

    def forward(self, image: Tensor, bias: Tensor) -> dict[str, Any]:
        features = self.stem(image)  # stem line
        pooled = features.mean((2, 3))  # mean line
        return {
            "logits": self.head(pooled) + bias,  # head line
            "both": (features, pooled),
        }


BATCH = DynamicDim("batch", 1, 8)


@pytest.fixture(scope="module")
def net() -> Capture:
    torch.manual_seed(0)
    model = Net().eval()
    return captured(model, torch.randn(1, 3, 8, 8), torch.ones(2), image={0: BATCH})


def test_inputs_and_outputs_carry_the_names(net: Capture) -> None:
    signature = net.program.graph_signature
    assert list(signature.user_inputs) == ["image", "bias"]
    assert [spec.name for spec in net.inputs] == ["image", "bias"]
    assert [spec.name for spec in net.outputs] == ["logits", "both_0", "both_1"]
    assert net.parameters == 3 * 4 * 9 + 4 + 4 * 2 + 2
    calls = [node for node in net.program.graph.nodes if node.op == "call_function"]
    assert net.operators == len(calls)


def test_outputs_have_the_sizes_of_the_example(net: Capture) -> None:
    # Captured at two, as torch.export takes a single image for a constant.
    assert net.outputs == (
        TensorSpec("logits", (1, 2), dynamic={0: BATCH}),
        TensorSpec("both_0", (1, 4, 8, 8), dynamic={0: BATCH}),
        TensorSpec("both_1", (1, 4), dynamic={0: BATCH}),
    )


@pytest.mark.parametrize("batch", [1, 2, 5, 8])
def test_the_program_runs_at_every_batch(net: Capture, batch: int) -> None:
    image, bias = torch.randn(batch, 3, 8, 8), torch.ones(2)
    wanted, found = net.flat_model(image, bias), net.program.module()(image, bias)
    assert list(found) == list(wanted)
    for name in wanted:
        torch.testing.assert_close(found[name], wanted[name], rtol=0, atol=1e-6)


def test_every_operator_knows_its_line_and_module(net: Capture) -> None:
    found = {
        (str(node.target).split(".")[1], where(node), module_path(node.meta["nn_module_stack"]))
        for node in net.program.graph.nodes
        if node.op == "call_function"
    }
    assert found == {
        ("conv2d", line_of("stem line"), "stem.0"),
        ("relu", line_of("stem line"), "stem.1"),
        ("mean", line_of("mean line"), ""),
        ("linear", line_of("head line"), "head"),
        ("add", line_of("head line"), ""),
    }


def test_no_frame_of_the_sdk_is_left(net: Capture) -> None:
    files = {
        Path(frame.file).as_posix()
        for node in net.program.graph.nodes
        for frame in frames(node.meta.get("stack_trace") or "")
    }
    assert HERE.as_posix() in files
    assert not [file for file in files if "/edgesdk/" in file or "/converters/" in file]


def test_a_model_of_torch_modules_alone() -> None:
    found = captured(nn.Sequential(nn.Linear(3, 2), nn.ReLU()).eval(), torch.ones(1, 3))
    assert [spec.name for spec in found.inputs] == ["input"]
    assert [spec.name for spec in found.outputs] == ["output"]
    paths = [
        module_path(node.meta["nn_module_stack"])
        for node in found.program.graph.nodes
        if node.op == "call_function"
    ]
    assert paths == ["0", "1"]
    assert {where(n) for n in found.program.graph.nodes} == {""}


class Lambda(nn.Module):
    """Any function as a model."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *xs: Tensor) -> Any:
        return self.function(*xs)


@pytest.mark.parametrize(
    ("function", "count"),
    [
        (lambda x: (x, x), 2),
        (lambda x: {"x": x, "y": (x * 2, None)}, 2),
        (lambda x: (x.sum(), x > 0, x.argmax(1), torch.tensor(3.0)), 4),
        (lambda x: torch.split(x, 1, dim=1), 3),
        (lambda x: torch.topk(x, 2), 2),
    ],
)
def test_eager_and_program_agree_on_outputs(function: Callable[..., Any], count: int) -> None:
    x = torch.tensor([[3.0, -1.0, 2.0]])
    found = captured(Lambda(function).eval(), x)
    eager = run_eager(found.flat_model, {found.inputs[0].name: x.numpy()})
    again = found.program.module()(x)
    assert [spec.name for spec in found.outputs] == list(eager) == list(again)
    assert len(eager) == count
    for spec in found.outputs:
        assert spec.shape == eager[spec.name].shape
        assert np.dtype(spec.dtype) == eager[spec.name].dtype
        assert np.array_equal(again[spec.name].numpy(), eager[spec.name])


def test_parameters_and_buffers_as_outputs() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3))
            self.register_buffer("table", torch.arange(2))

        def forward(self, x: Tensor) -> tuple[Tensor, ...]:
            return x * self.weight, self.weight, self.table

    found = captured(Model().eval(), torch.ones(1, 3))
    assert [(s.shape, s.dtype) for s in found.outputs] == [
        ((1, 3), "float32"),
        ((3,), "float32"),
        ((2,), "int64"),
    ]


@pytest.mark.parametrize(
    "name", ["p_model_0_weight", "b_model_0_weight", "input", "output", "linear"]
)
def test_awkward_input_names(name: str) -> None:
    model = nn.Sequential(nn.Linear(3, 2)).eval()
    spec = TensorSpec(name, (1, 3))
    found = capture(model, [spec], [torch.ones(1, 3)])
    assert list(found.program.module()(torch.ones(1, 3))) == [found.outputs[0].name]
    assert found.outputs[0].name != name
    assert set(run_eager(found.flat_model, {name: np.ones((1, 3), np.float32)})) == {
        found.outputs[0].name
    }


def test_free_height_and_width() -> None:
    dims = parse_dynamic("hw=8..64")
    model = nn.Conv2d(3, 2, 3, stride=2, padding=1).eval()
    found = captured(model, torch.randn(1, 3, 16, 16), input={2: dims["height"], 3: dims["width"]})
    (output,) = found.outputs
    assert (output.shape, sorted(output.dynamic)) == ((1, 2, 8, 8), [2, 3])
    assert found.program.module()(torch.randn(1, 3, 24, 50))["output"].shape == (1, 2, 12, 25)


class Unet(nn.Module):
    """A skip over two halvings: sizes must be multiples of four."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(7, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        small = nn.functional.avg_pool2d(nn.functional.avg_pool2d(self.down(x), 2), 2)
        large = nn.functional.interpolate(small, scale_factor=4.0)
        return self.up(torch.cat((large, x), 1))


def test_free_sizes_in_multiples() -> None:
    dims = parse_dynamic("hw=30..130/4")
    found = captured(
        Unet().eval(), torch.randn(1, 3, 32, 32), x={2: dims["height"], 3: dims["width"]}
    )
    (output,) = found.outputs
    assert output.dynamic == {2: dims["height"], 3: dims["width"]}
    for size in ((32, 32), (128, 64)):
        x = torch.randn(1, 3, *size)
        torch.testing.assert_close(
            found.program.module()(x)["output"], found.flat_model(x)["output"]
        )


def test_a_network_that_needs_multiples_says_of_what() -> None:
    dims = parse_dynamic("hw=30..130")
    with pytest.raises(CaptureError) as caught:
        captured(Unet().eval(), torch.randn(1, 3, 32, 32), x={2: dims["height"], 3: dims["width"]})
    assert caught.value.message == "the model only accepts multiples of 4 (height, width)"
    assert caught.value.remedy == "declare the step: --dynamic hw=32..128/4"


class PadsToMultiple(nn.Module):
    """A network that pads to a multiple, as networks with strides do."""

    def __init__(self, step: int, mode: str) -> None:
        super().__init__()
        self.step, self.mode = step, mode
        self.down = nn.Conv2d(3, 4, step, stride=step)
        self.up = nn.ConvTranspose2d(4, 3, step, stride=step)

    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[-2:]
        bottom, right = -h % self.step, -w % self.step
        y = nn.functional.pad(x, (0, right, 0, bottom), mode=self.mode)  # pad line
        return self.up(self.down(y))[..., :h, :w]


@pytest.mark.parametrize("step", [4, 8])
def test_padding_to_a_multiple_names_the_step_that_works(step: int) -> None:
    dims = parse_dynamic("hw=9..70")
    with pytest.raises(CaptureError) as caught:
        captured(
            PadsToMultiple(step, "replicate").eval(),
            torch.randn(1, 3, 16, 16),
            x={2: dims["height"], 3: dims["width"]},
        )
    error = caught.value
    assert error.message == (
        f"the padding to a multiple of {step} cannot be followed for free sizes (height, width)"
    )
    lowest = {4: 12, 8: 16}[step]
    largest = 70 // step * step
    option = f"--dynamic hw={lowest}..{largest}/{step}"
    assert error.remedy == f"declare the step: {option}, or pad outside the model"
    assert error.where == line_of("pad line")
    # The remedy works.
    dims = parse_dynamic(option.removeprefix("--dynamic "))
    captured(
        PadsToMultiple(step, "replicate").eval(),
        torch.randn(1, 3, 16, 16),
        x={2: dims["height"], 3: dims["width"]},
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_float_type_are_named(dtype: torch.dtype) -> None:
    with pytest.raises(InputSpecError) as caught:
        captured(nn.Linear(4, 2).to(dtype).eval(), torch.randn(1, 4))
    name = str(dtype).removeprefix("torch.")
    assert caught.value.remedy == f"the weights are {name}: call model.float()"


def test_a_fixed_batch_is_refused_in_plain_words() -> None:
    model = Lambda(lambda x: x.view(2, 3) + 1).eval()
    with pytest.raises(CaptureError) as caught:
        captured(model, torch.ones(2, 3), xs_0={0: BATCH})
    assert "fixes a dimension that should stay free (batch)" in caught.value.message
    assert "mark_dynamic" not in str(caught.value)
    assert "--dynamic" in (caught.value.remedy or "")


def test_dynamic_shapes_for_torch() -> None:
    assert dynamic_shapes([TensorSpec("x", (1, 3))]) is None
    dims = parse_dynamic("hw=30..130/32")
    specs = [
        TensorSpec("x", (1, 3, 32, 32), dynamic={2: dims["height"], 3: dims["width"]}),
        TensorSpec("y", (32, 4), dynamic={0: dims["height"]}),
        TensorSpec("z", (4,)),
    ]
    plain = dynamic_shapes(specs)
    assert plain is not None
    assert [sorted(axes) for axes in plain.values()] == [[2, 3], [0], []]
    assert plain["x"][2] is plain["y"][0]
    assert (plain["x"][2].min, plain["x"][2].max) == (30, 130)
    stepped = dynamic_shapes(specs, stepped=True)
    assert stepped is not None
    root = stepped["x"][2].root
    assert (root.min, root.max) == (1, 4)


class Branch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:  # branch line
            return x
        return -x


class Loop(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        count = int(x.sum().item())
        return x[:count]  # slice line


class Numpy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.from_numpy(x.numpy() * 2)  # numpy line


@pytest.mark.parametrize(
    ("model", "line", "told"),
    [
        (Branch(), "branch line", "control flow depends on tensor values"),
        (Numpy(), "numpy line", "torch.export cannot trace the model"),
    ],
)
def test_what_cannot_be_traced_names_the_users_line(model: nn.Module, line: str, told: str) -> None:
    with pytest.raises(CaptureError, match=told) as caught:
        captured(model.eval(), torch.ones(2, 3))
    place, _, code = (caught.value.where or "").partition(": ")
    assert place == line_of(line)
    assert code.endswith(f"# {line}")
    assert caught.value.remedy


def test_slicing_by_a_value_names_a_line_of_forward() -> None:
    with pytest.raises(CaptureError, match="depends on tensor values") as caught:
        captured(Loop().eval(), torch.ones(2, 3))
    lines, first = inspect.getsourcelines(Loop.forward)
    number = int((caught.value.where or "").split(":")[1])
    assert first < number < first + len(lines)


def test_a_value_that_steers_nothing_is_captured() -> None:
    model = Lambda(lambda x: x * x.max().item()).eval()
    found = captured(model, torch.ones(2, 3))
    x = torch.tensor([[1.0, 2.0, 3.0]] * 2)
    assert torch.equal(found.program.module()(x)["output"], x * 3)


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        doubled = x * 2
        return self.layer(doubled)  # layer line


@pytest.mark.parametrize(
    ("example", "told"),
    [
        (torch.ones(2, 3), "x:2x3:float32: mat1 and mat2 shapes cannot be multiplied"),
        (
            torch.ones(2, 4, dtype=torch.int64),
            "x:2x4:int64: mat1 and mat2 must have the same dtype",
        ),
    ],
)
def test_inputs_the_model_refuses_name_its_line(example: Tensor, told: str) -> None:
    with pytest.raises(InputSpecError) as caught:
        captured(Scaled().eval(), example)
    assert caught.value.message.startswith(f"the model refuses the input {told}")
    assert (caught.value.where or "").startswith(line_of("layer line") + ": return")
    with pytest.raises(InputSpecError, match="fails on a sample") as again:
        found = captured(Scaled().eval(), torch.ones(1, 4))
        run_eager(found.flat_model, {"x": example.numpy()})
    assert (again.value.where or "").startswith(line_of("layer line"))


def test_inputs_torch_alone_refuses_name_no_line() -> None:
    with pytest.raises(InputSpecError) as caught:
        captured(nn.Sequential(nn.Linear(4, 3)).eval(), torch.ones(2, 3))
    assert caught.value.where is None


def test_outputs_that_are_no_tensor() -> None:
    for result in (3, None, {}, (torch.ones(1), "text")):
        with pytest.raises(ModelOutputError):
            captured(Lambda(lambda x, result=result: result).eval(), torch.ones(1))


def test_numbers_stay_numbers() -> None:
    found = captured(Lambda(lambda x, n: x * n).eval(), torch.ones(3), torch.tensor(2.0))
    outputs = run_eager(found.flat_model, {"xs_0": np.ones(3, np.float32), "xs_1": np.float32(4)})
    assert outputs["output"].tolist() == [4.0, 4.0, 4.0]
    scalar = captured(nn.ReLU().eval(), torch.tensor(2.0))
    assert run_eager(scalar.flat_model, {"input": np.float32(-3)})["output"].shape == ()


def test_inputs_of_other_strides_are_taken() -> None:
    found = captured(nn.ReLU().eval(), torch.ones(2, 3))
    given: Sequence[np.ndarray] = (
        np.ones((3, 2), np.float32).T,
        np.ones((2, 6), np.float32)[:, ::-2],
    )
    for array in given:
        assert run_eager(found.flat_model, {"input": array})["output"].tolist() == [[1.0] * 3] * 2


def test_a_fault_in_the_code_is_not_blamed_on_the_input() -> None:
    class Misspelt(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.cov(x)  # type: ignore[no-any-return]

    with pytest.raises(FactoryError, match=r"raised AttributeError: .*'cov'") as caught:
        capture(Misspelt(), [TensorSpec("x", (1, 3, 8, 8))], [torch.rand(1, 3, 8, 8)])
    assert "return self.cov(x)" in (caught.value.where or "")
    assert "--input" not in (caught.value.remedy or "")
