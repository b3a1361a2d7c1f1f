"""Convert between torch tensors and the specs of :mod:`edgesdk.spec`."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from edgesdk.errors import InputSpecError
from edgesdk.spec import DTYPES, TensorSpec

__all__ = ["dtype_name", "spec_of", "torch_dtype"]


def torch_dtype(name: str) -> torch.dtype:
    """Return the torch dtype of one of :data:`edgesdk.spec.DTYPES`."""
    return cast(torch.dtype, getattr(torch, name))


def dtype_name(dtype: torch.dtype) -> str:
    """Return the name of a torch dtype in specs.

    Raises:
        InputSpecError: Artefacts do not support the dtype.
    """
    name = str(dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise InputSpecError(
            f"artefacts do not support inputs and outputs of {name}",
            remedy=f"convert them in the model to one of {', '.join(DTYPES)}",
        )
    return name


def spec_of(name: str, tensor: Tensor) -> TensorSpec:
    """Make the spec of an example tensor."""
    # A single pixel is a vector, not an image: the shares of three styles have this shape.
    pictured = tensor.ndim == 4 and tensor.shape[1] in (1, 3, 4) and tensor.shape[2:].numel() > 1
    layout = "NCHW" if pictured else ""
    return TensorSpec(name, tuple(tensor.shape), dtype_name(tensor.dtype), layout=layout)
