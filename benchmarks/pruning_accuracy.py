"""Claim: UCP and ACP at -50 % FLOPs are within 0.3 points of the unpruned network, and not worse
than pruning by L1 norm or at random.

Fashion-MNIST, all 60,000 training images, measured on its 10,000 test images. Every network has had
the same training budget, counted in FLOPs as Liu et al. count it ("Rethinking the value of network
pruning", section 3, Scratch-B): E epochs to learn (UCP: with gates), and after the cut as many as
cost what E epochs of the unpruned network cost, which is 2 E at -50 % FLOPs and 3.3 E at -70 %.
``unpruned`` has had 2 E. The searches (gates' ranking, ACP's swarm) are not counted. Results are
kept row by row, so the script can be ended and called again.

    python benchmarks/pruning_accuracy.py --data DIR --net vgg --epochs 4 --seeds 0,1
    python benchmarks/pruning_accuracy.py --table      # print what is there
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "pruning_accuracy.json"
CUTS = {"-50 %": 0.5, "-70 %": 0.3}
METHODS = ("ucp", "acp", "l1", "random", "ucp folded")
NETS: dict[str, tuple[str, dict[str, Any]]] = {
    "vgg": ("vgg16", {"widths": [[16, 16], [32, 32], [64, 64, 64], [64, 64, 64]]}),
    "resnet20": ("resnet20", {}),
}
#: The swarm of ACP, smaller than the paper's ten particles and eight cycles: that takes days here.
PARTICLES, CYCLES, CANDIDATE_IMAGES = 6, 3, 6000


def recipe(epochs: int, seed: int) -> Any:
    from edgesdk.training import recipe as named

    return named("quick_sgd").changed(
        epochs=epochs, batch_size=128, seed=seed, warmup_epochs=min(1, epochs / 4)
    )


def learn(job: dict[str, Any]) -> dict[str, Any]:
    """The unpruned network: E epochs, kept, and E more."""
    import torch
    from safetensors.torch import save_file

    from edgesdk import models
    from edgesdk.pruning.ucp import reinitialise
    from edgesdk.training import evaluate, fit, open_data

    torch.set_num_threads(1)
    data = open_data(Path(job["data"]), validation=0)
    name, config = NETS[job["net"]]
    model = models.create(name, num_classes=10, in_channels=1, **config)
    reinitialise(model, job["seed"])
    # A quarter less time on a processor than planes.
    model = model.to(memory_format=torch.channels_last)
    work = Path(job["work"])
    for turn in (1, 2):
        fit(
            model,
            data.train,
            recipe(job["epochs"], job["seed"] + 100 * (turn - 1)),
            mean=data.mean,
            std=data.std,
            checkpoint=work / f"unpruned-{job['net']}-{job['seed']}-{job['epochs']}-{turn}",
        )
        if turn == 1:
            half = evaluate(model, data.test, mean=data.mean, std=data.std).top1
            save_file(
                {key: value.contiguous().clone() for key, value in model.state_dict().items()},
                weights_of(job),
            )
    top1 = evaluate(model, data.test, mean=data.mean, std=data.std).top1
    return {**row_of(job), "top1": top1, "top1_half": half, "macs": None, "params": None}


def cut(job: dict[str, Any]) -> dict[str, Any]:
    """One pruned network."""
    import torch
    from safetensors.torch import load_file

    from edgesdk import models
    from edgesdk.pruning.methods import MethodSettings
    from edgesdk.pruning.options import PruneOptions
    from edgesdk.pruning.prune import prune
    from edgesdk.pruning.swarm import SwarmSettings
    from edgesdk.training import open_data

    torch.set_num_threads(1)
    seed, epochs, method = job["seed"], job["epochs"], job["method"]
    everything = open_data(Path(job["data"]), validation=0)
    held = open_data(Path(job["data"]), validation=0.1)
    name, config = NETS[job["net"]]
    model = models.create(name, num_classes=10, in_channels=1, **config)
    model = model.to(memory_format=torch.channels_last)
    kind = method.split()[0]
    work = Path(job["work"])
    if kind == "ucp":
        # UCP trains its own gated network from new weights; the gates serve every cut.
        from edgesdk.pruning.ucp import reinitialise

        reinitialise(model, seed)
        place = work / f"ucp-{job['net']}-{seed}-{epochs}"
    else:
        model.load_state_dict(load_file(weights_of(job)))
        place = work / f"{kind}-{job['net']}-{seed}-{epochs}-{CUTS[job['cut']]}"
    # Fitness is measured on images that candidates were not trained on; the final training has all.
    data = held if kind == "acp" else everything
    options = PruneOptions(
        method=kind,
        macs=CUTS[job["cut"]],
        retrain="none",
        recipe=recipe(epochs, seed),
        settings=MethodSettings(
            seed=seed,
            fitness_recipe=recipe(epochs, seed).changed(
                epochs=1, warmup_epochs=0, learning_rate=0.02
            ),
            fitness_images=CANDIDATE_IMAGES,
            swarm=SwarmSettings(PARTICLES, CYCLES, seed=seed),
            work=place,
        ),
    )
    shape = torch.zeros(1, *data.image_shape)
    result = prune(model, shape, options, data=data)
    pruned = result.model
    from edgesdk.pruning.ucp import reinitialise as anew
    from edgesdk.training import evaluate, fit

    before = evaluate(pruned, everything.test, mean=everything.mean, std=everything.std).top1
    if method == "ucp":
        anew(pruned, seed + 1)
    pruned = pruned.to(memory_format=torch.channels_last)
    parts = (method.replace(" ", "-"), job["net"], seed, epochs, job["after"], job["cut"])
    fit(
        pruned,
        everything.train,
        recipe(job["after"], seed + 100),
        mean=everything.mean,
        std=everything.std,
        checkpoint=work / "-".join(map(str, parts)),
    )
    top1 = evaluate(pruned, everything.test, mean=everything.mean, std=everything.std).top1
    return {
        **row_of(job),
        "top1": top1,
        "top1_half": before,
        "macs": result.after.macs / result.before.macs - 1,
        "params": result.after.params / result.before.params - 1,
        "widths": [row["kept"] for row in result.rows()],
    }


def weights_of(job: dict[str, Any]) -> Path:
    """Where the unpruned network is kept after its first E epochs."""
    return Path(job["work"]) / f"{job['net']}-{job['seed']}-{job['epochs']}.safetensors"


KEYS = ("net", "method", "cut", "seed", "epochs", "after")


def row_of(job: dict[str, Any]) -> dict[str, Any]:
    return {key: job[key] for key in KEYS}


def key_of(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[key] for key in KEYS)


def epochs_after(cut_name: str, epochs: int) -> int:
    """Epochs of the pruned network that cost what ``epochs`` of the unpruned one cost."""
    return round(epochs / CUTS.get(cut_name, 1.0))


def read() -> list[dict[str, Any]]:
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else []


def write(rows: list[dict[str, Any]]) -> None:
    RESULTS.parent.mkdir(exist_ok=True)
    rows = sorted(rows, key=lambda row: str(key_of(row)))
    text = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    RESULTS.write_text(f"[\n{text}\n]\n")


def run(arguments: argparse.Namespace) -> None:
    work = Path(arguments.work)
    work.mkdir(parents=True, exist_ok=True)
    base = {
        "net": arguments.net,
        "epochs": arguments.epochs,
        "data": arguments.data,
        "work": str(work.resolve()),
    }
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    uncut = base | {"method": "unpruned", "cut": "", "after": arguments.epochs}
    unpruned = [uncut | {"seed": seed} for seed in seeds]
    # The gates of a seed are trained once: the first cut of UCP does it for the others.
    methods = arguments.methods.split(",") if arguments.methods else list(METHODS)
    first = [
        base
        | {"method": "ucp", "cut": "-50 %", "seed": seed}
        | {"after": epochs_after("-50 %", arguments.epochs)}
        for seed in seeds
    ]
    rest = [
        base
        | {"method": method, "cut": name, "seed": seed}
        | {"after": epochs_after(name, arguments.epochs)}
        for name in CUTS
        for method in methods
        for seed in seeds
        if (method, name) != ("ucp", "-50 %")
    ]
    for jobs, work_on in ((unpruned, learn), (first, cut), (rest, cut)):
        done = {key_of(row) for row in read()}
        todo = {job["seed"] for job in [*first, *rest] if key_of(job) not in done}
        jobs = [
            job
            for job in jobs
            if key_of(job) not in done
            # Its weights are what the other cuts begin from; made again, they are the same.
            or (work_on is learn and job["seed"] in todo and not weights_of(job).exists())
        ]
        with ProcessPoolExecutor(arguments.jobs, mp_context=get_context("spawn")) as pool:
            futures = [pool.submit(work_on, job) for job in jobs]
            for future in as_completed(futures):
                row = future.result()
                write([*(r for r in read() if key_of(r) != key_of(row)), row])
                print(json.dumps(row, ensure_ascii=False), flush=True)


def table() -> None:
    rows = read()
    by: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by[row["net"], row["epochs"], row["cut"], row["method"], row["after"]].append(row)
    for net, epochs in sorted({(row["net"], row["epochs"]) for row in rows}):
        print(f"\n{net}, E = {epochs}, top-1 on the 10,000 test images, mean of seeds\n")
        print("| method | cut | FLOPs | parameters | epochs | top-1 % | seeds | to unpruned |")
        print("|---|---|---|---|---|---|---|---|")
        base = by[net, epochs, "", "unpruned", epochs]
        reference = statistics.mean(row["top1"] for row in base) if base else float("nan")
        for cut_name in ("", *CUTS):
            budgets = sorted({epochs_after(cut_name, epochs), epochs}, reverse=True)
            for method, after in product(("unpruned", *METHODS), budgets):
                found = by.get((net, epochs, cut_name, method, after))
                if not found:
                    continue
                top1 = statistics.mean(row["top1"] for row in found)
                each = ", ".join(
                    f"{100 * row['top1']:.2f}" for row in sorted(found, key=lambda r: r["seed"])
                )
                flops, params = (
                    f"{100 * statistics.mean(row[key] for row in found):+.1f} %"
                    if found[0][key] is not None
                    else ""
                    for key in ("macs", "params")
                )
                print(
                    f"| {method} | {cut_name} | {flops} | {params} | {epochs} + {after} "
                    f"| {100 * top1:.2f} | {each} | "
                    f"{100 * (top1 - reference):+.2f} |"
                )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="/usr/share/datasets/fashion-mnist")
    parser.add_argument("--net", choices=NETS, default="vgg")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--methods", default="")
    parser.add_argument("--jobs", type=int, default=2, help="networks trained at a time")
    parser.add_argument("--work", default=".cache/pruning-accuracy")
    parser.add_argument("--table", action="store_true", help="print the table, train nothing")
    given = parser.parse_args()
    if not given.table and not Path(given.data).is_dir():
        print(
            f"no Fashion-MNIST in {given.data}: name its folder with --data; what was measured is:"
        )
    elif not given.table:
        run(given)
    table()
