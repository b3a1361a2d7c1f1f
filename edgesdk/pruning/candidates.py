"""Evaluate a candidate of a search: build it, train it a little, measure it.

Candidates may run one after the other, in processes of this machine or on a Dask cluster. The
result is the same: every candidate is trained from the same seed on one thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import nn

from edgesdk.errors import DivergedError
from edgesdk.training.evaluation import evaluate
from edgesdk.training.loop import fit
from edgesdk.training.recipes import Recipe

__all__ = ["Candidate", "CandidateTask", "try_candidate"]

#: Description of a candidate, such as the channels it loses; must be picklable.
Candidate: TypeAlias = Any

# Training uses torch's global generators and thread count: one candidate at a time in a process.
_ONE_AT_A_TIME = threading.Lock()


@dataclass
class CandidateTask:
    """Data that all candidates of a search share; can be sent to other processes.

    Attributes:
        model: Full, trained model. If ``source`` is given, only the SOURCE and the weights are
            sent, so that other processes need not import a class of the user's file.
        train: Images to train a candidate on.
        validation: Images to measure it on; never the test images.
        recipe: Training recipe of a candidate; None to measure it untrained.
        build: Builds a candidate from the full model; a function of a module.
        mean, std: See :func:`edgesdk.training.fit`.
        source: SOURCE of the model, or None.
        threads: Threads of one candidate.
    """

    model: nn.Module
    train: Any
    validation: Any
    recipe: Recipe | None
    build: Callable[[nn.Module, Candidate], nn.Module]
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


def try_candidate(task: CandidateTask, candidate: Candidate) -> float:
    """Return the top-1 of a candidate on the validation images, 0..1, after its short training.

    Args:
        task: Model, data and recipe.
        candidate: Argument of ``task.build``; if its loss is not finite, it gets 0.
    """
    with _ONE_AT_A_TIME:
        threads = torch.get_num_threads()
        torch.set_num_threads(task.threads)
        try:
            model = task.build(task.model, candidate)
            if task.recipe is not None:
                fit(model, task.train, task.recipe, mean=task.mean, std=task.std)
            return evaluate(model, task.validation, mean=task.mean, std=task.std).top1
        except DivergedError:
            # A candidate that cannot be trained is a bad one; the search goes on.
            return 0.0
        finally:
            torch.set_num_threads(threads)
