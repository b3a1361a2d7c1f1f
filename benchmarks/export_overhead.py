"""Claim: `edgesdk export` costs at most 1.10 x the vendors' converters called by hand.

Both sides start in a fresh process and make the same four artefacts of EfficientNet-Lite0 at the
same precision. The sides alternate; the script prints medians and their ratio. A third side
measures verification, which the manual conversion does not include.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BY_HAND = """
import sys, torch
from edgesdk import models
folder = sys.argv[1]
model = models.create("efficientnet_lite0").eval()
example = (torch.randn(1, 3, 224, 224),)

from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import to_edge_transform_and_lower
program = torch.export.export(model, example)
lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
with open(f"{folder}/model.pte", "wb") as file:
    lowered.to_executorch().write_to_file(file)

import coremltools
program = torch.export.export(model, example).run_decompositions({})
coremltools.convert(
    program, convert_to="mlprogram", compute_precision=coremltools.precision.FLOAT16
).save(f"{folder}/model.mlpackage")

import litert_torch
litert_torch.convert(model, example).export(f"{folder}/model.tflite")

torch.onnx.export(model, example, f"{folder}/model.onnx", dynamo=True, external_data=False)
"""

EXPORT = "import sys; from edgesdk.cli import main; sys.exit(main(sys.argv[1:]))"


def timed(code: str, *arguments: str) -> float:
    """Measure the seconds of a fresh Python process that runs ``code``."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - started
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    return seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    sides: dict[str, list[float]] = {"by hand": [], "export": [], "export, verified": []}
    for index in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            output = str(Path(folder) / "net.edge")
            common = ("export", "efficientnet_lite0", "-o", output, "--no-cache", "--quiet")
            sides["by hand"].append(timed(BY_HAND, folder))
            sides["export"].append(timed(EXPORT, *common, "--no-verify"))
            sides["export, verified"].append(timed(EXPORT, *common, "--overwrite"))
        times = ", ".join(f"{name} {seconds[-1]:.1f} s" for name, seconds in sides.items())
        print(f"round {index + 1}: {times}", flush=True)
    hand, ours, verified = (statistics.median(seconds) for seconds in sides.values())
    print(f"\n{'side':20}  median s  x by hand")
    for name, seconds in (("by hand", hand), ("export", ours), ("export, verified", verified)):
        print(f"{name:20}  {seconds:8.1f}  {seconds / hand:9.2f}")
    print(f"{'verification alone':20}  {verified - ours:8.1f}")
    print(f"\nexport / by hand = {ours / hand:.2f} (claim: <= 1.10)")


if __name__ == "__main__":
    main()
