"""Reference values of every operator of a program, to compare a converted one with."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import fx

__all__ = ["ProgramValues"]


class ProgramValues(fx.Interpreter):
    """Runs a program and keeps the value of every operator."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.kept: dict[str, np.ndarray] = {}

    def run_node(self, n: fx.Node) -> Any:
        """Keep the value of a node, if it is a numeric tensor."""
        value = super().run_node(n)
        if (
            n.op == "call_function"
            and isinstance(value, torch.Tensor)
            and value.dtype not in (torch.complex64, torch.complex128, torch.bfloat16)
        ):
            self.kept[n.name] = value.detach().clone().numpy()
        return value
