"""Which layers to keep float so that a quantized network loses no more than allowed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgesdk.errors import QuantizationError, UsageError
from edgesdk.quant.sensitivity import LayerSensitivity

__all__ = ["MixedPrecision", "Trial", "keep_float"]

#: Of the cost of a layer that is kept float: what it counts beside the share of its weights.
_EVERY_LAYER = 0.5


@dataclass(frozen=True)
class Trial:
    """One evaluation.

    Attributes:
        float_layers: Module paths that stayed float, sorted.
        share: Of the weights that stayed float, 0..1.
        drop: What ``evaluate`` answered.
    """

    float_layers: tuple[str, ...]
    share: float
    drop: float


@dataclass(frozen=True)
class MixedPrecision:
    """What :func:`keep_float` found.

    Attributes:
        float_layers: Module paths to keep float, the most harmful first.
        share: Of the weights that stay float, 0..1.
        drop: Of the network with these layers float.
        met: Whether that is within the limit.
        trials: Every evaluation, in order.
    """

    float_layers: tuple[str, ...]
    share: float
    drop: float
    met: bool
    trials: tuple[Trial, ...]


def keep_float(
    layers: Sequence[LayerSensitivity],
    evaluate: Callable[[tuple[str, ...]], float],
    *,
    max_drop: float,
    max_evaluations: int = 40,
    progress: Callable[[Trial], None] | None = None,
) -> MixedPrecision:
    """Find few and small layers which, kept float, bring the loss within the limit.

    Layers are put in order by the noise each makes alone for what keeping it float costs: its share
    of the weights, and something for being one more float layer. The shortest beginning of that
    order which is good enough is found by bisection; then every layer in it that turns out not to
    be needed is quantized again, the costliest first.

    Args:
        layers: See :func:`edgesdk.quant.sensitivity.rank_layers`.
        evaluate: Given module paths to keep float, says what the network loses: any number that is
            smaller for better ones, such as top-1 of the float network less that of this one. It is
            called once for each choice of layers.
        max_drop: The limit.
        max_evaluations: How often ``evaluate`` is called at most, at least 1.
        progress: Is told every evaluation.

    Returns:
        The cheapest choice that meets the limit; where none does, the one that loses least.

    Raises:
        QuantizationError: No layers, or ``evaluate`` answers NaN.
        UsageError: A limit that is no number, or no evaluation allowed.
    """
    if not layers:
        raise QuantizationError("there is no layer to keep float", remedy="rank the layers first")
    if math.isnan(max_drop):
        raise UsageError("the largest drop is no number", remedy="give one, such as 0.01")
    if max_evaluations < 1:
        raise UsageError("not a single evaluation is allowed", remedy="allow 1 or more")
    search = _Search(layers, evaluate, max_drop, max_evaluations, progress)
    search.run()
    return search.result()


class _Search:
    """Evaluations within their limit, each choice once."""

    def __init__(
        self,
        layers: Sequence[LayerSensitivity],
        evaluate: Callable[[tuple[str, ...]], float],
        max_drop: float,
        left: int,
        progress: Callable[[Trial], None] | None,
    ) -> None:
        self._evaluate, self._max_drop = evaluate, max_drop
        self._left, self._progress = left, progress
        self._share = {layer.path: layer.share for layer in layers}
        self._order = sorted(layers, key=self._worth, reverse=True)
        self._place = {layer.path: place for place, layer in enumerate(self._order)}
        self._known: dict[frozenset[str], Trial] = {}

    def run(self) -> None:
        """Bisect, then give back."""
        paths = [layer.path for layer in self._order]
        if self._meets(paths[:0]) is not False:
            return
        enough = self._bisect(paths)
        if enough is None:
            return
        kept = set(paths[:enough])
        # The last one of a shortest beginning is needed; it was seen not to do without.
        for path in sorted(paths[: enough - 1], key=self._cost, reverse=True):
            lighter = kept - {path}
            met = self._meets(lighter)
            if met is None:
                return
            if met:
                kept = lighter

    def result(self) -> MixedPrecision:
        """The best of all that was evaluated."""
        trials = list(self._known.values())
        good = [trial for trial in trials if trial.drop <= self._max_drop]
        if good:
            best = min(good, key=lambda t: (sum(map(self._cost, t.float_layers)), t.drop))
        else:
            best = min(trials, key=lambda t: (t.drop, len(t.float_layers)))
        ordered = tuple(sorted(best.float_layers, key=self._place.__getitem__))
        return MixedPrecision(ordered, best.share, best.drop, bool(good), tuple(trials))

    def _bisect(self, paths: list[str]) -> int | None:
        """Length of the shortest beginning that is good enough; None where that stays unknown."""
        low, high = 0, len(paths)
        # Few layers do most of the harm: look near the beginning before the middle.
        step = 1
        while step < high:
            met = self._meets(paths[:step])
            if met is None:
                return None
            if met:
                high = step
                break
            low, step = step, step * 2
        else:
            if not self._meets(paths):
                return None
        while high - low > 1:
            middle = (low + high) // 2
            met = self._meets(paths[:middle])
            if met is None:
                return None
            low, high = (low, middle) if met else (middle, high)
        return high

    def _meets(self, paths: Sequence[str] | set[str]) -> bool | None:
        """Whether a choice is good enough; None where no evaluation is left to tell."""
        key = frozenset(paths)
        if key not in self._known:
            if self._left == 0:
                return None
            self._left -= 1
            chosen = tuple(sorted(key))
            drop = float(self._evaluate(chosen))
            if math.isnan(drop):
                raise QuantizationError(
                    f"with {len(chosen)} layers float the loss is no number",
                    remedy="check that the network's outputs are finite",
                )
            trial = Trial(chosen, sum(self._share[path] for path in chosen), drop)
            self._known[key] = trial
            if self._progress is not None:
                self._progress(trial)
        return self._known[key].drop <= self._max_drop

    def _cost(self, path: str) -> float:
        return _EVERY_LAYER / len(self._share) + (1 - _EVERY_LAYER) * self._share[path]

    def _worth(self, layer: LayerSensitivity) -> float:
        return layer.alone.noise / self._cost(layer.path)
