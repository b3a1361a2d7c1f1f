"""Initial weights that keep activations at unit scale without any training.

The support matrix converts networks with random weights. Their activations must reveal a faulty
conversion: they neither vanish nor explode with depth, and batch-normalisation statistics are
non-trivial, so that wrong folding shows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

__all__ = ["calibrate_batch_norm", "initialise"]


def initialise(model: nn.Module) -> None:
    """Draw the weights of every layer from torch's global generator.

    Convolutions follow He et al. (ICCV 2015) in the form that preserves the variance of the
    forward pass, counting a group's inputs only; with one output channel to one input channel
    that is the same as the form of the backward pass. Linear layers get a variance of one over
    their inputs, normalisations start as the identity, biases at zero.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            transposed = isinstance(module, nn.ConvTranspose2d)
            inputs = module.in_channels // module.groups * math.prod(module.kernel_size)
            # Each output pixel of a strided transposed convolution sees a part of the kernel.
            inputs = max(1, inputs // math.prod(module.stride)) if transposed else inputs
            nn.init.normal_(module.weight, std=math.sqrt(2 / inputs))
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=math.sqrt(1 / module.in_features))
        elif getattr(module, "weight", None) is not None:
            nn.init.ones_(module.weight)
        if getattr(module, "bias", None) is not None:
            nn.init.zeros_(module.bias)


@torch.no_grad()
def calibrate_batch_norm(model: nn.Module, inputs: Sequence[torch.Tensor]) -> None:
    """Set the running statistics of every batch normalisation from one batch.

    Otherwise an untrained network in evaluation mode normalises nothing, and the variance of a
    residual stream doubles with every block. Modes, momentum and counters are restored.

    Args:
        model: Changed in place; a model without batch normalisation is not run.
        inputs: Arguments of the model; at least two samples in the batch.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    modes = [(module, module.training) for module in model.modules()]
    momenta = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    try:
        model(*inputs)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            norm.num_batches_tracked.zero_()
        for module, training in modes:
            module.training = training
