"""Counter-based random numbers: each is a hash of seed, purpose, epoch and index.

The number for a sample in an epoch does not depend on previous draws, so it is the same for any
number of processes, workers and batches, and after resuming a run.
"""

from __future__ import annotations

import hashlib

import numpy as np

__all__ = ["key", "permutation", "uniform"]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FACTORS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


def key(seed: int, purpose: str, *numbers: int) -> int:
    """Return a 63-bit integer for a purpose.

    Args:
        seed: Seed of the run.
        purpose: Name of the use; different purposes get independent numbers.
        *numbers: Further inputs of the hash, such as epoch and step.
    """
    text = "/".join([str(seed), purpose, *map(str, numbers)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def _mixed(start: int, indices: np.ndarray) -> np.ndarray:
    """Hash a counter with SplitMix64 (Steele et al., OOPSLA 2014): 64 random bits per index."""
    with np.errstate(over="ignore"):
        state = np.uint64(start) + (indices.astype(np.uint64) + np.uint64(1)) * _GOLDEN
        state = (state ^ (state >> np.uint64(30))) * _FACTORS[0]
        state = (state ^ (state >> np.uint64(27))) * _FACTORS[1]
        return state ^ (state >> np.uint64(31))


def uniform(seed: int, purpose: str, epoch: int, indices: np.ndarray) -> np.ndarray:
    """Return one number of [0, 1) per sample.

    Args:
        seed: Seed of the run.
        purpose: Name of the use.
        epoch: Epoch, from 0.
        indices: Indices of samples in their data set, non-negative, ``[N]``.

    Returns:
        ``float64 [N]``.
    """
    bits = _mixed(key(seed, purpose, epoch), np.asarray(indices))
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def permutation(seed: int, purpose: str, epoch: int, count: int) -> np.ndarray:
    """Return a random order of ``0..count-1``, ``int64 [count]``."""
    bits = _mixed(key(seed, purpose, epoch), np.arange(count))
    return np.argsort(bits, kind="stable")
