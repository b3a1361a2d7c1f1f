"""Targets by name."""

from __future__ import annotations

import importlib.util
from dataclasses import replace

import pytest

from edgesdk.converters.registry import TARGETS, parse_target, parse_targets, require_backends
from edgesdk.errors import MissingBackendError, UnknownNameError, UsageError


def qualified(*texts: str) -> list[str]:
    return [target.qualified(variant) for target, variant in parse_targets(texts)]


@pytest.mark.parametrize(
    ("texts", "names"),
    [
        (["onnx"], ["onnx:fp32"]),
        (["executorch"], ["executorch:xnnpack"]),
        (["coreml:fp16"], ["coreml:fp16"]),
        (["coreml:fp32"], ["coreml:fp32"]),
        (["onnx,litert", "coreml"], ["onnx:fp32", "litert:fp32", "coreml:fp16"]),
        ([" onnx , litert ", ""], ["onnx:fp32", "litert:fp32"]),
        ([",onnx,,"], ["onnx:fp32"]),
        (
            ["executorch:vulkan,executorch:portable", "executorch"],
            ["executorch:vulkan", "executorch:portable", "executorch:xnnpack"],
        ),
    ],
)
def test_targets(texts: list[str], names: list[str]) -> None:
    assert qualified(*texts) == names


@pytest.mark.parametrize("texts", [[], [""], [" , "]])
def test_no_target(texts: list[str]) -> None:
    with pytest.raises(UsageError, match="no target given") as caught:
        parse_targets(texts)
    assert caught.value.remedy == "--to executorch,coreml,litert,onnx"


@pytest.mark.parametrize(
    "texts", [["onnx", "onnx"], ["onnx,onnx:fp32"], ["coreml", "onnx", "coreml:fp16"]]
)
def test_a_target_twice(texts: list[str]) -> None:
    with pytest.raises(UsageError, match="is given twice"):
        parse_targets(texts)


@pytest.mark.parametrize(
    ("text", "message", "remedy"),
    [
        ("onxx", "unknown target 'onxx'", "did you mean 'onnx'?"),
        ("ONNX", "unknown target 'ONNX'", "did you mean 'onnx'?"),
        ("", "unknown target ''", "one of: coreml, executorch, litert, onnx"),
        (":fp16", "unknown target ''", "one of: coreml, executorch, litert, onnx"),
        ("tflite", "unknown target 'tflite'", "did you mean 'litert'?"),
        ("coreml:fp61", "unknown variant of coreml 'fp61'", "did you mean 'fp16'?"),
        ("onnx:", "unknown variant of onnx ''", "one of: fp32"),
        (
            "executorch:xnnpack:fp16",
            "unknown variant of executorch 'xnnpack:fp16'",
            "did you mean 'xnnpack'?",
        ),
        (
            "executorch: xnnpack",
            "unknown variant of executorch ' xnnpack'",
            "did you mean 'xnnpack'?",
        ),
    ],
)
def test_names_nobody_registered(text: str, message: str, remedy: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        parse_target(text)
    assert (caught.value.message, caught.value.remedy) == (message, remedy)


def test_every_target_is_whole() -> None:
    assert list(TARGETS) == ["executorch", "coreml", "litert", "onnx"]
    for name, target in TARGETS.items():
        assert target.name == name
        assert importlib.util.find_spec(target.module) is not None
        assert target.suffix.startswith(".")
        assert len(set(target.variants)) == len(target.variants) > 0
        assert target.packages
    assert len({target.suffix for target in TARGETS.values()}) == len(TARGETS)


def test_a_missing_backend_names_its_extra() -> None:
    absent = replace(TARGETS["coreml"], imports=("no_such_package",))
    with pytest.raises(MissingBackendError) as caught:
        absent.require()
    assert caught.value.exit_code == 3
    assert caught.value.remedy == 'pip install "edgesdk[coreml]"'
    replace(absent, imports=("json",)).require()


def test_all_missing_backends_are_named_with_one_command() -> None:
    absent = [
        replace(TARGETS[name], imports=("json", f"no_such_{name}")) for name in ("coreml", "litert")
    ]
    with pytest.raises(MissingBackendError) as caught:
        require_backends(absent, {"no_such_h5py": "style", "no_such_coreml": "coreml"})
    assert caught.value.message == (
        "the Python packages 'no_such_coreml', 'no_such_litert', 'no_such_h5py' are not installed"
    )
    assert caught.value.remedy == 'pip install "edgesdk[coreml,litert,style]"'
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("tflite", "litert"),
        ("TF", "litert"),
        ("Android", "litert"),
        ("mlmodel", "coreml"),
        ("mlpackage", "coreml"),
        ("ios", "coreml"),
        ("pte", "executorch"),
        ("torch", "executorch"),
        ("ort", "onnx"),
        ("onx", "onnx"),
    ],
)
def test_names_of_other_tools_suggest_the_target(given: str, meant: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        parse_target(given)
    assert caught.value.remedy == f"did you mean '{meant}'?"
    parse_target(meant)


@pytest.mark.parametrize(
    ("given", "remedy"),
    [
        ("coreml:float16", "did you mean 'fp16'?"),
        ("onnx:int8", "--to onnx --quantize RECIPE"),
        ("litert:fp16", "--to litert --quantize RECIPE"),
    ],
)
def test_precisions_as_variants_lead_to_variants_or_recipes(given: str, remedy: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        parse_target(given)
    assert remedy in str(caught.value.remedy)
