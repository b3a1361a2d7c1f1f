"""Requests and results as they cross to a converter's process, and frozen dimensions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from edgesdk.converters.conversion import (
    Conversion,
    ConversionRequest,
    check_free_dimensions,
    narrowed,
)
from edgesdk.errors import DynamicShapeError
from edgesdk.spec import DynamicDim, ImageSpec, TensorSpec

FREE = TensorSpec(
    "image",
    (1, 64, 32, 3),
    "uint8",
    {0: DynamicDim("batch", 1, 4), 1: DynamicDim("height", 32, 128, 32)},
    "NHWC",
    ImageSpec("bgr", "rgb", mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 3.0)),
)
PLAIN = TensorSpec("ids", (1, 16), "int64")


def test_a_request_crosses_a_process_unchanged() -> None:
    request = ConversionRequest(
        "coreml",
        "fp16",
        Path("/tmp/p.pt2"),
        Path("out.mlpackage"),
        (FREE, PLAIN),
        (PLAIN,),
        (FREE,),
        False,
    )
    adapter = TypeAdapter(ConversionRequest)
    text = json.dumps(adapter.dump_python(request, mode="json"))
    again = adapter.validate_python(json.loads(text))
    assert again == request
    assert again.inputs[0].dynamic[1] == DynamicDim("height", 32, 128, 32)
    assert again.inputs[0].image == FREE.image


def test_a_conversion_crosses_a_process_unchanged() -> None:
    conversion = Conversion((FREE,), (PLAIN,), "fp16", ("a note",), None, {"load": 0.5})
    adapter = TypeAdapter(Conversion)
    again = adapter.validate_python(
        json.loads(json.dumps(adapter.dump_python(conversion, mode="json")))
    )
    assert again == conversion
    with pytest.raises(ValidationError):
        adapter.validate_python({"inputs": [{"name": "x", "shape": ["wide"]}], "outputs": []})


@pytest.mark.parametrize(
    ("dtype", "wanted"), [("int64", "int32"), ("float64", "float32"), ("uint8", "uint8")]
)
def test_narrowed_replaces_the_dtype_alone(dtype: str, wanted: str) -> None:
    spec = TensorSpec("x", (2, 3), dtype, {0: DynamicDim("batch")})
    found = narrowed(spec, {"int64": "int32", "float64": "float32"})
    assert found == TensorSpec("x", (2, 3), wanted, {0: DynamicDim("batch")})


@pytest.mark.parametrize(
    "sizes", [["batch", "height", 32, 3], [-1, -1, 32, 3], ["s0", "free", 32, 3], ["", "", 32, 3]]
)
def test_dimensions_that_stayed_free(sizes: list[Any]) -> None:
    check_free_dimensions("onnx", (FREE, PLAIN), {"image": sizes, "ids": [1, 16]})


@pytest.mark.parametrize(
    ("sizes", "told"),
    [
        ([1, "height", 32, 3], "onnx froze dimension 'batch' of input 'image' at 1"),
        (["batch", 64, 32, 3], "onnx froze dimension 'height' of input 'image' at 64"),
        ([-1, 0, 32, 3], "onnx froze dimension 'height' of input 'image' at 0"),
    ],
)
def test_a_frozen_dimension(sizes: list[Any], told: str) -> None:
    with pytest.raises(DynamicShapeError) as caught:
        check_free_dimensions("onnx", (FREE, PLAIN), {"image": sizes, "ids": [1, 16]})
    assert caught.value.message == told
    assert caught.value.remedy == "export onnx without --dynamic, one artefact per shape"


def test_an_input_the_artefact_left_out_is_frozen_nowhere() -> None:
    check_free_dimensions("onnx", (FREE,), {})
