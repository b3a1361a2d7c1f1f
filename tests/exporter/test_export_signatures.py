"""What an app meets: camera bytes in, any number of them, and the numbers of the model out."""

from __future__ import annotations

import importlib
import sys

import numpy as np
import pytest
import torch

from edgesdk.bundle.bundle import Bundle
from edgesdk.runtime.isolated import open_isolated

MEAN = np.array([0.485, 0.456, 0.406])
STD = np.array([0.229, 0.224, 0.225])
TARGETS = ["executorch:xnnpack", "coreml:fp16", "litert:fp32", "onnx:fp32"]


@pytest.fixture
def network(project, monkeypatch):
    monkeypatch.syspath_prepend(str(project))
    yield importlib.import_module("nets.tiny").build().eval()
    for name in [name for name in sys.modules if name.partition(".")[0] == "nets"]:
        del sys.modules[name]


def record(exported, target):
    bundle = Bundle.open(exported.path)
    for artefact in bundle.manifest.artefacts:
        if artefact.target == target:
            return bundle, artefact
    [failure] = [entry for entry in bundle.manifest.failures if entry.target == target]
    # LiteRT may say that it cannot keep the batch free. It must never fix it without a word.
    assert target == "litert:fp32"
    assert failure.error == "DynamicShapeError", failure.message
    assert failure.remedy
    pytest.skip(failure.message)


@pytest.mark.parametrize("target", TARGETS)
def test_baked_preprocessing_equals_doing_it_by_hand_at_any_batch(camera_bundle, network, target):
    bundle, artefact = record(camera_bundle, target)
    [face] = artefact.inputs
    assert (face.name, face.dtype, face.layout) == ("image", "uint8", "NHWC")
    assert face.image is not None and face.image.mean == tuple(MEAN)
    generator = np.random.default_rng(3)
    with open_isolated(
        bundle.path_of(artefact), inputs=artefact.inputs, outputs=artefact.outputs, timeout=120
    ) as session:
        for batch in (1,) if target == "coreml:fp16" else (1, 3, 8):
            pixels = generator.integers(0, 256, (batch, 32, 32, 3), np.uint8)
            by_hand = ((pixels / 255.0 - MEAN) / STD).transpose(0, 3, 1, 2).astype(np.float32)
            with torch.inference_mode():
                expected = network(torch.from_numpy(by_hand))
            actual = session.run({"image": pixels})
            assert set(actual) == {"scores", "features"}
            for name, value in expected.items():
                assert actual[name].shape == value.shape
                # Half precision keeps 11 bits, of preprocessing and layers alike.
                tolerance = 1e-3 if target == "coreml:fp16" else 2e-5
                np.testing.assert_allclose(actual[name], value.numpy(), atol=tolerance)


def test_the_free_dimension_is_proven_at_other_sizes(camera_bundle):
    for target in ("executorch:xnnpack", "onnx:fp32"):
        _, artefact = record(camera_bundle, target)
        [face] = artefact.inputs
        assert face.dynamic[0].name == "batch"
        assert (face.dynamic[0].min, face.dynamic[0].max) == (1, 8)
        assert artefact.parity is not None and artefact.parity.passed
        assert artefact.parity.shapes, "no sample had another batch"


@pytest.mark.slow
def test_a_free_batch_without_images(edgesdk_command, network):
    ended = edgesdk_command(
        *("export", "nets/tiny.py:build", "--input", "image:1x3x32x32", "-o", "free.edge"),
        *("--dynamic", "batch", "--json"),
    )
    assert ended.code in (0, 1), ended.err
    bundle = Bundle.open(edgesdk_command.folder / "free.edge")
    run = {artefact.target for artefact in bundle.manifest.artefacts}
    # LiteRT may refuse; whoever does not refuse keeps the batch free.
    assert run >= {"executorch:xnnpack", "coreml:fp16", "onnx:fp32"}
    assert {failure.error for failure in bundle.manifest.failures} <= {"DynamicShapeError"}
    for artefact in bundle.manifest.artefacts:
        with open_isolated(
            bundle.path_of(artefact), inputs=artefact.inputs, timeout=120
        ) as session:
            for batch in (1, 3, 8):
                image = np.random.default_rng(batch).standard_normal((batch, 3, 32, 32))
                with torch.inference_mode():
                    expected = network(torch.from_numpy(image).float())["scores"].numpy()
                actual = session.run({"image": image.astype(np.float32)})
                scores = [array for array in actual.values() if array.ndim == 2]
                np.testing.assert_allclose(scores[0], expected, atol=1e-5)


@pytest.mark.slow
def test_core_ml_says_that_it_takes_one_image_at_a_time(edgesdk_command):
    ended = edgesdk_command(
        *("export", "nets/tiny.py:build", "--input", "image:1x3x32x32", "-o", "images.edge"),
        *("--to", "coreml", "--image", "unit", "--dynamic", "batch", "--json"),
    )
    assert ended.code == 5, ended.err
    assert ended.json["error"] == "DynamicShapeError"
    assert "--dynamic onnx:batch" in ended.json["remedy"]


@pytest.mark.slow
def test_a_dimension_free_for_one_target_alone(edgesdk_command):
    ended = edgesdk_command(
        *("export", "nets/tiny.py:build", "--input", "image:1x3x32x32", "-o", "one.edge"),
        *("--to", "onnx,executorch", "--dynamic", "onnx:batch=1..4", "--json"),
    )
    assert ended.code == 0, ended.err
    onnx, executorch = ended.json["artefacts"]
    assert onnx["inputs"][0]["dynamic"]["0"]["max"] == 4
    assert executorch["inputs"][0]["dynamic"] == {}
