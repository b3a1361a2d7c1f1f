"""One small network in every format, converted once a test session."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgesdk.spec import DynamicDim, TensorSpec

SIZE = 16
BATCH = DynamicDim("batch", 1, 8)


class TwoHeads(nn.Module):
    """An image and a token (int64) to a feature map and scores; no layer freezes the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.second = nn.Conv2d(16, 16, 3, padding=1)
        # An Embedding freezes the batch in litert_torch's converter.
        self.slope = nn.Parameter(torch.randn(1, 16, 1, 1))
        self.head = nn.Conv2d(16, 4, 1)

    def forward(self, image: torch.Tensor, token: torch.Tensor) -> tuple[torch.Tensor, ...]:
        gate = torch.sigmoid(token.to(torch.float32)[:, None, None, None] * self.slope)
        features = self.second(torch.relu(self.first(image))) * gate
        return features, self.head(features).mean((2, 3))


class Sorted(nn.Module):
    """ExecuTorch lowers this and has no kernel to run it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sort(x)[0]


def sample(batch: int = 2, seed: int = 1) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    return {
        "image": generator.standard_normal((batch, 3, SIZE, SIZE)).astype(np.float32),
        "token": generator.integers(0, 10, batch),
    }


def face(batch: DynamicDim | None = None, token: str = "int64") -> dict[str, list[TensorSpec]]:
    """The declared inputs and outputs, as a manifest would hold them."""
    free = {0: batch} if batch else {}
    return {
        "inputs": [
            TensorSpec("image", (2, 3, SIZE, SIZE), "float32", free),
            TensorSpec("token", (2,), token, free),
        ],
        "outputs": [
            TensorSpec("map", (2, 16, SIZE, SIZE), "float32", free),
            TensorSpec("score", (2, 4), "float32", free),
        ],
    }


@pytest.fixture(scope="session")
def network() -> nn.Module:
    torch.manual_seed(0)
    return TwoHeads().eval()


@pytest.fixture(scope="session")
def eager(network: nn.Module) -> Callable[[dict[str, np.ndarray]], list[np.ndarray]]:
    def run(inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        with torch.no_grad():
            results = network(*(torch.from_numpy(array) for array in inputs.values()))
        return [result.numpy() for result in results]

    return run


def _example() -> tuple[torch.Tensor, ...]:
    return tuple(torch.from_numpy(array) for array in sample().values())


def _program(network: nn.Module, *, dynamic: bool) -> torch.export.ExportedProgram:
    free = {0: torch.export.Dim("batch", min=1, max=8)} if dynamic else {}
    return torch.export.export(network, _example(), dynamic_shapes=(free, free))


@pytest.fixture(scope="session")
def artefacts(network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files by ``format`` (two samples a batch) and ``format-dynamic`` (a batch of 1 to 8)."""
    folder = tmp_path_factory.mktemp("artefacts")
    files = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            for kind, dynamic in (("", False), ("-dynamic", True)):
                program = _program(network, dynamic=dynamic)
                files[f"torch{kind}"] = folder / f"net{kind}.pt2"
                torch.export.save(program, files[f"torch{kind}"])
                files[f"onnx{kind}"] = folder / f"net{kind}.onnx"
                _save_onnx(program, files[f"onnx{kind}"])
                files[f"litert{kind}"] = folder / f"net{kind}.tflite"
                _save_litert(network, files[f"litert{kind}"], dynamic=dynamic)
                files[f"executorch{kind}"] = folder / f"net{kind}.pte"
                _save_executorch(program, files[f"executorch{kind}"], ["xnnpack"])
            program = _program(network, dynamic=False)
            files["portable"] = folder / "portable.pte"
            _save_executorch(program, files["portable"], [])
            ordered = torch.export.export(Sorted(), (torch.ones(2, 5),))
            files["sort"] = folder / "sort.pte"
            _save_executorch(ordered, files["sort"], [])
            files["vulkan"] = folder / "vulkan.pte"
            _save_executorch(program, files["vulkan"], ["vulkan"])
            files["coreml"] = folder / "net.mlpackage"
            _save_coreml(program, files["coreml"])
        finally:
            logging.disable(logging.NOTSET)
    return files


def _save_onnx(program: torch.export.ExportedProgram, path: Path) -> None:
    torch.onnx.export(
        program,
        dynamo=True,
        verbose=False,
        input_names=["image", "token"],
        output_names=["map", "score"],
    ).save(str(path))


def _save_litert(network: nn.Module, path: Path, *, dynamic: bool) -> None:
    import litert_torch

    free = {0: torch.export.Dim("batch", min=1, max=8)}
    shapes = {"dynamic_shapes": (free, free)} if dynamic else {}
    litert_torch.convert(network, _example(), **shapes).export(str(path))


def _save_executorch(
    program: torch.export.ExportedProgram, path: Path, delegates: list[str]
) -> None:
    from executorch.exir import to_edge_transform_and_lower

    partitioners = []
    if "xnnpack" in delegates:
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner

        partitioners.append(XnnpackPartitioner())
    if "vulkan" in delegates:
        from executorch.backends.vulkan.partitioner.vulkan_partitioner import VulkanPartitioner

        partitioners.append(VulkanPartitioner())
    lowered = to_edge_transform_and_lower(program, partitioner=partitioners)
    path.write_bytes(lowered.to_executorch().buffer)


def _save_coreml(program: torch.export.ExportedProgram, path: Path) -> None:
    import coremltools as ct

    ct.convert(
        program.run_decompositions({}),
        convert_to="mlprogram",
        compute_precision=ct.precision.FLOAT32,
        outputs=[ct.TensorType(name="map"), ct.TensorType(name="score")],
    ).save(str(path))


@pytest.fixture(scope="session")
def image_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Core ML package that takes a BGR image and answers one sum a channel, 1 x 3."""
    import coremltools as ct

    class ChannelSums(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.sum((2, 3))

    path = tmp_path_factory.mktemp("image") / "image.mlpackage"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(ChannelSums(), (torch.ones(1, 3, 4, 5),))
        ct.convert(
            program.run_decompositions({}),
            convert_to="mlprogram",
            compute_precision=ct.precision.FLOAT32,
            inputs=[
                ct.ImageType(
                    name="x",
                    shape=(1, 3, 4, 5),
                    scale=0.5,
                    bias=[1.0, 2.0, 3.0],
                    color_layout=ct.colorlayout.BGR,
                )
            ],
        ).save(str(path))
    return path
