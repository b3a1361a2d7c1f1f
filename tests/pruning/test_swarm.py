"""The swarm's movement, by the numbers of its paper."""

from __future__ import annotations

import numpy as np
import pytest

from edgesdk.pruning import swarm as module
from edgesdk.pruning.swarm import Swarm, SwarmSettings, velocity


def test_a_velocity_by_hand():
    moved = velocity(
        np.array([1.0, -5.0]), np.array([3, 3]), np.array([5, 3]), np.array([2, 3]), 0.5, 0.25, 0.5
    )
    # 0.729 * (0.5 * 1 + 2 * 0.25 * 2 + 2 * 0.5 * -1), and -0.729 * 2.5 within -2..2.
    np.testing.assert_allclose(moved, [0.729 * 0.5, -0.729 * 2.5])
    fast = velocity(np.array([9.0]), np.array([0]), np.array([0]), np.array([0]), 1.0, 0, 0)
    assert fast.tolist() == [2.0]


@pytest.mark.parametrize(
    ("cycles", "inertia"),
    [
        (4, [0.475, 0.45, 0.425, 0.4]),
        (20, [0.4 + 0.025 * left for left in range(19, -1, -1)]),
    ],
)
def test_inertia_falls_to_its_end_over_the_cycles(monkeypatch, cycles, inertia):
    seen = []

    def spied(v, x, own_best, best, w, own_pull, pull):
        seen.append(w)
        return velocity(v, x, own_best, best, w, own_pull, pull)

    monkeypatch.setattr(module, "velocity", spied)
    search = Swarm((4, 4), (8, 8), SwarmSettings(particles=3, cycles=cycles, moving=1))
    search.search(lambda codes: {code: -abs(sum(code) - 9.0) for code in codes})
    np.testing.assert_allclose(seen[::3], inertia)
    assert len(seen) == 3 * cycles
    assert len(search.history) == cycles + 1 and search.history == sorted(search.history)


def test_the_best_of_equal_codes_is_the_smallest():
    search = Swarm((2, 2), (4, 4))
    search.evaluated = {(3, 1): 0.5, (1, 3): 0.5, (4, 4): 0.25}
    assert search.best == (1, 3)
