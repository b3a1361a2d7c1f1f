"""Random numbers that are a function of what they are for, not of what was drawn before.

The number for a sample in an epoch is the same however many processes, workers and batches there
are and wherever a run was resumed: it is a hash of the seed, the purpose, the epoch and the index.
"""

from __future__ import annotations

import hashlib

import numpy as np

__all__ = ["key", "permutation", "uniform"]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FACTORS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


def key(seed: int, purpose: str, *numbers: int) -> int:
    """A whole number of 63 bits that belongs to a purpose.

    Args:
        seed: Of the run.
        purpose: What it is for; other purposes get independent numbers.
        *numbers: What else it depends on, such as epoch and step.
    """
    text = "/".join([str(seed), purpose, *map(str, numbers)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def _mixed(start: int, indices: np.ndarray) -> np.ndarray:
    """SplitMix64 (Steele et al., OOPSLA 2014) of a counter: 64 random bits an index."""
    with np.errstate(over="ignore"):
        state = np.uint64(start) + (indices.astype(np.uint64) + np.uint64(1)) * _GOLDEN
        state = (state ^ (state >> np.uint64(30))) * _FACTORS[0]
        state = (state ^ (state >> np.uint64(27))) * _FACTORS[1]
        return state ^ (state >> np.uint64(31))


def uniform(seed: int, purpose: str, epoch: int, indices: np.ndarray) -> np.ndarray:
    """One number of [0, 1) a sample.

    Args:
        seed: Of the run.
        purpose: What it is for.
        epoch: From 0.
        indices: Indices of samples in their data set, non-negative, ``[N]``.

    Returns:
        ``float64 [N]``.
    """
    bits = _mixed(key(seed, purpose, epoch), np.asarray(indices))
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def permutation(seed: int, purpose: str, epoch: int, count: int) -> np.ndarray:
    """A random order of ``0..count-1``, ``int64 [count]``."""
    bits = _mixed(key(seed, purpose, epoch), np.arange(count))
    return np.argsort(bits, kind="stable")
