"""Every kind of network passes on every target, through the whole export."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

import edgesdk

_PLACE = Path(__file__).with_name("networks.py")
_spec = importlib.util.spec_from_file_location("case_networks", _PLACE)
assert _spec is not None and _spec.loader is not None
networks = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(networks)

TARGETS = ["executorch", "coreml:fp32", "litert", "onnx"]

# The two that need most help on most targets; the others take minutes.
_QUICK = {"swaps colors in place", "detector"}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in _QUICK else pytest.mark.slow)
        for name in networks.CASES
    ],
)
def test_a_network_passes_on_every_target(name: str, tmp_path: Path) -> None:
    model, example = networks.build(name)
    given = example.clone()
    bundle = edgesdk.export(
        model, (example,), targets=TARGETS, output=tmp_path / "net.edge", reference=False
    )
    assert example.equal(given)
    assert bundle.manifest.failures == []
    assert len(bundle.manifest.artefacts) == len(TARGETS)
    for artefact in bundle.manifest.artefacts:
        assert artefact.parity is not None and artefact.parity.passed, artefact.target
