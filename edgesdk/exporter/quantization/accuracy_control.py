"""Which layers a quantization harms, and the few to keep float so that little enough is lost."""

from __future__ import annotations

import dataclasses
import math
import threading
from collections.abc import Callable, Sequence

from edgesdk.bundle.manifest import LayerSensitivityRecord, OperatorErrorRecord
from edgesdk.errors import DataError
from edgesdk.exporter.prepared import CaptureSpec, PreparedModel
from edgesdk.exporter.quantization.calibration_data import QuantizationInputs
from edgesdk.exporter.quantization.error_analysis import operator_gaps
from edgesdk.frontend.provenance import where
from edgesdk.quant.fake_quantization.simulated import SimulatedQuantization
from edgesdk.quant.mixed_precision import MixedPrecision, keep_float
from edgesdk.quant.plan import Arrays
from edgesdk.quant.sensitivity import LayerSensitivity, rank_layers
from edgesdk.quant.spec import QuantSpec
from edgesdk.verification.accuracy_drop import EvaluationSet, measure_drop

__all__ = ["SensitivityAnalysis"]

#: Samples that layers are ranked on, and that a choice of layers is tried on.
_RANKED_ON = 32
_TRIED_ON = 128
_GAPS_ON = 8


class SensitivityAnalysis:
    """Simulates the recipes of an export layer by layer; what was simulated once is kept.

    Safe to share between threads, which wait for each other.

    Args:
        prepared: The model.
        inputs: Its calibration and evaluation sets; one of them must be there.
        on_step: Called with what is being done.
    """

    def __init__(
        self,
        prepared: PreparedModel,
        inputs: QuantizationInputs,
        on_step: Callable[[str], None] | None = None,
    ) -> None:
        self._prepared = prepared
        self._inputs = inputs
        self._tell = on_step or (lambda step: None)
        self._lock = threading.Lock()
        self._simulated: dict[QuantSpec, SimulatedQuantization] = {}
        self._ranked: dict[QuantSpec, list[LayerSensitivity]] = {}

    @property
    def samples(self) -> int:
        """How many samples layers are ranked on."""
        return len(self._samples())

    def harms(self, spec: QuantSpec) -> list[LayerSensitivityRecord]:
        """What quantizing each layer alone does, the worst first.

        Args:
            spec: The recipe; layers it keeps float are left out.

        Raises:
            DataError: There is no sample.
            QuantizationError: The recipe finds nothing to quantize.
        """
        with self._lock:
            ranked = self._rank(spec)
        return [
            LayerSensitivityRecord(
                path=layer.path,
                operator=layer.operator,
                weights=layer.weights,
                drop=None if layer.alone.agreement is None else 1 - layer.alone.agreement,
                snr_db=layer.alone.snr_db if math.isfinite(layer.alone.snr_db) else None,
                where=layer.where,
            )
            for layer in ranked
            if not spec.keeps_float(layer.path)
        ]

    def gaps(self, spec: QuantSpec) -> list[OperatorErrorRecord]:
        """How far every operator's result is from the float model's, with all layers quantized.

        Args:
            spec: The recipe.

        Raises:
            DataError: There is no sample.
        """
        with self._lock:
            whole = dataclasses.replace(spec, float_layers=(), io_dtype="float")
            return operator_gaps(
                self._simulation(whole),
                self._samples()[:_GAPS_ON],
                progress=lambda done, of: self._tell(
                    f"comparing operators of {spec.name}: {done}/{of}"
                ),
            )

    def search(self, spec: QuantSpec, bound: float) -> MixedPrecision:
        """The fewest and smallest layers to keep float so that the simulated drop is at most this.

        Args:
            spec: The recipe.
            bound: Largest drop, as a share.

        Raises:
            DataError: There is nothing to measure the drop on.
        """
        evaluation = self._inputs.evaluation
        if evaluation is None:
            raise DataError(
                "there is nothing to measure the drop on", remedy="give --evaluate or --data"
            )
        tried = _first(evaluation, _TRIED_ON)
        with self._lock:
            ranked = self._rank(spec)
            simulated = self._simulation(spec)

            def drop(float_layers: tuple[str, ...]) -> float:
                answers = simulated.answers(tried.inputs, float_layers=float_layers)
                given = iter(answers)
                return measure_drop(lambda arrays: next(given), tried).drop

            return keep_float(
                ranked,
                drop,
                max_drop=bound,
                on_progress=lambda trial: self._tell(
                    f"{len(trial.float_layers)} layers float: {trial.drop:.2%} lost, simulated"
                ),
            )

    def _simulation(self, spec: QuantSpec) -> SimulatedQuantization:
        if spec not in self._simulated:
            self._tell(f"simulating {spec.name}")
            captured = self._prepared.capture(CaptureSpec())
            calibration = self._inputs.calibration
            self._simulated[spec] = SimulatedQuantization(
                captured.program,
                spec,
                calibration=calibration.inputs if calibration is not None else (),
                inputs=[one.name for one in captured.inputs],
                outputs=[one.name for one in captured.outputs],
            )
        return self._simulated[spec]

    def _rank(self, spec: QuantSpec) -> list[LayerSensitivity]:
        # Which layers are float changes nothing of what the others do alone.
        whole = dataclasses.replace(spec, float_layers=(), io_dtype="float")
        if whole not in self._ranked:
            simulated = self._simulation(whole)
            samples = self._samples()
            self._ranked[whole] = rank_layers(
                simulated,
                samples,
                locate=where,
                on_progress=lambda done, of: self._tell(
                    f"ranking layers of {spec.name}: {done}/{of}"
                ),
            )
        return self._ranked[whole]

    def _samples(self) -> Sequence[Arrays]:
        if self._inputs.evaluation is not None:
            return self._inputs.evaluation.inputs[:_RANKED_ON]
        if self._inputs.calibration is not None:
            return self._inputs.calibration.inputs[:_RANKED_ON]
        raise DataError(
            "there is nothing to rank layers on", remedy="give --evaluate, --data or --calibration"
        )


def _first(evaluation: EvaluationSet, count: int) -> EvaluationSet:
    return dataclasses.replace(
        evaluation,
        inputs=evaluation.inputs[:count],
        expected=evaluation.expected[:count],
        labels=evaluation.labels[:count],
    )
