"""A program's hash: the same for the same program anywhere, another for any other."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from edgesdk.exporter.prepared import CaptureSpec, prepare
from edgesdk.frontend.capture import program_digest
from edgesdk.spec import DynamicDim

MODEL = """\
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.norm = nn.LayerNorm(3)
        self.register_buffer("shift", torch.arange(3.0))
        self.table = torch.full((3,), 2.0)
        self.factor = 1.5

    def forward(self, x, y):
        z = self.norm(self.second(torch.relu(self.first(x))) * self.factor) + self.table
        return {"left": z + self.shift, "right": z - y}


def build():
    torch.manual_seed(0)
    return Net().eval(), (torch.ones(2, 3), torch.ones(2, 3))
"""
FREE = CaptureSpec((("batch", DynamicDim("batch", 1, 8)),))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("digest") / "digest_net.py"
    path.write_text(MODEL)
    return path


def digest_of(model: nn.Module, variant: CaptureSpec = FREE, rows: int = 2) -> str:
    example = (torch.ones(rows, 3), torch.ones(rows, 3))
    return program_digest(prepare(model, example).capture(variant).program)


@pytest.fixture
def build(file: Path) -> Callable[[], nn.Module]:
    return lambda: prepare(f"{file}:build").loaded.model


@pytest.fixture(scope="module")
def usual(file: Path) -> str:
    return program_digest(prepare(f"{file}:build").capture(FREE).program)


def test_two_builds_and_two_processes_agree(
    usual: str, build: Callable[[], nn.Module], file: Path
) -> None:
    assert len(usual) == 64
    assert digest_of(build()) == usual
    saved = file.with_name("digest.pt2")
    torch.export.save(prepare(f"{file}:build").capture(CaptureSpec()).program, saved)
    from_file = program_digest(prepare(str(saved)).capture(CaptureSpec()).program)
    code = (
        "import sys\n"
        "from edgesdk.exporter.prepared import CaptureSpec, prepare\n"
        "from edgesdk.frontend.capture import program_digest\n"
        "from edgesdk.spec import DynamicDim\n"
        # Generated code is numbered in the order of its making.
        "import torch; [torch.fx.symbolic_trace(torch.nn.ReLU()) for _ in range(3)]\n"
        "free = CaptureSpec((('batch', DynamicDim('batch', 1, 8)),))\n"
        "print(program_digest(prepare(sys.argv[1]).capture(free).program))\n"
        "print(program_digest(prepare(sys.argv[2]).capture(CaptureSpec()).program))\n"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code, f"{file}:build", str(saved)],
        capture_output=True,
        text=True,
        check=True,
        cwd=root,
        env={"PYTHONHASHSEED": "7", "PATH": "/usr/bin:/bin", "HOME": str(file.parent)},
    )
    assert done.stdout.split() == [usual, from_file]


def weight_bit(model: nn.Module) -> None:
    model.first.weight.data.view(torch.int32)[0, 0] ^= 1


def buffer(model: nn.Module) -> None:
    model.shift[1] += 1


def constant(model: nn.Module) -> None:
    model.table = torch.full((3,), 3.0)


def number(model: nn.Module) -> None:
    model.factor = 1.5000000000000002


def attribute(model: nn.Module) -> None:
    model.norm.eps = 1e-4


def order(model: nn.Module) -> None:
    model.first, model.second = model.second, model.first


def stride(model: nn.Module) -> None:
    model.first.weight = nn.Parameter(model.first.weight.data.t().contiguous().t())


def dtype(model: nn.Module) -> None:
    model.shift = model.shift.double()


@pytest.mark.parametrize(
    "change", [weight_bit, buffer, constant, number, attribute, order, stride, dtype]
)
def test_any_change_shows(
    change: Callable[[nn.Module], None], build: Callable[[], nn.Module], usual: str
) -> None:
    model = build()
    change(model)
    assert digest_of(model) != usual


def test_shapes_and_free_dimensions_show(build: Callable[[], nn.Module], usual: str) -> None:
    model = build()
    wider = CaptureSpec((("batch", DynamicDim("batch", 1, 9)),))
    found = {
        usual,
        digest_of(model, CaptureSpec()),
        digest_of(model, CaptureSpec(), rows=3),
        digest_of(model, wider),
    }
    assert len(found) == 4


def test_the_numbers_of_generated_code_do_not_show() -> None:
    digests = set()
    for _ in range(2):
        # Each tracing generates a file of a new number, which is in the traces of the operators.
        traced = torch.fx.symbolic_trace(nn.Sequential(nn.ReLU(), nn.Tanh()).eval())
        program = prepare(traced, torch.ones(1)).capture(CaptureSpec()).program
        assert any("<eval_with_key>" in str(n.meta.get("stack_trace")) for n in program.graph.nodes)
        digests.add(program_digest(program))
    assert len(digests) == 1


def test_names_of_outputs_show() -> None:
    class Named(nn.Module):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {self.name: x * 2}

    digests = {
        program_digest(prepare(Named(name).eval(), torch.ones(1)).capture(CaptureSpec()).program)
        for name in ("a", "b", "a")
    }
    assert len(digests) == 2


def test_the_order_of_dictionaries_does_not_show(
    build: Callable[[], nn.Module], usual: str
) -> None:
    model = build()
    x, y = torch.ones(2, 3), torch.ones(2, 3)
    digests = {
        program_digest(prepare(model, example).capture(FREE).program)
        for example in ({"x": x, "y": y}, {"y": y, "x": x})
    }
    assert digests == {usual}
    program = prepare(model, (x, y)).capture(FREE).program
    turned = dict(reversed(program.state_dict.items()))
    program.state_dict.clear()
    program.state_dict.update(turned)
    assert program_digest(program) == usual
