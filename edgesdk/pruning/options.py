"""Options and progress callbacks of :func:`edgesdk.prune`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edgesdk.errors import UsageError
from edgesdk.pruning.budget import Budget, LatencyGoal
from edgesdk.pruning.methods import MethodSettings, check_method
from edgesdk.training.history import Progress
from edgesdk.training.recipes import Recipe

if TYPE_CHECKING:
    from edgesdk.pruning.acp import AcpProgress

__all__ = ["PruneOptions", "PruneProgress"]

_RETRAIN = ("auto", "finetune", "none", "scratch")


@dataclass(frozen=True)
class PruneOptions:
    """Options of :func:`prune`.

    Attributes:
        method: A key of :data:`edgesdk.pruning.methods.METHODS`.
        macs: Share of the multiply-accumulates that may stay; None for no limit.
        params: Share of the parameters that may stay; None for no limit.
        latency: Measured latency that may stay; excludes ``macs`` and ``params``.
        threshold: UCP's ``1 + lambda``, used without a budget.
        round_to: Widths are multiples of this number.
        protect: Module paths whose output channels stay.
        retrain: ``scratch`` (new weights, as UCP does), ``finetune`` (continue from the remaining
            weights; UCP's gates are folded into its layers) or ``none``. ``auto`` is ``none``
            without data, ``scratch`` for ucp and ``finetune`` for every other method.
        recipe: Training recipe of the pruned model.
        settings: Settings of the method.
        threads: Threads of the runtime that measures latency.
    """

    method: str = "l1"
    macs: float | None = None
    params: float | None = None
    latency: LatencyGoal | None = None
    threshold: float | None = None
    round_to: int = 1
    protect: tuple[str, ...] = ()
    retrain: str = "auto"
    recipe: Recipe | None = None
    settings: MethodSettings = field(default_factory=MethodSettings)
    threads: int = 1

    def __post_init__(self) -> None:
        check_method(self.method)
        if self.retrain not in _RETRAIN:
            raise UsageError(
                f"retrain is {self.retrain!r}", remedy=f"give one of {', '.join(_RETRAIN)}"
            )
        if self.round_to < 1:
            raise UsageError(f"round_to is {self.round_to}", remedy="give 1 or more")
        if self.latency is not None and (self.macs is not None or self.params is not None):
            raise UsageError(
                "a latency budget and a budget of FLOPs or parameters exclude each other",
                remedy="give only one of them",
            )

    @property
    def budget(self) -> Budget | None:
        """Budget of multiply-accumulates and parameters; None without either."""
        none = self.macs is None and self.params is None
        return None if none else Budget(self.macs, self.params)


@dataclass(frozen=True)
class PruneProgress:
    """Progress callbacks of :func:`prune`.

    Attributes:
        step: Called with the name of each step as it begins.
        training: Called during every training.
        search: Called after every candidate of ACP's search.
    """

    step: Callable[[str], None] = lambda text: None
    training: Callable[[Progress], None] | None = None
    search: Callable[[AcpProgress], None] | None = None
