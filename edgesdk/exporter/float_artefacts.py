"""The float part of an export: each artefact proven equal to the model, and painting like it."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Callable
from dataclasses import dataclass

from edgesdk.bundle.manifest import ParityRecord
from edgesdk.bundle.samples import Samples
from edgesdk.errors import MissingEnvironmentError
from edgesdk.exporter.conversion_job import ConversionJob
from edgesdk.exporter.paintings.comparison import ArtefactPainting
from edgesdk.exporter.paintings.reference import OriginalPaintings
from edgesdk.exporter.results import ConvertedArtefact
from edgesdk.host.cache import Cache, package_versions
from edgesdk.verification.parity import Tolerances
from edgesdk.verification.verify_bundle import cached_parity, not_run, verdict, verify_artefact

__all__ = ["FloatExport"]


@dataclass(frozen=True)
class FloatExport:
    """What the float artefacts of one export share.

    Attributes:
        samples: Inputs and what the model answers.
        samples_sha256: Their digest.
        labels: Name of the label set, or the class names themselves.
        gates: The user's bounds on parity.
        cache: Where unchanged work is served from.
        tell: Called with a job's name and step.
        originals: What the model paints; None where it names no styles.
    """

    samples: Samples
    samples_sha256: str
    labels: str | tuple[str, ...]
    gates: Tolerances
    cache: Cache | None
    tell: Callable[[str, str], None]
    originals: OriginalPaintings | None = None

    def prove(self, job: ConversionJob, result: ConvertedArtefact) -> ConvertedArtefact:
        """Parity with the model, and what the artefact paints.

        Args:
            job: What made the artefact.
            result: The artefact.
        """
        conversion = result.conversion
        gate = self.gates.gate(conversion.precision)
        about: dict[str, object] = {
            "versions": package_versions(job.target.packages),
            "machine": [platform.system(), platform.machine()],
        }
        painting = ArtefactPainting.of(self.originals, result, (), self.cache, about)

        def run() -> ParityRecord:
            return verify_artefact(
                result.path,
                target=job.name,
                precision=conversion.precision,
                inputs=conversion.inputs,
                outputs=conversion.outputs,
                samples=self.samples,
                samples_sha256=self.samples_sha256,
                gates=self.gates,
                labels=self.labels,
                then=painting.paint if painting else None,
            )

        facts: dict[str, object] = {
            "artefact": result.sha256,
            "samples": self.samples_sha256,
            "gate": gate.model_dump(mode="json"),
            "labels": self.labels,
            **about,
        }
        try:
            parity = cached_parity(self.cache, facts, run)
        except MissingEnvironmentError as error:
            parity = not_run(job.name, gate, error)
        self.tell(job.name, verdict(job.name, parity))
        painted = painting.record(parity) if painting else None
        return dataclasses.replace(result, parity=parity, painted=painted)
