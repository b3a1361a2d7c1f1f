"""Mixed precision: choose the layers to keep float so that the accuracy drop stays in bounds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgesdk.errors import QuantizationError, UsageError
from edgesdk.quant.sensitivity import LayerSensitivity

__all__ = ["MixedPrecision", "Trial", "keep_float"]

#: Part of a float layer's cost that is the same for every layer; the rest is its weight share.
_PER_LAYER_COST = 0.5


@dataclass(frozen=True)
class Trial:
    """One evaluation.

    Attributes:
        float_layers: Module paths that stayed float, sorted.
        share: Share of all weights that stayed float, 0..1.
        drop: Drop that ``evaluate`` returned.
    """

    float_layers: tuple[str, ...]
    share: float
    drop: float


@dataclass(frozen=True)
class MixedPrecision:
    """Result of :func:`keep_float`.

    Attributes:
        float_layers: Module paths to keep float, the most sensitive first.
        share: Share of all weights that stay float, 0..1.
        drop: Drop of the network with these layers float.
        within_limit: True if the drop is at most ``max_drop``.
        trials: Every evaluation, in order.
    """

    float_layers: tuple[str, ...]
    share: float
    drop: float
    within_limit: bool
    trials: tuple[Trial, ...]


def keep_float(
    layers: Sequence[LayerSensitivity],
    evaluate: Callable[[tuple[str, ...]], float],
    *,
    max_drop: float,
    max_evaluations: int = 40,
    on_progress: Callable[[Trial], None] | None = None,
) -> MixedPrecision:
    """Choose few and small layers to keep float so that the drop is at most ``max_drop``.

    Layers are sorted by noise per cost: the noise each adds when quantized alone, over the cost of
    keeping it float (its share of the weights plus a fixed part). Bisection finds the shortest
    prefix of that order that meets the limit. Layers of the prefix that turn out to be unnecessary
    are then quantized again, the costliest first.

    Args:
        layers: See :func:`edgesdk.quant.sensitivity.rank_layers`.
        evaluate: Takes module paths to keep float and returns the drop, lower is better: top-1
            accuracy of the float network minus that of this one, for example. Called once per
            choice of layers.
        max_drop: Largest drop allowed.
        max_evaluations: Largest number of calls of ``evaluate``, at least 1.
        on_progress: Called with each evaluation.

    Returns:
        The cheapest choice within the limit; if none is, the one with the smallest drop.

    Raises:
        QuantizationError: ``layers`` is empty, or ``evaluate`` returns NaN.
        UsageError: ``max_drop`` is NaN, or ``max_evaluations`` is below 1.
    """
    if not layers:
        raise QuantizationError("no layers to choose from", remedy="rank the layers first")
    if math.isnan(max_drop):
        raise UsageError("max_drop is NaN", remedy="give a number such as 0.01")
    if max_evaluations < 1:
        raise UsageError("max_evaluations must be at least 1", remedy="allow 1 or more")
    search = _Search(layers, evaluate, max_drop, max_evaluations, on_progress)
    search.run()
    return search.result()


class _Search:
    """Evaluate choices of layers, each at most once, within the number of evaluations allowed."""

    def __init__(
        self,
        layers: Sequence[LayerSensitivity],
        evaluate: Callable[[tuple[str, ...]], float],
        max_drop: float,
        max_evaluations: int,
        on_progress: Callable[[Trial], None] | None,
    ) -> None:
        self._evaluate, self._max_drop = evaluate, max_drop
        self._remaining, self._on_progress = max_evaluations, on_progress
        self._share = {layer.path: layer.share for layer in layers}
        self._order = sorted(layers, key=self._noise_per_cost, reverse=True)
        self._rank = {layer.path: rank for rank, layer in enumerate(self._order)}
        self._known: dict[frozenset[str], Trial] = {}

    def run(self) -> None:
        """Find the shortest sufficient prefix by bisection, then drop layers it does not need."""
        paths = [layer.path for layer in self._order]
        if self._within_limit(paths[:0]) is not False:
            return
        enough = self._bisect(paths)
        if enough is None:
            return
        kept = set(paths[:enough])
        # The last layer of the shortest prefix is needed: the prefix without it failed.
        for path in sorted(paths[: enough - 1], key=self._cost, reverse=True):
            lighter = kept - {path}
            within = self._within_limit(lighter)
            if within is None:
                return
            if within:
                kept = lighter

    def result(self) -> MixedPrecision:
        """Return the best choice evaluated."""
        trials = list(self._known.values())
        good = [trial for trial in trials if trial.drop <= self._max_drop]
        if good:
            best = min(good, key=lambda t: (sum(map(self._cost, t.float_layers)), t.drop))
        else:
            best = min(trials, key=lambda t: (t.drop, len(t.float_layers)))
        ordered = tuple(sorted(best.float_layers, key=self._rank.__getitem__))
        return MixedPrecision(ordered, best.share, best.drop, bool(good), tuple(trials))

    def _bisect(self, paths: list[str]) -> int | None:
        """Return the length of the shortest prefix within the limit; None if unknown."""
        low, high = 0, len(paths)
        # A few layers cause most of the drop: search short prefixes first.
        step = 1
        while step < high:
            within = self._within_limit(paths[:step])
            if within is None:
                return None
            if within:
                high = step
                break
            low, step = step, step * 2
        else:
            if not self._within_limit(paths):
                return None
        while high - low > 1:
            middle = (low + high) // 2
            within = self._within_limit(paths[:middle])
            if within is None:
                return None
            low, high = (low, middle) if within else (middle, high)
        return high

    def _within_limit(self, paths: Sequence[str] | set[str]) -> bool | None:
        """Return True if a choice is within the limit; None if no evaluations remain."""
        key = frozenset(paths)
        if key not in self._known:
            if self._remaining == 0:
                return None
            self._remaining -= 1
            chosen = tuple(sorted(key))
            drop = float(self._evaluate(chosen))
            if math.isnan(drop):
                raise QuantizationError(
                    f"the drop with {len(chosen)} layers float is NaN",
                    remedy="check that the network's outputs are finite",
                )
            trial = Trial(chosen, sum(self._share[path] for path in chosen), drop)
            self._known[key] = trial
            if self._on_progress is not None:
                self._on_progress(trial)
        return self._known[key].drop <= self._max_drop

    def _cost(self, path: str) -> float:
        return _PER_LAYER_COST / len(self._share) + (1 - _PER_LAYER_COST) * self._share[path]

    def _noise_per_cost(self, layer: LayerSensitivity) -> float:
        return layer.alone.noise / self._cost(layer.path)
