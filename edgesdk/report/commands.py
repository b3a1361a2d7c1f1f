"""Commands that reproduce the bundle, its verification and its measurements."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable

from edgesdk.bundle.manifest import Manifest
from edgesdk.spec import IMAGE_PRESETS, DynamicDim, ImageSpec, TensorSpec

__all__ = ["reproduction_commands"]

_IDENTIFIER = re.compile(r"[A-Za-z_]\w*", re.ASCII)


def reproduction_commands(manifest: Manifest) -> list[tuple[str, str]]:
    """Return pairs of a description and a command, ready to paste into a POSIX shell.

    A model passed from Python has no export command.
    """
    folder = shlex.quote(f"./{manifest.name}.edge")
    commands = [
        ("Compare every artefact with the original again", f"edgesdk verify {folder}"),
        ("Measure latency, memory and load time again", f"edgesdk profile {folder}"),
        ("Write this page again", f"edgesdk report {folder}"),
    ]
    export = _export(manifest, folder)
    return [("Convert the model again", export), *commands] if export else commands


def _export(manifest: Manifest, folder: str) -> str:
    source = manifest.source
    given_in_python = source.spec in (source.model, source.model.rpartition(".")[2])
    # A source that starts with a hyphen would be read as an option.
    if given_in_python or source.spec.startswith("-") or not source.spec.isprintable():
        return ""
    names = [record.target for record in manifest.artefacts]
    names += [record.target for record in manifest.failures]
    words = ["edgesdk", "export", source.spec]
    if names:
        words.append(f"--to={','.join(dict.fromkeys(names))}")
    # Zoo entries and saved programs define their inputs; a factory may not.
    if ":" in source.spec:
        words += _inputs(manifest.inputs)
    signatures = [manifest.inputs, *(artefact.inputs for artefact in manifest.artefacts)]
    words += _image(spec for inputs in signatures for spec in inputs)
    words += _dynamic(spec for inputs in signatures for spec in inputs)
    return f"{shlex.join(words)} --output {folder}"


def _inputs(specs: Iterable[TensorSpec]) -> list[str]:
    return [
        f"--input={spec.name}:{'x'.join(map(str, spec.shape))}:{spec.dtype}"
        for spec in specs
        if _IDENTIFIER.fullmatch(spec.name) and spec.shape
    ]


def _image(specs: Iterable[TensorSpec]) -> list[str]:
    image = next((spec.image for spec in specs if spec.image is not None), None)
    return [] if image is None else [f"--image={_preprocessing(image)}"]


def _preprocessing(image: ImageSpec) -> str:
    for name, preset in IMAGE_PRESETS.items():
        if preset == image:
            return name
    mean, std = ("/".join(f"{value:.9g}" for value in values) for values in (image.mean, image.std))
    return (
        f"color={image.color},model-color={image.model_color},"
        f"range={image.low:.9g}..{image.high:.9g},mean={mean},std={std}"
    )


def _dynamic(specs: Iterable[TensorSpec]) -> list[str]:
    free = {size.name: size for spec in specs for size in spec.dynamic.values()}
    return [
        f"--dynamic={name}={_range(free[axis])}"
        for name, axis in (("batch", "batch"), ("hw", "height"))
        if axis in free
    ]


def _range(size: DynamicDim) -> str:
    multiple = f"/{size.multiple}" if size.multiple > 1 else ""
    return f"{size.min}..{size.max}{multiple}"
