"""Train a classifier from labelled images to a saved model, in one call."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from edgesdk.errors import UsageError
from edgesdk.host.progress import AUTO, Auto, progress_shown
from edgesdk.quant.recipes import parse_recipe
from edgesdk.quant.spec import QuantSpec
from edgesdk.quant.trainable import require_trainable
from edgesdk.training.classification import (
    TrainedClassifier,
    check_output,
    save_classifier,
    train_classifier,
)
from edgesdk.training.data.open_data import open_data
from edgesdk.training.data.splits import DataSplits
from edgesdk.training.history import Progress
from edgesdk.training.recipes import Recipe, load_recipe, overridden

__all__ = ["train"]


@progress_shown("training", lambda display: display.training)
def train(
    model: str | nn.Module,
    data: str | os.PathLike[str] | DataSplits,
    *,
    output: str | os.PathLike[str] | None = None,
    weights: str | os.PathLike[str] | None = None,
    image_size: int | None = None,
    channels: int | None = None,
    validation: float = 0.1,
    limit: int | None = None,
    split: str | None = None,
    recipe: str | Recipe = "quick_sgd",
    epochs: int | None = None,
    settings: Mapping[str, Any] | Sequence[str] = (),
    qat: str | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = True,
    workers: int = 0,
    logs: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    on_progress: Callable[[Progress], None] | Auto | None = AUTO,
    stop: Callable[[], bool] | None = None,
) -> TrainedClassifier:
    """Train a classifier on labelled images, measure it on the test images, and save it.

    Arguments have the names of the options of ``edgesdk train classify``.

        trained = edgesdk.train("mobilenet_v2", "images/", epochs=4, output="net.edgemodel")
        print(trained.test.top1)

    Args:
        model: A classifier of the zoo, another SOURCE, or the model itself, which is trained in
            place.
        data: Folder of labelled images (``DIR/CLASS/*.jpg``, IDX or CIFAR files), or data that
            :func:`edgesdk.training.open_data` returned.
        output: Model to write, ``NAME.edgemodel``, or ``NAME.safetensors`` for the weights alone;
            None to write nothing.
        weights: File of weights to start from.
        image_size: Side in pixels to which all images are scaled; None for the data's own.
        channels: Colour channels, 1 or 3; None for the data's own.
        validation: Share of the training images held out, if the data have no validation split.
        limit: Largest number of images of each split; None for all.
        split: ``test`` trains and validates on parts of the test images alone.
        recipe: Name of a recipe, a ``.json`` or ``.yaml`` file, or a Recipe.
        epochs: Number of epochs; None for the recipe's.
        settings: Settings that replace the recipe's, such as ``{"learning_rate": 0.05}``.
        qat: Quantization recipe to train for, such as ``w8a8_static``.
        checkpoint: Folder for checkpoints; the same call resumes from them.
        resume: False to start afresh.
        workers: Number of processes that read images; 0 for this one.
        logs: Folder for TensorBoard logs.
        overwrite: True to replace an existing output.
        on_progress: Called during the training; ``auto`` and None as in :func:`edgesdk.export`.
        stop: Called after every step; True ends the training there.

    Returns:
        The trained model, its history, and its accuracy on the test images.

    Raises:
        UsageError: An argument is wrong, or the model cannot be trained.
        OutputExistsError: The output exists and ``overwrite`` is False.
        DataError: The data cannot be used.
        TrainingError: The training cannot start or resume, or diverged.
        EdgeSdkError: The SOURCE cannot be loaded, or the output cannot be written.
    """
    chosen = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    asked = [] if epochs is None else [f"epochs={epochs}"]
    chosen = overridden(chosen, [*_texts(settings), *asked])
    spec = None if qat is None else _trainable(qat)
    if output is not None:
        check_output(Path(output), overwrite=overwrite)
    splits = _splits(data, image_size, channels, validation, chosen.seed, split)
    if limit is not None:
        splits = splits.subset(limit, chosen.seed)
    trained = train_classifier(
        model,
        splits,
        chosen,
        weights=_path(weights),
        checkpoint=_path(checkpoint),
        resume=resume,
        logs=_path(logs),
        workers=workers,
        on_progress=on_progress if callable(on_progress) else None,
        stop=stop,
        qat=spec,
    )
    if output is not None and trained.is_main and trained.history.finished:
        save_classifier(trained, splits, Path(output), overwrite=overwrite)
    return trained


def _path(given: str | os.PathLike[str] | None) -> Path | None:
    return None if given is None else Path(given)


def _texts(settings: Mapping[str, Any] | Sequence[str]) -> list[str]:
    if isinstance(settings, Mapping):
        return [
            f"{key}={value if isinstance(value, str) else json.dumps(value)}"
            for key, value in settings.items()
        ]
    return list(settings)


def _trainable(name: str) -> QuantSpec:
    spec = parse_recipe(name)
    require_trainable(spec)
    return spec


def _splits(
    data: str | os.PathLike[str] | DataSplits,
    image_size: int | None,
    channels: int | None,
    validation: float,
    seed: int,
    split: str | None,
) -> DataSplits:
    if not isinstance(data, DataSplits):
        return open_data(
            Path(data),
            image_size=image_size,
            channels=channels,
            validation=validation,
            seed=seed,
            only=split,
        )
    if (image_size, channels, split) != (None, None, None):
        raise UsageError(
            "image_size, channels and split belong to a folder of data, not to opened data",
            remedy="give them to open_data",
        )
    return data
