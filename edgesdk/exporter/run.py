"""Run an export, from a prepared model to a written bundle."""

from __future__ import annotations

import dataclasses
import os
import platform
import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgesdk.bundle.bundle import Bundle
from edgesdk.bundle.manifest import (
    ArtefactRecord,
    ConstantOutputRecord,
    FailureRecord,
    FileRecord,
    Manifest,
    PaintingsRecord,
    ReferenceRecord,
    RewriteRecord,
    SourceRecord,
)
from edgesdk.bundle.samples import Samples
from edgesdk.bundle.writer import BundleWriter
from edgesdk.converters.registry import Target
from edgesdk.errors import (
    ConversionError,
    ConverterCrashError,
    ConverterLimitError,
    EdgeSdkError,
)
from edgesdk.exporter.context import ExportContext
from edgesdk.exporter.conversion_job import ConversionJob, write_program
from edgesdk.exporter.cost_record import cost_record
from edgesdk.exporter.export_cache import ExportCache
from edgesdk.exporter.float_artefacts import FloatExport
from edgesdk.exporter.options import ExportOptions, Progress
from edgesdk.exporter.parallel import run_parallel
from edgesdk.exporter.parity_samples import find_constant_outputs, make_samples
from edgesdk.exporter.prepared import CaptureSpec, PreparedModel
from edgesdk.exporter.results import ConvertedArtefact, FailedTarget
from edgesdk.frontend.capture import program_digest
from edgesdk.host.atomic_write import storage_errors
from edgesdk.host.cache import package_versions
from edgesdk.host.image_files import sample_paths
from edgesdk.spec import DynamicDim

if TYPE_CHECKING:
    from edgesdk.exporter.paintings import OriginalPaintings
    from edgesdk.exporter.quantization import QuantizedExport

__all__ = ["ExportRun"]

_VERSIONED = (
    "edgesdk",
    "torch",
    "numpy",
    "torchao",
    "ai-edge-quantizer",
    "executorch",
    "coremltools",
    "litert-torch",
    "litert-converter",
    "ai-edge-litert",
    "onnx",
    "onnxscript",
    "onnxruntime",
)


class ExportRun:
    """One run of :func:`export`, from a prepared model to a written bundle."""

    def __init__(
        self,
        settings: ExportOptions,
        prepared: PreparedModel,
        chosen: Sequence[tuple[Target, str]],
        dynamic: Mapping[str, dict[str, DynamicDim]],
        writer: BundleWriter,
        on_progress: Progress,
    ) -> None:
        self._settings = settings
        self._prepared = prepared
        self._writer = writer
        self._on_progress = on_progress
        self._context = ExportContext(
            prepared, settings.gates, settings.limits, settings.cache, writer.folder, on_progress
        )
        self._jobs = [
            ConversionJob(
                target,
                variant,
                CaptureSpec(
                    tuple(sorted(dynamic[target.name].items())),
                    planes=prepared.image is not None and target.name == "coreml",
                ),
                spec,
            )
            for target, variant in chosen
            for spec in (settings.quantize.specs_for(variant) if settings.quantize else [None])
        ]
        everything: dict[str, DynamicDim] = {}
        for dims in dynamic.values():
            everything |= dims
        self._widest = CaptureSpec(tuple(sorted(everything.items())))

        self._files = sample_paths(settings.samples) or tuple(_shipped_photographs(prepared))
        # Quantization inputs may not be files, so an export that quantizes skips the whole-export
        # cache, and each of its artefacts is cached by itself.
        self._cache_entry = ExportCache.of(
            settings.cache if settings.quantize is None else None,
            prepared,
            self._deciding_options(),
            self._files,
            self._distributions(),
        )
        self._constant: list[ConstantOutputRecord] = []
        self._quantized: QuantizedExport | None = None
        self._float: FloatExport | None = None

    def run(self, name: str) -> Bundle:
        """Convert, verify and write the bundle.

        Args:
            name: Name for the manifest.

        Raises:
            EdgeSdkError: Every target failed, or the bundle cannot be written.
        """
        if self._cache_entry is not None:
            self._on_progress("model", "comparing with the last export")
            served = self._cache_entry.serve(self._prepared, self._writer.folder)
            if served is not None:
                return self._write_served(served, name)
            _empty(self._writer.folder)
        bundle = self._run_in_full(name)
        if self._cache_entry is not None:
            keys = [job.key for job in self._jobs]
            self._cache_entry.remember(bundle.manifest, bundle.path, keys)
        return bundle

    def _deciding_options(self) -> dict[str, Any]:
        settings = self._settings
        return {
            "targets": [[job.name, repr(job.needs)] for job in self._jobs],
            "widest": repr(self._widest),
            "gates": repr(settings.gates),
            "verify": settings.verify,
            "reference": settings.reference,
            "perceptual": self._perceptual_state(),
        }

    def _perceptual_state(self) -> str:
        if not self._prepared.styles:
            return ""
        from edgesdk.exporter.paintings import perceptual_state

        return perceptual_state()

    def _distributions(self) -> list[str]:
        packages = [package for job in self._jobs for package in job.target.packages]
        return [*_VERSIONED, "protobuf", "pillow", "h5py", *packages]

    def _write_served(self, served: Manifest, name: str) -> Bundle:
        """Write the cached export under this name."""
        for job in self._jobs:
            self._on_progress(job.name, "from the cache")
        records = [served.reference.samples, served.reference.program]
        records += [artefact.file for artefact in served.artefacts]
        records += served.paintings.files if served.paintings else []
        for record in records:
            if record is not None:
                self._writer.add(self._writer.folder / record.path, record.path)
        self._on_progress("bundle", "writing")
        artefacts = [
            artefact.model_copy(update={"conversion_seconds": None})
            for artefact in served.artefacts
        ]
        source = served.source.model_copy(update={"spec": self._prepared.loaded.spec})
        changed = {"name": name, "artefacts": artefacts, "source": source}
        return self._writer.commit(served.model_copy(update=changed))

    def _run_in_full(self, name: str) -> Bundle:
        samples, file = self._samples()
        originals = self._originals()
        results = self._convert_and_verify(samples, file, originals)
        converted = [result for result in results if isinstance(result, ConvertedArtefact)]
        failed = [result for result in results if isinstance(result, FailedTarget)]
        if not converted:
            raise _nothing_converted(failed)
        self._on_progress("bundle", "writing")
        paintings = originals.write(self._writer) if originals else None
        return self._writer.commit(self._manifest(name, converted, failed, file, paintings))

    def _samples(self) -> tuple[Samples, FileRecord]:
        self._on_progress("model", "capturing")
        self._prepared.capture(self._widest)
        self._on_progress("model", "running samples")
        samples = make_samples(self._prepared, self._widest, self._files)
        self._constant = find_constant_outputs(self._prepared, samples)
        path = self._writer.folder / "samples.safetensors"
        with storage_errors("cannot write", path):
            samples.save(path)
        return samples, self._writer.add(path, "samples.safetensors")

    def _originals(self) -> OriginalPaintings | None:
        """Paint with the model, if it names styles and artefacts are to be verified."""
        if not (self._prepared.styles and self._settings.verify):
            return None
        from edgesdk.exporter.paintings import OriginalPaintings

        self._on_progress("model", "painting")
        return OriginalPaintings.of(self._prepared, self._prepared.capture(self._widest).outputs)

    def _convert_and_verify(
        self, samples: Samples, file: FileRecord, originals: OriginalPaintings | None
    ) -> list[ConvertedArtefact | FailedTarget]:
        self._quantized = self._quantized_export(file, originals)
        self._float = FloatExport(self._context, samples, file.sha256, originals)
        for job in self._jobs:
            job.prepare(self._context, self._quantized)
        self._on_progress("model", "ready")
        for job in self._jobs:
            self._on_progress(job.name, "waiting")
        calls = [partial(self._one, job) for job in self._jobs]
        try:
            return run_parallel(calls, self._settings.jobs or os.cpu_count() or 1)
        finally:
            for job in self._jobs:
                job.stop()

    def _quantized_export(
        self, samples: FileRecord, originals: OriginalPaintings | None
    ) -> QuantizedExport | None:
        if self._settings.quantize is None:
            return None
        from edgesdk.exporter.quantization import QuantizedExport

        specs = [job.spec for job in self._jobs if job.spec]
        return QuantizedExport.of(self._context, self._settings.quantize, specs, samples, originals)

    def _one(self, job: ConversionJob) -> ConvertedArtefact | FailedTarget:
        result = job.run(self._context)
        if isinstance(result, FailedTarget):
            self._on_progress(job.name, "failed")
            return result
        if not self._settings.verify:
            self._on_progress(job.name, "from the cache" if result.seconds is None else "converted")
            return result
        self._on_progress(job.name, "verifying")
        if self._quantized is not None and job.spec is not None:
            return self._quantized.verify(job, result)
        if self._float is None:
            raise ConversionError(f"{job.name} was converted before its samples were made")
        return self._float.verify(job, result)

    def _manifest(
        self,
        name: str,
        converted: Sequence[ConvertedArtefact],
        failed: Sequence[FailedTarget],
        samples: FileRecord,
        paintings: PaintingsRecord | None,
    ) -> Manifest:
        prepared, base = self._prepared, self._prepared.capture(self._widest)
        program, sha256 = None, program_digest(base.program)
        if self._settings.reference:
            path = self._writer.folder / f"program-{sha256[:16]}.pt2"
            if not path.exists():
                write_program(base.program, path)
            program = self._writer.add(path, "program.pt2")
        for pattern in ("program-*.pt2", "calibration.safetensors"):
            for leftover in self._writer.folder.glob(pattern):
                leftover.unlink()
        loaded = prepared.loaded
        kind = type(loaded.model)
        return Manifest(
            name=name,
            versions={
                "python": platform.python_version(),
                **package_versions(_VERSIONED),
            },
            source=SourceRecord(
                spec=loaded.spec,
                model=f"{kind.__module__}.{kind.__qualname__}",
                sha256=sha256,
                parameters=base.parameters,
                operators=base.operators,
            ),
            inputs=list(base.inputs),
            outputs=list(base.outputs),
            labels=loaded.labels if isinstance(loaded.labels, str) else "",
            classes=list(loaded.labels) if isinstance(loaded.labels, tuple) else [],
            styles=list(prepared.styles),
            paintings=paintings,
            notes=list(loaded.notes),
            cost=cost_record(prepared),
            sensitivity=self._quantized.sensitivities([one.spec for one in converted if one.spec])
            if self._quantized
            else [],
            reference=ReferenceRecord(program=program, samples=samples),
            artefacts=[self._artefact(result) for result in converted],
            failures=[
                FailureRecord(
                    target=result.target,
                    error=type(result.error).__name__,
                    message=result.error.message,
                    where=result.error.where,
                    remedy=result.error.remedy,
                    # Explained errors need no log, and logs reveal details of this machine.
                    log=result.log[-8000:] if _unexplained(result.error) else "",
                )
                for result in failed
            ],
            constant_outputs=self._constant,
        )

    def _artefact(self, result: ConvertedArtefact) -> ArtefactRecord:
        conversion = result.conversion
        return ArtefactRecord(
            target=result.target,
            file=self._writer.add(result.path, result.path.name),
            precision="fp16" if conversion.precision == "fp16" else "fp32",
            quantization=result.spec.name if result.spec else None,
            quantized=self._quantized.record(result) if self._quantized and result.spec else None,
            simulated=self._writer.add(result.simulated, result.simulated.name)
            if result.simulated
            else None,
            inputs=list(conversion.inputs),
            outputs=list(conversion.outputs),
            conversion_seconds=result.seconds,
            notes=list(conversion.notes),
            rewrites=[RewriteRecord(**dataclasses.asdict(one)) for one in conversion.rewrites],
            parity=result.parity,
            painted=result.painted,
            coverage=conversion.coverage,
            loss=result.loss,
        )


def _shipped_photographs(prepared: PreparedModel) -> Sequence[Path]:
    takes_pictures = any(
        len(spec.shape) == 4 and spec.shape[1] in (1, 3) and spec.dtype == "float32"
        for spec in prepared.specs
    )
    if not takes_pictures:
        return ()
    from edgesdk.models.photos import paths

    return paths()


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _unexplained(error: EdgeSdkError) -> bool:
    return type(error) in (ConversionError, ConverterCrashError, ConverterLimitError)


def _nothing_converted(failed: Sequence[FailedTarget]) -> EdgeSdkError:
    missing = [result for result in failed if result.error.exit_code == 3]
    if len(failed) == 1 or len(missing) == len(failed):
        error = failed[0].error
    else:
        errors = "\n".join(
            f"{result.target}: {result.error.on_command_line()}" for result in failed
        )
        error = ConversionError(
            "every target failed; nothing was written\n  " + errors.replace("\n", "\n  "),
            remedy="see the remedy of each target above",
        )
    for result in failed:
        if result.log and _unexplained(result.error):
            error.add_note(f"last output of {result.target}'s converter:\n{result.log}")
    return error
