from __future__ import annotations

import re

import pytest

from edgesdk.host.environment.catalogue import BACKENDS
from edgesdk.host.environment.conflicts import RULES, Is, Rule, conflicts
from edgesdk.host.environment.findings import LEVELS

#: Installed versions that each rule is about.
EXAMPLES: dict[str, dict[str, str]] = {
    "torch-series": {"torch": "2.14.1"},
    "numpy-1": {"numpy": "1.26.4"},
    "numpy-newer": {"numpy": "2.5.0"},
    "executorch-1.4": {"executorch": "1.4.0"},
    "executorch-older": {"executorch": "0.7.0", "torch": "2.13.0+cpu"},
    "torchvision-release": {"torchvision": "0.29.2", "torch": "2.13.0"},
    "coremltools-numpy-2": {"coremltools": "8.0b1", "numpy": "2.4.6"},
    "onnx-protobuf": {"onnx": "1.23.2", "protobuf": "5.29.0"},
    "onnxruntime-twins": {"onnxruntime": "1.31.1", "onnxruntime-gpu": "1.31.0"},
    "tflite-runtime-twin": {"tflite-runtime": "2.14.0", "ai-edge-litert": "2.3.0"},
    "tflite-runtime-numpy-2": {"tflite-runtime": "2.14.0", "numpy": "2.4.6"},
    "ai-edge-torch-twin": {"ai-edge-torch": "0.6.0", "litert-torch": "0.10.0"},
    **{
        f"{name}-nightly-twin": {name: "1.0", f"{name}-nightly": "1.0.dev1"}
        for name in ("ai-edge-litert", "ai-edge-quantizer", "litert-torch")
    },
}

TESTED = {name: tested for entry in BACKENDS for name, tested in entry.tested.items()}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_rule_names_the_versions_and_a_fix(rule: Rule) -> None:
    versions = EXAMPLES[rule.name]
    findings = [finding for finding in conflicts(versions) if finding.subject == rule.name]
    assert len(findings) == 1
    finding = findings[0]
    assert finding.level == rule.level
    assert finding.level in LEVELS
    assert any(version in finding.text for version in versions.values())
    assert not re.search(r"[{}]", finding.text)
    assert "pip " in finding.fix


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_rule_needs_every_distribution_it_is_about(rule: Rule) -> None:
    versions = EXAMPLES[rule.name]
    for absent in versions:
        fewer = {name: version for name, version in versions.items() if name != absent}
        assert not conflicts(fewer, [rule])


def test_every_example_belongs_to_a_rule() -> None:
    assert set(EXAMPLES) == {rule.name for rule in RULES}


def test_the_tested_versions_conflict_with_nothing() -> None:
    assert conflicts(TESTED) == []
    assert conflicts({**TESTED, "torch": "2.13.0+cpu"}) == []


def test_an_empty_environment_conflicts_with_nothing() -> None:
    assert conflicts({}) == []


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        (Is("numpy"), True),
        (Is("onnx"), False),
        (Is("numpy", "<", "2.4.6"), False),
        (Is("numpy", "<", "2.4.7"), True),
        (Is("numpy", ">=", "2.4.6"), True),
        (Is("numpy", "in", "2.4"), True),
        (Is("numpy", "not in", "2.4"), False),
        (Is("onnx", "not in", "2.4"), False),
        (Is("onnx", "<", "9"), False),
    ],
)
def test_conditions(condition: Is, holds: bool) -> None:
    assert condition.holds({"numpy": "2.4.6"}) is holds
