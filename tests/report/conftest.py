"""Manifests as the export writes them: full, empty, only failures, only an evaluator, partial."""

from __future__ import annotations

from typing import Any

import pytest

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
from edgesdk.spec import DynamicDim, ImageSpec, TensorSpec

CAMERA = ImageSpec(
    color="bgr", model_color="rgb", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
)
BATCH = {0: DynamicDim("batch", 1, 8)}
FLOAT_INPUT = TensorSpec("image", (1, 3, 224, 224), dynamic=BATCH, layout="NCHW")
CAMERA_INPUT = TensorSpec("image", (1, 224, 224, 3), "uint8", BATCH, "NHWC", CAMERA)
OUTPUT = TensorSpec("logits", (1, 1000), dynamic=BATCH)
PROTOCOL = (
    "median of 3 cold loads in a fresh process each; 10 warm-ups, then 50 timed runs, artefacts "
    "interleaved in blocks of 10"
)


def file(path: str, size: int) -> FileRecord:
    return FileRecord(path=path, sha256=f"{size % 16:x}" * 64, size=size)


def parity(**changes: Any) -> ParityRecord:
    output = {
        "name": "logits",
        "max_abs": 1.1e-5,
        "range": 21.4,
        "relative_error": 5.1e-7,
        "cosine": 0.9999999,
        "snr_db": 118.3,
        "agreement": 1.0,
    }
    known = set(output) | {"finite"}
    output.update({key: changes.pop(key) for key in known & set(changes)})
    record: dict[str, Any] = {
        "passed": True,
        "runtime": "onnxruntime 1.31.1",
        "samples": 12,
        "real": 4,
        "gate": GateRecord(cosine=0.9999, relative_error=1e-3, agreement=1.0),
        "outputs": [OutputParity(**output)],
        "shapes": ["batch=2", "batch=8"],
        "classes": [("cat.jpg", "tabby", "tabby"), ("dog.jpg", "beagle", "beagle")],
    }
    return ParityRecord(**(record | changes))


def profile(p50: float, **changes: Any) -> ProfileRecord:
    record: dict[str, Any] = {
        "device": "local",
        "device_name": "AMD EPYC 7B13",
        "runtime": "onnxruntime 1.31.1",
        "protocol": PROTOCOL,
        "threads": 1,
        "runs": 50,
        "load_ms": 41.7,
        "first_run_ms": p50 * 1.8,
        "latency": Percentiles(
            p10=p50 * 0.96,
            p50=p50,
            p90=p50 * 1.09,
            p99=p50 * 1.3,
            mean=p50 * 1.02,
            min=p50 * 0.94,
            max=p50 * 1.5,
        ),
        "peak_memory_bytes": 118_300_000,
        "model_memory_bytes": 31_200_000,
        "measured": "2026-03-02T10:11:12Z",
    }
    return ProfileRecord(**(record | changes))


def operators(kind: str, count: int) -> list[OperatorTime]:
    times = [3.1 / (index + 1) ** 1.2 for index in range(count)]
    return [
        OperatorTime(
            name=f"node_{kind}_{index}",
            operator=kind if index % 5 else "Add",
            milliseconds=time,
            share=time / sum(times),
            where=f"models/mobilenet.py:{40 + index}" if index % 3 == 0 else "",
        )
        for index, time in enumerate(times)
    ]


def cost(count: int = 20) -> CostRecord:
    """A binary convolution that is half of the arithmetic, and ``count`` ordinary ones."""
    macs = 385_000_000
    layers = [
        LayerCostRecord(
            name="features.0.binary",
            kind="BinaryConv2d 3x3 /2",
            output_shape=[1, 32, 112, 112],
            parameters=864,
            macs=macs // 2,
            weight_bits=1,
            activation_bits=32,
            memory_bytes=108,
        )
    ]
    layers += [
        LayerCostRecord(
            name=f"features.{index}.convolution" if index < count else "",
            kind="depthwise Conv2d 3x3",
            output_shape=[1, 96, 56, 56],
            parameters=1_000,
            macs=macs // 2 // count,
            weight_bits=32,
            activation_bits=32,
            memory_bytes=4_000,
        )
        for index in range(1, count + 1)
    ]
    return CostRecord(
        parameters=20_864,
        macs=macs,
        size_bytes=90_000,
        memory_bytes=80_108,
        parameters_by_bits={1: 864, 32: 20_000},
        macs_by_bits={32: macs},
        layers=layers,
    )


def artefact(target: str, path: str, size: int, **changes: Any) -> ArtefactRecord:
    record: dict[str, Any] = {
        "target": target,
        "file": file(path, size),
        "inputs": [CAMERA_INPUT],
        "outputs": [OUTPUT],
        "conversion_seconds": 12.3,
    }
    return ArtefactRecord(**(record | changes))


def manifest(**changes: Any) -> Manifest:
    record: dict[str, Any] = {
        "name": "mobilenet_v2",
        "versions": {"edgesdk": "0.1.0", "torch": "2.13.0", "onnxruntime": "1.31.1"},
        "source": SourceRecord(
            spec="models/mobilenet.py:build",
            model="models.mobilenet.MobileNetV2",
            sha256="a" * 64,
            parameters=3_504_872,
            operators=101,
        ),
        "inputs": [FLOAT_INPUT],
        "outputs": [OUTPUT],
        "labels": "imagenet1k",
        "notes": ["switched to evaluation mode"],
        "reference": ReferenceRecord(
            program=file("reference/program.pt2", 14_400_000),
            samples=file("reference/samples.safetensors", 2_410_000),
        ),
    }
    return Manifest(**(record | changes))


@pytest.fixture
def full() -> Manifest:
    """Five artefacts of which one misses its gate, one is only evaluated, and one failure."""
    left = [
        UndelegatedOperator(
            operator="aten.sort",
            count=2,
            reason="not supported",
            detail="no XNNPACK node sorts",
            module="head.rank",
            where="models/mobilenet.py:88",
            rewrite="torch.topk and torch.gather",
        ),
        UndelegatedOperator(operator="aten.mean", reason="constraint", detail="keepdim=False"),
    ]
    xnnpack = artefact(
        "executorch:xnnpack",
        "mobilenet_v2.xnnpack.pte",
        13_994_000,
        parity=parity(runtime="executorch 1.5.1"),
        coverage=CoverageRecord(
            delegate="XNNPACK",
            method="read from the artefact",
            delegated={"aten.convolution": 52, "aten.hardtanh": 35, "aten.add": 10},
            left=left,
            partitions=3,
            planned_bytes=4_816_896,
        ),
        profiles=[
            profile(
                10.2,
                runtime="executorch 1.5.1",
                operators=operators("convolution", 9),
                operators_note="ETDump of 20 runs, inside the delegate too",
            ),
            profile(5.5, runtime="executorch 1.5.1", threads=2),
        ],
    )
    coreml = artefact(
        "coreml",
        "mobilenet_v2.mlpackage",
        7_162_000,
        precision="fp16",
        parity=parity(
            runtime="edgesdk mil evaluator",
            evaluator=True,
            note="proves the conversion, not Apple's arithmetic",
            gate=GateRecord(cosine=0.999, relative_error=0.02),
            cosine=0.99998,
            max_abs=0.02,
            relative_error=9.3e-4,
            snr_db=61.2,
        ),
        profiles=[profile(812.0, runtime="edgesdk mil evaluator", evaluator=True)],
        notes=["weights stored as float16"],
    )
    litert = artefact(
        "litert",
        "mobilenet_v2.tflite",
        4_087_000,
        quantization="int8-static",
        simulated=FileRecord(path="litert.simulated.safetensors", sha256="5" * 64, size=10),
        parity=parity(
            passed=False,
            runtime="ai-edge-litert 2.3.0",
            cosine=0.9712,
            relative_error=0.113,
            max_abs=2.41,
            snr_db=12.2,
            agreement=0.75,
            classes=[("cat.jpg", "tabby", "Egyptian cat"), ("dog.jpg", "beagle", "beagle")],
        ),
        coverage=CoverageRecord(
            delegate="XNNPACK",
            method="asked of the runtime",
            delegated={"CONV_2D": 35, "DEPTHWISE_CONV_2D": 17},
            partitions=1,
            complete=True,
        ),
        profiles=[profile(8.1, runtime="ai-edge-litert 2.3.0", peak_memory_bytes=88_000_000)],
    )
    onnx = artefact(
        "onnx",
        "mobilenet_v2.onnx",
        14_163_000,
        parity=parity(),
        coverage=CoverageRecord(
            delegate="CPUExecutionProvider",
            method="asked of the runtime",
            delegated={"Conv": 52, "Clip": 35, "Add": 10, "Gemm": 1},
            partitions=1,
            complete=True,
            also=[
                CoverageRecord(
                    delegate="NNAPI", method="predicted", delegated={"Conv": 52}, partitions=9
                )
            ],
        ),
        profiles=[profile(9.7, operators=operators("Conv", 40)), profile(4.9, threads=2)],
    )
    unverified = artefact("onnx", "mobilenet_v2.fp16.onnx", 7_100_000, precision="fp16")
    failure = FailureRecord(
        target="executorch:vulkan",
        error="UnsupportedOperatorError",
        message="Vulkan has no aten.sort",
        where="models/mobilenet.py:88",
        remedy="rewrite with torch.topk, or leave this target out",
        log="partitioning ...\nRuntimeError: aten.sort.default\n",
    )
    return manifest(
        artefacts=[xnnpack, coreml, litert, onnx, unverified], failures=[failure], cost=cost()
    )


@pytest.fixture
def passed() -> Manifest:
    """Two artefacts, both within the gate, one much faster."""
    return manifest(
        artefacts=[
            artefact("onnx", "a.onnx", 14_163_000, parity=parity(), profiles=[profile(9.7)]),
            artefact("litert", "a.tflite", 14_057_000, parity=parity(), profiles=[profile(20.0)]),
        ]
    )


@pytest.fixture
def empty() -> Manifest:
    """Neither artefact nor failure."""
    return manifest(artefacts=[], failures=[])


@pytest.fixture
def failed_only() -> Manifest:
    """One failure that tells nothing but its message."""
    return manifest(
        failures=[FailureRecord(target="litert", error="ConverterCrashError", message="it died")]
    )


@pytest.fixture
def evaluator_only() -> Manifest:
    """A Core ML artefact as a machine without Apple's runtime sees it."""
    record = parity(runtime="edgesdk mil evaluator", evaluator=True)
    timed = profile(812.0, evaluator=True)
    return manifest(
        artefacts=[artefact("coreml", "a.mlpackage", 7_162_000, parity=record, profiles=[timed])]
    )


@pytest.fixture
def partial() -> Manifest:
    """An artefact nobody verified or measured."""
    return manifest(artefacts=[artefact("onnx", "a.onnx", 14_163_000)])
