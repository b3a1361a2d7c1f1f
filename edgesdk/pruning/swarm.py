"""Particle swarm over integer codes; ACP refines the widths of a network with it.

Chang et al., arXiv 2101.06407, steps 2 and 4, with these rules: the velocity is updated first and
moves the particle in the same cycle, on the dimensions chosen for it, with independent random
numbers; positions are rounded to the nearest width; a code is evaluated once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from edgesdk.errors import UsageError

__all__ = ["Code", "Swarm", "SwarmSettings", "velocity"]

#: Widths of all groups, in the order of the groups.
Code: TypeAlias = "tuple[int, ...]"

_CONSTRICTION = 0.729
_PULL = 2.0
_FASTEST = 2.0
_STRIDE = 2.0


@dataclass(frozen=True)
class SwarmSettings:
    """Settings of the swarm.

    Attributes:
        particles: Number of particles; the paper has 10.
        cycles: Rounds of movement; the paper has 8.
        moving: Dimensions in which a particle moves per cycle; the paper has 8.
        seed: Seed of everything random.
    """

    particles: int = 10
    cycles: int = 8
    moving: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("particles", "cycles", "moving"):
            if getattr(self, name) < (0 if name == "cycles" else 1):
                raise UsageError(f"{name} is {getattr(self, name)}", remedy="give 1 or more")


def velocity(
    v: np.ndarray,
    x: np.ndarray,
    own_best: np.ndarray,
    best: np.ndarray,
    inertia: float,
    own_pull: float,
    pull: float,
) -> np.ndarray:
    """Update a velocity: ``0.729 (w v + 2 R1 (own best - x) + 2 R2 (best - x))``, clipped to -2..2.

    Args:
        v: Velocity.
        x: Position.
        own_best: Best position of this particle.
        best: Best position of all particles.
        inertia: w.
        own_pull: R1, 0 to 1.
        pull: R2, 0 to 1.
    """
    moved = _CONSTRICTION * (
        inertia * v + _PULL * own_pull * (own_best - x) + _PULL * pull * (best - x)
    )
    return np.clip(moved, -_FASTEST, _FASTEST)


@dataclass
class Swarm:
    """A population around a first code.

    Attributes:
        start: Code of particle 0: the widths by clustering.
        largest: Largest value of each dimension.
        settings: Settings of the search.
        cycle: Number of cycles done.
        evaluated: Fitness of every code evaluated so far.
        history: Best fitness after each cycle; the first entry is the first population's.
    """

    start: Code
    largest: Code
    settings: SwarmSettings = field(default_factory=SwarmSettings)
    cycle: int = 0
    evaluated: dict[Code, float] = field(default_factory=dict)
    history: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        if len(self.start) != len(self.largest):
            raise UsageError(
                f"{len(self.start)} widths for {len(self.largest)} groups",
                remedy="give one width per group",
            )
        self._random = np.random.default_rng(self.settings.seed)
        count, width = self.settings.particles, len(self.start)
        steps = self._random.integers(-1, 2, size=(count, width))
        rank = np.arange(count)[:, None]
        self._x = self._inside(np.array(self.start) + rank * steps)
        self._v = self._random.uniform(-_FASTEST, _FASTEST, size=(count, width))
        self._own = self._x.copy()

    def _inside(self, x: np.ndarray) -> np.ndarray:
        return np.clip(np.rint(x), 1, np.array(self.largest)).astype(np.int64)

    @property
    def codes(self) -> tuple[Code, ...]:
        """Return the positions of the particles."""
        return tuple(tuple(int(value) for value in row) for row in self._x)

    @property
    def best(self) -> Code:
        """Return the best code so far; of equal ones the smallest.

        Raises:
            UsageError: No code was evaluated yet.
        """
        if not self.evaluated:
            raise UsageError("the swarm has not been evaluated", remedy="call search first")
        return min(self.evaluated, key=lambda code: (-self.evaluated[code], code))

    def search(
        self,
        evaluate: Callable[[Sequence[Code]], Mapping[Code, float]],
        *,
        after_cycle: Callable[[Swarm], None] | None = None,
    ) -> Code:
        """Run the remaining cycles and return the best code.

        Args:
            evaluate: Returns the fitness of codes, higher is better; called once per code.
            after_cycle: Called after a population was evaluated, to save :meth:`state`.
        """
        while True:
            if len(self.history) <= self.cycle:
                new = tuple(
                    code for code in dict.fromkeys(self.codes) if code not in self.evaluated
                )
                if new:
                    self.evaluated.update(evaluate(new))
                self._remember()
                if after_cycle is not None:
                    after_cycle(self)
            if self.cycle >= self.settings.cycles:
                return self.best
            self._move()

    def _remember(self) -> None:
        for index, code in enumerate(self.codes):
            own = tuple(int(value) for value in self._own[index])
            if self.evaluated[code] > self.evaluated.get(own, -np.inf):
                self._own[index] = self._x[index]
        self.history.append(self.evaluated[self.best])

    def _move(self) -> None:
        self.cycle += 1
        cycles = self.settings.cycles
        inertia = 0.4 + 0.5 * (cycles - self.cycle) / 20
        best = np.array(self.best)
        for index in range(self.settings.particles):
            count = min(self.settings.moving, len(self.start))
            chosen = self._random.choice(len(self.start), size=count, replace=False)
            own_pull, pull = self._random.uniform(size=2)
            at = (index, chosen)
            v = velocity(
                self._v[at], self._x[at], self._own[at], best[chosen], inertia, own_pull, pull
            )
            self._v[at] = v
            moved = self._x[index].astype(np.float64)
            moved[chosen] += _STRIDE * v
            self._x[index] = self._inside(moved)

    def state(self) -> dict[str, Any]:
        """Return the whole state as JSON, from which another process resumes the search."""
        return {
            "start": list(self.start),
            "largest": list(self.largest),
            "settings": vars(self.settings),
            "cycle": self.cycle,
            "evaluated": [[list(code), value] for code, value in self.evaluated.items()],
            "history": self.history,
            "x": self._x.tolist(),
            "v": self._v.tolist(),
            "own": self._own.tolist(),
            "random": self._random.bit_generator.state,
        }

    @classmethod
    def resumed(cls, state: Mapping[str, Any]) -> Swarm:
        """Resume a swarm from its :meth:`state`.

        Raises:
            UsageError: ``state`` is not the state of a swarm.
        """
        try:
            swarm = cls(
                tuple(state["start"]), tuple(state["largest"]), SwarmSettings(**state["settings"])
            )
            swarm.cycle = int(state["cycle"])
            swarm.evaluated = {tuple(code): float(value) for code, value in state["evaluated"]}
            swarm.history = [float(value) for value in state["history"]]
            swarm._x = np.array(state["x"], dtype=np.int64)
            swarm._v = np.array(state["v"], dtype=np.float64)
            swarm._own = np.array(state["own"], dtype=np.int64)
            swarm._random.bit_generator.state = state["random"]
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(
                f"the saved search is invalid: {error!r}", remedy="start the search again"
            ) from error
        return swarm
