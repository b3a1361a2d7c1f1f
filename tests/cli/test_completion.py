"""Shell completion, asked for as bash asks: through the environment, in a process of its own."""

from __future__ import annotations

from typing import Any

import pytest

from edgesdk.cli.completion import complete_recipes, complete_targets

LOADED = """
import sys
sys.argv[0] = "edgesdk"
from edgesdk.cli import main
try:
    main()
finally:
    heavy = {"torch", "numpy", "onnx", "executorch"} & set(sys.modules)
    sys.stderr.write(f"heavy: {sorted(heavy)}")
"""


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("edgesdk exp", ["export"]),
        ("edgesdk export mobilenet_v2", ["mobilenet_v2"]),
        ("edgesdk export x --to lit", ["litert", "litert:fp32"]),
        ("edgesdk export x --quantize fp32,w8a8", ["fp32,w8a8_static"]),
        ("edgesdk quantize-report x --quantize w8a32", ["w8a32_dynamic"]),
        ("edgesdk train classify x --qat w8a16", ["w8a16_static"]),
        ("edgesdk export x --io", ["--io-dtype"]),
        ("edgesdk export x --fac", []),
        ("edgesdk stylize x --style great", ["great-wave"]),
    ],
)
def test_bash_gets_candidates(edgesdk_command: Any, line: str, expected: list[str]) -> None:
    words = line.split()
    environment = {
        "_EDGESDK_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    ended = edgesdk_command(code=LOADED, environment=environment)
    assert (ended.code, ended.err) == (0, "heavy: []")
    assert ended.out.split() == expected


def test_the_script_for_bash_is_printed(edgesdk_command: Any) -> None:
    # Otherwise typer looks for the shell among the parents of the process.
    environment = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    ended = edgesdk_command("--show-completion", "bash", environment=environment)
    assert ended.code == 0, ended.err
    assert "_EDGESDK_COMPLETE=" in ended.out


def test_lists_continue_after_a_comma() -> None:
    assert complete_targets("onnx,core") == ["onnx,coreml", "onnx,coreml:fp16", "onnx,coreml:fp32"]
    assert "fp16,fp16" not in complete_recipes("fp16,")
