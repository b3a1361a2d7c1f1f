"""Quantized artefacts of an export: verify each, measure its drop, and control accuracy."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgesdk.bundle.manifest import DropRecord, FileRecord, QuantizationRecord, SensitivityRecord
from edgesdk.bundle.samples import Samples
from edgesdk.errors import ConversionError, MissingEnvironmentError
from edgesdk.exporter.context import ExportContext
from edgesdk.exporter.conversion_job import ConversionJob
from edgesdk.exporter.quantization.accuracy_control import SensitivityAnalysis
from edgesdk.exporter.quantization.calibration_data import QuantizationInputs
from edgesdk.exporter.quantization.options import QuantizeOptions
from edgesdk.exporter.quantization.verify import (
    PARITY_PRECISION,
    QuantizedResult,
    io_scales,
    not_simulated_note,
    quantization_record,
    verify_quantized,
)
from edgesdk.exporter.results import ConvertedArtefact, QuantizationData
from edgesdk.host.atomic_write import remove
from edgesdk.host.digest import digest
from edgesdk.quant.float_norms import with_float_norms
from edgesdk.quant.spec import QuantSpec
from edgesdk.quant.support import require_support
from edgesdk.verification.verify_bundle import not_run, verdict

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from edgesdk.exporter.paintings.reference import OriginalPaintings

__all__ = ["QuantizedExport"]

#: Maximum number of accuracy-control attempts per artefact; each is a conversion.
_MAX_ATTEMPTS = 4
_WORST_LAYERS = 10


@dataclass
class QuantizedExport:
    """Verification of the quantized artefacts of one export.

    Attributes:
        context: Values that all parts of the export share.
        options: Quantization options.
        inputs: Calibration and evaluation sets.
        data: Files made of them.
        samples: Inputs and outputs of the float model.
        originals: Paintings of the float model; None if it names no styles.
    """

    context: ExportContext
    options: QuantizeOptions
    inputs: QuantizationInputs
    data: QuantizationData
    samples: Path
    originals: OriginalPaintings | None = None

    def __post_init__(self) -> None:
        self._samples = Samples.load(self.data.samples)
        self._analysis = SensitivityAnalysis(
            self.context.prepared,
            self.inputs,
            lambda step: self.context.on_progress("model", step),
        )

    @classmethod
    def of(
        cls,
        context: ExportContext,
        options: QuantizeOptions,
        specs: Sequence[QuantSpec],
        samples: FileRecord,
        originals: OriginalPaintings | None = None,
    ) -> QuantizedExport:
        """Read the calibration and evaluation sets and write the files that converters read.

        Args:
            context: Values that all parts of the export share.
            options: Quantization options.
            specs: Recipes of all jobs.
            samples: The samples that parity is measured on, in the context's folder.
            originals: Paintings of the float model.

        Raises:
            UsageError: A recipe needs calibration inputs and there are none.
            DataError: The inputs cannot be used.
            StorageError: The disk is full or read-only.
        """
        inputs = QuantizationInputs.read(
            options,
            context.prepared,
            specs,
            on_progress=lambda step: context.on_progress("model", step),
        )
        data = inputs.write(context.folder, context.folder / samples.path, samples.sha256)
        return cls(context, options, inputs, data, context.folder / samples.path, originals)

    def require_support(self, target: str, spec: QuantSpec) -> None:
        """Check that a target supports a recipe.

        Raises:
            UnsupportedRecipeError: It does not; the remedy lists the supported recipes.
        """
        require_support(target, spec)

    def fitted(self, spec: QuantSpec, program: ExportedProgram) -> QuantSpec:
        """Return a recipe with the normalizations of a program kept float, if it is static."""
        return with_float_norms(spec, program)

    def verify(self, job: ConversionJob, result: ConvertedArtefact) -> ConvertedArtefact:
        """Measure parity with the simulation and the accuracy drop; control accuracy if requested.

        Args:
            job: The conversion that produced the artefact.
            result: The artefact.

        Returns:
            The artefact with its records, or the best one that accuracy control found.
        """
        verified = self._measure(job, result)
        if verified.drop is None or verified.drop.passed or verified.spec is None:
            return verified
        if self.options.accuracy_control:
            verified = self._control_accuracy(job, verified)
        if verified.drop is None or verified.drop.passed:
            return verified
        self.context.on_progress(job.name, "ranking layers")
        worst_layers = self._analysis.sensitivities(verified.spec or _spec_of(job))[:_WORST_LAYERS]
        drop = verified.drop.model_copy(update={"culprits": worst_layers})
        return dataclasses.replace(verified, drop=drop)

    def record(self, result: ConvertedArtefact) -> QuantizationRecord:
        """Return the manifest's record of a quantized artefact.

        Raises:
            QuantizationError: The artefact was not quantized.
        """
        return quantization_record(result, self.inputs.record(result.spec) if result.spec else None)

    def sensitivities(self, specs: Sequence[QuantSpec]) -> list[SensitivityRecord]:
        """Return the effect of recipes layer by layer, if the options ask for it.

        Args:
            specs: The recipes. Those with fixed ranges are analysed, or else the first one.
        """
        if not self.options.sensitivity:
            return []
        rounded = {spec.name: spec for spec in specs if spec.weights is not None}
        # Recipes with fixed ranges lose most, and each analysis takes minutes.
        fixed = {name: spec for name, spec in rounded.items() if spec.static}
        distinct = fixed or dict(list(rounded.items())[:1])
        return [
            SensitivityRecord(
                recipe=name,
                samples=self._analysis.samples,
                layers=self._analysis.sensitivities(spec),
                operators=self._analysis.errors(spec),
            )
            for name, spec in distinct.items()
        ]

    def _measure(self, job: ConversionJob, result: ConvertedArtefact) -> ConvertedArtefact:
        if result.conversion.quantized is None:
            raise ConversionError(f"{job.name} was not quantized")
        context = self.context
        # An artefact that cannot be simulated is compared with the float model.
        reference = result.simulated or self.samples
        facts = context.runtime_facts(job.target)
        painting = None
        if self.originals is not None:
            painting = self.originals.comparison(context, result, facts, io_scales(result))
        try:
            found = verify_quantized(
                context,
                result,
                self._samples,
                self.inputs.evaluation,
                bound=self.options.max_drop,
                expected=reference,
                expected_sha256=digest(reference),
                facts={**facts, "samples": self.data.samples_sha256},
                then=painting.paint if painting else None,
            )
        except MissingEnvironmentError as error:
            gate = context.gates.gate(PARITY_PRECISION)
            found = QuantizedResult(not_run(job.qualified, gate, error))
        parity = found.parity
        simulated = result.simulated is not None
        context.on_progress(
            job.name, verdict(job.qualified, parity, quantized=True, simulated=simulated)
        )
        conversion = result.conversion
        if not simulated:
            notes = dict.fromkeys((*conversion.notes, not_simulated_note(result)))
            conversion = dataclasses.replace(conversion, notes=tuple(notes))
        return dataclasses.replace(
            result,
            conversion=conversion,
            parity=parity,
            drop=found.drop,
            loss=found.loss,
            painted=painting.record(parity) if painting else None,
        )

    def _control_accuracy(self, job: ConversionJob, first: ConvertedArtefact) -> ConvertedArtefact:
        """Keep layers float until the drop of the artefact itself is within the bound.

        The layers are chosen by simulation. If the artefact loses more than its simulation, the
        search is repeated with a bound lowered by the difference.
        """
        spec = _spec_of(job)
        bound = self.options.max_drop or 0.0
        one_sample = 1 / max(len(self.inputs.evaluation or ()), 1)
        best = latest = first
        allowed = bound
        # Measured drop of the artefacts by their float layers.
        drops = {tuple(sorted(spec.float_layers)): _drop_of(first.drop)}
        while len(drops) <= _MAX_ATTEMPTS and allowed >= 0:
            self.context.on_progress(job.name, "choosing layers to keep float")
            found = self._analysis.search(spec, allowed)
            layers = tuple(sorted({*spec.float_layers, *found.float_layers}))
            if layers not in drops:
                latest = self._convert(job, dataclasses.replace(spec, float_layers=layers))
                drops[layers] = _drop_of(latest.drop)
                if drops[layers] < _drop_of(best.drop):
                    best = latest
                if latest.drop is not None and latest.drop.passed:
                    return latest
            elif not found.within_limit:
                break
            # Lower the bound by at least one sample, or the search returns the same layers.
            excess = drops[layers] - found.drop
            allowed = min(allowed, found.drop, bound - excess) - one_sample
        if best is not latest and best.spec is not None:
            # Later attempts overwrote the file of the best one.
            best = self._convert(job, best.spec)
        return best

    def _convert(self, job: ConversionJob, spec: QuantSpec) -> ConvertedArtefact:
        again = job.with_spec(spec)

        def report(name: str, step: str) -> None:
            self.context.on_progress(job.name, f"{step}, {len(spec.float_layers)} layers float")

        context = dataclasses.replace(self.context, on_progress=report)
        again.prepare(context, self)
        for path in again.files:
            remove(path)
        # The files just removed may include those from the cache: look it up again.
        again.prepare(context, self)
        result = again.run(context)
        if not isinstance(result, ConvertedArtefact):
            raise result.error
        return self._measure(again, result)


def _spec_of(job: ConversionJob) -> QuantSpec:
    if job.spec is None:
        raise ConversionError(f"{job.name} does not quantize")
    return job.spec


def _drop_of(drop: DropRecord | None) -> float:
    return 1.0 if drop is None else drop.drop
