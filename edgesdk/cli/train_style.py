"""``edgesdk train style``."""

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
from edgesdk.cli.training_progress import StopAsked, TrainingProgress
from edgesdk.errors import EdgeSdkError, UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from edgesdk.training.style.any_stylizer import TrainedAnyStylizer
    from edgesdk.training.style.history import StyleHistory
    from edgesdk.training.style.recipe import StyleRecipe
    from edgesdk.training.style.stylizer import TrainedStylizer

__all__ = ["style"]

#: Rows that are shown in the terminal; --json has all of them.
_SHOWN_RECORDS = 12
_SHOWN_SKIPPED = 5


def style(
    content: Annotated[Path, typer.Option("--content", help="Folder of photographs.")],
    styles: Annotated[
        Path, typer.Option("--styles", help="Folder of paintings; each file's name is its style's.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="NAME.edgemodel.")],
    any_style: Annotated[
        bool,
        typer.Option("--any", help="A network for any painting, with NAME-encoder.edgemodel."),
    ] = False,
    base: Annotated[
        Path | None,
        typer.Option("--from", help="A trained NAME.edgemodel to add the styles to."),
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option("--start", help="A trained NAME.edgemodel to go on with."),
    ] = None,
    perceptual: Annotated[
        Path | None,
        typer.Option("--perceptual", help="VGG16's weights: .pth, .npz, .h5, .safetensors."),
    ] = None,
    recipe: Annotated[
        Path | None, typer.Option("--recipe", help="A .json or .yaml file of settings.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE over the recipe; repeatable."),
    ] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="In place of the recipe's.")
    ] = None,
    size: Annotated[
        int,
        typer.Option("--size", min=64, help="Side of the pictures that it is exported for."),
    ] = 512,
    previews: Annotated[
        Path | None, typer.Option("--previews", help="Folder for sheets of what is painted.")
    ] = None,
    preview_every: Annotated[
        int, typer.Option("--preview-every", min=1, help="Steps between two sheets.")
    ] = 500,
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
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output.")] = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> int:
    """Train a stylizer: paintings it paints like, photographs it learns on."""
    del debug
    # Launched several times at once, the first process speaks.
    speaks = os.environ.get("RANK", "0") == "0"
    out = Output(json=json, quiet=quiet or not speaks)
    if any_style and base is not None:
        raise UsageError("a network for any painting needs none added", remedy="leave --from out")
    try:
        chosen = _recipe(recipe, settings or [], steps)
        with contextlib.redirect_stdout(sys.stderr):
            trained = _run(
                out,
                content,
                styles,
                output,
                chosen,
                threads=threads,
                overwrite=overwrite,
                size=size,
                checkpoint=checkpoint,
                logs=logs,
                preview_every=preview_every if previews is not None else 0,
                any_style=any_style,
                training={
                    **({} if any_style else {"base": base}),
                    "start": start,
                    "perceptual": perceptual,
                    "previews": previews,
                    "resume": resume,
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
    files = {"model": str(output)}
    if any_style:
        from edgesdk.training.style.fine_tuning import encoder_path

        files["encoder"] = str(encoder_path(output))
    out.result({**files, "recipe": chosen.to_dict(), **trained.to_dict()})
    out.table(_table(trained.history))
    out.line("")
    for path, why in list(trained.skipped.items())[:_SHOWN_SKIPPED]:
        out.remark(f"left out {path}: {why}")
    if len(trained.skipped) > _SHOWN_SKIPPED:
        out.remark(f"left out {len(trained.skipped)} files in all")
    out.line(f"wrote {' and '.join(files.values())}: {trained.summary()}")
    return 0


def _recipe(path: Path | None, settings: list[str], steps: int | None) -> StyleRecipe:
    from edgesdk.training.recipes import overridden, read_settings
    from edgesdk.training.style.recipe import StyleRecipe

    base = StyleRecipe() if path is None else read_settings(path, StyleRecipe)
    more = [] if steps is None else [f"steps={steps}"]
    return overridden(base, [*settings, *more])


def _run(
    out: Output,
    content: Path,
    styles: Path,
    output: Path,
    recipe: StyleRecipe,
    *,
    threads: int | None,
    overwrite: bool,
    size: int,
    checkpoint: Path | None,
    logs: Path | None,
    preview_every: int,
    any_style: bool,
    training: dict[str, Any],
) -> TrainedStylizer | TrainedAnyStylizer:
    with TrainingProgress(silent=out.quiet) as progress:
        progress.say("loading torch")
        import torch

        from edgesdk.training.style.any_stylizer import TrainedAnyStylizer, train_any_stylizer
        from edgesdk.training.style.loop import Watched
        from edgesdk.training.style.stylizer import train_stylizer
        from edgesdk.training.style.stylizer_file import (
            check_outputs,
            save_any_stylizer,
            save_stylizer,
        )

        check_outputs(output, any_style=any_style, overwrite=overwrite)
        if threads is not None:
            torch.set_num_threads(threads)
        # Without a checkpoint nothing could be kept: then a signal ends the command at once.
        with StopAsked(graceful=checkpoint is not None) as asked:
            watched = Watched(
                checkpoint=checkpoint,
                progress=progress.told_style,
                preview_every_steps=preview_every,
                logs=logs,
                stop=asked.now,
            )
            learn = train_any_stylizer if any_style else train_stylizer
            trained: TrainedStylizer | TrainedAnyStylizer = learn(
                content, styles, recipe, watched=watched, say=progress.say, **training
            )
        if asked.number is not None and not trained.history.finished:
            out.remark(
                f"stopped after step {trained.history.steps}; the same command goes on from "
                f"{checkpoint}"
            )
            raise Interruption(asked.number)
        if trained.is_main:
            if isinstance(trained, TrainedAnyStylizer):
                save_any_stylizer(trained, output, size=size, overwrite=overwrite)
            else:
                save_stylizer(trained, output, size=size, overwrite=overwrite)
        return trained


def _table(history: StyleHistory) -> Table:
    from rich.text import Text

    from edgesdk.cli.tables import plain_table

    records = history.records
    shown = (
        records if len(records) <= _SHOWN_RECORDS else (records[0], *records[1 - _SHOWN_RECORDS :])
    )
    names = list(records[-1].losses) if records else []
    # Eighty columns hold this and no more; the pace was told while it went on.
    table = plain_table("step", "total", *names, "rate")
    for record in shown:
        table.add_row(
            Text(str(record.step)),
            Text(f"{record.total:.4f}"),
            *(Text(f"{record.losses[name]:.4f}") for name in names),
            Text(f"{record.learning_rate:.3g}"),
        )
    return table
