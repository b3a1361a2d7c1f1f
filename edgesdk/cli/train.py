"""``edgesdk train``."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgesdk.cli.console import Output
from edgesdk.cli.interruption import Interruption
from edgesdk.cli.options import DebugOption, JsonOption, QuietOption
from edgesdk.cli.train_style import style
from edgesdk.cli.training_progress import StopAsked, TrainingProgress
from edgesdk.errors import EdgeSdkError, UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from edgesdk.quant.spec import QuantSpec
    from edgesdk.training import DataSplits, History, Recipe
    from edgesdk.training.classification import TrainedClassifier

__all__ = ["train"]

train = typer.Typer(help="Train a model.", rich_markup_mode=None)

#: Epochs that are shown in the terminal; --json has all of them.
_SHOWN_EPOCHS = 12


@train.callback(invoke_without_command=True)
def _train(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(UsageError.exit_code)


train.command()(style)


@train.command()
def classify(
    source: Annotated[
        str,
        typer.Argument(help="Zoo name, path/file.py:factory, package.module:factory, .edgemodel."),
    ],
    data: Annotated[
        Path,
        typer.Option("--data", help="Folder: DIR/CLASS/*.jpg, IDX files, or CIFAR's binary files."),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="NAME.edgemodel, or NAME.safetensors for the weights alone."
        ),
    ],
    recipe: Annotated[
        str, typer.Option("--recipe", help="A recipe's name, or a .json or .yaml file.")
    ] = "quick_sgd",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE over the recipe; repeatable."),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=1, help="In place of the recipe's.")
    ] = None,
    image_size: Annotated[
        int | None, typer.Option("--image-size", min=1, help="Side to scale all images to.")
    ] = None,
    channels: Annotated[
        int | None, typer.Option("--channels", help="1 for grey, 3 for colour.")
    ] = None,
    validation: Annotated[
        float, typer.Option("--validation", help="Share held out where the data bring no val set.")
    ] = 0.1,
    only: Annotated[
        str | None,
        typer.Option("--only", help="test: train on a part of the test files, for want of others."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=2, help="At most so many images a set.")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option("--weights", help="Begin from these weights.")
    ] = None,
    qat: Annotated[
        str | None,
        typer.Option("--qat", help="Train for a quantization, such as w8a8_static."),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option("--checkpoint", help="Folder of the checkpoint; a run goes on from it."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume/--no-resume", help="Go on from the checkpoint.")
    ] = True,
    logs: Annotated[
        Path | None, typer.Option("--logs", help="Folder of logs for TensorBoard.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="Threads of a process on the CPU.")
    ] = None,
    workers: Annotated[
        int, typer.Option("--workers", min=0, help="Processes that read images from files.")
    ] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output.")] = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> int:
    """Train a classifier on labelled images."""
    del debug
    # Launched several times at once, the first process speaks.
    speaks = os.environ.get("RANK", "0") == "0"
    out = Output(json=json, quiet=quiet or not speaks)
    try:
        # What costs nothing to check is checked before torch is loaded.
        chosen = _recipe(recipe, settings or [], epochs)
        spec = None if qat is None else _quantization(qat)
        with contextlib.redirect_stdout(sys.stderr):
            splits, trained, path = _run(
                out,
                source,
                data,
                output,
                chosen,
                opening={
                    "image_size": image_size,
                    "channels": channels,
                    "validation": validation,
                    "only": only,
                },
                limit=limit,
                threads=threads,
                overwrite=overwrite,
                training={
                    "weights": weights,
                    "checkpoint": checkpoint,
                    "resume": resume,
                    "logs": logs,
                    "workers": workers,
                    "qat": spec,
                },
            )
    except (EdgeSdkError, Interruption) as error:
        if speaks:
            raise
        if isinstance(error, EdgeSdkError):
            out.problem(error)
        raise typer.Exit(error.exit_code) from error
    if not speaks:
        return 0
    out.result(_described(source, data, path, chosen, splits, trained))
    out.table(_table(trained.history))
    out.line("")
    if trained.test is not None:
        test = trained.test
        rounded = f", computed as {trained.qat}" if trained.qat else ""
        out.line(
            f"test: top-1 {test.top1:.2%}, top-5 {test.top5:.2%}, loss {test.loss:.4f} "
            f"on {test.samples} images{rounded}"
        )
    out.line(f"wrote {path}")
    for note in splits.notes:
        out.remark(f"note: {note}")
    return 0


def _recipe(name: str, settings: list[str], epochs: int | None) -> Recipe:
    from edgesdk.training.recipes import load_recipe, overridden

    more = [] if epochs is None else [f"epochs={epochs}"]
    return overridden(load_recipe(name), [*settings, *more])


def _quantization(name: str) -> QuantSpec:
    from edgesdk.quant.recipes import parse_recipe
    from edgesdk.quant.trainable import require_trainable

    spec = parse_recipe(name)
    require_trainable(spec)
    return spec


def _run(
    out: Output,
    source: str,
    data: Path,
    output: Path,
    recipe: Recipe,
    *,
    opening: dict[str, Any],
    limit: int | None,
    threads: int | None,
    overwrite: bool,
    training: dict[str, Any],
) -> tuple[DataSplits, TrainedClassifier, Path]:
    checkpoint: Path | None = training["checkpoint"]
    with TrainingProgress(silent=out.quiet) as progress:
        progress.say("loading torch")
        import torch

        from edgesdk.training import open_data
        from edgesdk.training.classification import (
            check_output,
            save_classifier,
            train_classifier,
        )

        check_output(output, overwrite=overwrite)
        if threads is not None:
            torch.set_num_threads(threads)
        progress.say(f"reading {data}")
        splits = open_data(data, seed=recipe.seed, **opening)
        if limit is not None:
            splits = splits.subset(limit, recipe.seed)
        progress.say(
            f"{len(splits.train)} training images of {len(splits.classes)} classes, "
            f"{'x'.join(map(str, splits.image_shape))}"
        )
        # Without a checkpoint nothing could be kept: then a signal ends the command at once.
        with StopAsked(graceful=checkpoint is not None) as asked:
            trained = train_classifier(
                source, splits, recipe, progress=progress.told, stop=asked.now, **training
            )
        if asked.number is not None and not trained.history.finished:
            out.remark(
                f"stopped after step {trained.history.steps}; the same command goes on from "
                f"{checkpoint}"
            )
            raise Interruption(asked.number)
        if trained.is_main:
            save_classifier(trained, splits, output, overwrite=overwrite)
        return splits, trained, output


def _described(
    source: str,
    data: Path,
    path: Path,
    recipe: Recipe,
    splits: DataSplits,
    trained: TrainedClassifier,
) -> dict[str, Any]:
    return {
        "source": source,
        "model": str(path),
        "recipe": recipe.to_dict(),
        "data": {
            "path": str(data),
            "classes": splits.classes,
            "train": len(splits.train),
            "validation": len(splits.validation) if splits.validation is not None else 0,
            "test": len(splits.test) if splits.test is not None else 0,
            "image_shape": splits.image_shape,
            "mean": splits.mean,
            "std": splits.std,
            "notes": splits.notes,
        },
        **trained.to_dict(),
    }


def _table(history: History) -> Table:
    from rich.text import Text

    from edgesdk.cli.tables import plain_table

    table = plain_table(
        "epoch", "loss", "top-1", "val loss", "val top-1", "learning rate", "images/s"
    )
    for record in history.epochs[-_SHOWN_EPOCHS:]:
        held = record.validation_top1 is not None and record.validation_loss is not None
        table.add_row(
            Text(str(record.epoch)),
            Text(f"{record.loss:.4f}"),
            Text(f"{record.top1:.2%}"),
            Text(f"{record.validation_loss:.4f}" if held else "–"),
            Text(f"{record.validation_top1:.2%}" if held else "–"),
            Text(f"{record.learning_rate:.3g}"),
            Text(f"{record.images_per_second:,.0f}"),
        )
    return table
