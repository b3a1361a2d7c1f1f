"""Rank layers by the error that quantizing them causes, and choose the few to keep float."""

from __future__ import annotations

import dataclasses
import math
import threading
from collections.abc import Callable, Sequence

from edgesdk.bundle.manifest import LayerSensitivityRecord, OperatorErrorRecord
from edgesdk.errors import DataError
from edgesdk.exporter.prepared import CaptureSpec, PreparedModel
from edgesdk.exporter.quantization.calibration_data import QuantizationInputs
from edgesdk.exporter.quantization.error_analysis import operator_errors
from edgesdk.frontend.provenance import where
from edgesdk.quant.fake_quantization.simulated import SimulatedQuantization
from edgesdk.quant.mixed_precision import MixedPrecision, keep_float
from edgesdk.quant.plan import Arrays
from edgesdk.quant.sensitivity import LayerSensitivity, rank_layers
from edgesdk.quant.spec import QuantSpec
from edgesdk.verification.accuracy_drop import EvaluationSet, measure_drop

__all__ = ["SensitivityAnalysis"]

#: Number of samples for ranking layers, for searching float layers, and for operator errors.
_RANKING_SAMPLES = 32
_SEARCH_SAMPLES = 128
_ERROR_SAMPLES = 8


class SensitivityAnalysis:
    """Simulates the recipes of an export layer by layer; each simulation runs once.

    Thread-safe; concurrent calls wait for each other.

    Args:
        prepared: The model.
        inputs: Its calibration and evaluation sets; at least one must be present.
        on_progress: Called with the current step.
    """

    def __init__(
        self,
        prepared: PreparedModel,
        inputs: QuantizationInputs,
        on_progress: Callable[[str], None] | None = None,
    ) -> None:
        self._prepared = prepared
        self._inputs = inputs
        self._on_progress = on_progress or (lambda step: None)
        self._lock = threading.Lock()
        self._simulations: dict[QuantSpec, SimulatedQuantization] = {}
        self._rankings: dict[QuantSpec, list[LayerSensitivity]] = {}

    @property
    def samples(self) -> int:
        """Number of samples that layers are ranked on."""
        return len(self._samples())

    def sensitivities(self, spec: QuantSpec) -> list[LayerSensitivityRecord]:
        """Return the effect of quantizing each layer alone, the most sensitive layer first.

        Args:
            spec: The recipe; layers it keeps float are left out.

        Raises:
            DataError: No samples are available.
            QuantizationError: The recipe finds nothing to quantize.
        """
        with self._lock:
            ranking = self._rank(spec)
        return [
            LayerSensitivityRecord(
                path=layer.path,
                operator=layer.operator,
                weights=layer.weights,
                drop=None if layer.alone.agreement is None else 1 - layer.alone.agreement,
                snr_db=layer.alone.snr_db if math.isfinite(layer.alone.snr_db) else None,
                where=layer.where,
            )
            for layer in ranking
            if not spec.keeps_float(layer.path)
        ]

    def errors(self, spec: QuantSpec) -> list[OperatorErrorRecord]:
        """Return the error of every operator's result, with all layers quantized.

        Args:
            spec: The recipe.

        Raises:
            DataError: No samples are available.
        """
        with self._lock:
            whole = dataclasses.replace(spec, float_layers=(), io_dtype="float")
            return operator_errors(
                self._simulation(whole),
                self._samples()[:_ERROR_SAMPLES],
                on_progress=lambda done, of: self._on_progress(
                    f"comparing operators of {spec.name}: {done}/{of}"
                ),
            )

    def search(self, spec: QuantSpec, bound: float) -> MixedPrecision:
        """Find few and small layers to keep float so that the simulated drop is within a bound.

        Args:
            spec: The recipe.
            bound: Largest drop allowed, as a share.

        Raises:
            DataError: The evaluation set is missing.
        """
        if self._inputs.evaluation is None:
            raise DataError(
                "no inputs for measuring the accuracy drop", remedy="give --evaluate or --data"
            )
        evaluation = _first(self._inputs.evaluation, _SEARCH_SAMPLES)
        with self._lock:
            ranking = self._rank(spec)
            simulation = self._simulation(spec)

            def drop(float_layers: tuple[str, ...]) -> float:
                answers = simulation.answers(evaluation.inputs, float_layers=float_layers)
                given = iter(answers)
                return measure_drop(lambda arrays: next(given), evaluation).drop

            return keep_float(
                ranking,
                drop,
                max_drop=bound,
                on_progress=lambda trial: self._on_progress(
                    f"{len(trial.float_layers)} layers float: {trial.drop:.2%} lost, simulated"
                ),
            )

    def _simulation(self, spec: QuantSpec) -> SimulatedQuantization:
        if spec not in self._simulations:
            self._on_progress(f"simulating {spec.name}")
            captured = self._prepared.capture(CaptureSpec())
            calibration = self._inputs.calibration
            self._simulations[spec] = SimulatedQuantization(
                captured.program,
                spec,
                calibration=calibration.inputs if calibration is not None else (),
                inputs=[one.name for one in captured.inputs],
                outputs=[one.name for one in captured.outputs],
            )
        return self._simulations[spec]

    def _rank(self, spec: QuantSpec) -> list[LayerSensitivity]:
        # The effect of a layer alone does not depend on which others are float.
        whole = dataclasses.replace(spec, float_layers=(), io_dtype="float")
        if whole not in self._rankings:
            self._rankings[whole] = rank_layers(
                self._simulation(whole),
                self._samples(),
                locate=where,
                on_progress=lambda done, of: self._on_progress(
                    f"ranking layers of {spec.name}: {done}/{of}"
                ),
            )
        return self._rankings[whole]

    def _samples(self) -> Sequence[Arrays]:
        if self._inputs.evaluation is not None:
            return self._inputs.evaluation.inputs[:_RANKING_SAMPLES]
        if self._inputs.calibration is not None:
            return self._inputs.calibration.inputs[:_RANKING_SAMPLES]
        raise DataError(
            "no inputs for ranking layers", remedy="give --evaluate, --data or --calibration"
        )


def _first(evaluation: EvaluationSet, count: int) -> EvaluationSet:
    return dataclasses.replace(
        evaluation,
        inputs=evaluation.inputs[:count],
        expected=evaluation.expected[:count],
        labels=evaluation.labels[:count],
    )
