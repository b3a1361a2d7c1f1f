"""Start a training from a trained stylizer: all weights train further."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgesdk import models
from edgesdk.errors import DataError, UsageError
from edgesdk.frontend.edgemodel.file import read_model_file
from edgesdk.models.any_style import AnyStyleNet, StyleEncoder
from edgesdk.models.multi_style import MultiStyleNet, StyleNorm

__all__ = [
    "any_style_taken_over",
    "body_taken_over",
    "encoder_path",
    "read_stylizer",
    "started_from",
    "weights_digest",
    "widths_of",
]

#: Options that do not change the widths of the network.
_FREE = ("pretrained", "style_names", "styles")


def read_stylizer(path: Path) -> MultiStyleNet:
    """Read the trained multi-style network ``NAME.edgemodel``.

    Raises:
        DataError: The file holds another network.
        EdgeSdkError: See :func:`edgesdk.frontend.edgemodel.file.read_model_file`.
    """
    return _stylizer(path, read_model_file(path).model)


def _stylizer(path: Path, model: nn.Module) -> MultiStyleNet:
    if not isinstance(model, MultiStyleNet):
        raise DataError(
            f"{path} is not a multi-style network",
            remedy="name one that `edgesdk train style` made",
        )
    return model


def started_from(path: Path, fresh: MultiStyleNet) -> MultiStyleNet:
    """Read the trained network to start from instead of a fresh one.

    Args:
        path: ``NAME.edgemodel`` of a network of the same styles, in the same order, and widths.
        fresh: Network that would be trained otherwise.

    Returns:
        The trained network, all of whose weights can be trained. If the fresh network has more or
        wider refinement blocks, the result has them too and paints the same as the trained one:
        their weights start as zero-initialised residuals (Goyal et al., arXiv:1706.02677,
        section 5.1).

    Raises:
        UsageError: The network has other styles or widths; the message says which.
        EdgeSdkError: See :func:`read_stylizer`.
    """
    trained = read_stylizer(path)
    if _refines_more(fresh.config, trained.config):
        trained = _refined(trained, fresh)
    odd = _differences(trained.config, fresh.config)
    if odd:
        raise UsageError(
            f"a training cannot start from {path.name}: {'; '.join(odd)}",
            remedy="give the paintings it was trained on, under the same file names, or add others "
            "to it with --add-to",
        )
    return trained


def _refines_more(here: dict[str, Any], there: dict[str, Any]) -> bool:
    pairs = list(zip(here["refined_widths"], there["refined_widths"], strict=True))
    return here["refined_widths"] != there["refined_widths"] and all(b <= a for a, b in pairs)


@torch.no_grad()
def _refined(trained: MultiStyleNet, fresh: MultiStyleNet) -> MultiStyleNet:
    """Return a trained network with more or wider decoder blocks, which add zero at first."""
    config = {**trained.config, "refined_widths": fresh.config["refined_widths"]}
    wider = models.create("multi_style", **config)
    if not isinstance(wider, MultiStyleNet):
        raise UsageError(f"multi_style is a {type(wider).__name__}")
    state = wider.state_dict()
    for place, (decode, before) in enumerate(zip(wider.decoder, trained.decoder, strict=True)):
        if decode.block is not None and before.block is None:
            state[f"decoder.{place}.block.norm.scale.weight"].zero_()
        elif decode.block is not None:
            # New channels do not affect the output yet.
            state[f"decoder.{place}.block.project.weight"].zero_()
    for name, value in trained.state_dict().items():
        state[name][tuple(slice(size) for size in value.shape)] = value
    wider.load_state_dict(state)
    return wider


def body_taken_over(path: Path, painter: AnyStyleNet, seed: int) -> None:
    """Initialise an arbitrary-style network from a multi-style network.

    The convolutions are copied. The first style codes become the trained styles, the others random
    combinations of them, so that training starts with different codes that all paint.

    Args:
        path: ``NAME.edgemodel`` of a multi-style network of the same widths.
        painter: Arbitrary-style network, changed in place.
        seed: Seed of the combinations.

    Raises:
        UsageError: The network has other widths, or more styles than there are codes; the message
            says which.
        EdgeSdkError: See :func:`read_stylizer`.
    """
    _take_over_body(path, read_stylizer(path), painter, seed)


@torch.no_grad()
def _take_over_body(path: Path, trained: MultiStyleNet, painter: AnyStyleNet, seed: int) -> None:
    fresh = painter.painter
    odd = _other_widths(trained.config, fresh.config)
    count, codes = trained.config["styles"], fresh.config["styles"]
    if count > codes:
        odd.append(f"it has {count} styles and there are {codes} codes")
    if odd:
        raise UsageError(
            f"a training cannot start from {path.name}: {'; '.join(odd)}",
            remedy="give a network of the default widths, with at most as many styles as codes",
        )
    generator = torch.Generator().manual_seed(seed)
    shares = torch.randn(codes - count, count, generator=generator)
    # Differences from the mean style keep combinations as far from it as styles are.
    shares = shares - shares.mean(dim=1, keepdim=True) + 1 / count
    shares = torch.cat([torch.eye(count), shares])
    state = trained.state_dict()
    for name, module in trained.named_modules():
        if isinstance(module, StyleNorm):
            for part in ("scale", "shift"):
                key = f"{name}.{part}.weight"
                state[key] = torch.einsum("ws,cs->wc", state[key][:, :, 0, 0], shares)[
                    :, :, None, None
                ]
    fresh.load_state_dict(state)


def widths_of(path: Path) -> dict[str, Any]:
    """Return the widths of a trained ``NAME.edgemodel``, as options of one that starts from it.

    Raises:
        DataError: The file holds neither a multi-style nor an arbitrary-style network.
        EdgeSdkError: See :func:`edgesdk.frontend.edgemodel.file.read_model_file`.
    """
    model = read_model_file(path).model
    if not isinstance(model, AnyStyleNet):
        model = _stylizer(path, model)
    return {key: value for key, value in model.config.items() if key.endswith("_widths")}


def encoder_path(path: Path) -> Path:
    """Return the path of the encoder of ``NAME.edgemodel``: ``NAME-encoder.edgemodel``."""
    return path.with_name(f"{path.stem}-encoder.edgemodel")


def any_style_taken_over(
    path: Path, encoder: StyleEncoder, painter: AnyStyleNet, seed: int
) -> None:
    """Initialise encoder and painter of an arbitrary-style network from a trained one.

    Args:
        path: ``NAME.edgemodel`` of an arbitrary-style painter with its encoder beside it, or of a
            multi-style network (:func:`body_taken_over`).
        encoder: Encoder, changed in place unless ``path`` is a multi-style network.
        painter: Painter, changed in place.
        seed: See :func:`body_taken_over`.

    Raises:
        UsageError: The networks have other widths; the message says which.
        DataError: The file beside the painter is not an encoder.
        EdgeSdkError: See :func:`edgesdk.frontend.edgemodel.file.read_model_file`.
    """
    before = read_model_file(path).model
    if not isinstance(before, AnyStyleNet):
        _take_over_body(path, _stylizer(path, before), painter, seed)
        return
    beside = encoder_path(path)
    encoding = read_model_file(beside).model
    if not isinstance(encoding, StyleEncoder):
        raise DataError(
            f"{beside} is not an encoder of paintings",
            remedy="keep the two files that `edgesdk train style --arbitrary` wrote together",
        )
    pairs = ((before, painter), (encoding, encoder))
    odd = [text for old, new in pairs for text in _other_widths(old.config, new.config)]
    if odd:
        raise UsageError(
            f"a training cannot start from {path.name}: {'; '.join(odd)}",
            remedy="give networks of the same widths",
        )
    for old, new in pairs:
        new.load_state_dict(old.state_dict())


def weights_digest(model: nn.Module) -> str:
    """Return a digest of a network's weights and their names."""
    found = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        found.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        found.update(value.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def _differences(there: dict[str, Any], here: dict[str, Any]) -> list[str]:
    odd = []
    if there["styles"] != here["styles"]:
        odd.append(f"it has {there['styles']} styles and there are {here['styles']} paintings")
    elif there["style_names"] is None:
        odd.append("its styles have no names")
    else:
        pairs = list(zip(there["style_names"], here["style_names"], strict=True))
        others = [pair for pair in pairs if pair[0] != pair[1]]
        if others:
            (old, new), place = others[0], pairs.index(others[0])
            more = f", and {len(others) - 1} more differ" if len(others) > 1 else ""
            odd.append(f"its style {place} is {old!r} and the painting is {new!r}{more}")
    return odd + _other_widths(there, here)


def _other_widths(there: dict[str, Any], here: dict[str, Any]) -> list[str]:
    return [
        f"{key} are {there.get(key)} there and {here.get(key)} here"
        for key in sorted({*there, *here} - set(_FREE))
        if there.get(key) != here.get(key)
    ]
