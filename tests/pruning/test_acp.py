"""ACP: clusters, swarm, search."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesdk.errors import PruningError, UsageError
from edgesdk.pruning.acp import acp_search, epsilon_for
from edgesdk.pruning.budget import Budget
from edgesdk.pruning.channels import find_channels
from edgesdk.pruning.clusters import cluster_widths, count_clusters, mean_feature_maps
from edgesdk.pruning.problem import PruningProblem
from edgesdk.pruning.ranking import l1_ranking
from edgesdk.pruning.swarm import Swarm, SwarmSettings, velocity


def five_alike_and_three() -> np.ndarray:
    maps = np.zeros((8, 4))
    maps[:5, 0] = [1, 2, 3, 0.5, 7]
    maps[5, 1] = maps[6, 2] = maps[7, 3] = 1
    return maps


def test_five_colinear_and_three_orthogonal_channels_are_four():
    assert count_clusters(five_alike_and_three(), 0.01) == 4


@given(scales=st.lists(st.floats(1e-3, 1e3), min_size=8, max_size=8))
@settings(max_examples=30, deadline=None)
def test_scaling_a_channel_changes_nothing(scales):
    maps = five_alike_and_three() + 0.01
    assert count_clusters(maps * np.array(scales)[:, None], 0.05) == count_clusters(maps, 0.05)


def test_a_wider_distance_never_gives_more_channels():
    random = np.random.default_rng(0)
    base = np.repeat(np.eye(6), 5, axis=0)
    maps = base + 0.01 * random.uniform(size=base.shape)
    counts = [count_clusters(maps, eps) for eps in (1e-5, 1e-3, 1e-2, 0.1, 0.5, 1.5)]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] == 30 and counts[3] == 6 and counts[-1] == 1


def test_dead_channels_are_one_cluster():
    maps = five_alike_and_three()
    maps[5:] = 0
    assert count_clusters(maps, 0.01) == 2
    assert count_clusters(np.zeros((4, 3)), 0.01) == 1
    # Four alike are too few to be a cluster: they are noise, and each noise point counts.
    assert count_clusters(np.ones((4, 3)), 0.01) == 4


def test_maps_that_are_no_numbers_are_refused():
    with pytest.raises(PruningError, match="not finite"):
        count_clusters(np.full((3, 2), np.nan), 0.1)
    for epsilon in (0, -1, 2.5):
        with pytest.raises(PruningError, match="epsilon"):
            cluster_widths({"a": five_alike_and_three()}, epsilon)


class Pictures(torch.utils.data.Dataset):
    def __init__(self, count: int = 6) -> None:
        self.images = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(2))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int):
        return self.images[index], 0


def test_mean_maps_are_those_of_evaluation_mode(net):
    model = net("concat").train()
    channels = find_channels(model, torch.randn(1, 3, 8, 8))
    maps = mean_feature_maps(model, channels, Pictures(), batch_size=4)
    assert {name: values.shape for name, values in maps.items()} == {
        "left": (6, 64),
        "right.0": (10, 64),
        "join": (8, 36),
    }
    with torch.no_grad():
        expected = model.eval().left(Pictures().images).mean(0).flatten(1)
    assert np.allclose(maps["left"], expected.numpy(), atol=1e-6)
    assert not any(module._forward_hooks for module in model.modules())


def test_velocity_by_hand():
    one = np.ones(1)
    assert velocity(one, one, one, one, 1.0, 0.0, 0.0)[0] == pytest.approx(0.729)
    # 0.729 (0.5 * 1 + 2 * 0.5 * (3 - 1) + 2 * 0.25 * (0 - 1)) = 0.729 * 2
    moved = velocity(one, one, 3 * one, 0 * one, 0.5, 0.5, 0.25)
    assert moved[0] == pytest.approx(1.458)
    assert velocity(one, one, 100 * one, one, 0.9, 1.0, 0.0)[0] == 2.0
    assert velocity(-one, 100 * one, one, one, 0.9, 1.0, 0.0)[0] == -2.0


def distance(goal):
    def evaluate(codes):
        return {code: -float(np.abs(np.array(code) - goal).sum()) for code in codes}

    return evaluate


@given(
    start=st.lists(st.integers(1, 40), min_size=1, max_size=12),
    seed=st.integers(0, 99),
    room=st.integers(0, 20),
)
@settings(max_examples=40, deadline=None)
def test_codes_stay_within_their_bounds_and_the_best_never_worsens(start, seed, room):
    largest = tuple(value + room for value in start)
    swarm = Swarm(tuple(start), largest, SwarmSettings(cycles=5, seed=seed))
    assert swarm.codes[0] == tuple(start)
    for index, code in enumerate(swarm.codes):
        assert all(abs(a - b) <= index for a, b in zip(code, start, strict=True))
    evaluated = []

    def evaluate(codes):
        assert not set(codes) & set(evaluated)
        evaluated.extend(codes)
        return distance(np.full(len(start), 7))(codes)

    best = swarm.search(evaluate)
    assert all(1 <= v <= top for code in evaluated for v, top in zip(code, largest, strict=True))
    assert swarm.history == sorted(swarm.history) and len(swarm.history) == 6
    assert swarm.evaluated[best] == swarm.history[-1]


def test_the_swarm_moves_towards_the_goal():
    goal = np.array([3, 30, 12, 25])
    swarm = Swarm((20, 20, 20, 20), (40, 40, 40, 40), SwarmSettings(cycles=30, seed=1))
    swarm.search(distance(goal))
    assert swarm.history[-1] >= swarm.history[0] / 2


def test_a_search_goes_on_where_it_was_interrupted():
    goal = np.array([3, 30, 12, 25])
    whole = Swarm((20, 20, 20, 20), (40, 40, 40, 40), SwarmSettings(seed=4))
    whole.search(distance(goal))
    states = []
    broken = Swarm((20, 20, 20, 20), (40, 40, 40, 40), SwarmSettings(seed=4))
    with pytest.raises(KeyboardInterrupt):

        def interrupted(codes):
            if len(states) == 3:
                raise KeyboardInterrupt
            return distance(goal)(codes)

        broken.search(interrupted, after_cycle=lambda s: states.append(json.dumps(s.state())))
    resumed = Swarm.resumed(json.loads(states[-1]))
    assert resumed.search(distance(goal)) == whole.best
    assert resumed.evaluated == whole.evaluated and resumed.history == whole.history
    with pytest.raises(UsageError, match="saved search is invalid"):
        Swarm.resumed({"start": [1]})


def test_settings_of_a_swarm_are_checked():
    with pytest.raises(UsageError, match="particles"):
        SwarmSettings(particles=0)
    with pytest.raises(UsageError, match="2 widths for 1 groups"):
        Swarm((1, 2), (3,))


@pytest.fixture
def searched(net):
    model = net("concat")
    picture = torch.randn(1, 3, 8, 8)
    problem = PruningProblem.of(model, picture)
    maps = mean_feature_maps(model, problem.channels, Pictures())
    return problem, maps, l1_ranking(model, problem.channels)


def likes_left(channels):
    """Fitness is the share of ``left`` that stays."""

    def workers(candidates, on_result):
        for index, drops in reversed(list(enumerate(candidates))):
            on_result(index, 1 - len(drops.get(("left", "out"), ())) / 6)

    return workers


def test_without_a_budget_particle_zero_is_the_clusters_code(searched):
    problem, maps, ranking = searched
    found = acp_search(
        problem,
        maps,
        ranking,
        likes_left(problem.channels),
        epsilon=0.01,
        settings=SwarmSettings(cycles=0, particles=1),
    )
    assert found.counts == found.clustered == cluster_widths(maps, 0.01)
    assert found.tried == 1


def test_a_budget_is_met_and_a_search_is_kept(searched, tmp_path):
    unlimited, maps, ranking = searched
    state = tmp_path / "search.json"
    problem = replace(unlimited, budget=Budget(macs=0.5))
    cost = problem.cost
    arguments = (problem, maps, ranking)
    progress = []
    found = acp_search(
        *arguments,
        likes_left(problem.channels),
        state=state,
        settings=SwarmSettings(cycles=3, particles=4),
        on_progress=progress.append,
    )
    assert abs(cost(found.counts).macs / cost.full.macs - 0.5) <= 0.01
    assert len(progress) == found.tried and progress[-1].best >= found.fitness - 1e-9

    def nobody(candidates, on_result):
        raise AssertionError("everything was tried already")

    again = acp_search(
        *arguments,
        nobody,
        state=state,
        settings=SwarmSettings(cycles=3, particles=4),
    )
    assert again == found
    with pytest.raises(UsageError, match="another model, budget or settings"):
        acp_search(
            replace(problem, budget=Budget(macs=0.6)),
            maps,
            ranking,
            nobody,
            state=state,
            settings=SwarmSettings(cycles=3, particles=4),
        )
    state.write_text("{")
    with pytest.raises(UsageError, match="cannot be read"):
        acp_search(*arguments, nobody, state=state)
    with pytest.raises(UsageError, match="neither an epsilon nor a budget"):
        acp_search(unlimited, maps, ranking, nobody)


def test_the_distance_follows_the_budget(searched):
    problem, maps, _ = searched
    cost = problem.cost
    loose, _ = epsilon_for(maps, cost, Budget(macs=0.9))
    tight, widths = epsilon_for(maps, cost, Budget(macs=0.2))
    assert loose <= tight
    assert cost(widths).macs <= cost.full.macs
