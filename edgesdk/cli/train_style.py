"""``edgesdk train style``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from edgesdk.cli import options as opt
from edgesdk.cli.console import Output
from edgesdk.cli.interruption import GracefulStop
from edgesdk.cli.training_run import require_finished, settings_with
from edgesdk.cli.verb import verb
from edgesdk.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from edgesdk.training.style.history import StyleHistory

__all__ = ["style"]

#: Number of rows shown in the terminal; --json has all of them.
_SHOWN_RECORDS = 12
_SHOWN_SKIPPED = 5


@verb(
    {
        "Train one network for every painting of a folder": (
            "edgesdk train style --content photos/ --styles paintings/ \\\n"
            "    --checkpoint run -o mine.edgemodel"
        ),
        "Add paintings to a trained network": (
            "edgesdk train style --content photos/ --styles new/ \\\n"
            "    --add-to mine.edgemodel -o more.edgemodel"
        ),
    },
    distributed=True,
)
def style(
    out: Output,
    *,
    content: Path = opt.INPUT.option(
        "--content DIR", check=opt.existing, help="Photographs to train on; no labels needed."
    ),
    styles: Path = opt.INPUT.option(
        "--styles DIR",
        check=opt.existing,
        help="Paintings; the name of a file becomes the style's name.",
    ),
    base: Path | None = opt.INPUT.option(
        "--add-to MODEL",
        None,
        check=opt.existing,
        help="Add the styles to this trained NAME.edgemodel, whose own styles stay the same.",
    ),
    start: Path | None = opt.INPUT.option(
        "--fine-tune MODEL",
        None,
        check=opt.existing,
        help="Start from the weights of this trained NAME.edgemodel.",
    ),
    perceptual: Path | None = opt.INPUT.option(
        "--vgg16 FILE",
        None,
        check=opt.existing,
        help="Weights of the VGG16 of the perceptual loss: .pth, .npz, .h5 or .safetensors.",
    ),
    any_style: bool = opt.TRAINING.option(
        "--arbitrary",
        False,
        help="Train for paintings not seen in training (arbitrary style transfer); writes "
        "NAME-encoder.edgemodel too.",
    ),
    recipe: Path | None = opt.TRAINING.option(
        "--recipe FILE",
        None,
        check=opt.existing,
        help="Settings of the training, .json or .yaml.",
    ),
    steps: int | None = opt.TRAINING.option(
        "--steps N", None, min=1, help="Number of training steps (default: the recipe's)."
    ),
    settings: opt.SettingsOption = None,
    checkpoint: opt.CheckpointOption = None,
    resume: opt.ResumeOption = True,
    threads: opt.CpuThreadsOption = None,
    output: Path = opt.OUTPUT.option("--output -o PATH", help="Model to write, NAME.edgemodel."),
    size: int = opt.OUTPUT.option(
        "--size N",
        512,
        min=64,
        help="Side in pixels of the pictures that the model is exported for.",
    ),
    previews: Path | None = opt.OUTPUT.option(
        "--previews DIR", None, help="Write sheets of stylized photographs there."
    ),
    preview_every: int = opt.OUTPUT.option(
        "--preview-every N", 500, min=1, help="Number of steps between two sheets."
    ),
    logs: opt.LogsOption = None,
    overwrite: opt.OverwriteOption = False,
) -> None:
    """Train a stylizer on a folder of paintings and a folder of photographs."""
    if any_style and base is not None:
        raise UsageError(
            "--add-to does not apply to --arbitrary, which takes any painting",
            remedy="leave --add-to out",
        )
    from edgesdk.training.recipes import overridden, read_settings
    from edgesdk.training.style.recipe import StyleRecipe

    chosen = StyleRecipe() if recipe is None else read_settings(recipe, StyleRecipe)
    chosen = overridden(chosen, settings_with(settings, steps=steps))
    with out.progress("training") as progress:
        progress.begin("loading torch")
        import torch

        from edgesdk.training.engine import RunOptions
        from edgesdk.training.style import stylizer_file
        from edgesdk.training.style.any_stylizer import TrainedAnyStylizer, train_any_stylizer
        from edgesdk.training.style.stylizer import TrainedStylizer, train_stylizer

        stylizer_file.check_outputs(output, any_style=any_style, overwrite=overwrite)
        if threads is not None:
            torch.set_num_threads(threads)
        # Without a checkpoint a signal ends the command at once: nothing could be saved.
        with GracefulStop(graceful=checkpoint is not None) as stop:
            options = RunOptions(
                checkpoint=checkpoint,
                resume=resume,
                on_progress=progress.style_training,
                preview_every_steps=preview_every if previews is not None else 0,
                logs=logs,
                stop=stop.requested,
            )
            learn: Callable[..., TrainedStylizer | TrainedAnyStylizer] = (
                train_any_stylizer if any_style else partial(train_stylizer, base=base)
            )
            trained = learn(
                content,
                styles,
                chosen,
                start=start,
                perceptual=perceptual,
                previews=previews,
                options=options,
                report=progress.note,
            )
        require_finished(out, stop, trained.history, checkpoint)
        if trained.is_main:
            if isinstance(trained, TrainedAnyStylizer):
                stylizer_file.save_any_stylizer(trained, output, size=size, overwrite=overwrite)
            else:
                stylizer_file.save_stylizer(trained, output, size=size, overwrite=overwrite)
    files = {"model": str(output)}
    if any_style:
        from edgesdk.training.style.fine_tuning import encoder_path

        files["encoder"] = str(encoder_path(output))
    out.result({**files, "recipe": chosen.to_dict(), **trained.to_dict()})
    out.table(_table(trained.history))
    out.line()
    for path, reason in list(trained.skipped.items())[:_SHOWN_SKIPPED]:
        out.remark(f"left out {path}: {reason}")
    if len(trained.skipped) > _SHOWN_SKIPPED:
        out.remark(f"left out {len(trained.skipped)} files in all")
    out.line(f"wrote {' and '.join(files.values())}: {trained.summary()}")


def _table(history: StyleHistory) -> Table:
    from edgesdk.cli.tables import plain_table

    records = history.records
    shown = (
        records if len(records) <= _SHOWN_RECORDS else (records[0], *records[1 - _SHOWN_RECORDS :])
    )
    names = list(records[-1].losses) if records else []
    # Eighty columns have no room for the speed, which the progress display shows.
    rows = [
        (
            str(record.step),
            f"{record.total:.4f}",
            *(f"{record.losses[name]:.4f}" for name in names),
            f"{record.learning_rate:.3g}",
        )
        for record in shown
    ]
    return plain_table("step", "total", *names, "rate", rows=rows)
