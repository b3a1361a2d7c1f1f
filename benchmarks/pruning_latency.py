"""Claim: half the FLOPs are nearly half the time.

ResNet-50, VGG-16 and MobileNetV2 at -50 % FLOPs with widths in multiples of 8; full and small
network on ExecuTorch and ONNX Runtime, interleaved in one run. The speed-up should be at least 0.8
of the ratio of FLOPs.
"""

from __future__ import annotations

import argparse

import torch

from edgesdk import models
from edgesdk.pruning.latency_meter import LatencyMeter
from edgesdk.pruning.options import PruneOptions
from edgesdk.pruning.prune import prune

NETS = {
    "resnet50": (224, {}),
    # The published network on ImageNet's images, with its convolutions.
    "vgg16": (224, {"num_classes": 1000, "in_channels": 3}),
    "mobilenet_v2": (224, {}),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nets", default=",".join(NETS))
    parser.add_argument("--targets", default="executorch,onnx")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--round-to", type=int, default=8)
    given = parser.parse_args()
    print("| network | target | full ms | small ms | speed-up | FLOPs ratio | share |")
    print("|---|---|---|---|---|---|---|")
    for name in given.nets.split(","):
        side, config = NETS[name]
        model = models.create(name, **config)
        picture = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
        options = PruneOptions(method="l1", macs=0.5, round_to=given.round_to, retrain="none")
        result = prune(model, picture, options, architecture=name)
        ratio = result.before.macs / result.after.macs
        targets = given.targets.split(",")
        with LatencyMeter(picture, targets, threads=given.threads, runs=given.runs) as meter:
            meter.add("full", model)
            meter.add("small", result.model)
            times = meter.measure(["full", "small"])
            for target in meter.targets:
                full, small = times["full", target], times["small", target]
                print(
                    f"| {name} | {target} | {1000 * full:.2f} | {1000 * small:.2f} | "
                    f"{full / small:.2f} | {ratio:.2f} | {full / small / ratio:.2f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
