"""The quantized part of an export: each artefact proven, measured and, on request, repaired."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgesdk.bundle.manifest import DropRecord, SensitivityRecord
from edgesdk.converters.isolation import Limits
from edgesdk.errors import ConversionError, MissingEnvironmentError
from edgesdk.exporter.conversion_job import ConversionJob
from edgesdk.exporter.paintings.comparison import ArtefactPainting
from edgesdk.exporter.paintings.reference import OriginalPaintings
from edgesdk.exporter.prepared import PreparedModel
from edgesdk.exporter.quantization.accuracy_control import SensitivityAnalysis
from edgesdk.exporter.quantization.calibration_data import QuantizationInputs
from edgesdk.exporter.quantization.options import QuantizeOptions
from edgesdk.exporter.quantization.verify import PARITY_PRECISION, face_scales, verify_quantized
from edgesdk.exporter.results import ConvertedArtefact, QuantizationData
from edgesdk.host.atomic_write import remove
from edgesdk.host.cache import Cache, package_versions
from edgesdk.host.digest import digest
from edgesdk.quant.spec import QuantSpec
from edgesdk.verification.parity import Tolerances
from edgesdk.verification.verify_bundle import not_run, verdict

__all__ = ["QuantizedExport"]

#: Repairs of one artefact before the best is taken: each converts it anew.
_MOST_REPAIRS = 4
_CULPRITS = 10


@dataclass
class QuantizedExport:
    """What the quantized artefacts of one export share.

    Attributes:
        options: How to quantize.
        prepared: The model.
        inputs: Calibration and evaluation sets.
        data: The files made of them.
        folder: Where artefacts go.
        gates: The user's bounds on parity.
        limits: What a converter may use.
        cache: Where unchanged work is served from.
        tell: Called with a job's name and step.
        originals: What the float model paints; None where it names no styles.
    """

    options: QuantizeOptions
    prepared: PreparedModel
    inputs: QuantizationInputs
    data: QuantizationData
    folder: Path
    gates: Tolerances
    limits: Limits
    cache: Cache | None
    tell: Callable[[str, str], None]
    originals: OriginalPaintings | None = None

    def __post_init__(self) -> None:
        self._diagnosis = SensitivityAnalysis(
            self.prepared, self.inputs, lambda step: self.tell("model", step)
        )

    def prove(self, job: ConversionJob, result: ConvertedArtefact) -> ConvertedArtefact:
        """Parity with the simulation, and the drop; repaired where that was asked for.

        Args:
            job: What made the artefact.
            result: The artefact.

        Returns:
            The artefact with its records, or the best one that repair found.
        """
        proven = self._measured(job, result)
        if proven.drop is None or proven.drop.passed or proven.spec is None:
            return proven
        if self.options.repair:
            proven = self._repaired(job, proven)
        if proven.drop is None or proven.drop.passed:
            return proven
        self.tell(job.name, "ranking layers")
        culprits = self._diagnosis.harms(proven.spec or _spec_of(job))[:_CULPRITS]
        drop = proven.drop.model_copy(update={"culprits": culprits})
        return dataclasses.replace(proven, drop=drop)

    def sensitivities(self, specs: Sequence[QuantSpec]) -> list[SensitivityRecord]:
        """What recipes do to the outputs layer by layer, where that was asked for.

        Args:
            specs: The recipes; those with fixed ranges are looked into, the first one where there
                is none.
        """
        if not self.options.sensitivity:
            return []
        rounded = {spec.name: spec for spec in specs if spec.weights is not None}
        # Recipes that fix ranges do the most harm, and looking into one takes minutes.
        fixed = {name: spec for name, spec in rounded.items() if spec.static}
        distinct = fixed or dict(list(rounded.items())[:1])
        return [
            SensitivityRecord(
                recipe=name,
                samples=self._diagnosis.samples,
                layers=self._diagnosis.harms(spec),
                operators=self._diagnosis.gaps(spec),
            )
            for name, spec in distinct.items()
        ]

    def _measured(self, job: ConversionJob, result: ConvertedArtefact) -> ConvertedArtefact:
        if result.simulated is None:
            raise ConversionError(f"{job.name} was not quantized")
        facts: dict[str, object] = {
            "versions": package_versions(job.target.packages),
            "machine": [platform.system(), platform.machine()],
        }
        painting = ArtefactPainting.of(
            self.originals, result, face_scales(result), self.cache, facts
        )
        try:
            parity, drop = verify_quantized(
                result,
                self.inputs.evaluation,
                bound=self.options.max_drop,
                gates=self.gates,
                simulated_sha256=digest(result.simulated),
                labels=self.prepared.loaded.labels,
                cache=self.cache,
                facts=facts,
                then=painting.paint if painting else None,
            )
        except MissingEnvironmentError as error:
            parity = not_run(job.qualified, self.gates.gate(PARITY_PRECISION), error)
            drop = None
        self.tell(job.name, verdict(job.qualified, parity))
        painted = painting.record(parity) if painting else None
        return dataclasses.replace(result, parity=parity, drop=drop, painted=painted)

    def _repaired(self, job: ConversionJob, first: ConvertedArtefact) -> ConvertedArtefact:
        """Keep layers float until the artefact itself loses little enough.

        The layers are chosen by simulation. Where the artefact loses more than its simulation the
        search is repeated with a bound that is lower by as much.
        """
        spec = _spec_of(job)
        bound = self.options.max_drop or 0.0
        one_sample = 1 / max(len(self.inputs.evaluation or ()), 1)
        best = latest = first
        allowed = bound
        # What artefacts with these layers float really lose.
        lost = {tuple(sorted(spec.float_layers)): _lost(first.drop)}
        while len(lost) <= _MOST_REPAIRS and allowed >= 0:
            self.tell(job.name, "choosing layers to keep float")
            found = self._diagnosis.search(spec, allowed)
            layers = tuple(sorted({*spec.float_layers, *found.float_layers}))
            if layers not in lost:
                latest = self._converted(job, dataclasses.replace(spec, float_layers=layers))
                lost[layers] = _lost(latest.drop)
                if lost[layers] < _lost(best.drop):
                    best = latest
                if latest.drop is not None and latest.drop.passed:
                    return latest
            elif not found.within_limit:
                break
            # A sample less than before at least, or the same layers would come again.
            gap = lost[layers] - found.drop
            allowed = min(allowed, found.drop, bound - gap) - one_sample
        if best is not latest and best.spec is not None:
            # The file of the best was overwritten by those after it.
            best = self._converted(job, best.spec)
        return best

    def _converted(self, job: ConversionJob, spec: QuantSpec) -> ConvertedArtefact:
        again = job.with_spec(spec)
        again.prepare(self.prepared, self.folder, self.cache, self.data)
        for path in again.files:
            remove(path)
        # What the cache served was among the files just removed.
        again.prepare(self.prepared, self.folder, self.cache, self.data)
        kept = f"{len(spec.float_layers)} layers float"
        result = again.run(self.limits, lambda name, step: self.tell(job.name, f"{step}, {kept}"))
        if not isinstance(result, ConvertedArtefact):
            raise result.error
        return self._measured(again, result)


def _spec_of(job: ConversionJob) -> QuantSpec:
    if job.spec is None:
        raise ConversionError(f"{job.name} does not quantize")
    return job.spec


def _lost(drop: DropRecord | None) -> float:
    return 1.0 if drop is None else drop.drop
