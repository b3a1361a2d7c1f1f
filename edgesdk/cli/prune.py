"""``edgesdk prune``."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgesdk.cli.console import Output
from edgesdk.cli.options import DebugOption, JsonOption, QuietOption
from edgesdk.cli.training_progress import TrainingProgress
from edgesdk.errors import OutputExistsError, UsageError

if TYPE_CHECKING:
    from edgesdk.pruning.acp import AcpProgress
    from edgesdk.pruning.prune import PruneOptions, PruneResult
    from edgesdk.training import DataSplits

__all__ = ["prune"]

#: Rows of a table in the terminal; --json has all of them.
_SHOWN_ROWS = 40


def prune(
    source: Annotated[
        str,
        typer.Argument(help="Zoo name, path/file.py:factory, package.module:factory, .edgemodel."),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The model to write, NAME.edgemodel.")
    ],
    method: Annotated[
        str, typer.Option("--method", help="ucp, acp, l1, group_norm or random.")
    ] = "l1",
    flops: Annotated[
        str | None, typer.Option("--flops", help="What goes: -50%; or what stays: 0.5x.")
    ] = None,
    params: Annotated[str | None, typer.Option("--params", help="Likewise, of parameters.")] = None,
    latency: Annotated[
        tuple[str, str] | None,
        typer.Option("--latency", help="TARGET:DEVICE and what goes: executorch:local -40%."),
    ] = None,
    factor: Annotated[
        float | None,
        typer.Option("--factor", help="ucp without a budget: keep gates above FACTOR x mean."),
    ] = None,
    epsilon: Annotated[
        float | None,
        typer.Option("--epsilon", help="acp: cosine distance of clusters; else by the budget."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="Labelled images; ucp and acp need them.")
    ] = None,
    recipe: Annotated[
        str, typer.Option("--recipe", help="How the small network is trained.")
    ] = "quick_sgd",
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=1, help="In place of the recipe's.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE over the recipe; repeatable.")
    ] = None,
    retrain: Annotated[
        str, typer.Option("--retrain", help="auto, scratch, finetune or none.")
    ] = "auto",
    gate_place: Annotated[
        str, typer.Option("--gate-place", help="ucp: gates on the layer or on its norm.")
    ] = "layer",
    candidate_epochs: Annotated[
        int, typer.Option("--candidate-epochs", min=0, help="acp: training of a candidate.")
    ] = 3,
    candidate_images: Annotated[
        int, typer.Option("--candidate-images", min=0, help="acp: at most so many; 0 for all.")
    ] = 0,
    particles: Annotated[int, typer.Option("--particles", min=1, help="acp: of the swarm.")] = 10,
    cycles: Annotated[int, typer.Option("--cycles", min=0, help="acp: of the swarm.")] = 8,
    processes: Annotated[
        int, typer.Option("--processes", min=0, help="acp: processes that try candidates.")
    ] = 0,
    dask: Annotated[
        str, typer.Option("--dask", help="acp: address of a Dask scheduler instead.")
    ] = "",
    round_to: Annotated[
        int, typer.Option("--round-to", min=1, help="Widths are multiples of it; kernels like 8.")
    ] = 1,
    protect: Annotated[
        list[str] | None, typer.Option("--protect", help="Layer whose channels stay; repeatable.")
    ] = None,
    inputs: Annotated[
        list[str] | None, typer.Option("--input", help="NAME:1x3x224x224, where nothing says it.")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option("--weights", help="safetensors, or .pth of tensors only.")
    ] = None,
    image_size: Annotated[
        int | None, typer.Option("--image-size", min=1, help="Side to scale the images to.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=2, help="At most so many images a set.")
    ] = None,
    only: Annotated[
        str | None, typer.Option("--only", help="test: train on a part of the test files.")
    ] = None,
    work: Annotated[
        Path | None, typer.Option("--work", help="Folder to keep what an interruption would lose.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of everything random.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output.")] = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> int:
    """Remove channels from a model, prove what is left, and train it again."""
    del debug
    out = Output(json=json, quiet=quiet)
    # What costs nothing to check is checked before torch is loaded.
    if output.suffix != ".edgemodel":
        raise UsageError(f"cannot write {output.name!r}", remedy="name it NAME.edgemodel")
    if output.exists() and not overwrite:
        raise OutputExistsError(f"{output} exists", remedy="choose another name or --overwrite")
    with contextlib.redirect_stdout(sys.stderr), TrainingProgress(silent=out.quiet) as progress:
        progress.say("loading torch")
        from edgesdk.pruning.methods import MethodSettings
        from edgesdk.pruning.prune import PruneOptions
        from edgesdk.pruning.swarm import SwarmSettings
        from edgesdk.training.recipes import load_recipe, overridden

        more = [] if epochs is None else [f"epochs={epochs}"]
        chosen = overridden(load_recipe(recipe), [f"seed={seed}", *(settings or []), *more])
        candidate = (
            chosen.changed(epochs=candidate_epochs, warmup_epochs=0, ema_decay=0)
            if candidate_epochs
            else None
        )
        options = PruneOptions(
            method=method,
            macs=_share(flops, "--flops"),
            params=_share(params, "--params"),
            latency=_goal(latency),
            threshold=factor,
            round_to=round_to,
            protect=tuple(protect or ()),
            retrain=retrain,
            recipe=chosen,
            settings=MethodSettings(
                seed=seed,
                gate_place=gate_place,
                fitness_recipe=candidate,
                epsilon=epsilon,
                swarm=SwarmSettings(particles=particles, cycles=cycles, seed=seed),
                fitness_images=candidate_images,
                processes=processes,
                dask=dask,
                work=work,
            ),
        )
        splits = _opened(data, image_size, only, limit, seed, progress)
        result = _run(source, output, options, splits, inputs or [], weights, overwrite, progress)
    out.result({"source": source, "model": str(output), **result.record()})
    _show(out, result)
    out.line(f"wrote {output}")
    for note in (*result.channels.notes, *(splits.notes if splits else ())):
        out.remark(f"note: {note}")
    return 0


def _share(text: str | None, option: str) -> float | None:
    from edgesdk.pruning.budget import parse_share

    return None if text is None else parse_share(text, option)


def _goal(given: tuple[str, str] | None) -> Any:
    if given is None:
        return None
    from edgesdk.pruning.budget import parse_share
    from edgesdk.pruning.latency_meter import parse_latency_goal

    return parse_latency_goal(given[0], parse_share(given[1], "--latency"))


def _opened(
    data: Path | None,
    image_size: int | None,
    only: str | None,
    limit: int | None,
    seed: int,
    progress: TrainingProgress,
) -> DataSplits | None:
    if data is None:
        return None
    from edgesdk.training import open_data

    progress.say(f"reading {data}")
    splits = open_data(data, image_size=image_size, only=only, seed=seed)
    return splits if limit is None else splits.subset(limit, seed)


def _run(
    source: str,
    output: Path,
    options: PruneOptions,
    splits: DataSplits | None,
    inputs: list[str],
    weights: Path | None,
    overwrite: bool,
    progress: TrainingProgress,
) -> PruneResult:
    from edgesdk.frontend.edgemodel.file import save_model
    from edgesdk.host.cache import Cache
    from edgesdk.pruning.prune import PruneProgress
    from edgesdk.pruning.prune import prune as run
    from edgesdk.pruning.source import load_for_pruning

    found = load_for_pruning(source, weights, inputs, splits, options.settings.seed)
    result = run(
        found.model,
        found.inputs,
        options,
        data=splits,
        architecture=found.architecture,
        source=source if found.architecture is None else None,
        progress=PruneProgress(progress.say, progress.told, _searching(progress)),
        cache=Cache(),
    )
    save_model(
        result.model,
        result.architecture,
        output,
        example=found.inputs,
        signature=found.signature,
        pruning=result.record(),
        overwrite=overwrite,
    )
    return result


def _searching(progress: TrainingProgress) -> Any:
    def told(search: AcpProgress) -> None:
        progress.say(
            f"cycle {search.cycle}/{search.cycles}  {search.tried} candidates  "
            f"best {search.best:.2%}"
        )

    return told


def _show(out: Output, result: PruneResult) -> None:
    from rich.text import Text

    from edgesdk.cli.tables import plain_table

    table = plain_table("channels of", "layers", "before", "after")
    for row in result.rows()[:_SHOWN_ROWS]:
        table.add_row(
            Text(row["name"]),
            Text(str(len(row["layers"]))),
            Text(str(row["width"])),
            Text(str(row["kept"])),
        )
    out.table(table)
    if len(result.rows()) > _SHOWN_ROWS:
        out.line(f"… and {len(result.rows()) - _SHOWN_ROWS} more; --json has them all")
    out.line("")
    if result.channels.left_alone:
        table = plain_table("left alone", "channels", "why")
        for entry in result.channels.left_alone[:_SHOWN_ROWS]:
            table.add_row(Text(entry.name), Text(str(entry.width)), Text(entry.reason))
        out.table(table)
        out.line("")
    table = plain_table("", "before", "after", "change")
    for name, before, after in _figures(result):
        table.add_row(
            Text(name), Text(before[1]), Text(after[1]), Text(f"{after[0] / before[0] - 1:+.2%}")
        )
    out.table(table)
    if result.accuracy_before is not None and result.accuracy_after is not None:
        first, last = result.accuracy_before.top1, result.accuracy_after.top1
        out.line(f"top-1 {first:.2%} before, {last:.2%} after ({result.retrained})")


def _figures(
    result: PruneResult,
) -> list[tuple[str, tuple[float, str], tuple[float, str]]]:
    rows = [
        (name, (float(before), f"{before:,}"), (float(after), f"{after:,}"))
        for name, before, after in (
            ("parameters", result.before.params, result.after.params),
            ("MACs", result.before.macs, result.after.macs),
        )
    ]
    if result.latency is not None:
        full, small = result.latency
        rows.append(("latency", (full, f"{1000 * full:.2f} ms"), (small, f"{1000 * small:.2f} ms")))
    return rows
