"""Every instruction set and every number of threads gives the same bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgesdk.video.abi import core_paths

Make = Callable[..., Any]


def everything(core: Any, texture: Make, seed: int, use: str) -> list[np.ndarray]:
    width, height = core.size
    frames = [texture(width + 20, height, seed)[:, 3 * i : 3 * i + width] for i in range(3)]
    noise = np.random.default_rng(seed)
    for slot, frame in zip("ab", frames[::2], strict=True):
        core.set_key(slot, frame)
        core.set_painted(slot, noise.integers(0, 256, (height, width, 3), dtype=np.uint8))
    core.set_frame(frames[1])
    core.estimate("both")
    found = [core.flow(slot, way) for slot in "ab" for way in ("to_key", "from_key")]
    found += [array for slot in "ab" for array in core.validity(slot)]
    found.append(core.render(frames[1], 0.4, use=use))
    shape = (core.flow_size[1], core.flow_size[0], 2)
    wild = (noise.normal(size=(2, *shape)) * 20).astype(np.float32)
    wild[noise.random(wild.shape) < 0.1] = np.nan
    core.set_flow("a", wild[0], wild[1])
    core.set_flow("b", wild[0] * 0.1, wild[0] * -0.1)
    found += [*core.validity("a"), core.render(frames[1], 0.6, use=use)]
    found.append(core.join_flows(wild[0], wild[1]))
    low = noise.integers(0, 256, (height // 2 + 1, width // 3 + 1, 3), dtype=np.uint8)
    found.append(core.upscale(low[:height, :width], frames[0]))
    grey, opaque = frames[0][..., 0], np.empty((height, width, 4), np.uint8)
    found.append(core.upscale(low[:height, :width], grey, opaque))
    core.set_frame(frames[0][..., :1].repeat(3, axis=2))
    found.append(core.small_frame())
    return found


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    size=st.tuples(st.integers(1, 120), st.integers(1, 80)),
    share=st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)),
    quality=st.sampled_from(["fast", "balanced", "precise"]),
    use=st.sampled_from(["a", "b", "both"]),
    seed=st.integers(0, 999),
)
def test_paths_and_threads_agree(
    make_core: Make,
    texture: Make,
    size: tuple[int, int],
    share: tuple[float, float],
    quality: str,
    use: str,
    seed: int,
) -> None:
    flow_size = tuple(max(1, int(n * part)) for n, part in zip(size, share, strict=True))
    results = []
    for path, threads in [*((path, 1) for path in core_paths()), ("auto", 3)]:
        core = make_core(*size, flow_size=flow_size, path=path, threads=threads, quality=quality)
        results.append(everything(core, texture, seed, use))
        core.close()
    assert len(results) >= 2
    for other in results[1:]:
        for first, second in zip(results[0], other, strict=True):
            assert np.array_equal(first, second)


def test_there_is_more_than_the_scalar_path(native_library: None) -> None:
    if core_paths() == ("scalar",):
        pytest.skip("this processor has no AVX2, AVX-512 or NEON: only the scalar path ran")
    assert "scalar" in core_paths()


def test_a_path_of_another_processor_is_refused(make_core: Make) -> None:
    from edgesdk.errors import MissingEnvironmentError

    absent = {"avx2", "avx512", "neon"} - set(core_paths())
    assert absent
    for path in absent:
        with pytest.raises(MissingEnvironmentError, match="instruction set"):
            make_core(8, 8, path=path)
