"""Train a classifier from a SOURCE and labelled images, and save it."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgesdk import models
from edgesdk.errors import EdgeSdkError, OutputExistsError, TrainingError, UsageError
from edgesdk.frontend.edgemodel.file import ModelSignature, read_model_file, save_model
from edgesdk.frontend.evaluation_mode import evaluation_mode
from edgesdk.frontend.side_effects import state_kept
from edgesdk.frontend.source import load, load_given_weights
from edgesdk.host.atomic_write import storage_errors, write_atomically
from edgesdk.quant.qat import QatModel, finish_qat, prepare_qat
from edgesdk.quant.spec import QuantSpec
from edgesdk.spec import ImageSpec, TensorSpec
from edgesdk.training.batches import batches_of_epoch
from edgesdk.training.data.splits import DataSplits
from edgesdk.training.evaluation import Accuracy, evaluate, logits_of
from edgesdk.training.history import History, Progress
from edgesdk.training.loop import fit
from edgesdk.training.recipes import Recipe

__all__ = [
    "TrainedClassifier",
    "build_classifier",
    "check_output",
    "save_classifier",
    "signature_of",
    "train_classifier",
]

_SUFFIXES = (".edgemodel", ".safetensors")
#: Share of the steps after which quantization-aware training freezes normalisation statistics,
#: which the quantized network folds into its weights. Frozen earlier, weights diverge at learning
#: rates that were good before: from the middle on, a ResNet-20 went from 82 % to chance.
_NORM_LEARNS = 0.9


@dataclass(frozen=True)
class TrainedClassifier:
    """Result of :func:`train_classifier`.

    Attributes:
        model: Trained model, in evaluation mode.
        architecture: Zoo name of the model; None for a model of any other class.
        history: Records of the training.
        test: Accuracy on the test set; None without one, or if the run was stopped. After
            quantization-aware training, with rounded weights and activations.
        processes: Number of training processes.
        device: Training device, such as ``cpu``.
        is_main: True if this process writes files and prints.
        qat: Name of the recipe of quantization-aware training; empty for none.
        ranges: Activation ranges by tensor, if that recipe has any.
    """

    model: nn.Module
    architecture: str | None
    history: History
    test: Accuracy | None
    processes: int
    device: str
    is_main: bool
    qat: str = ""
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the model as JSON values."""
        return {
            "architecture": self.architecture,
            "history": self.history.to_dict(),
            "test": None if self.test is None else asdict(self.test),
            "processes": self.processes,
            "device": self.device,
            "qat": {"recipe": self.qat, "ranges": dict(self.ranges)} if self.qat else None,
        }


def check_output(path: Path, *, overwrite: bool) -> None:
    """Check before training that the output can be written afterwards.

    Raises:
        UsageError: The suffix is neither ``.edgemodel`` nor ``.safetensors``.
        OutputExistsError: The output exists and may not be replaced.
    """
    if path.suffix not in _SUFFIXES:
        raise UsageError(
            f"cannot write {path.name or str(path)!r}",
            remedy="name it NAME.edgemodel, or NAME.safetensors for the weights alone",
        )
    if path.exists() and not overwrite:
        raise OutputExistsError(f"{path} exists", remedy="choose another name or --overwrite")
    if path.exists() and path.is_dir() != (path.suffix == ".edgemodel"):
        raise OutputExistsError(
            f"{path} is {'a folder' if path.is_dir() else 'a file'}, so it is not replaced",
            remedy="choose another name",
        )


def build_classifier(
    source: str | nn.Module, data: DataSplits, seed: int, weights: Path | None = None
) -> tuple[nn.Module, str | None]:
    """Build the model to train: a zoo network with fresh weights, or the user's model as it is.

    Args:
        source: SOURCE, or the model. A network of the zoo is built for the classes, channels and
            image size of the data, if it has such options.
        data: Data for the training.
        seed: Seed of the fresh weights.
        weights: Weights to start from instead.

    Returns:
        The model and its zoo name, if it has one.

    Raises:
        UsageError: The zoo network is not a classifier, or SOURCE is a program, which cannot be
            trained.
        TrainingError: The model does not accept the images or has another number of classes.
        EdgeSdkError: See :func:`edgesdk.frontend.source.load`.
    """
    architecture: str | None = None
    if isinstance(source, nn.Module):
        model = source
        if weights is not None:
            load_given_weights(model, weights)
    elif source in models.names():
        architecture = source
        model = _fresh(source, data, seed)
        if weights is not None:
            load_given_weights(model, weights)
    else:
        program = source.endswith(".pt2")
        if source.rstrip("/").endswith(".edgemodel") and Path(source).is_dir():
            architecture = read_model_file(Path(source)).architecture
            program = architecture is None
        if program:
            raise UsageError(
                f"{source} is a program captured for inference, which cannot be trained",
                remedy="name the code that builds the model: path/file.py:factory",
            )
        model = load(source, weights).model
    _check_fit(model, data)
    return model, architecture


def _fresh(name: str, data: DataSplits, seed: int) -> nn.Module:
    entry = models.entry(name)
    if entry.task != "classification":
        raise UsageError(
            f"{name} is for {entry.task}, not a classifier",
            remedy="`edgesdk models` lists the classifiers",
        )
    module, _, kind = entry.factory.partition(":")
    factory = getattr(importlib.import_module(module), kind)
    channels, height, width = data.image_shape
    fitting = {"num_classes": len(data.classes), "in_channels": channels, "pretrained": False}
    if height == width:
        fitting["image_size"] = height
    known = inspect.signature(factory).parameters
    options = {key: value for key, value in fitting.items() if key in known}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model: nn.Module = factory(**{**entry.config, **options})
    return model


def _check_fit(model: nn.Module, data: DataSplits) -> None:
    channels, height, width = data.image_shape
    try:
        with evaluation_mode(model), torch.no_grad(), state_kept(model):
            logits = logits_of(model(torch.zeros(2, channels, height, width)), 2)
    except EdgeSdkError:
        raise
    except Exception as error:
        # The model's own code may raise anything on images of another shape.
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise TrainingError(
            f"the model does not take images of {channels}x{height}x{width}: {reason}",
            remedy="scale the images with --image-size, choose --channels, or name another model",
        ) from error
    if logits.shape[1] != len(data.classes):
        raise TrainingError(
            f"the model tells {logits.shape[1]} classes apart, the data have {len(data.classes)}",
            remedy="build the model with as many classes as the data",
        )


def train_classifier(
    source: str | nn.Module,
    data: DataSplits,
    recipe: Recipe,
    *,
    weights: Path | None = None,
    checkpoint: Path | None = None,
    resume: bool = True,
    logs: Path | None = None,
    workers: int = 0,
    on_progress: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] | None = None,
    qat: QuantSpec | None = None,
) -> TrainedClassifier:
    """Build a classifier for the data, train it, and measure it on the test set.

    Args:
        source: See :func:`build_classifier`.
        data: See :func:`edgesdk.training.open_data`.
        recipe: Training settings.
        weights: Weights to start from.
        checkpoint, resume, logs, workers, on_progress, stop: See :func:`edgesdk.training.fit`.
        qat: Quantization to train for: the model computes as its quantized copy will.

    Raises:
        EdgeSdkError: See :func:`build_classifier`, :func:`edgesdk.training.fit` and
            :func:`edgesdk.quant.qat.prepare_qat`.
    """
    model, architecture = build_classifier(source, data, recipe.seed, weights)
    learner = model if qat is None else _prepared(model, data, recipe, qat)
    history = fit(
        learner,
        data.train,
        recipe,
        validation=data.validation,
        mean=data.mean,
        std=data.std,
        checkpoint=checkpoint,
        resume=resume,
        logs=logs,
        workers=workers,
        on_progress=on_progress,
        stop=stop,
    )
    from accelerate import PartialState

    state = PartialState()
    test = None
    if history.finished and data.test is not None and state.is_main_process:
        test = evaluate(learner, data.test, mean=data.mean, std=data.std)
    finished = finish_qat(learner) if isinstance(learner, QatModel) else None
    return TrainedClassifier(
        model.eval(),
        architecture,
        history,
        test,
        state.num_processes,
        str(state.device),
        state.is_main_process,
        "" if qat is None else qat.name,
        {} if finished is None else finished.ranges,
    )


def _prepared(model: nn.Module, data: DataSplits, recipe: Recipe, qat: QuantSpec) -> QatModel:
    batches = batches_of_epoch(len(data.train), recipe.batch_size, recipe.seed, 0)
    return prepare_qat(
        model,
        qat,
        torch.zeros(2, *data.image_shape),
        freeze_after=round(_NORM_LEARNS * recipe.epochs * len(batches)),
    )


def save_classifier(
    trained: TrainedClassifier, data: DataSplits, path: Path, *, overwrite: bool = False
) -> Path:
    """Save a trained classifier with its classes and its normalisation.

    Args:
        trained: Result of the training.
        data: Training data.
        path: ``NAME.edgemodel``, or ``NAME.safetensors`` for the weights alone.
        overwrite: True to replace an existing output.

    Raises:
        EdgeSdkError: See :func:`check_output` and
            :func:`edgesdk.frontend.edgemodel.file.save_model`.
    """
    check_output(path, overwrite=overwrite)
    model = trained.model.cpu()
    if path.suffix == ".safetensors":
        from safetensors.torch import save

        # Copies, because safetensors refuses weights that layers share.
        tensors = {
            key: value.detach().contiguous().clone() for key, value in model.state_dict().items()
        }
        with storage_errors("cannot write", path):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, save(tensors))
        return path
    signature = signature_of(data)
    return save_model(model, trained.architecture, path, signature=signature, overwrite=overwrite)


def signature_of(data: DataSplits) -> ModelSignature:
    """Return the input shape, normalisation and classes of a classifier of these images."""
    color = "grey" if data.image_shape[0] == 1 else "rgb"
    return ModelSignature(
        inputs=(TensorSpec("image", (1, *data.image_shape), layout="NCHW"),),
        image=ImageSpec(color=color, model_color=color, mean=data.mean, std=data.std),
        classes=data.classes,
    )
