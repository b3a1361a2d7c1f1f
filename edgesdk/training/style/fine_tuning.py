"""Going on with a trained stylizer: all of its weights learn further, in the same styles."""

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

#: Options that make no other network.
_FREE = ("pretrained", "style_names", "styles")


def read_stylizer(path: Path) -> MultiStyleNet:
    """Read a trained network of styles.

    Args:
        path: ``NAME.edgemodel``.

    Raises:
        DataError: It holds another network.
        EdgeSdkError: See :func:`edgesdk.frontend.edgemodel.file.read_model_file`.
    """
    return _stylizer(path, read_model_file(path).model)


def _stylizer(path: Path, model: nn.Module) -> MultiStyleNet:
    if not isinstance(model, MultiStyleNet):
        raise DataError(
            f"{path} is no network of styles", remedy="name one that `edgesdk train style` made"
        )
    return model


def started_from(path: Path, fresh: MultiStyleNet) -> MultiStyleNet:
    """A trained network in place of a fresh one.

    Args:
        path: ``NAME.edgemodel`` of a network of the same styles, in the same order, and widths.
        fresh: The one that would be trained otherwise.

    Returns:
        The trained one; every weight can learn. Where only the fresh one refines at a quarter or a
        half of the size, or with more channels, it is that one with the trained one's weights, and
        paints the same: what is its own begins by adding nothing (zero-initialised residuals,
        Goyal et al., arXiv:1706.02677, section 5.1).

    Raises:
        UsageError: It has other styles or widths; says which.
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
            "to it with --from",
        )
    return trained


def _refines_more(here: dict[str, Any], there: dict[str, Any]) -> bool:
    pairs = list(zip(here["refined_widths"], there["refined_widths"], strict=True))
    return here["refined_widths"] != there["refined_widths"] and all(b <= a for a, b in pairs)


@torch.no_grad()
def _refined(trained: MultiStyleNet, fresh: MultiStyleNet) -> MultiStyleNet:
    """A trained network with more or wider blocks in its decoder, which add nothing yet."""
    config = {**trained.config, "refined_widths": fresh.config["refined_widths"]}
    wider = models.create("multi_style", **config)
    if not isinstance(wider, MultiStyleNet):
        raise UsageError(f"multi_style is a {type(wider).__name__}")
    state = wider.state_dict()
    for place, (decode, before) in enumerate(zip(wider.decoder, trained.decoder, strict=True)):
        if decode.block is not None and before.block is None:
            state[f"decoder.{place}.block.norm.scale.weight"].zero_()
        elif decode.block is not None:
            # What is new inside says nothing to what is behind it.
            state[f"decoder.{place}.block.project.weight"].zero_()
    for name, value in trained.state_dict().items():
        state[name][tuple(slice(size) for size in value.shape)] = value
    wider.load_state_dict(state)
    return wider


def body_taken_over(path: Path, painter: AnyStyleNet, seed: int) -> None:
    """Give a network of any style what one of many styles has learnt.

    The convolutions are the same. The first of the codes that styles are mixtures of become the
    trained styles, the others random combinations of them, so that training begins with codes that
    paint and differ.

    Args:
        path: ``NAME.edgemodel`` of a network of many styles, of the same widths.
        painter: Changed in place.
        seed: Of the combinations.

    Raises:
        UsageError: It has other widths, or more styles than there are codes; says which.
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
    # Differences from the mean style: every combination is then as far from it as a style is.
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
    """The widths of a trained network of style, as options for one that begins with its weights.

    Args:
        path: ``NAME.edgemodel`` of a network of many styles or of any.

    Raises:
        DataError: It holds another network.
        EdgeSdkError: See :func:`edgesdk.frontend.edgemodel.file.read_model_file`.
    """
    model = read_model_file(path).model
    if not isinstance(model, AnyStyleNet):
        model = _stylizer(path, model)
    return {key: value for key, value in model.config.items() if key.endswith("_widths")}


def encoder_path(path: Path) -> Path:
    """Where the encoder of ``NAME.edgemodel`` lies: ``NAME-encoder.edgemodel``."""
    return path.with_name(f"{path.stem}-encoder.edgemodel")


def any_style_taken_over(
    path: Path, encoder: StyleEncoder, painter: AnyStyleNet, seed: int
) -> None:
    """Give the two networks of any style what was learnt before.

    Args:
        path: ``NAME.edgemodel`` of a painter in any style, its encoder beside it, or of a network
            of many styles (:func:`body_taken_over`).
        encoder: Changed in place; not by a network of many styles.
        painter: Changed in place.
        seed: See :func:`body_taken_over`.

    Raises:
        UsageError: They are of other widths; says which.
        DataError: The file beside the painter is no encoder.
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
            f"{beside} is no encoder of paintings",
            remedy="keep the two files that `edgesdk train style --any` wrote together",
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
    """A digest of a network's weights by name: other weights have another."""
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
