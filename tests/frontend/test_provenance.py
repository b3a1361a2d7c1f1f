from __future__ import annotations

import sysconfig
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesdk.frontend.provenance import SourceFrame, frames, module_path, user_frame, where

_TORCH = """  File "/py/site-packages/torch/nn/modules/padding.py", line 377, in forward
    return F.pad(input, self.padding, "reflect")
"""
_PACKAGE = """  File "/py/lib/python3.11/site-packages/timm/layers/norm.py", line 12, in forward
    return self.norm(x)
"""
_USER = """  File "/home/u/net.py", line 16, in forward
    for b in s.blocks: x = b(x)
  File "/home/u/blocks.py", line 9, in inner
    s.conv(s.pad(x))
    ~~~~~~^^^^^^^^^^
"""


def test_frames_are_read_outermost_first_with_their_code() -> None:
    assert frames(_USER + _TORCH) == [
        SourceFrame("/home/u/net.py", 16, "forward", "for b in s.blocks: x = b(x)"),
        SourceFrame("/home/u/blocks.py", 9, "inner", "s.conv(s.pad(x))"),
        SourceFrame(
            "/py/site-packages/torch/nn/modules/padding.py",
            377,
            "forward",
            'return F.pad(input, self.padding, "reflect")',
        ),
    ]


def test_the_innermost_frame_outside_packages_is_the_users() -> None:
    frame = user_frame(_USER + _PACKAGE + _TORCH)
    assert frame == SourceFrame("/home/u/blocks.py", 9, "inner", "s.conv(s.pad(x))")


def test_a_packaged_model_is_located_inside_its_package() -> None:
    frame = user_frame(_PACKAGE + _TORCH)
    assert frame is not None
    assert str(frame) == "timm/layers/norm.py:12"


def test_frames_of_the_sdk_yield_to_the_package_they_wrap() -> None:
    wrapper = Path(__file__).resolve().parents[2] / "edgesdk" / "wrapper.py"
    wrapped = f'  File "{wrapper}", line 3, in forward\n    return self.model(x)\n'
    frame = user_frame(wrapped + _PACKAGE + _TORCH)
    assert frame is not None and frame.line == 12
    # Nothing of the SDK is the user's line, but for a network of its zoo.
    assert user_frame(wrapped + _TORCH) is None
    zoo = wrapper.parent / "models" / "resnet.py"
    network = f'  File "{zoo}", line 5, in forward\n    return self.conv(x)\n'
    own = user_frame(wrapped + network + _TORCH)
    assert own is not None and own.line == 5


@pytest.mark.parametrize(
    "trace",
    [
        "",
        "no trace at all\n",
        _TORCH,
        '  File "<eval_with_key>.3", line 5, in forward\n',
        f'  File "{sysconfig.get_path("stdlib")}/contextlib.py", line 81, in inner\n',
    ],
)
def test_machinery_alone_leads_nowhere(trace: str) -> None:
    assert user_frame(trace) is None


def test_a_notebook_cell_is_the_users() -> None:
    frame = user_frame('  File "<ipython-input-3>", line 5, in forward\n    y = x\n' + _TORCH)
    assert frame is not None and str(frame) == "<ipython-input-3>:5"


def test_paths_below_the_working_folder_are_relative(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert str(SourceFrame(str(tmp_path / "a" / "net.py"), 4)) == "a/net.py:4"
    assert str(SourceFrame("/elsewhere/net.py", 4)) == "/elsewhere/net.py:4"


@pytest.mark.parametrize(
    ("stack", "path"),
    [
        (None, ""),
        ({}, ""),
        ({"L__self__": ("", "net.Net")}, ""),
        ({"L__self__": ("", "net.Net"), "k": ("blocks.0.pad", "torch.nn.X")}, "blocks.0.pad"),
        ({"k@1": ("act@1", "torch.nn.ReLU")}, "act"),
        ({"k": ("L['self'].act", "torch.nn.ReLU")}, "act"),
    ],
)
def test_module_path(stack: dict[str, tuple[str, str]] | None, path: str) -> None:
    assert module_path(stack) == path


def test_nodes_of_a_real_program_lead_to_this_file() -> None:
    torch = pytest.importorskip("torch")

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.act = torch.nn.ReLU()

        def forward(self, x):  # type: ignore[no-untyped-def]
            x = self.act(x)
            return self.act(torch.sin(x))

    first = Net.forward.__code__.co_firstlineno + 1
    program = torch.export.export(Net().eval(), (torch.randn(2, 3),))
    calls = [node for node in program.graph.nodes if node.op == "call_function"]
    assert [where(node).rpartition("/")[2] for node in calls] == [
        f"{Path(__file__).name}:{first}",
        f"{Path(__file__).name}:{first + 1}",
        f"{Path(__file__).name}:{first + 1}",
    ]
    assert [module_path(node.meta["nn_module_stack"]) for node in calls] == ["act", "", "act"]


def test_a_node_without_a_trace_has_no_place() -> None:
    assert where(SimpleNamespace(meta={})) == ""
    assert where(SimpleNamespace(meta={"stack_trace": None})) == ""


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=300))
def test_any_text_is_read_without_failing(text: str) -> None:
    user_frame(text)
    for frame in frames(text):
        assert frame.line >= 0
