"""``edgesdk train``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from edgesdk.cli import options as opt
from edgesdk.cli.completion import complete_recipes
from edgesdk.cli.console import Output
from edgesdk.cli.help_page import HelpGroup, examples_text
from edgesdk.cli.interruption import GracefulStop
from edgesdk.cli.train_style import style
from edgesdk.cli.training_run import require_finished, settings_with
from edgesdk.cli.verb import verb
from edgesdk.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from edgesdk.quant.spec import QuantSpec
    from edgesdk.training import DataSplits, History, Recipe
    from edgesdk.training.classification import TrainedClassifier

__all__ = ["train"]

train = typer.Typer(
    cls=HelpGroup,
    help="Train a classifier or a stylizer.",
    epilog=examples_text(
        {
            "Train a zoo network on a folder of labelled images": (
                "edgesdk train classify mobilenet_v2 --data images/ -o net.edgemodel"
            ),
            "Train a stylizer on a folder of paintings": (
                "edgesdk train style --content photos/ --styles paintings/ -o mine.edgemodel"
            ),
        }
    ),
)

#: Number of epochs shown in the terminal; --json has all of them.
_SHOWN_EPOCHS = 12


@train.callback(invoke_without_command=True)
def _train(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(UsageError.exit_code)


@verb(
    {
        "Train a zoo network on a folder of labelled images": (
            "edgesdk train classify mobilenet_v2 --data images/ -o net.edgemodel"
        ),
        "Go on with int8 weights and activations (QAT)": (
            "edgesdk train classify net.edgemodel --data images/ --qat w8a8_static \\\n"
            "    --epochs 4 --set learning_rate=0.01 -o int8.edgemodel"
        ),
    },
    distributed=True,
)
def classify(
    out: Output,
    *,
    source: opt.ModelArgument,
    data: Path = opt.INPUT.option(
        "--data DIR",
        check=opt.existing,
        help="Labelled images: DIR/CLASS/*.jpg, IDX files or CIFAR's binary files.",
    ),
    weights: opt.WeightsOption = None,
    image_size: opt.ImageSizeOption = None,
    channels: int | None = opt.INPUT.option(
        "--channels N", None, help="Number of colour channels: 1 (grey) or 3 (colour)."
    ),
    validation: float = opt.INPUT.option(
        "--validation SHARE",
        0.1,
        help="Share of the training images held out, if the data have no validation split.",
    ),
    limit: opt.LimitOption = None,
    split: opt.SplitOption = None,
    recipe: opt.RecipeOption = "quick_sgd",
    epochs: opt.EpochsOption = None,
    settings: opt.SettingsOption = None,
    qat: str | None = opt.TRAINING.option(
        "--qat RECIPE",
        None,
        autocompletion=complete_recipes,
        help="Train for a quantization recipe: w8a8_static trains for int8.",
    ),
    checkpoint: opt.CheckpointOption = None,
    resume: opt.ResumeOption = True,
    threads: opt.CpuThreadsOption = None,
    workers: int = opt.LIMITS.option(
        "--workers N",
        0,
        min=0,
        help="Number of processes that read images (0: the training process).",
    ),
    output: Path = opt.OUTPUT.option(
        "--output -o PATH",
        help="Model to write: NAME.edgemodel, or NAME.safetensors for weights alone.",
    ),
    logs: opt.LogsOption = None,
    overwrite: opt.OverwriteOption = False,
) -> None:
    """Train a classifier on labelled images."""
    # Cheap checks come before torch is loaded, which takes seconds.
    from edgesdk.training.recipes import load_recipe, overridden

    chosen = overridden(load_recipe(recipe), settings_with(settings, epochs=epochs))
    spec = None if qat is None else _quantization(qat)
    with out.progress("training") as progress:
        progress.begin("loading torch")
        import torch

        from edgesdk.training import open_data
        from edgesdk.training.classification import check_output, save_classifier, train_classifier

        check_output(output, overwrite=overwrite)
        if threads is not None:
            torch.set_num_threads(threads)
        progress.begin(f"reading {data}")
        splits = open_data(
            data,
            image_size=image_size,
            channels=channels,
            validation=validation,
            seed=chosen.seed,
            only=split,
        )
        if limit is not None:
            splits = splits.subset(limit, chosen.seed)
        progress.note(
            f"{len(splits.train)} training images of {len(splits.classes)} classes, "
            f"{'x'.join(map(str, splits.image_shape))}"
        )
        # Without a checkpoint a signal ends the command at once: nothing could be saved.
        with GracefulStop(graceful=checkpoint is not None) as stop:
            trained = train_classifier(
                source,
                splits,
                chosen,
                weights=weights,
                checkpoint=checkpoint,
                resume=resume,
                logs=logs,
                workers=workers,
                on_progress=progress.training,
                stop=stop.requested,
                qat=spec,
            )
        require_finished(out, stop, trained.history, checkpoint)
        if trained.is_main:
            save_classifier(trained, splits, output, overwrite=overwrite)
    out.result(_described(source, data, output, chosen, splits, trained))
    out.table(_table(trained.history))
    out.line()
    if trained.test is not None:
        test = trained.test
        rounded = f", computed as {trained.qat}" if trained.qat else ""
        out.line(
            f"test: top-1 {test.top1:.2%}, top-5 {test.top5:.2%}, loss {test.loss:.4f} "
            f"on {test.samples} images{rounded}"
        )
    out.line(f"wrote {output}")
    for note in splits.notes:
        out.remark(f"note: {note}")


classify.add_to(train)
style.add_to(train)


def _quantization(name: str) -> QuantSpec:
    from edgesdk.quant.recipes import parse_recipe
    from edgesdk.quant.trainable import require_trainable

    spec = parse_recipe(name)
    require_trainable(spec)
    return spec


def _described(
    source: str,
    data: Path,
    output: Path,
    recipe: Recipe,
    splits: DataSplits,
    trained: TrainedClassifier,
) -> dict[str, Any]:
    return {
        "source": source,
        "model": str(output),
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
    from edgesdk.cli.tables import plain_table

    titles = ("epoch", "loss", "top-1", "val loss", "val top-1", "learning rate", "images/s")
    rows = []
    for record in history.epochs[-_SHOWN_EPOCHS:]:
        held = record.validation_top1 is not None and record.validation_loss is not None
        rows.append(
            (
                str(record.epoch),
                f"{record.loss:.4f}",
                f"{record.top1:.2%}",
                f"{record.validation_loss:.4f}" if held else "–",
                f"{record.validation_top1:.2%}" if held else "–",
                f"{record.learning_rate:.3g}",
                f"{record.images_per_second:,.0f}",
            )
        )
    return plain_table(*titles, rows=rows)
