"""Measure the latency of models on a device: convert them, load them there, run them in turn."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from edgesdk.converters.registry import parse_targets
from edgesdk.devices import find
from edgesdk.devices.base import Case, Protocol
from edgesdk.errors import DeviceError, UsageError
from edgesdk.exporter.export import export
from edgesdk.host.cache import Cache
from edgesdk.host.closing import Closing
from edgesdk.pruning.budget import LatencyGoal

__all__ = ["LatencyMeter", "parse_latency_goal"]


def parse_latency_goal(place: str, share: float) -> LatencyGoal:
    """Parse ``TARGET:DEVICE``, such as ``executorch:local`` or ``onnx:local``.

    Example:
        >>> goal = parse_latency_goal("onnx:local", 0.6)
        >>> edgesdk.prune(model, inputs, edgesdk.PruneOptions(latency=goal))

    Args:
        place: Target and device.
        share: Share of the latency that may stay, 0 to 1.

    Raises:
        UsageError: ``place`` names no device.
        UnknownNameError: The target or the device is unknown.
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


class LatencyMeter(Closing):
    """Convert models once and measure any of them side by side; a context manager.

    Args:
        inputs: Example inputs of all models.
        targets: Targets, with a variant if it is not the default one.
        device: Device to run on.
        threads: Threads of the runtimes.
        runs: Timed runs of each artefact.
        cache: Cache of conversions.
    """

    def __init__(
        self,
        inputs: Any,
        targets: Sequence[str],
        *,
        device: str = "local",
        threads: int = 1,
        runs: int = 20,
        cache: Cache | None = None,
    ) -> None:
        self.targets = [target.qualified(variant) for target, variant in parse_targets(targets)]
        self._inputs = inputs
        self._device = find(device)
        # Only latency matters here: one cold load, no times of operators.
        self._protocol = Protocol(threads=threads, runs=runs, cold_loads=1, operator_runs=0)
        self._cache = cache
        self._cases: dict[tuple[str, str], Case] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="edgesdk-latency-")

    def close(self) -> None:
        """Delete the artefacts."""
        self._folder.cleanup()

    def add(self, name: str, model: nn.Module) -> None:
        """Convert a model without a parity check and add it under a new name.

        Raises:
            EdgeSdkError: The model cannot be captured, or converted to any target.
            DeviceError: The model cannot be converted to one of the targets.
        """
        bundle = export(
            model,
            self._inputs,
            to=self.targets,
            output=Path(self._folder.name, f"{len(self._cases)}.edge"),
            verify=False,
            reference=False,
            cache=self._cache,
            on_progress=None,
        )
        sample = bundle.samples().inputs[0]
        for artefact in bundle.manifest.artefacts:
            self._cases[name, artefact.target] = Case(
                f"{name} {artefact.target}",
                bundle.path_of(artefact),
                dict(sample),
                input_specs=artefact.inputs,
                output_specs=artefact.outputs,
            )
        for target in self.targets:
            if (name, target) not in self._cases:
                raise DeviceError(
                    f"{name} could not be converted to {target}",
                    remedy="run edgesdk export to that target to see the reason",
                )

    def measure(self, names: Sequence[str]) -> dict[tuple[str, str], float]:
        """Measure the median latency of added models in seconds, all interleaved in one run.

        Raises:
            DeviceError: The device could not measure a model.
        """
        keys = [(name, target) for name in names for target in self.targets]
        cases = [self._cases[key] for key in keys]
        found = {}
        measured = self._device.measure(cases, self._protocol, None)
        for key, measurement in zip(keys, measured, strict=True):
            if measurement.figures is None:
                raise DeviceError(
                    f"{key[0]} was not measured as {key[1]} on {self._device.identifier}: "
                    f"{measurement.failure or measurement.skipped}",
                    remedy="name a target that runs on this device",
                )
            found[key] = statistics.median(measurement.figures.latencies_ms) / 1000
        return found
