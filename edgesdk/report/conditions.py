"""Conditions of measurements; only figures of the same condition are compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgesdk.bundle.manifest import ArtefactRecord, Manifest, ProfileRecord
from edgesdk.report.quantities import count_text

__all__ = ["Condition", "conditions", "latency_under", "main_condition", "profile_under"]


@dataclass(frozen=True)
class Condition:
    """Device and thread count; figures of two conditions are never compared.

    Attributes:
        device: Device identifier.
        device_name: Name of the processor or phone.
        threads: Number of threads of the runtime.
    """

    device: str
    device_name: str
    threads: int

    def __str__(self) -> str:
        threads = "1 thread" if self.threads == 1 else f"{count_text(self.threads)} threads"
        return f"{self.device_name or self.device}, {threads}"


def _condition(profile: ProfileRecord) -> Condition:
    return Condition(profile.device, profile.device_name, profile.threads)


def profile_under(artefact: ArtefactRecord, condition: Condition | None) -> ProfileRecord | None:
    """Return the newest profile of ``artefact`` under ``condition``, or None."""
    matching = [profile for profile in artefact.profiles if _condition(profile) == condition]
    return matching[-1] if matching else None


def latency_under(artefact: ArtefactRecord, condition: Condition | None) -> float | None:
    """Return the median latency in ms under ``condition``; None if no runtime was timed."""
    profile = profile_under(artefact, condition)
    return None if profile is None or profile.evaluator else profile.latency.p50


def conditions(manifest: Manifest) -> Sequence[Condition]:
    """Return all measured conditions, the most informative first.

    Conditions with a native runtime come first, then this machine before attached devices, then one
    thread before many, then the most artefacts.
    """
    found: dict[Condition, int] = {}
    for artefact in manifest.artefacts:
        newest = {_condition(profile): profile for profile in artefact.profiles}
        for condition, profile in newest.items():
            found[condition] = found.get(condition, 0) + (not profile.evaluator)

    def rank(condition: Condition) -> tuple[bool, bool, bool, int, int]:
        native, threads = found[condition], condition.threads
        return native == 0, condition.device != "local", threads != 1, -native, threads

    return sorted(found, key=rank)


def main_condition(manifest: Manifest) -> Condition | None:
    """Return the condition of the summary: the first of :func:`conditions`, or None."""
    return next(iter(conditions(manifest)), None)
