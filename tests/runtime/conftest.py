"""One small network in every format, converted once and kept in pytest's cache."""

from __future__ import annotations

import hashlib
import importlib.metadata
import logging
import shutil
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from torch import nn

SIZE = 16


class TwoHeads(nn.Module):
    """An image and tokens (int64) to a feature map and scores; no layer freezes the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.second = nn.Conv2d(16, 16, 3, padding=1)
        # A convolution of the tokens: embedding, reshape and broadcasting freeze the batch in
        # litert_torch's converter.
        self.gate = nn.Conv2d(1, 16, 1)
        self.head = nn.Conv2d(16, 4, 1)

    def forward(self, image: torch.Tensor, token: torch.Tensor) -> tuple[torch.Tensor, ...]:
        gate = torch.sigmoid(self.gate(token.to(torch.float32)))
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
        "token": generator.integers(0, 4, (batch, 1, SIZE, SIZE)),
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


FILES = {
    "torch": "net.pt2",
    "torch-dynamic": "net-dynamic.pt2",
    "onnx": "net.onnx",
    "onnx-dynamic": "net-dynamic.onnx",
    "litert": "net.tflite",
    "litert-dynamic": "net-dynamic.tflite",
    "executorch": "net.pte",
    "executorch-dynamic": "net-dynamic.pte",
    "portable": "portable.pte",
    "sort": "sort.pte",
    "vulkan": "vulkan.pte",
    "coreml": "net.mlpackage",
    "image": "image.mlpackage",
}


@pytest.fixture(scope="session")
def artefacts(network: nn.Module, request: pytest.FixtureRequest) -> dict[str, Path]:
    """Files by ``format`` (two samples a batch) and ``format-dynamic`` (a batch of 1 to 8)."""
    packages = ("torch", "executorch", "litert-torch", "coremltools", "onnxscript")
    versions = " ".join(importlib.metadata.version(package) for package in packages)
    key = hashlib.sha256(versions.encode() + Path(__file__).read_bytes()).hexdigest()[:16]
    shelf = Path(request.config.cache.mkdir("runtime-artefacts"))
    folder = shelf / key
    # Files of tests run side by side: the first that comes converts, the others wait for it.
    with FileLock(shelf.with_suffix(".lock")):
        if not folder.is_dir():
            for stale in shelf.iterdir():
                shutil.rmtree(stale)
            # Converted beside and renamed, so that an interrupted run leaves nothing half done.
            with tempfile.TemporaryDirectory(dir=shelf) as unfinished:
                target = Path(unfinished) / "artefacts"
                target.mkdir()
                _convert_all(network, {kind: target / name for kind, name in FILES.items()})
                target.replace(folder)
    return {kind: folder / name for kind, name in FILES.items()}


def _convert_all(network: nn.Module, files: dict[str, Path]) -> None:
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for kind, dynamic in (("", False), ("-dynamic", True)):
                program = _program(network, dynamic=dynamic)
                torch.export.save(program, files[f"torch{kind}"])
                _save_onnx(program, files[f"onnx{kind}"])
                _save_litert(network, files[f"litert{kind}"], dynamic=dynamic)
                _save_executorch(program, files[f"executorch{kind}"], ["xnnpack"])
            program = _program(network, dynamic=False)
            _save_executorch(program, files["portable"], [])
            _save_executorch(program, files["vulkan"], ["vulkan"])
            ordered = torch.export.export(Sorted(), (torch.ones(2, 5),))
            _save_executorch(ordered, files["sort"], [])
            _save_coreml(program, files["coreml"])
            _save_image_package(files["image"])
    finally:
        logging.disable(logging.NOTSET)


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


class ChannelSums(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.sum((2, 3))


def _save_image_package(path: Path) -> None:
    """A package that takes a BGR image of 4 x 5 and answers one sum a channel."""
    import coremltools as ct

    program = torch.export.export(ChannelSums(), (torch.ones(1, 3, 4, 5),))
    image = ct.ImageType(
        name="x",
        shape=(1, 3, 4, 5),
        scale=0.5,
        bias=[1.0, 2.0, 3.0],
        color_layout=ct.colorlayout.BGR,
    )
    ct.convert(
        program.run_decompositions({}),
        convert_to="mlprogram",
        compute_precision=ct.precision.FLOAT32,
        inputs=[image],
    ).save(str(path))
