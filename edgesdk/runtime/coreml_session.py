"""Run ``.mlpackage``: in Apple's runtime on a Mac, in a torch evaluator everywhere else."""

from __future__ import annotations

import importlib.metadata
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from edgesdk.errors import MissingBackendError, SessionError
from edgesdk.runtime.error_translation import translated_errors
from edgesdk.runtime.loaded_session import LoadedSession, owned_array
from edgesdk.runtime.mil import EVALUATOR_NOTE, MilEvaluator, MilFeature, load
from edgesdk.runtime.mil.compiler_limits import require_compilable
from edgesdk.runtime.session import MeasuredOperator
from edgesdk.spec import TensorSpec

__all__ = ["CoremlSession"]


class CoremlSession(LoadedSession):
    """A Core ML package. Not thread safe.

    On a Mac it runs in Core ML on the CPU (``predict`` of coremltools), which ignores ``threads``.
    The project's tests have never run that path. Elsewhere the saved program is evaluated with
    torch, and ``evaluator`` is True.

    An image input takes camera bytes, ``uint8`` of shape ``[1, height, width, channels]``. With a
    declared :class:`edgesdk.spec.ImageSpec` the channels are in its ``color`` order, otherwise in
    the package's.

    Args:
        path: The ``.mlpackage`` folder.
        threads: Number of threads of the evaluator.
        inputs: Declared inputs, for ranges of free dimensions and images.
        outputs: Declared outputs.

    Raises:
        MissingBackendError: ``coremltools`` is not installed.
        SessionError: The package is damaged or cannot be run.
    """

    def _open(self) -> tuple[list[TensorSpec], list[TensorSpec]]:
        path = self.path
        # Our own loader checks the package on every platform.
        with translated_errors(
            f"{path.name} is damaged or not a valid Core ML package",
            remedy="copy the whole folder again or export the model again",
        ):
            program = load(path)
        started = time.perf_counter()
        self._native: Any = None
        self._evaluator: MilEvaluator | None = None
        if sys.platform == "darwin":
            self._native = self._loaded_natively()
            self.operators_note = "Core ML does not report operator times to Python"
        else:
            require_compilable(program)
            with translated_errors(f"the program of {path.name} cannot be evaluated"):
                self._evaluator = MilEvaluator(program, threads=self.threads)
            self.evaluator = True
            self.note = EVALUATOR_NOTE
            self.runtime = f"edgesdk MIL evaluator on torch {importlib.metadata.version('torch')}"
            self.operators_note = "per operator of the torch evaluator, not of an Apple device"
        self.load_seconds = time.perf_counter() - started
        self._features: tuple[MilFeature, ...] = tuple(program.inputs)
        self._result_names = [feature.name for feature in program.outputs]
        found = [_input_spec(feature) for feature in program.inputs]
        return found, _output_specs(program.outputs, self._declared_outputs)

    def _loaded_natively(self) -> Any:
        try:
            import coremltools
        except ModuleNotFoundError as error:
            raise MissingBackendError("coremltools", "coreml") from error
        self.runtime = f"Core ML through coremltools {coremltools.__version__}"
        with translated_errors(
            f"Core ML cannot load {self.path.name}",
            remedy="if the package needs a newer system than this one, export it for an older one",
        ):
            return coremltools.models.MLModel(
                str(self.path), compute_units=coremltools.ComputeUnit.CPU_ONLY
            )

    def _run(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        feed = self._fed(arrays)
        if self._evaluator is not None:
            with translated_errors(f"the evaluation of {self.path.name} failed"):
                results = self._evaluator.run(feed)
        else:
            with translated_errors(f"Core ML failed on {self.path.name}"):
                results = self._native.predict(self._images(feed))
        try:
            values = [np.asarray(results[name]) for name in self._result_names]
        except KeyError as error:
            raise SessionError(f"{self.path.name} did not answer {error}") from error
        return [
            owned_array(value.astype(spec.dtype, copy=False))
            for value, spec in zip(values, self.outputs, strict=True)
        ]

    def _fed(self, arrays: list[np.ndarray]) -> dict[str, np.ndarray]:
        """Convert arrays to package inputs: images to ``uint8 [1, channels, height, width]``."""
        feed = {}
        for feature, spec, array in zip(self._features, self.inputs, arrays, strict=True):
            if feature.colour:
                # Reverse camera bytes whose channel order differs from the package's.
                order = spec.image.color if spec.image is not None else ""
                if (order, feature.colour) in (("rgb", "BGR"), ("bgr", "RGB")):
                    array = array[..., ::-1]
                array = np.ascontiguousarray(array.transpose(0, 3, 1, 2))
            feed[feature.name] = array
        return feed

    def _images(self, feed: dict[str, np.ndarray]) -> dict[str, Any]:
        """Convert images to PIL images in RGB order, as Core ML in Python takes them."""
        from PIL import Image

        given: dict[str, Any] = dict(feed)
        for feature in self._features:
            if not feature.colour:
                continue
            pixels = feed[feature.name][0].transpose(1, 2, 0)
            if feature.colour == "BGR":
                # Core ML itself reorders the channels for a BGR model.
                pixels = pixels[..., ::-1]
            if pixels.shape[-1] == 1:
                pixels = pixels[..., 0]
            given[feature.name] = Image.fromarray(np.ascontiguousarray(pixels))
        return given

    def _operator_times(self, arrays: list[np.ndarray], runs: int) -> Sequence[MeasuredOperator]:
        if self._evaluator is None:
            return ()
        with translated_errors(f"the evaluation of {self.path.name} failed"):
            return self._evaluator.operator_times(self._fed(arrays), runs)

    def _release(self) -> None:
        self._native = None
        self._evaluator = None


def _input_spec(feature: MilFeature) -> TensorSpec:
    spec = feature.spec()
    if not feature.colour:
        return spec
    batch, channels, height, width = spec.shape
    axes = {0: 0, 1: 3, 2: 1, 3: 2}
    return replace(
        spec,
        shape=(batch, height, width, channels),
        dtype="uint8",
        dynamic={axes[axis]: dimension for axis, dimension in spec.dynamic.items()},
        layout="NHWC",
    )


def _output_specs(
    features: Sequence[MilFeature], declared: Sequence[TensorSpec] | None
) -> list[TensorSpec]:
    """Return the package's outputs; sizes that depend on the inputs come from the manifest."""
    specs = [feature.spec() for feature in features]
    if declared is None:
        return specs
    wanted = {spec.name: spec for spec in declared}
    return [
        replace(spec, shape=wanted[spec.name].shape)
        if spec.name in wanted and len(spec.shape) == len(wanted[spec.name].shape)
        else spec
        for spec in specs
    ]
