"""Export: one model to several targets, each proven, in one bundle."""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from converters.isolation import Limits
from converters.registry import Target, parse_targets
from edgesdk.bundle import Bundle
from edgesdk.bundle_writer import BundleWriter
from edgesdk.cache import Cache, package_versions
from edgesdk.conversions import ConversionJob, ConvertedTarget, FailedTarget
from edgesdk.errors import ConversionError, EdgeSdkError, UsageError
from edgesdk.manifest import (
    ArtefactRecord,
    FailureRecord,
    FileRecord,
    Manifest,
    ReferenceRecord,
    SourceRecord,
)
from edgesdk.preparing import Prepared, Variant, make_samples, prepare
from edgesdk.program import program_digest
from edgesdk.samples import Samples
from edgesdk.spec import DynamicDim, ImageSpec, TensorSpec, parse_dynamic
from edgesdk.verification import GateOptions, cached_parity, verify_artefact

__all__ = ["ExportOptions", "Progress", "export"]

#: Called with a target (or ``model`` before there are any) and the step it is at.
Progress = Callable[[str, str], None]

_VERSIONED = (
    "edgesdk",
    "torch",
    "numpy",
    "torchao",
    "executorch",
    "coremltools",
    "litert-torch",
    "litert-converter",
    "ai-edge-litert",
    "onnx",
    "onnxscript",
    "onnxruntime",
)


@dataclass(frozen=True)
class ExportOptions:
    """How to export.

    Attributes:
        name: Name of the bundle; the output's without suffix if empty.
        inputs: Input specs, where there is no example.
        image: Preprocessing to bake in, so that an app passes camera bytes; a text as for
            :func:`edgesdk.spec.parse_image`, or ``auto`` for what the source knows itself.
        dynamic: ``[TARGET:]batch[=1..8]`` or ``[TARGET:]hw[=64..1024/32]``, one entry each.
        weights: Weights to load.
        samples: Photographs or files of arrays that parity is measured on.
        gates: Bounds in place of the default ones.
        verify: Whether to run each artefact and compare.
        reference: Whether the bundle carries the program, for bisecting and other machines.
        overwrite: Whether an existing bundle may be replaced.
        jobs: Conversions at a time; 0 for one a core, at most one a target.
        limits: What each converter may use.
        cache: Where unchanged work is served from; None for no cache.
    """

    name: str = ""
    inputs: tuple[TensorSpec, ...] = ()
    image: ImageSpec | str | None = None
    dynamic: tuple[str, ...] = ()
    weights: Path | None = None
    samples: tuple[Path, ...] = ()
    gates: GateOptions = field(default_factory=GateOptions)
    verify: bool = True
    reference: bool = True
    overwrite: bool = False
    jobs: int = 0
    limits: Limits = field(default_factory=Limits)
    cache: Cache | None = None


def _silent(target: str, step: str) -> None:
    del target, step


def export(
    model: str | nn.Module,
    example: Any = None,
    *,
    targets: Sequence[str] = ("executorch", "coreml", "litert", "onnx"),
    output: str | os.PathLike[str] | None = None,
    options: ExportOptions | None = None,
    on_progress: Progress | None = None,
    **changes: Any,
) -> Bundle:
    """Convert a model to every target, prove each artefact, and write one bundle.

    Each target converts in a process of its own; one that fails is recorded and the rest go on.

    Args:
        model: The model, or SOURCE of one.
        example: Example arguments: a tensor, a tuple, or a dictionary by argument name. A SOURCE
            of the zoo or a program brings its own.
        targets: Targets, with a variant after a colon where it is not the default one.
        output: The bundle to write; ``NAME.edge`` in the working folder without it.
        options: See :class:`ExportOptions`.
        on_progress: Called with target and step, from several threads but one at a time.
        **changes: Fields of :class:`ExportOptions` that differ from ``options``.

    Returns:
        The bundle. Whether its artefacts passed is in its manifest; see
        :func:`edgesdk.verification.require_parity`.

    Raises:
        EdgeSdkError: Nothing was written: wrong usage, a model that cannot be captured, no target
            that gave an artefact, no place to write.
    """
    settings = replace(options or ExportOptions(), **_known(changes))
    chosen = parse_targets(targets)
    dynamic = _dynamic_by_target(settings.dynamic, chosen)
    default = f"{_default_name(model)}.edge"
    place = Path(output if output is not None else default)
    name = settings.name or place.name.removesuffix(".edge")
    lock = threading.Lock()

    def tell(target: str, step: str) -> None:
        with lock:
            (on_progress or _silent)(target, step)

    # The place to write is tried before minutes are spent on what cannot be written.
    with BundleWriter(place, overwrite=settings.overwrite) as writer:
        tell("model", "loading")
        prepared = prepare(
            model,
            example,
            inputs=settings.inputs,
            image=settings.image,
            weights=settings.weights,
        )
        return _Export(settings, prepared, chosen, dynamic, writer, tell).run(name)


def _default_name(model: str | nn.Module) -> str:
    if not isinstance(model, str):
        return type(model).__name__
    head = model.rpartition(":")[0] or model
    return Path(head).stem if head.endswith((".py", ".pt2", ".edgemodel")) else head.split(".")[-1]


def _known(changes: Mapping[str, Any]) -> dict[str, Any]:
    from edgesdk.errors import UnknownNameError

    fields = ExportOptions.__dataclass_fields__
    for name in changes:
        if name not in fields:
            raise UnknownNameError("option", name, fields)
    return dict(changes)


def _dynamic_by_target(
    texts: Sequence[str], chosen: Sequence[tuple[Target, str]]
) -> dict[str, dict[str, DynamicDim]]:
    names = [target.name for target, _ in chosen]
    found: dict[str, dict[str, DynamicDim]] = {name: {} for name in names}
    for text in texts:
        head, separator, rest = text.partition(":")
        if separator and head not in names:
            raise UsageError(
                f"--dynamic {text} names a target that is not exported",
                remedy=f"one of {', '.join(names)}, or none for all",
            )
        for name in [head] if separator else names:
            found[name] |= parse_dynamic(rest if separator else text)
    return found


class _Export:
    """One run of :func:`export`, from a prepared model to a written bundle."""

    def __init__(
        self,
        settings: ExportOptions,
        prepared: Prepared,
        chosen: Sequence[tuple[Target, str]],
        dynamic: Mapping[str, dict[str, DynamicDim]],
        writer: BundleWriter,
        tell: Progress,
    ) -> None:
        self._settings = settings
        self._prepared = prepared
        self._writer = writer
        self._tell = tell
        self._jobs = [
            ConversionJob(
                target,
                variant,
                Variant(
                    tuple(sorted(dynamic[target.name].items())),
                    planes=prepared.image is not None and target.name == "coreml",
                ),
            )
            for target, variant in chosen
        ]
        everything: dict[str, DynamicDim] = {}
        for dims in dynamic.values():
            everything |= dims
        self._widest = Variant(tuple(sorted(everything.items())))

    def run(self, name: str) -> Bundle:
        samples, file = self._samples()
        results = self._convert_and_verify(samples, file)
        converted = [result for result in results if isinstance(result, ConvertedTarget)]
        failed = [result for result in results if isinstance(result, FailedTarget)]
        if not converted:
            raise _nothing_converted(failed)
        self._tell("model", "writing")
        return self._writer.commit(self._manifest(name, converted, failed, file))

    def _samples(self) -> tuple[Samples, FileRecord]:
        self._tell("model", "capturing")
        self._prepared.capture(self._widest)
        self._tell("model", "running samples")
        files = self._settings.samples or _shipped_photographs(self._prepared)
        samples = make_samples(self._prepared, self._widest, files)
        path = self._writer.folder / "samples.safetensors"
        samples.save(path)
        return samples, self._writer.add(path, "samples.safetensors")

    def _convert_and_verify(
        self, samples: Samples, file: FileRecord
    ) -> list[ConvertedTarget | FailedTarget]:
        for job in self._jobs:
            job.prepare(self._prepared, self._writer.folder, self._settings.cache)
        workers = self._settings.jobs or min(len(self._jobs), os.cpu_count() or 1)
        pool = ThreadPoolExecutor(max(1, workers), thread_name_prefix="export")
        futures: list[Future[ConvertedTarget | FailedTarget]] = []
        try:
            futures = [pool.submit(self._one, job, samples, file) for job in self._jobs]
            # Waking up now and then lets Ctrl-C through.
            while wait(futures, timeout=0.2, return_when=FIRST_COMPLETED).not_done:
                for future in futures:
                    if future.done() and future.exception() is not None:
                        future.result()
            return [future.result() for future in futures]
        finally:
            for job in self._jobs:
                job.stop()
            pool.shutdown(wait=True, cancel_futures=True)

    def _one(
        self, job: ConversionJob, samples: Samples, file: FileRecord
    ) -> ConvertedTarget | FailedTarget:
        result = job.run(self._settings.limits, self._tell)
        if isinstance(result, FailedTarget) or not self._settings.verify:
            return result
        self._tell(job.name, "verifying")
        conversion = result.conversion
        gate = self._settings.gates.gate(conversion.precision)

        def run() -> Any:
            return verify_artefact(
                result.path,
                target=job.name,
                precision=conversion.precision,
                inputs=conversion.inputs,
                outputs=conversion.outputs,
                samples=samples,
                samples_sha256=file.sha256,
                gates=self._settings.gates,
                labels=self._prepared.loaded.labels,
            )

        parity = cached_parity(
            self._settings.cache,
            {
                "artefact": result.sha256,
                "samples": file.sha256,
                "gate": gate.model_dump(mode="json"),
                "labels": self._prepared.loaded.labels,
                "versions": package_versions(job.target.packages),
                "machine": [platform.system(), platform.machine()],
            },
            run,
        )
        self._tell(job.name, "equal" if parity.passed else "not equal")
        return replace(result, parity=parity)

    def _manifest(
        self,
        name: str,
        converted: Sequence[ConvertedTarget],
        failed: Sequence[FailedTarget],
        samples: FileRecord,
    ) -> Manifest:
        prepared, base = self._prepared, self._prepared.capture(self._widest)
        program = None
        if self._settings.reference:
            path = self._writer.folder / "reference.pt2"
            if not path.exists():
                import torch

                torch.export.save(base.program, path)
            program = self._writer.add(path, "program.pt2")
        for leftover in self._writer.folder.glob("program-*.pt2"):
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
                sha256=program_digest(base.program),
                parameters=base.parameters,
                operators=base.operators,
            ),
            inputs=list(base.inputs),
            outputs=list(base.outputs),
            labels=loaded.labels,
            notes=list(loaded.notes),
            reference=ReferenceRecord(program=program, samples=samples),
            artefacts=[self._artefact(result) for result in converted],
            failures=[
                FailureRecord(
                    target=result.target,
                    error=type(result.error).__name__,
                    message=result.error.message,
                    where=result.error.where,
                    remedy=result.error.remedy,
                    log=result.log[-8000:],
                )
                for result in failed
            ],
        )

    def _artefact(self, result: ConvertedTarget) -> ArtefactRecord:
        conversion = result.conversion
        return ArtefactRecord(
            target=result.target,
            file=self._writer.add(result.path, result.path.name),
            precision="fp16" if conversion.precision == "fp16" else "fp32",
            inputs=list(conversion.inputs),
            outputs=list(conversion.outputs),
            conversion_seconds=result.seconds,
            notes=list(conversion.notes),
            parity=result.parity,
            coverage=conversion.coverage,
        )


def _shipped_photographs(prepared: Prepared) -> Sequence[Path]:
    takes_pictures = any(
        len(spec.shape) == 4 and spec.shape[1] in (1, 3) and spec.dtype == "float32"
        for spec in prepared.specs
    )
    if not takes_pictures:
        return ()
    from edgesdk.models.photos import paths

    return paths()


def _nothing_converted(failed: Sequence[FailedTarget]) -> EdgeSdkError:
    if len(failed) == 1:
        return failed[0].error
    missing = [result for result in failed if result.error.exit_code == 3]
    if len(missing) == len(failed):
        return missing[0].error
    lines = [f"{result.target}: {result.error}".replace("\n", "\n    ") for result in failed]
    return ConversionError(
        "no target gave an artefact; nothing was written\n  " + "\n  ".join(lines),
        remedy="each target above names its own",
    )
