"""How good a choice of channels is: prune, train a little, measure.

Candidates can be tried one after the other, by processes of this machine or by a Dask cluster. The
answer is the same: every candidate is trained from the same seed on one thread.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from edgesdk.errors import DivergedError
from edgesdk.pruning.surgery import RemovedChannels, pruned_copy
from edgesdk.training.evaluation import evaluate
from edgesdk.training.loop import fit
from edgesdk.training.recipes import Recipe

__all__ = ["CandidateTask", "try_candidate"]

# Training uses torch's global generators and thread count: one candidate at a time in a process.
_ONE_AT_A_TIME = threading.Lock()


@dataclass
class CandidateTask:
    """What all candidates of a search share; travels to other processes.

    Attributes:
        model: The full, trained model. Where ``source`` is given it travels as that and its
            weights, so that a class in a user's file need not be importable over there.
        train: Images to train a candidate on.
        validation: Images to measure it on; never the test images.
        recipe: How to train a candidate; None to measure it as it is.
        mean: See :func:`edgesdk.training.fit`.
        std: See :func:`edgesdk.training.fit`.
        source: SOURCE of the model, or None.
        threads: Threads of one candidate.
    """

    model: nn.Module
    train: Any
    validation: Any
    recipe: Recipe | None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    source: str | None = None
    threads: int = 1
    _state: dict[str, torch.Tensor] | None = field(default=None, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        state = dict(vars(self))
        if self.source is not None:
            state["_state"] = self.model.state_dict()
            state["model"] = None
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        if self.source is not None:
            from edgesdk.frontend.source import load

            self.model = load(self.source).model
            self.model.load_state_dict(self._state or {})
            self._state = None


def try_candidate(problem: CandidateTask, drops: RemovedChannels) -> float:
    """Top-1 on the validation images, 0..1, after the short training of the pruned copy.

    Args:
        problem: Model, data and recipe.
        drops: What the candidate loses; the rest of the weights is inherited.

    A candidate whose loss is not finite gets 0.
    """
    with _ONE_AT_A_TIME:
        threads = torch.get_num_threads()
        torch.set_num_threads(problem.threads)
        try:
            lean = pruned_copy(problem.model, drops)
            if problem.recipe is not None:
                fit(lean, problem.train, problem.recipe, mean=problem.mean, std=problem.std)
            return evaluate(lean, problem.validation, mean=problem.mean, std=problem.std).top1
        except DivergedError:
            # A candidate that cannot be trained is a bad one, and no reason to end the search.
            return 0.0
        finally:
            torch.set_num_threads(threads)
