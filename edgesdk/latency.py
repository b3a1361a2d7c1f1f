"""What models really take on a device: converted, loaded there, run in turn."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from converters.registry import parse_targets
from edgesdk.cache import Cache
from edgesdk.devices import find
from edgesdk.devices.base import Case, Protocol
from edgesdk.errors import DeviceError, UsageError
from edgesdk.exporting import export

__all__ = ["LatencyGoal", "measure_latency", "parse_latency_goal"]


@dataclass(frozen=True)
class LatencyGoal:
    """How much less time a model shall take.

    Attributes:
        target: Target with variant, such as ``executorch:xnnpack``.
        device: Identifier of a device.
        share: Share of the original's median latency that may stay, 0 to 1.
    """

    target: str
    device: str
    share: float


def parse_latency_goal(place: str, share: float) -> LatencyGoal:
    """Read ``TARGET:DEVICE``, such as ``executorch:local`` or ``onnx:local``.

    Raises:
        UsageError: No device is named.
        UnknownNameError: No such target or device.
    """
    target, separator, device = place.rpartition(":")
    if not separator or not target:
        raise UsageError(
            f"--latency {place!r} names no device",
            remedy="give TARGET:DEVICE, such as executorch:local",
        )
    [(chosen, variant)] = parse_targets([target])
    find(device)
    return LatencyGoal(chosen.qualified(variant), device, share)


def measure_latency(
    models: Mapping[str, nn.Module],
    inputs: Any,
    targets: Sequence[str],
    *,
    device: str = "local",
    threads: int = 1,
    runs: int = 20,
    cache: Cache | None = None,
    progress: Callable[[str], None] | None = None,
) -> dict[tuple[str, str], float]:
    """Median latency of several models on several targets, all interleaved in one run.

    Args:
        models: Models by a name; converted without a parity check.
        inputs: Example inputs of all of them.
        targets: Targets, with variant where it is not the default one.
        device: Where to run.
        threads: Threads of the runtimes.
        runs: Timed runs of each.
        cache: Where conversions are kept.
        progress: Told what is done.

    Returns:
        ``(name, target with variant)`` -> seconds.

    Raises:
        EdgeSdkError: A model cannot be converted.
        DeviceError: The device could not measure one of them.
    """
    say = progress or (lambda text: None)
    wanted = [target.qualified(variant) for target, variant in parse_targets(targets)]
    chosen = find(device)
    with tempfile.TemporaryDirectory(prefix="edgesdk-latency-") as folder:
        cases, keys = [], []
        for number, (name, model) in enumerate(models.items()):
            say(f"converting {name}")
            bundle = export(
                model,
                inputs,
                targets=wanted,
                output=Path(folder) / f"{number}.edge",
                verify=False,
                reference=False,
                cache=cache,
            )
            samples = bundle.samples().inputs
            for artefact in bundle.manifest.artefacts:
                keys.append((name, artefact.target))
                cases.append(
                    Case(
                        f"{name} {artefact.target}",
                        bundle.path_of(artefact),
                        dict(samples[0]),
                        input_specs=artefact.inputs,
                        output_specs=artefact.outputs,
                    )
                )
        say(f"measuring on {device}")
        measured = chosen.measure(cases, Protocol(threads=threads, runs=runs), None)
    found = {}
    for key, measurement in zip(keys, measured, strict=True):
        if measurement.figures is None:
            raise DeviceError(
                f"{key[0]} was not measured as {key[1]} on {device}: "
                f"{measurement.failure or measurement.skipped}",
                remedy="name a target that runs on this device",
            )
        found[key] = statistics.median(measurement.figures.latencies_ms) / 1000
    for key in ((name, target) for name in models for target in wanted):
        if key not in found:
            raise DeviceError(
                f"{key[0]} could not be converted to {key[1]}",
                remedy="export it to that target to see why",
            )
    return found
