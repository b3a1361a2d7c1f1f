"""Rankings, thresholds, budgets: exact small numbers and the published cuts."""

from __future__ import annotations

import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesdk import models
from edgesdk.errors import BudgetError, PruningError, UsageError
from edgesdk.profiling.cost import count
from edgesdk.pruning.budget import (
    Budget,
    WidthRule,
    above_threshold,
    fit_widths,
    keep_best,
    parse_share,
    select,
)
from edgesdk.pruning.channels import find_channels
from edgesdk.pruning.groups import ChannelGroup, Channels
from edgesdk.pruning.ranking import (
    group_norm_ranking,
    l1_ranking,
    random_ranking,
    ranking_by_fraction,
    ranking_by_mean,
    scores_from_weights,
)
from edgesdk.pruning.surgery import pruned_copy
from edgesdk.pruning.widths_cost import WidthsCost

GATES = torch.tensor([0.62, 0.22, 0.53, 0.14, 0.78, 0.24, 0.55, 0.65])


def alone(width: int, blocks: int = 1) -> Channels:
    return Channels((ChannelGroup("layer", width, (), blocks),), ())


def kept_above(scores: torch.Tensor, threshold: float) -> int:
    return above_threshold(ranking_by_mean({"layer": scores}), alone(len(scores)), threshold)[
        "layer"
    ]


def test_the_uniform_rule_on_eight_gates():
    assert float(GATES.double().mean()) == pytest.approx(0.46625)
    assert kept_above(GATES, 1.0) == 5
    assert kept_above(GATES, 1.2) == 3
    kept = keep_best(ranking_by_mean({"layer": GATES}), alone(8), {"layer": 3})
    assert kept["layer"] == (0, 4, 7)


def test_equal_gates_keep_all_below_one_and_one_from_there():
    equal = torch.full((8,), 0.5)
    assert kept_above(equal, 0.999) == 8
    assert kept_above(equal, 1.0) == 1
    assert kept_above(torch.zeros(8), 1.1) == 1


def test_scores_that_are_no_numbers_are_refused():
    with pytest.raises(PruningError, match="not all finite"):
        ranking_by_mean({"layer": torch.tensor([0.5, float("nan")])})


def test_equal_scores_are_ranked_in_their_order():
    ranking = ranking_by_fraction({"layer": torch.tensor([3.0, 1.0, 1.0, 2.0])})
    assert ranking["layer"].tolist() == [0.875, 0.125, 0.375, 0.625]
    equal = keep_best({"layer": torch.ones(4)}, alone(4), {"layer": 2})
    assert equal["layer"] == (0, 1)


def test_blocks_keep_their_own_best():
    values = {"layer": torch.tensor([9.0, 8.0, 7.0, 1.0, 2.0, 3.0])}
    assert keep_best(values, alone(6, blocks=2), {"layer": 4})["layer"] == (0, 1, 4, 5)


def test_l1_scores_by_hand(net):
    model = net("concat")
    with torch.no_grad():
        model.left.weight.fill_(0.0)
        model.left.weight[2].fill_(-1.0)
    channels = find_channels(model, torch.randn(1, 3, 4, 4))
    scores = scores_from_weights(model, channels, 1, consumers=False)
    assert scores["left"].tolist() == [0, 0, 27, 0, 0, 0]
    assert int(l1_ranking(model, channels)["left"].argmax()) == 2


@pytest.mark.parametrize("name", ["concat", "depthwise"])
def test_group_norm_ranks_as_torch_pruning_does(name, net):
    import torch_pruning

    model = net(name)
    picture = torch.randn(1, 3, 4, 4)
    channels = find_channels(model, picture)
    ours = group_norm_ranking(model, channels)
    graph = torch_pruning.DependencyGraph().build_dependency(model, picture, verbose=False)
    magnitude = torch_pruning.importance.GroupMagnitudeImportance(p=2, normalizer=None)
    for group in channels.groups:
        layer = model.get_submodule(group.name)
        peer = graph.get_pruning_group(
            layer, graph.get_pruner_of_module(layer).prune_out_channels, list(range(group.width))
        )
        assert torch.equal(magnitude(peer).argsort(), ours[group.name].argsort()), group.name


def test_random_rankings_follow_their_seed():
    one, same, other = (random_ranking(alone(32), seed)["layer"] for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)


@given(
    width=st.integers(1, 300),
    round_to=st.sampled_from([1, 4, 8, 16]),
    blocks=st.sampled_from([1, 2, 4]),
    count=st.floats(-5, 400),
)
@settings(max_examples=200, deadline=None)
def test_allowed_widths(width, round_to, blocks, count):
    width *= blocks
    group = ChannelGroup("layer", width, (), blocks)
    rule = WidthRule(round_to)
    nearest = rule.nearest(group, count)
    assert 1 <= nearest <= width and nearest % blocks == 0
    assert nearest == width or nearest % rule.step(group) == 0
    assert rule.fewer(group, nearest) <= nearest <= rule.more(group, nearest)
    assert rule.nearest(group, rule.fewer(group, width)) == rule.fewer(group, width)


@given(data=st.data())
@settings(max_examples=12, deadline=None)
def test_predicted_cost_is_the_counted_one(data, small_net_with_channels):
    model, picture, channels, cost = small_net_with_channels
    counts = {
        group.name: data.draw(st.integers(1, group.width // group.blocks)) * group.blocks
        for group in channels.groups
    }
    kept = keep_best(random_ranking(channels, 0), channels, counts)
    pruned = pruned_copy(model, channels.drops(kept))
    found = count(pruned, picture)
    assert (found.params, found.macs) == (cost(counts).params, cost(counts).macs)


@pytest.fixture(scope="module")
def small_net_with_channels():
    model = models.create("mobilenet_v3_small")
    picture = torch.randn(1, 3, 64, 64)
    channels = find_channels(model, picture)
    return model, picture, channels, WidthsCost(model, picture, channels)


@pytest.mark.parametrize("round_to", [1, 8])
@pytest.mark.parametrize(
    ("name", "side", "budget"),
    [
        ("vgg19_cifar100", 32, Budget(macs=1 - 0.62, params=1 - 0.82)),
        ("resnet20", 32, Budget(macs=0.3)),
        ("resnet20", 32, Budget(params=0.5)),
        pytest.param(
            "resnet50",
            224,
            Budget(macs=1 - 0.6334, params=1 - 0.6436),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_published_budgets_are_met_within_one_percent(name, side, budget, round_to):
    model = models.create(name)
    picture = torch.randn(1, model.config["in_channels"], side, side)
    channels = find_channels(model, picture)
    cost = WidthsCost(model, picture, channels)
    selection = select(l1_ranking(model, channels), channels, cost, budget, WidthRule(round_to))
    pruned = pruned_copy(model, channels.drops(selection.kept))
    found = count(pruned, picture)
    for share, part, whole in (
        (budget.macs, found.macs, cost.full.macs),
        (budget.params, found.params, cost.full.params),
    ):
        assert share is None or abs(part / whole - share) <= 0.01
    assert all(len(kept) >= 1 for kept in selection.kept.values())
    if round_to == 8:
        for group in channels.groups:
            width = len(selection.kept[group.name])
            assert group.width < 16 or width % 8 == 0 or width == group.width


def test_a_budget_out_of_reach_names_the_nearest(small_net_with_channels):
    model, picture, channels, _ = small_net_with_channels
    few = Channels(channels.groups[:1], ())
    cost = WidthsCost(model, picture, few)
    with pytest.raises(BudgetError, match=r"the nearest is -\d+\.\d\d % FLOPs") as raised:
        select(l1_ranking(model, few), few, cost, Budget(macs=0.3))
    assert "protect fewer layers" in str(raised.value)
    # What was named as the nearest can be had.
    nearest = float(re.search(r"nearest is (-\d+\.\d\d) % FLOPs", str(raised.value)).group(1))
    select(l1_ranking(model, few), few, cost, Budget(macs=1 + nearest / 100))


def test_given_widths_move_as_little_as_needed(small_net_with_channels):
    _, _, channels, cost = small_net_with_channels
    full = {group.name: group.width for group in channels.groups}
    assert fit_widths(full, channels, cost, Budget(macs=1.0)) == full
    found = fit_widths(full, channels, cost, Budget(macs=0.97))
    assert abs(cost(found).macs / cost.full.macs - 0.97) < 0.001


def test_shares_as_people_write_them():
    assert parse_share("-50%", "--flops") == 0.5
    assert parse_share("50 %", "--flops") == 0.5
    assert parse_share("-64.36%", "--flops") == pytest.approx(0.3564)
    assert parse_share("0.3x", "--flops") == 0.3
    for wrong in ("half", "-100%", "0%", "1.5x", "-50", ""):
        with pytest.raises(UsageError, match="macs="):
            parse_share(wrong, "--flops")
    for share in (0, -1, 1.5):
        with pytest.raises(UsageError, match="out of range"):
            Budget(macs=share)
    with pytest.raises(UsageError, match="budget is empty"):
        Budget()
