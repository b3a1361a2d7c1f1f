"""A small bundle of real files and a manifest that uses every kind of field, for the tests."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgesdk.bundle.bundle import Bundle
from edgesdk.bundle.manifest import (
    ArtefactRecord,
    CostRecord,
    CoverageRecord,
    FailureRecord,
    FileRecord,
    GateRecord,
    LayerCostRecord,
    Manifest,
    OperatorTime,
    OutputParity,
    ParityRecord,
    Percentiles,
    ProfileRecord,
    ReferenceRecord,
    SourceRecord,
    UndelegatedOperator,
)
from edgesdk.bundle.samples import Samples
from edgesdk.bundle.writer import BundleWriter
from edgesdk.spec import IMAGE_PRESETS, DynamicDim, TensorSpec

_MODEL_INPUT = TensorSpec(
    "image", (1, 3, 32, 32), dynamic={0: DynamicDim("batch", 1, 4)}, layout="NCHW"
)
_CAMERA_INPUT = TensorSpec(
    "image", (1, 32, 32, 3), "uint8", layout="NHWC", image=IMAGE_PRESETS["imagenet"]
)
_OUTPUT = TensorSpec("logits", (1, 10), dynamic={0: DynamicDim("batch", 1, 4)})


def _manifest_of(
    program: FileRecord | None, samples: FileRecord, onnx: FileRecord, coreml: FileRecord
) -> Manifest:
    parity = ParityRecord(
        passed=True,
        runtime="onnxruntime 1.31.1",
        samples=3,
        real=1,
        gate=GateRecord(cosine=0.9999, relative_error=0.001, agreement=1.0),
        outputs=[
            OutputParity(
                name="logits",
                max_abs=1.25e-06,
                range=14.5,
                relative_error=8.7e-08,
                cosine=1.0,
                snr_db=131.4,
                agreement=1.0,
            )
        ],
        shapes=["image:4x3x32x32"],
        classes=[("cat.jpg", "tabby", "tabby")],
        samples_sha256=samples.sha256,
    )
    profile = ProfileRecord(
        device="local",
        device_name="x86-64, 2 cores",
        runtime="onnxruntime 1.31.1",
        protocol="3 cold loads, 10 warm-ups, 100 runs",
        threads=2,
        runs=100,
        load_ms=20.5,
        first_run_ms=11.0,
        latency=Percentiles(p10=5.0, p50=5.5, p90=6.0, p99=7.0, mean=5.6, min=4.9, max=9.0),
        peak_memory_bytes=80_000_000,
        operators=[
            OperatorTime(
                name="conv1", operator="Conv", milliseconds=1.5, share=0.3, where="net.py:12"
            )
        ],
        measured="2025-01-31T12:00:00Z",
    )
    coverage = CoverageRecord(
        delegate="CoreML",
        method="predicted",
        delegated={"Conv": 4, "Relu": 4},
        left=[
            UndelegatedOperator(operator="GridSample", reason="not supported", where="net.py:31")
        ],
        partitions=2,
    )
    return Manifest(
        name="tiny",
        versions={"edgesdk": "0.1.0", "torch": "2.13.0"},
        source=SourceRecord(
            spec="net.py:make", model="net.Tiny", sha256="5" * 64, parameters=1234, operators=9
        ),
        inputs=[_MODEL_INPUT],
        outputs=[_OUTPUT],
        labels="imagenet",
        classes=["cat", "dog"],
        notes=["the model was in training mode and was switched to eval"],
        cost=CostRecord(
            parameters=1234,
            macs=500_000,
            size_bytes=5000,
            memory_bytes=4936,
            parameters_by_bits={32: 1234},
            macs_by_bits={32: 500_000},
            layers=[
                LayerCostRecord(
                    name="conv1",
                    kind="Conv2d 3x3",
                    output_shape=[1, 16, 32, 32],
                    parameters=1234,
                    macs=500_000,
                    weight_bits=32,
                    activation_bits=32,
                    memory_bytes=4936,
                )
            ],
        ),
        reference=ReferenceRecord(program=program, samples=samples),
        artefacts=[
            ArtefactRecord(
                target="onnx",
                file=onnx,
                inputs=[_MODEL_INPUT],
                outputs=[_OUTPUT],
                conversion_seconds=2.5,
                parity=parity,
                coverage=coverage,
                profiles=[profile],
            ),
            ArtefactRecord(
                target="coreml",
                file=coreml,
                precision="fp16",
                inputs=[_CAMERA_INPUT],
                outputs=[TensorSpec("logits", (1, 10))],
            ),
        ],
        failures=[
            FailureRecord(
                target="litert",
                error="UnsupportedOperatorError",
                message="the target has no operator argsort",
                where="net.py:40",
                remedy="use topk",
            )
        ],
    )


def _package_folder(root: Path) -> Path:
    """A folder in the form of an .mlpackage."""
    package = root / "source.mlpackage"
    (package / "Data" / "weights").mkdir(parents=True)
    (package / "Manifest.json").write_text("{}")
    (package / "Data" / "model.mlmodel").write_bytes(b"spec")
    (package / "Data" / "weights" / "weight.bin").write_bytes(bytes(range(256)))
    return package


def _fill(writer: BundleWriter, sources: Path) -> Manifest:
    """Add four artefacts and return the manifest of them."""
    sources.mkdir(parents=True, exist_ok=True)
    (sources / "m.pt2").write_bytes(b"program" * 10)
    (sources / "m.onnx").write_bytes(b"onnx" * 1000)
    package = sources / "source.mlpackage"
    if not package.exists():
        package = _package_folder(sources)
    samples = Samples(
        names=("random 1",),
        inputs=({"image": np.linspace(0, 1, 3 * 32 * 32, dtype=np.float32).reshape(1, 3, 32, 32)},),
        expected=({"logits": np.arange(10, dtype=np.float32).reshape(1, 10)},),
        real=0,
    )
    samples.save(writer.folder / "samples.safetensors")
    return _manifest_of(
        writer.add(sources / "m.pt2", "program.pt2"),
        writer.add(writer.folder / "samples.safetensors", "samples.safetensors"),
        writer.add(sources / "m.onnx", "tiny.onnx"),
        writer.add(package, "tiny.mlpackage"),
    )


def _make_bundle(path: Path, *, overwrite: bool = False) -> Bundle:
    """Write a whole bundle."""
    with BundleWriter(path, overwrite=overwrite) as writer:
        return writer.commit(_fill(writer, path.parent / "sources"))


@pytest.fixture
def fill() -> Callable[[BundleWriter, Path], Manifest]:
    """Adds a program, samples, a file and a folder to a writer, and returns their manifest."""
    return _fill


@pytest.fixture
def make_bundle() -> Callable[..., Bundle]:
    """Writes a whole bundle to a path."""
    return _make_bundle


@pytest.fixture(scope="session")
def _pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _make_bundle(tmp_path_factory.mktemp("pristine") / "net.edge").path


@pytest.fixture
def bundle_path(_pristine: Path, tmp_path: Path) -> Path:
    """A bundle of its own, to be damaged."""
    return Path(shutil.copytree(_pristine, tmp_path / "net.edge"))
