"""From the real words of each converter back to the user's line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from edgesdk.converters.error_locations import conversion_error, locate, unsupported_operator
from edgesdk.errors import ConversionError, UnsupportedOperatorError

HERE = Path(__file__)


class Inner(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.svdvals(x)  # svd line


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Inner()

    def forward(self, x: Tensor) -> Tensor:
        y = torch.special.bessel_j0(x)  # bessel line
        z = torch.fft.fft(y).abs()  # fft line
        return self.inner(z + torch.sort(x)[0])  # sort line


def line_of(text: str) -> str:
    lines = HERE.read_text(encoding="utf-8").splitlines()
    number = next(n for n, line in enumerate(lines, 1) if line.endswith(f"# {text}"))
    shown = HERE.relative_to(Path.cwd()) if HERE.is_relative_to(Path.cwd()) else HERE
    return f"{shown.as_posix()}:{number}"


@pytest.fixture(scope="module")
def program() -> torch.export.ExportedProgram:
    return torch.export.export(Model().eval(), (torch.randn(2, 3, 3),))


@pytest.mark.parametrize(
    ("operator", "line", "module"),
    [
        ("aten.sort.default", "sort line", ""),
        ("aten::sort.values", "sort line", ""),
        ("sort", "sort line", ""),
        ("torch._ops.aten.sort.default", "sort line", ""),
        ("torch.ops.aten.sort", "sort line", ""),
        ("aten::sort_copy.out", "sort line", ""),
        ("linalg_svdvals", "svd line", "inner"),
        ("prims.bessel_j0", "bessel line", ""),
    ],
)
def test_locate_reads_every_spelling(
    program: torch.export.ExportedProgram, operator: str, line: str, module: str
) -> None:
    assert locate(program, operator) == (line_of(line), module)


@pytest.mark.parametrize("operator", ["aten.topk.default", "", ".", "sor", "sort2"])
def test_locate_finds_nothing_else(program: torch.export.ExportedProgram, operator: str) -> None:
    assert locate(program, operator) == ("", "")


def test_a_part_of_an_operator_leads_to_the_whole(program: torch.export.ExportedProgram) -> None:
    error = unsupported_operator(program, "aten._linalg_svd.default", "executorch")
    assert error.where == line_of("svd line")
    assert "in module 'inner'" in error.message


def test_unsupported_operator_says_why_and_what_to_do(
    program: torch.export.ExportedProgram,
) -> None:
    error = unsupported_operator(program, "aten::sort.values", "litert", "the interpreter lacks it")
    assert (
        error.message
        == "litert does not support the operator aten::sort.values: the interpreter lacks it"
    )
    assert error.remedy
    unknown = unsupported_operator(program, "aten.nonsense", "onnx")
    assert unknown.where is None
    assert unknown.message == "onnx does not support the operator aten.nonsense"


# The words of the converters as they were met: coremltools 9.0, torch 2.13 (ONNX), litert-torch
# 0.10, executorch 1.5.1. "PyTorch convert function" and "Missing out variants" are read in the
# vendors' sources: current versions catch those cases earlier.
ONNX_WRAPPER = """\
Failed to convert the exported program to an ONNX model. \x1b[96mThis is step 3/3\x1b[0m of \
exporting the model to ONNX. Next steps:
- If there is a missing ONNX function, implement it and register it to the registry.

## Exception summary

<class 'torch.onnx._internal.exporter._errors.DispatchError'>: No ONNX function found for \
<OpOverload(op='{op}', overload='default')>. Failure message: No decompositions registered for \
the real-valued input
⬆️
<class 'torch.onnx._internal.exporter._errors.ConversionError'>: Error when translating node \
%{node} : [num_users=1] = call_function[target=torch.ops.{op}.default](args = (%x,), kwargs = \
{{}}). See the stack trace for more information.
"""
ONNX = (
    "No ONNX function found for <OpOverload(op='{op}', overload='default')>. Failure message: "
    "No decompositions registered for the real-valued input"
)
LITERT = """\
Lowering not found: {op}.default

While executing %{node} : [num_users=1] = call_function[target=torch.ops.{op}.default](args = \
(%x,), kwargs = {{}})
Original traceback:
File "/home/me/net.py", line 12, in forward
    def forward(self, x): return self.function(x)
"""
EXECUTORCH = """
Operator torch._ops.{op}.default is not in Core ATen opset \
(https://pytorch.org/docs/stable/torch.compiler_ir.html#core-aten-ir)."
There are a few things to try:
1. You can proceed with `to_edge(compile_config=EdgeCompileConfig(_core_aten_ops_exception_list=\
[torch.ops.{op}.default]))`.
"""


@pytest.mark.parametrize(
    ("target", "text", "operator", "line"),
    [
        (
            "coreml",
            "Unsupported fx node linalg_svdvals, kind linalg_svdvals",
            "linalg_svdvals",
            "svd line",
        ),
        (
            "coreml",
            "Unsupported fx node special_bessel_j0, kind special_bessel_j0",
            "special_bessel_j0",
            "bessel line",
        ),
        (
            "coreml",
            "PyTorch convert function for op 'linalg_svdvals' not implemented.",
            "linalg_svdvals",
            "svd line",
        ),
        ("onnx", ONNX.format(op="aten._linalg_svd"), "aten._linalg_svd", "svd line"),
        ("onnx", ONNX.format(op="prims.bessel_j0"), "prims.bessel_j0", "bessel line"),
        (
            "onnx",
            ONNX_WRAPPER.format(op="aten._linalg_svd", node="_linalg_svd"),
            "aten._linalg_svd",
            "svd line",
        ),
        (
            "litert",
            LITERT.format(op="aten._linalg_svd", node="_linalg_svd"),
            "aten._linalg_svd.default",
            "svd line",
        ),
        (
            "litert",
            LITERT.format(op="aten.special_bessel_j0", node="special_bessel_j0"),
            "aten.special_bessel_j0.default",
            "bessel line",
        ),
        (
            "executorch",
            EXECUTORCH.format(op="aten._linalg_svd"),
            "aten._linalg_svd.default",
            "svd line",
        ),
        (
            "executorch",
            EXECUTORCH.format(op="aten.special_bessel_j0"),
            "aten.special_bessel_j0.default",
            "bessel line",
        ),
        (
            "executorch",
            "Missing out variants: {'aten::linalg_svdvals'}",
            "aten::linalg_svdvals",
            "svd line",
        ),
    ],
)
def test_the_words_of_every_converter(
    program: torch.export.ExportedProgram, target: str, text: str, operator: str, line: str
) -> None:
    error = conversion_error(program, target, RuntimeError(text))
    assert isinstance(error, UnsupportedOperatorError)
    assert error.message.startswith(f"{target} does not support the operator {operator}")
    assert error.where == line_of(line)


def test_the_cause_of_an_exception_is_read_too(program: torch.export.ExportedProgram) -> None:
    outer = RuntimeError("conversion failed")
    outer.__cause__ = ValueError("Unsupported fx node sort, kind sort")
    error = conversion_error(program, "coreml", outer)
    assert isinstance(error, UnsupportedOperatorError)
    assert error.where == line_of("sort line")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("node fft_fft (fft_fft) got 1 input(s), expected [4]", "fft line"),
        ("While executing %fft_fft : [num_users=1]\nboom", "fft line"),
        ("Error when translating node %sort : [num_users=1]", "sort line"),
        ("While executing %nothing_of_ours\nnode sort (sort) got 1", "sort line"),
        ("nothing that helps", None),
        ("", None),
    ],
)
def test_other_failures_name_the_node_they_were_at(
    program: torch.export.ExportedProgram, text: str, line: str | None
) -> None:
    error = conversion_error(program, "coreml", ValueError(text))
    assert type(error) is ConversionError
    assert error.message.startswith("coreml's converter failed with ValueError: ")
    assert error.where == (line_of(line) if line else None)


def test_the_users_own_traceback_in_a_message(program: torch.export.ExportedProgram) -> None:
    text = 'boom\nOriginal traceback:\nFile "/home/me/net.py", line 12, in forward\n    x'
    assert conversion_error(program, "litert", RuntimeError(text)).where == "/home/me/net.py:12"
    torch_only = text.replace("/home/me/", "/x/site-packages/torch/")
    assert conversion_error(program, "litert", RuntimeError(torch_only)).where is None


def test_the_first_cause_is_named(program: torch.export.ExportedProgram) -> None:
    outer = RuntimeError("failed. \x1b[96mThis is step 2/3\x1b[0m of it\nNext steps: ask")
    middle = KeyError("between")
    middle.__context__ = AssertionError("expected sympy.Symbol")
    outer.__cause__ = middle
    assert conversion_error(program, "onnx", outer).message == (
        "onnx's converter failed with RuntimeError: failed. This is step 2/3 of it, "
        "from AssertionError: expected sympy.Symbol"
    )


def test_a_message_is_cut_to_its_first_line(program: torch.export.ExportedProgram) -> None:
    error = conversion_error(program, "onnx", RuntimeError("\n  " + "x" * 900 + "\nsecond"))
    assert error.message == "onnx's converter failed with RuntimeError: " + "x" * 500
    silent = conversion_error(program, "onnx", RuntimeError())
    assert silent.message == "onnx's converter failed with RuntimeError: no message"
    assert silent.exit_code == 5


class Waves(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(x)
        return torch.fft.fft(y).abs()  # wave line


def converting(node: torch.fx.Node) -> None:
    """Fail as a converter does, which has the operator in a variable."""
    raise ValueError(f"expected {len(node.args)} more")


def failure_at(program: torch.export.ExportedProgram, name: str) -> ConversionError:
    node = next(one for one in program.graph.nodes if name in str(one.target))
    try:
        converting(node)
    except ValueError as error:
        return conversion_error(program, "litert", error)
    raise AssertionError


def test_the_operator_of_a_converters_frame_is_named() -> None:
    program = torch.export.export(Model().eval(), (torch.randn(2, 3, 3),))
    error = failure_at(program, "aten.sort")
    assert error.where == line_of("sort line")
    assert "failed at aten.sort with ValueError" in error.message
    assert error.remedy == "rewrite that line with other operators, or leave litert out"
    inner = failure_at(program, "svdvals")
    assert "in module 'inner'" in inner.message


def test_complex_numbers_are_named() -> None:
    program = torch.export.export(Waves(), (torch.randn(2, 8),))
    error = failure_at(program, "fft_fft")
    assert isinstance(error, UnsupportedOperatorError)
    assert error.message == "litert does not support the complex numbers of aten.fft_fft"
    assert error.where == line_of("wave line")
    assert "imaginary part" in (error.remedy or "")
    lost = conversion_error(program, "litert", RuntimeError("element type: complex<f32>"))
    assert lost.where == line_of("wave line")
    # A failure at another operator has nothing to do with them.
    assert not isinstance(failure_at(program, "relu"), UnsupportedOperatorError)


class Deep(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(x) * x.mean().item()  # item line
        return y.reshape(1, 1, 1, 1, 2, 8).abs().flatten()  # deep line


@pytest.mark.parametrize(
    ("text", "line", "remedy"),
    [
        ("Abstract tracer value encountered", "item line", "without .item()"),
        ('Core ML only supports tensors with rank <= 5. Layer "x"', "deep line", "reshape()"),
    ],
)
def test_failures_that_name_no_operator(text: str, line: str, remedy: str) -> None:
    program = torch.export.export(Deep(), (torch.randn(2, 8),), strict=False)
    error = conversion_error(program, "coreml", ValueError(text))
    assert error.where == line_of(line)
    assert remedy in (error.remedy or "")
