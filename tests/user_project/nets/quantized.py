"""A model that torch has quantized already."""

import warnings

import torch
from torch import nn


def build() -> nn.Module:
    warnings.warn("a library's remark", UserWarning, stacklevel=2)
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)).eval()
    return torch.ao.quantization.quantize_dynamic(model, {nn.Linear})
