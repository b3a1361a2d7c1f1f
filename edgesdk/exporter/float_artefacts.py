"""Float artefacts of an export: compare each with the model, and its paintings with the model's."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgesdk.bundle.manifest import ParityRecord
from edgesdk.bundle.samples import Samples
from edgesdk.errors import MissingEnvironmentError
from edgesdk.exporter.context import ExportContext
from edgesdk.exporter.conversion_job import ConversionJob
from edgesdk.exporter.results import ConvertedArtefact
from edgesdk.verification.verify_bundle import cached_parity, not_run, verdict, verify_artefact

if TYPE_CHECKING:
    from edgesdk.exporter.paintings.reference import OriginalPaintings

__all__ = ["FloatExport"]


@dataclass(frozen=True)
class FloatExport:
    """Verification of the float artefacts of one export.

    Attributes:
        context: Values that all parts of the export share.
        samples: Inputs and the model's outputs.
        samples_sha256: Digest of the samples file.
        originals: Paintings of the float model; None if it names no styles.
    """

    context: ExportContext
    samples: Samples
    samples_sha256: str
    originals: OriginalPaintings | None = None

    def verify(self, job: ConversionJob, result: ConvertedArtefact) -> ConvertedArtefact:
        """Measure parity with the model, and compare paintings.

        Args:
            job: The conversion that produced the artefact.
            result: The artefact.

        Returns:
            The artefact with its records.
        """
        context, conversion = self.context, result.conversion
        gate = context.gates.gate(conversion.precision)
        machine = context.runtime_facts(job.target)
        painting = self.originals.comparison(context, result, machine) if self.originals else None

        def run() -> ParityRecord:
            return verify_artefact(
                result.path,
                target=job.name,
                precision=conversion.precision,
                inputs=conversion.inputs,
                outputs=conversion.outputs,
                samples=self.samples,
                samples_sha256=self.samples_sha256,
                gates=context.gates,
                labels=context.labels,
                then=painting.paint if painting else None,
            )

        facts: dict[str, object] = {
            "artefact": result.sha256,
            "samples": self.samples_sha256,
            "gate": gate.model_dump(mode="json"),
            "labels": context.labels,
            **machine,
        }
        try:
            parity = cached_parity(context.cache, facts, run)
        except MissingEnvironmentError as error:
            parity = not_run(job.name, gate, error)
        context.on_progress(job.name, verdict(job.name, parity))
        painted = painting.record(parity) if painting else None
        return dataclasses.replace(result, parity=parity, painted=painted)
