"""torch's own decompositions as the last resort for operators that a target lacks."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgesdk import runtime
from edgesdk.converters.conversion import ConversionRequest
from edgesdk.converters.rewriting.library import rewrite_for
from edgesdk.exporter.conversion_job import write_program
from edgesdk.frontend.capture import capture
from edgesdk.spec import TensorSpec


class Rare(nn.Module):
    """Operators that coremltools does not translate."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.rnn = nn.LSTMCell(6, 4), nn.GRU(6, 5, bidirectional=True)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        volume = x.reshape(1, 2, 3, 2, 6)
        summed = x.new_zeros(1, 3, 2, 6).index_add(1, torch.tensor([1, 0, 1, 2, 2, 1]), x)
        return {
            "larger": functional.interpolate(volume, scale_factor=2.0, mode="trilinear"),
            "cell": self.cell(x[0, :, 0])[0],
            "sequence": self.rnn(x[0])[0],
            "summed": summed,
            "celu": functional.celu(x, 0.7),
        }


def program_of(model: nn.Module, x: Tensor) -> torch.export.ExportedProgram:
    return torch.export.export(model, (x,), strict=False)


def lacking(*names: str) -> Any:
    """Take every operator but these."""
    return lambda operator: str(operator).split(".")[1] not in names


@pytest.fixture(scope="module")
def example() -> Tensor:
    return torch.randn(1, 6, 2, 6, generator=torch.Generator().manual_seed(2))


def test_what_a_target_lacks_is_split(example: Tensor) -> None:
    model = Rare().eval()
    program = program_of(model, example)
    names = ("upsample_trilinear3d", "lstm_cell", "celu")
    split, made = rewrite_for("no such target", "", program, lacking(*names))
    assert {one.operator.removeprefix("aten.") for one in made} == set(names)
    assert {one.module for one in made} >= {"cell"}
    assert all("torch computes it from other operators" in one.reason for one in made)
    left = [str(node.target) for node in split.graph.nodes]
    assert not any(name in target for name in names for target in left)
    expected = model(example)
    for key, found in split.module()(example).items():
        torch.testing.assert_close(found, expected[key], rtol=2e-5, atol=2e-5)


def test_nothing_is_split_where_the_target_takes_all(example: Tensor) -> None:
    program = program_of(Rare().eval(), example)
    assert rewrite_for("no such target", "", program, lambda operator: True) == (program, ())
    # torch has no decomposition of it either: the converter refuses it by name.
    sorts = program_of(nn.Sequential(Median()), example)
    assert rewrite_for("no such target", "", sorts, lacking("median")) == (sorts, ())


class Median(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.median(1)[0]


def test_core_ml_runs_what_its_converter_does_not_translate(
    example: Tensor, tmp_path: Path
) -> None:
    coreml = pytest.importorskip("edgesdk.converters.coreml")
    pytest.importorskip("coremltools")
    with torch.random.fork_rng():
        torch.manual_seed(4)
        model = Rare().eval()
    found = capture(model, [TensorSpec("x", tuple(example.shape))], [example])
    program, artefact = tmp_path / "program.pt2", tmp_path / "net.mlpackage"
    write_program(found.program, program)
    request = ConversionRequest(
        "coreml", "fp32", program, artefact, found.inputs, found.outputs, found.inputs
    )
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        conversion = coreml.convert(request)
    split = {one.operator for one in conversion.rewrites}
    assert split >= {"aten.upsample_trilinear3d", "aten.gru", "aten.index_add", "aten.celu"}
    with runtime.open(artefact, inputs=conversion.inputs, outputs=conversion.outputs) as session:
        outputs = session.run({"x": example.numpy()})
    for key, wanted in model(example).items():
        np.testing.assert_allclose(outputs[key], wanted.detach().numpy(), atol=1e-4)
