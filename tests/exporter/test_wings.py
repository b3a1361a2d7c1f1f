"""A plain export loads neither the quantizer nor the machinery of paintings."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import edgesdk.exporter.paintings as paintings
import edgesdk.exporter.quantization as quantization

CODE = """
import sys, torch, edgesdk
bundle = edgesdk.export(
    torch.nn.Linear(3, 2).eval(), torch.ones(1, 3), targets="onnx", output=sys.argv[1]
)
assert bundle.manifest.artefacts[0].parity.passed
print(*(name for name in sys.modules if name.startswith("edgesdk.")))
"""
WINGS = (
    "edgesdk.exporter.paintings.",
    "edgesdk.exporter.quantization.",
    "edgesdk.quant.",
    "edgesdk.training.",
    "edgesdk.video.",
)
#: Options and specs are plain values; arrays and spec types are shared with the converters.
ALLOWED = {
    "edgesdk.exporter.quantization.options",
    "edgesdk.quant.layer_names",
    "edgesdk.quant.plan",
    "edgesdk.quant.recipes",
    "edgesdk.quant.spec",
    "edgesdk.video.styles",
}


def test_a_plain_export_loads_no_wing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(tmp_path / "net.edge")],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    loaded = done.stdout.splitlines()[-1].split()
    assert "edgesdk.exporter.run" in loaded
    assert {name for name in loaded if name.startswith(WINGS)} <= ALLOWED


def test_both_wings_offer_their_entries_by_name() -> None:
    for wing in (paintings, quantization):
        assert dir(wing) == wing.__all__
        assert all(callable(getattr(wing, name)) for name in wing.__all__)
