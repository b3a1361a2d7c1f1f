"""Convert one target of an export, in a process of its own, or serve it from the cache."""

from __future__ import annotations

import contextlib
import io
import platform
import shutil
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import TypeAdapter

from edgesdk.bundle.manifest import artefact_name
from edgesdk.converters.conversion import Conversion, ConversionRequest, QuantizationRequest
from edgesdk.converters.isolation import ConversionFailed, Converter
from edgesdk.converters.registry import Target
from edgesdk.errors import ConversionError, ConverterCrashError, EdgeSdkError, StorageError
from edgesdk.exporter.context import ExportContext
from edgesdk.exporter.prepared import CaptureSpec
from edgesdk.exporter.results import ConvertedArtefact, FailedTarget, QuantizationData
from edgesdk.frontend.capture import program_digest
from edgesdk.host.atomic_write import remove, storage_errors
from edgesdk.host.cache import key_of, package_versions
from edgesdk.host.digest import digest
from edgesdk.host.own_code import code_digest
from edgesdk.host.quiet import quiet_torch
from edgesdk.quant.spec import QuantSpec
from edgesdk.spec import TensorSpec

if TYPE_CHECKING:
    from torch.export import ExportedProgram

__all__ = ["ConversionJob", "Quantization", "write_program"]


class Quantization(Protocol):
    """Rules and files that quantizing jobs use; the quantized part of an export brings them."""

    @property
    def data(self) -> QuantizationData:
        """Files that the jobs read."""

    def require_support(self, target: str, spec: QuantSpec) -> None:
        """Check that a target supports a recipe."""

    def fitted(self, spec: QuantSpec, program: ExportedProgram) -> QuantSpec:
        """Return the recipe as it suits a program."""


def write_program(program: ExportedProgram, path: Path) -> None:
    """Save a program as a ``.pt2`` file.

    Raises:
        StorageError: The disk is full or read-only, or access is denied.
    """
    import torch

    # Serialize in memory first: on a full disk torch's own writer aborts the whole process.
    content = io.BytesIO()
    with quiet_torch():
        torch.export.save(program, content)
    with storage_errors("cannot write", path):
        path.write_bytes(content.getbuffer())


class ConversionJob:
    """Conversion of one target, from the prepared model to its artefact.

    Args:
        target: The target.
        variant: Variant of the target.
        needs: The program to convert.
        spec: The quantization; None for a float artefact.
    """

    def __init__(
        self, target: Target, variant: str, needs: CaptureSpec, spec: QuantSpec | None = None
    ) -> None:
        self.target = target
        self.qualified = target.qualified(variant)
        #: Name for users, unique within an export.
        self.name = artefact_name(self.qualified, spec.name if spec else None)
        self.spec = spec
        self._variant = variant
        self.needs = needs
        self._request: ConversionRequest | None = None
        self._failure: EdgeSdkError | None = None
        self.key = ""
        self._served: Conversion | None = None
        self._converter: Converter | None = None
        self._stopped = False
        self._lock = threading.Lock()

    def with_spec(self, spec: QuantSpec) -> ConversionJob:
        """Return a new job for the same target and file with another quantization."""
        return ConversionJob(self.target, self._variant, self.needs, spec)

    @property
    def files(self) -> list[Path]:
        """Files that the job writes; empty before :meth:`prepare`."""
        if self._request is None:
            return []
        quantization = self._request.quantization
        return [self._request.output, *([quantization.simulated] if quantization else [])]

    def prepare(self, context: ExportContext, quantization: Quantization | None = None) -> None:
        """Capture the program, look its artefact up in the cache, else save the program.

        Call it in the main thread: torch's tracer is not thread-safe. An error is kept as the
        result of :meth:`run`.

        Args:
            context: Values that all parts of the export share.
            quantization: Rules and files of a quantizing job.
        """
        prepared, folder = context.prepared, context.folder
        data = quantization.data if quantization else None
        try:
            if self.spec is not None and quantization is not None:
                quantization.require_support(self.qualified, self.spec)
            self.target.require()
            captured = prepared.capture(self.needs)
            if self.spec is not None and quantization is not None:
                self.spec = quantization.fitted(self.spec, captured.program)
            signature = prepared.input_specs(CaptureSpec(self.needs.dynamic))
        except EdgeSdkError as error:
            self._failure = error
            return
        artefact = folder / f"{self._file_stem()}{self.target.suffix}"
        sha256 = program_digest(captured.program)
        program = folder / f"program-{sha256[:16]}.pt2"
        self._request = ConversionRequest(
            target=self.target.name,
            variant=self._variant,
            program=program,
            output=artefact,
            inputs=captured.inputs,
            outputs=captured.outputs,
            app_inputs=signature,
            quantization=self._quantization(artefact, data),
        )
        self.key = key_of(self._facts(sha256, captured.inputs, captured.outputs, signature, data))
        if context.cache is not None:
            facts = context.cache.get(self.key, folder)
            if facts is not None:
                self._served = TypeAdapter(Conversion).validate_python(facts)
                return
        if not program.exists():
            write_program(captured.program, program)

    def _file_stem(self) -> str:
        parts = ["model"]
        if self._variant != self.target.variants[0]:
            parts.append(self._variant)
        if self.spec is not None:
            parts.append(self.spec.name)
        return "-".join(parts)

    def _quantization(
        self, artefact: Path, data: QuantizationData | None
    ) -> QuantizationRequest | None:
        if self.spec is None or data is None:
            return None
        return QuantizationRequest(
            self.spec,
            data.calibration if self.spec.weights else None,
            data.samples,
            artefact.with_name(f"{artefact.name}.simulated.safetensors"),
        )

    def _facts(
        self,
        sha256: str,
        inputs: tuple[TensorSpec, ...],
        outputs: tuple[TensorSpec, ...],
        signature: tuple[TensorSpec, ...],
        data: QuantizationData | None,
    ) -> dict[str, Any]:
        quantized: list[Any] = []
        if self.spec is not None and data is not None:
            calibration = data.calibration_sha256 if self.spec.weights else ""
            quantized = [repr(self.spec), data.samples_sha256, calibration]
        return {
            "kind": "conversion",
            "code": code_digest(),
            "program": sha256,
            "target": self.qualified,
            "file": self._file_stem(),
            "face": [str([*inputs]), str([*outputs]), str([*signature])],
            "quantization": quantized,
            "versions": package_versions(("torch", "numpy", "protobuf", *self.target.packages)),
            "python": platform.python_version(),
            "machine": [platform.system(), platform.machine()],
        }

    def run(self, context: ExportContext) -> ConvertedArtefact | FailedTarget:
        """Convert, or return the artefact from the cache.

        Args:
            context: The context given to :meth:`prepare`.

        Raises:
            ConversionError: The job was not prepared.
        """
        if self._failure is not None:
            return FailedTarget(self.name, self._failure)
        request = self._request
        if request is None:
            raise ConversionError(f"{self.name} was not prepared")
        if self._served is not None:
            context.on_progress(self.name, "from the cache")
            return self._converted(request, self._served, None)
        with self._lock:
            if self._stopped:
                return FailedTarget(self.name, ConversionError(f"{self.name} was stopped"))
            self._converter = Converter(request, context.limits)
        try:
            conversion, seconds = self._converter.run(
                lambda progress: context.on_progress(self.name, str(progress.get("step", "")))
            )
        except ConversionFailed as failed:
            error = _disk_full_error(failed.error, request.program) or failed.error
            # A partly written artefact must not get into the bundle.
            with contextlib.suppress(OSError):
                remove(request.output)
            return FailedTarget(self.name, error, failed.log)
        result = self._converted(request, conversion, round(seconds, 2))
        if context.cache is not None:
            facts = TypeAdapter(Conversion).dump_python(conversion, mode="json")
            made = [path for path in (request.output, result.simulated) if path is not None]
            context.cache.put(self.key, facts, made)
        return result

    def _converted(
        self, request: ConversionRequest, conversion: Conversion, seconds: float | None
    ) -> ConvertedArtefact:
        quantized = conversion.quantized
        unsimulated = quantized is not None and quantized.not_simulated
        return ConvertedArtefact(
            self.qualified,
            request.output,
            digest(request.output),
            conversion,
            seconds,
            spec=self.spec,
            simulated=request.quantization.simulated
            if request.quantization is not None and not unsimulated
            else None,
        )

    def stop(self) -> None:
        """Stop a running conversion; a finished one keeps its result."""
        with self._lock:
            self._stopped = True
            if self._converter is not None:
                self._converter.close()


def _disk_full_error(error: EdgeSdkError, program: Path) -> StorageError | None:
    """Explain an unexplained converter failure as a full disk, if the disk is full.

    Converters report a full disk in various ways; one ends its process without a message.
    """
    if type(error) not in (ConversionError, ConverterCrashError):
        return None
    free, needed = shutil.disk_usage(program.parent).free, program.stat().st_size
    if free >= needed:
        return None
    return StorageError(
        f"the disk has {free >> 10} KiB free and the program alone needs {needed >> 10} KiB: "
        f"{error.message}",
        remedy="free some space or choose another disk",
    )
