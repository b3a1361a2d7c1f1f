"""From the words of ``edgesdk export`` to what the export takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgesdk.errors import InputSpecError
from edgesdk.host.image_files import IMAGE_SUFFIXES
from edgesdk.spec import TensorSpec, parse_input

__all__ = ["example_and_inputs", "sample_files"]

_EXAMPLE_SUFFIXES = (".npy", ".npz", ".pt", ".pth", ".safetensors")


def example_and_inputs(texts: Sequence[str]) -> tuple[Any, tuple[TensorSpec, ...]]:
    """Read ``--input``: specs, or one file with an example.

    Raises:
        InputSpecError: A text of another form, or a file beside specs.
    """
    files = [text for text in texts if text.endswith(_EXAMPLE_SUFFIXES)]
    if not files:
        specs = tuple(parse_input(text) for text in texts)
        unnamed = [spec for spec in specs if spec.name == "x"]
        if len(unnamed) > 1:
            specs = tuple(spec.renamed(f"x{index}") for index, spec in enumerate(specs))
        return None, specs
    if len(texts) > 1:
        raise InputSpecError(
            "an example file brings all inputs", remedy="give the file alone, or specs alone"
        )
    from edgesdk.frontend.sample_files import read_example

    return read_example(Path(files[0])), ()


def sample_files(given: Sequence[Path]) -> tuple[Path, ...]:
    """The files that ``--samples`` names, folders opened, sorted by name.

    Raises:
        InputSpecError: A missing file, or a folder without samples.
    """
    found: list[Path] = []
    for path in given:
        if path.is_dir():
            inside = sorted(
                child
                for child in path.iterdir()
                if child.suffix.lower() in (*IMAGE_SUFFIXES, *_EXAMPLE_SUFFIXES)
            )
            if not inside:
                raise InputSpecError(
                    f"{path} holds no samples",
                    remedy="put photographs (JPEG, PNG, WebP) or .npz files there",
                )
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise InputSpecError(f"no sample {path}", remedy="check the path")
    return tuple(found)
