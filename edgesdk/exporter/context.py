"""Values that all parts of one export share."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path

from edgesdk.converters.isolation import Limits
from edgesdk.converters.registry import Target
from edgesdk.exporter.options import Progress
from edgesdk.exporter.prepared import PreparedModel
from edgesdk.host.cache import Cache, package_versions
from edgesdk.verification.parity import Tolerances

__all__ = ["ExportContext"]


@dataclass(frozen=True)
class ExportContext:
    """Values that all parts of one export share.

    Attributes:
        prepared: The model.
        gates: The user's bounds on parity.
        limits: Resource limits of each converter.
        cache: Cache of finished work; None to disable.
        folder: Folder for programs and artefacts.
        on_progress: Called with a job's name and its step.
    """

    prepared: PreparedModel
    gates: Tolerances
    limits: Limits
    cache: Cache | None
    folder: Path
    on_progress: Progress

    @property
    def labels(self) -> str | tuple[str, ...]:
        """Name of the label set, or the class names themselves."""
        return self.prepared.loaded.labels

    def runtime_facts(self, target: Target) -> dict[str, object]:
        """Return the facts of this machine that decide an artefact's outputs, for cache keys."""
        return {
            "versions": package_versions(target.packages),
            "machine": [platform.system(), platform.machine()],
        }
