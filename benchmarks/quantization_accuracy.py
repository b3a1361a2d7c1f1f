"""Claim: 8-bit networks are as accurate as float ones, more so after quantization-aware training.

Measures top-1 on the 10,000 test images of Fashion-MNIST, of the artefact itself in its runtime
(Core ML: in the evaluator), after training on all 60,000 training images. Every network trains E
epochs in float and F more: in float (``float``, and ``ptq``, the same network quantized with ranges
of 256 training images) or under quantization (``qat``). ``qat tuned`` has one more epoch: it
continues from the finished float network under quantization at a quarter of the last rate, as with
a trained network.

The networks are narrow ones for 28x28 gray images. An epoch takes about one to two minutes on one
core (under quantization up to three times that): ResNet-20 of half the width; MobileNetV2
of 0.35 times the width and MobileNetV3 small of half the width, which halve the image at the stem
and twice more.

Results are stored row by row, so the script can be stopped and resumed.

    python benchmarks/quantization_accuracy.py --data DIR --net resnet20 --epochs 8 --after 4
    python benchmarks/quantization_accuracy.py --table      # print the results
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "quantization_accuracy.json"
TARGETS = ("executorch:xnnpack", "coreml", "litert", "onnx")
METHODS = ("float", "ptq", "qat", "qat tuned")
QAT = METHODS[2:]
CALIBRATION = 256


def scaled(widths: list[int], factor: float) -> list[int]:
    from edgesdk.models.layers import make_divisible

    return [make_divisible(width * factor) if width else 0 for width in widths]


def network(name: str) -> Any:
    """Return a narrow network of the zoo for 28x28 gray images, with new weights."""
    from edgesdk import models

    shape = {"num_classes": 10, "in_channels": 1}
    if name == "resnet20":
        return models.create("resnet20", stem_width=8, widths=[8, 16, 32], **shape)
    full = models.create(name, **shape).config
    factor = 0.35 if name == "mobilenet_v2" else 0.5
    widths = scaled(full["widths"], factor)
    stem = scaled([full["stem_width"]], factor)[0]
    before = [stem, *widths[:-1]]
    old_before = [full["stem_width"], *full["widths"][:-1]]
    # Each block has the expansion ratio of the published network.
    expanded = [
        round(width / old * new) if width else 0
        for width, old, new in zip(full["expanded_widths"], old_before, before, strict=True)
    ]
    # The stem halves already; two of the later halvings remain.
    halvings = [index for index, stride in enumerate(full["strides"]) if stride == 2]
    kept = halvings[1:3]
    strides = [2 if index in kept else 1 for index in range(len(widths))]
    options = {
        "stem_width": stem,
        "widths": widths,
        "expanded_widths": scaled(expanded, 1.0),
        "strides": strides,
        "head_width": scaled([full["head_width"]], factor)[0],
        **shape,
    }
    if name == "mobilenet_v3_small":
        options["tail_width"] = scaled([full["tail_width"]], factor)[0]
        options["squeezed_widths"] = scaled(full["squeezed_widths"], factor)
    return models.create(name, **options)


NETS = ("resnet20", "mobilenet_v2", "mobilenet_v3_small")


def recipe(epochs: int, seed: int, rate: float) -> Any:
    from edgesdk.training import recipe as named

    return named("quick_sgd").changed(
        epochs=epochs,
        batch_size=128,
        seed=seed,
        learning_rate=rate,
        warmup_epochs=min(1, epochs / 4),
    )


#: Learning rates of the E epochs, of the next F, and of the tuning epoch.
FIRST_RATE, SECOND_RATE, TUNING_RATE = 0.1, 0.02, 0.005


def artefact(model: Any, target: str, spec_name: str | None, inputs: list[Any], work: Path) -> Path:
    """Export one artefact: float, or quantized with a recipe."""
    import torch

    import edgesdk
    from edgesdk.errors import ConversionError

    work.mkdir(parents=True, exist_ok=True)
    quantize = None
    if spec_name is not None:
        quantize = edgesdk.QuantizeOptions(
            spec_name, calibration=inputs, calibration_samples=len(inputs)
        )
    bundle = edgesdk.export(
        model.eval(),
        torch.zeros(1, 1, 28, 28),
        targets=target,
        output=work / f"{target.replace(':', '-')}-{spec_name or 'fp32'}.edge",
        quantize=quantize,
        verify=False,
        reference=False,
        overwrite=True,
    )
    if not bundle.manifest.artefacts:
        failure = bundle.manifest.failures[0]
        raise ConversionError(f"{target}: {failure.error}: {failure.message}")
    record = bundle.manifest.artefacts[0]
    if record.quantization != spec_name:
        raise ConversionError(f"{target} made {record.quantization} instead of {spec_name}")
    return bundle.path_of(record)


def accuracy(path: Path, data: Any) -> float:
    """Return the top-1 accuracy of an artefact in its runtime, image by image."""
    import edgesdk.runtime

    right = 0
    with edgesdk.runtime.open(path) as session:
        name = session.inputs[0].name
        for index in range(len(data.test)):
            image, label = normalised(data, data.test, index)
            (scores,) = session.run({name: image}).values()
            right += int(scores.argmax() == label)
    return right / len(data.test)


def normalised(data: Any, part: Any, index: int) -> tuple[Any, int]:
    """Return one image, ``float32 [1, 1, 28, 28]``, and its class."""
    import numpy as np

    image, label = part[index]
    array = (image.numpy()[None].astype(np.float32) / 255 - data.mean[0]) / data.std[0]
    return array.astype(np.float32), int(label)


def measure(job: dict[str, Any]) -> list[dict[str, Any]]:
    """Train one network both ways and measure every artefact without a row."""
    import torch

    from edgesdk.errors import EdgeSdkError
    from edgesdk.pruning.ucp import reinitialise
    from edgesdk.quant import parse_recipe
    from edgesdk.quant.qat import finish_qat, prepare_qat
    from edgesdk.training import evaluate, fit, open_data
    from edgesdk.training.batches import batches_of_epoch

    torch.set_num_threads(1)
    data = open_data(Path(job["data"]), validation=0)
    if job["images"]:
        data = data.subset(job["images"], job["seed"])
    norm: dict[str, Any] = {"mean": data.mean, "std": data.std}
    place = "-".join(str(job[key]) for key in ("net", "seed", "epochs", "images"))
    work = Path(job["work"]) / place
    spec = parse_recipe(job["recipe"])
    first = recipe(job["epochs"], job["seed"], FIRST_RATE)
    second = recipe(job["after"], job["seed"] + 100, SECOND_RATE)

    def begun() -> Any:
        model = network(job["net"])
        reinitialise(model, job["seed"])
        fit(model, data.train, first, checkpoint=work / "first", **norm)
        return model

    count = min(CALIBRATION, len(data.train))
    inputs = [normalised(data, data.train, index)[0] for index in range(count)]
    plain = begun()
    fit(plain, data.train, second, checkpoint=work / f"float-{job['after']}", **norm)
    steps = len(batches_of_epoch(len(data.train), second.batch_size, second.seed, 0))
    simulated: dict[str, float] = {}

    def trained_for(model: Any, how: Any, place: str) -> Any:
        """Continue training under quantization."""
        # As in `edgesdk train classify --qat`: at the end of the schedule, where steps are small.
        frozen = round(0.9 * how.epochs * steps)
        prepared = prepare_qat(model, spec, torch.zeros(2, 1, 28, 28), freeze_after=frozen)
        fit(prepared, data.train, how, checkpoint=work / place, **norm)
        simulated[place] = evaluate(prepared, data.test, **norm).top1
        return finish_qat(prepared).model

    places = {
        "qat": f"{spec.name}-{job['after']}",
        "qat tuned": f"{spec.name}-{job['after']}-tuned",
    }
    models = {"float": plain, "ptq": plain}
    wanted = {method for method, _ in job["todo"]}
    if "qat" in wanted:
        models["qat"] = trained_for(begun(), second, places["qat"])
    if "qat tuned" in wanted:
        third = recipe(1, job["seed"] + 200, TUNING_RATE)
        models["qat tuned"] = trained_for(copy.deepcopy(plain), third, places["qat tuned"])
    rows = []
    for method, target in job["todo"]:
        row = {**{key: job[key] for key in KEYS if key in job}, "method": method, "target": target}
        model = models[method]
        if target == "torch":
            place = places.get(method, "")
            found = simulated[place] if place else evaluate(plain, data.test, **norm).top1
            size = sum(value.numel() for value in plain.parameters()) * 4
        else:
            try:
                path = artefact(model, target, spec.name, inputs, work / method.replace(" ", "-"))
                found = accuracy(path, data)
            except EdgeSdkError as error:
                # Keep the other rows; the next call tries this one again.
                print(f"{job['net']} {method} {target}: {error}", file=sys.stderr, flush=True)
                continue
            files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
            size = sum(one.stat().st_size for one in files)
        rows.append({**row, "top1": found, "bytes": size})
        keep(rows[-1], Path(job["results"]), Path(job["work"]) / "rows.lock")
        print(json.dumps(rows[-1]), flush=True)
    return rows


KEYS = ("net", "method", "target", "recipe", "seed", "epochs", "after", "images")


def key_of(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[key] for key in KEYS)


def read(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text()) if path.exists() else []


def keep(row: dict[str, Any], path: Path, turn: Path) -> None:
    """Write a row, replacing one with the same key; several processes take turns."""
    import fcntl

    path.parent.mkdir(parents=True, exist_ok=True)
    with turn.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        rows = [one for one in read(path) if key_of(one) != key_of(row)]
        ordered = sorted([*rows, row], key=lambda one: str(key_of(one)))
        text = ",\n".join(json.dumps(one) for one in ordered)
        path.write_text(f"[\n{text}\n]\n")


def run(arguments: argparse.Namespace) -> None:
    done = {key_of(row) for row in read(arguments.results)}
    targets = arguments.targets.split(",") if arguments.targets else list(TARGETS)
    wanted = [("float", "torch"), ("qat", "torch"), ("qat tuned", "torch")]
    wanted += [(method, target) for target in targets for method in ("ptq", "qat", "qat tuned")]
    jobs = []
    for net in arguments.net.split(",") if arguments.net else NETS:
        for seed in map(int, arguments.seeds.split(",")):
            job = {
                "net": net,
                "seed": seed,
                "recipe": arguments.recipe,
                "epochs": arguments.epochs,
                "after": arguments.after,
                "images": arguments.images,
                "data": arguments.data,
                "work": str(Path(arguments.work).resolve()),
                "results": str(arguments.results.resolve()),
            }
            todo = [
                (method, target)
                for method, target in wanted
                if key_of({**job, "method": method, "target": target}) not in done
            ]
            if todo:
                jobs.append({**job, "todo": todo})
    with ProcessPoolExecutor(arguments.jobs, mp_context=get_context("spawn")) as pool:
        for future in as_completed([pool.submit(measure, job) for job in jobs]):
            future.result()


def table(path: Path) -> None:
    rows = read(path)
    by: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by[(*(row[key] for key in SERIES), row["method"], row["target"])].append(row)
    for series in sorted({tuple(row[key] for key in SERIES) for row in rows}, key=str):
        net, name, epochs, after, images = series
        of = f"{images} images" if images else "all images"
        print(f"\n{net}, {name}, {epochs} + {after} epochs on {of}; top-1 in %, mean of seeds\n")
        print("| | runtime | top-1 | to float | size kB | seeds |")
        print("|---|---|---|---|---|---|")
        base = by.get((*series, "float", "torch"))
        reference = statistics.mean(row["top1"] for row in base) if base else float("nan")
        for target in ("torch", *TARGETS):
            for method in METHODS:
                found = by.get((*series, method, target))
                if not found:
                    continue
                top1 = statistics.mean(row["top1"] for row in found)
                each = ", ".join(
                    f"{100 * row['top1']:.2f}" for row in sorted(found, key=lambda one: one["seed"])
                )
                runtime = "torch, simulated" if method in QAT and target == "torch" else target
                print(
                    f"| {method} | {runtime} | {100 * top1:.2f} | "
                    f"{100 * (top1 - reference):+.2f} | {found[0]['bytes'] / 1000:.0f} | {each} |"
                )


SERIES = ("net", "recipe", "epochs", "after", "images")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="/usr/share/datasets/fashion-mnist")
    parser.add_argument("--net", default="", help=f"one of {', '.join(NETS)}; default: all")
    parser.add_argument("--recipe", default="w8a8_static")
    parser.add_argument("--epochs", type=int, default=8, help="E")
    parser.add_argument("--after", type=int, default=4, help="F")
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--targets", default="", help=f"one of {', '.join(TARGETS)}; default: all")
    parser.add_argument("--images", type=int, default=0, help="largest number per set; 0 for all")
    parser.add_argument("--jobs", type=int, default=2, help="networks trained in parallel")
    parser.add_argument("--work", default=".cache/quantization-accuracy")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="print the table without training")
    given = parser.parse_args()
    if not given.table and not Path(given.data).is_dir():
        print(f"no Fashion-MNIST in {given.data}: give its folder with --data; latest results:")
    elif not given.table:
        run(given)
    table(given.results)
