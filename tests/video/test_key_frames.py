"""The key-frame rule, and the chain of flows it walks along."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgesdk.errors import UsageError
from edgesdk.video.core import VideoCore
from edgesdk.video.flow_chain import Flow, FlowChain
from edgesdk.video.key_frames import KeyframeFinder, KeyframePolicy

Make = Callable[..., Any]


@pytest.fixture
def find(native_library: None) -> Callable[..., list[tuple[str, ...]]]:
    def reasons(frames: list[np.ndarray], policy: KeyframePolicy) -> list[tuple[str, ...]]:
        height, width = frames[0].shape[:2]
        with KeyframeFinder(width, height, policy, threads=1) as finder:
            finder.begin(frames[0])
            return [finder.judge(frame).reasons for frame in frames[1:]]

    return reasons


def test_policy_is_read_from_words() -> None:
    assert KeyframePolicy.parse("auto") == KeyframePolicy()
    assert KeyframePolicy.parse(" 12 ").every == 12
    assert KeyframePolicy.parse("12").interval == 12
    assert KeyframePolicy().interval == 16


@pytest.mark.parametrize("text", ["", "0", "-3", "1.5", "often", "1001", "9999999999", "١٢"])
def test_other_words_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        KeyframePolicy.parse(text)


@pytest.mark.parametrize(
    "changes",
    [
        {"every": 0},
        {"every": True},
        {"every": 2.0},
        {"longest_interval": None},
        {"longest_interval": 1001},
        {"cut_correlation": 1.1},
        {"cut_correlation": float("nan")},
        {"occluded_fraction": -0.1},
        {"mean_residual": "8"},
    ],
)
def test_thresholds_have_ranges(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        KeyframePolicy(**changes)


def test_a_still_scene_needs_a_key_frame_every_interval(find: Make, texture: Make) -> None:
    found = find([texture(64, 48)] * 9, KeyframePolicy(longest_interval=4))
    assert [n for n, reasons in enumerate(found, 1) if reasons] == [4, 8]
    assert found[3] == ("interval",)


def test_every_so_many_frames(find: Make, texture: Make) -> None:
    found = find([texture(64, 48)] * 8, KeyframePolicy(every=3))
    assert [n for n, reasons in enumerate(found, 1) if reasons] == [3, 6]


@pytest.mark.parametrize("policy", [KeyframePolicy(), KeyframePolicy(every=50)])
def test_a_cut_is_a_key_frame_under_every_policy(
    find: Make, texture: Make, policy: KeyframePolicy
) -> None:
    first = texture(64, 48)
    second = (255 - first // 3).astype(np.uint8)
    found = find([first] * 3 + [second] * 3, policy)
    assert "cut" in found[2]
    assert not any(found[3:])


def test_a_change_that_flow_cannot_follow_is_a_residual(find: Make, texture: Make) -> None:
    first = texture(64, 48)
    brighter = np.clip(first.astype(int) + 12, 0, 255).astype(np.uint8)
    found = find([first, brighter], KeyframePolicy(cut_correlation=-1))
    assert "residual" in found[0]
    slight = np.clip(first.astype(int) + 4, 0, 255).astype(np.uint8)
    assert find([first, slight], KeyframePolicy(cut_correlation=-1)) == [()]


def test_what_was_not_there_before_is_occluded(find: Make, texture: Make) -> None:
    wide = texture(140, 48, seed=5)
    frames = [wide[:, 8 * t :][:, :96].copy() for t in range(5)]
    # Eight columns a frame, of 96, are new: over a quarter at the fourth or, with what the check
    # at the border rejects, the third.
    policy = KeyframePolicy(cut_correlation=-1, mean_residual=1)
    found = find(frames, policy)
    assert not found[0] and not found[1]
    assert "occluded" in (found[2] or found[3])


def test_the_rule_is_causal(find: Make, texture: Make) -> None:
    frames = [texture(64, 48, seed)[:, :64] for seed in (1, 1, 2, 2, 3, 1, 1, 1)]
    whole = find(frames, KeyframePolicy(longest_interval=3))
    for length in range(2, len(frames)):
        assert find(frames[:length], KeyframePolicy(longest_interval=3)) == whole[: length - 1]


def test_chained_flow_is_the_whole_displacement(make_core: Make, texture: Make) -> None:
    wide = texture(150, 64, seed=6)
    frames = [wide[:, 30 - 3 * t :][:, :96].copy() for t in range(6)]
    core: VideoCore = make_core(96, 64)
    core.set_key("a", frames[0])
    core.set_key("b", frames[0])
    chain = FlowChain(core, "a")
    for frame in frames[1:]:
        core.set_frame(frame)
        core.estimate("b")
        flow = chain.extend(Flow(core.flow("b"), core.flow("b", "from_key")))
        core.set_key_from_frame("b")
    inner = (slice(8, -8), slice(24, -8))
    assert np.abs(flow.to_key[inner] - (-15, 0)).mean() < 0.3
    valid, _ = core.validity("a")
    assert valid[inner].mean() > 0.95


def test_joined_flows_add_up_along_the_way(make_core: Make, uniform_flow: Make) -> None:
    core: VideoCore = make_core(32, 24)
    first, second = uniform_flow(core, 2, 0), uniform_flow(core, 1, -1)
    # Where the first flow leads, the second is read: column x looks at column x + 2.
    second[:, 10:, 0] = 5
    joined = core.join_flows(first, second)
    assert (joined[:, :8] == (3, -1)).all()
    assert (joined[:, 8:] == (7, -1)).all()
    half = uniform_flow(core, 0.5, 0)
    # Between columns 9 and 10 the second flow is halfway from 1 to 5.
    assert core.join_flows(half, second)[3, 9] == pytest.approx((0.5 + 3, -1))


def test_joining_with_nothing_leads_nowhere(make_core: Make, uniform_flow: Make) -> None:
    core: VideoCore = make_core(32, 24)
    torn = uniform_flow(core, 1, 0)
    torn[5, 5] = np.nan, 0
    zero = uniform_flow(core, 0, 0)
    core.set_key("a", np.zeros((24, 32, 3), np.uint8))
    core.set_frame(np.zeros((24, 32, 3), np.uint8))
    for joined in (core.join_flows(torn, zero), core.join_flows(zero, torn)):
        core.set_flow("a", joined, zero)
        assert not core.validity("a")[0][5, 5]


def test_flows_of_another_size_are_not_joined(make_core: Make) -> None:
    core: VideoCore = make_core(32, 24)
    with pytest.raises(UsageError, match="first must be float32"):
        core.join_flows(np.zeros((3, 3, 2), np.float32), np.zeros((24, 32, 2), np.float32))
