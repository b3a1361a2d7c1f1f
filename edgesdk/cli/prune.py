"""``edgesdk prune``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgesdk.cli import options as opt
from edgesdk.cli.console import Output
from edgesdk.cli.training_run import settings_with
from edgesdk.cli.verb import verb

if TYPE_CHECKING:
    from edgesdk.pruning.budget import LatencyGoal
    from edgesdk.pruning.prune import PruneResult

__all__ = ["prune"]

_BUDGET = opt.Panel("Budget")
_METHOD = opt.Panel("Method")
_ACP = opt.Panel("Method acp")

#: Rows of a table in the terminal; --json has all of them.
_SHOWN_ROWS = 40


@verb(
    {
        "Halve the multiply-accumulates and fine-tune": (
            "edgesdk prune resnet20 --flops -50% --data images/ -o small.edgemodel"
        ),
        "Prune for latency with widths that suit mobile kernels": (
            "edgesdk prune net.py:build --latency executorch:local -40% \\\n"
            "    --round-to 8 -o small.edgemodel"
        ),
    }
)
def prune(
    out: Output,
    *,
    source: opt.ModelArgument,
    data: Path | None = opt.INPUT.option(
        "--data DIR",
        None,
        check=opt.existing,
        help="Labelled images (DIR/CLASS/*.jpg, IDX or CIFAR files) for training; ucp and acp "
        "need them.",
    ),
    inputs: opt.InputOption = None,
    weights: opt.WeightsOption = None,
    image_size: opt.ImageSizeOption = None,
    limit: opt.LimitOption = None,
    split: opt.SplitOption = None,
    flops: str | None = _BUDGET.option(
        "--flops SHARE",
        None,
        help="Share of the multiply-accumulates to remove (-50%) or to keep (0.5x).",
    ),
    params: str | None = _BUDGET.option(
        "--params SHARE", None, help="Share of the parameters to remove (-50%) or to keep (0.5x)."
    ),
    latency: tuple[str, str] | None = _BUDGET.option(
        "--latency TARGET SHARE",
        None,
        help="Target, device and share of the latency to remove: executorch:local -40%.",
    ),
    method: str = _METHOD.option(
        "--method NAME",
        "l1",
        help="Criterion for channels: l1, group_norm, ucp (trained gates), acp (searched "
        "widths) or random.",
    ),
    round_to: int = _METHOD.option(
        "--round-to N", 1, min=1, help="Make widths multiples of N; mobile kernels like 8."
    ),
    protect: list[str] | None = _METHOD.option(
        "--protect LAYER", None, help="Keep all channels of this layer (module path). Repeatable."
    ),
    gate_threshold: float | None = _METHOD.option(
        "--gate-threshold X",
        None,
        help="Without a budget, ucp keeps gates above X times the layer's mean.",
    ),
    gate_place: str = _METHOD.option(
        "--gate-place PLACE",
        "layer",
        help="Place of ucp's gates: behind the layer (default) or behind its norm.",
    ),
    epsilon: float | None = _ACP.option(
        "--epsilon X",
        None,
        help="Cosine distance within a cluster of channels (default: derived from the budget).",
    ),
    candidate_epochs: int = _ACP.option(
        "--candidate-epochs N", 3, min=0, help="Number of epochs that a candidate is trained for."
    ),
    candidate_images: int = _ACP.option(
        "--candidate-images N",
        0,
        min=0,
        help="Largest number of images to train a candidate on (0: all).",
    ),
    particles: int = _ACP.option(
        "--particles N", 10, min=1, help="Number of particles of the swarm."
    ),
    cycles: int = _ACP.option("--cycles N", 8, min=0, help="Number of cycles of the swarm."),
    processes: int = _ACP.option(
        "--processes N", 0, min=0, help="Number of processes that train candidates (0: this one)."
    ),
    dask: str = _ACP.option(
        "--dask ADDRESS", "", help="Train candidates on the workers of a Dask scheduler."
    ),
    retrain: str = opt.TRAINING.option(
        "--retrain MODE",
        "auto",
        help="Training of the pruned network: auto (default), scratch (new weights), finetune "
        "or none.",
    ),
    recipe: opt.RecipeOption = "quick_sgd",
    epochs: opt.EpochsOption = None,
    settings: opt.SettingsOption = None,
    checkpoint: opt.CheckpointOption = None,
    seed: int = opt.TRAINING.option("--seed N", 0, help="Seed of everything random."),
    output: Path = opt.OUTPUT.option("--output -o PATH", help="Model to write, NAME.edgemodel."),
    overwrite: opt.OverwriteOption = False,
) -> None:
    """Remove channels, prove the rest equal and train it again."""
    from edgesdk.pruning.output import check_output

    # Cheap checks come before torch is loaded, which takes seconds.
    check_output(output, overwrite=overwrite)
    with out.progress("pruning") as progress:
        progress.begin("loading torch")
        from edgesdk.host.cache import Cache
        from edgesdk.pruning.methods import MethodSettings
        from edgesdk.pruning.options import PruneOptions, PruneProgress
        from edgesdk.pruning.prune import prune as run
        from edgesdk.pruning.swarm import SwarmSettings
        from edgesdk.training.recipes import load_recipe, overridden

        changes = [f"seed={seed}", *settings_with(settings, epochs=epochs)]
        chosen = overridden(load_recipe(recipe), changes)
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
            threshold=gate_threshold,
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
                work=checkpoint,
            ),
        )
        splits = None
        if data is not None:
            from edgesdk.training import open_data

            progress.begin(f"reading {data}")
            splits = open_data(data, image_size=image_size, only=split, seed=seed)
            splits = splits if limit is None else splits.subset(limit, seed)
        result = run(
            source,
            options=options,
            data=splits,
            output=output,
            input_specs=inputs or (),
            weights=weights,
            overwrite=overwrite,
            progress=PruneProgress(progress.begin, progress.training, progress.search),
            cache=Cache(),
        )
    out.result({"source": source, "model": str(output), **result.record()})
    _show(out, result)
    out.line(f"wrote {output}")
    for note in (*result.channels.notes, *(splits.notes if splits else ())):
        out.remark(f"note: {note}")


def _share(text: str | None, option: str) -> float | None:
    from edgesdk.pruning.budget import parse_share

    return None if text is None else parse_share(text, option)


def _goal(given: tuple[str, str] | None) -> LatencyGoal | None:
    if given is None:
        return None
    # On first use: converters and devices serve latency budgets alone.
    from edgesdk.pruning import parse_latency_goal
    from edgesdk.pruning.budget import parse_share

    return parse_latency_goal(given[0], parse_share(given[1], "--latency"))


def _show(out: Output, result: PruneResult) -> None:
    from edgesdk.cli.tables import plain_table

    rows = [
        (row["name"], str(len(row["layers"])), str(row["width"]), str(row["kept"]))
        for row in result.rows()
    ]
    out.table(plain_table("channels of", "layers", "before", "after", rows=rows[:_SHOWN_ROWS]))
    if len(rows) > _SHOWN_ROWS:
        out.line(f"… and {len(rows) - _SHOWN_ROWS} more; --json has them all")
    out.line()
    untouched = result.channels.left_alone[:_SHOWN_ROWS]
    if untouched:
        reasons = [(entry.name, str(entry.width), entry.reason) for entry in untouched]
        out.table(plain_table("left alone", "channels", "why", rows=reasons))
        out.line()
    before, after = result.before, result.after
    figures: list[tuple[str, str, float, float]] = [
        ("parameters", "{:,}", before.params, after.params),
        ("MACs", "{:,}", before.macs, after.macs),
    ]
    if result.latency is not None:
        full, small = result.latency
        figures.append(("latency", "{:.2f} ms", 1000 * full, 1000 * small))
    changes = [
        (name, form.format(old), form.format(new), f"{new / old - 1:+.2%}")
        for name, form, old, new in figures
    ]
    out.table(plain_table("", "before", "after", "change", rows=changes))
    if result.accuracy_before is not None and result.accuracy_after is not None:
        first, last = result.accuracy_before.top1, result.accuracy_after.top1
        out.line(f"top-1 {first:.2%} before, {last:.2%} after ({result.retrained})")
