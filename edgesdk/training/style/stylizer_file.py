"""Save trained stylizers."""

from __future__ import annotations

from pathlib import Path

from edgesdk.errors import OutputExistsError, UsageError
from edgesdk.frontend.edgemodel.file import ModelSignature, save_model
from edgesdk.spec import IMAGE_PRESETS, TensorSpec
from edgesdk.training.style.any_stylizer import TrainedAnyStylizer
from edgesdk.training.style.fine_tuning import encoder_path
from edgesdk.training.style.stylizer import TrainedStylizer

__all__ = ["check_outputs", "save_any_stylizer", "save_stylizer"]


def check_outputs(path: Path, *, any_style: bool, overwrite: bool) -> None:
    """Check, before hours of training, that the output can be written.

    Args:
        path: Output path.
        any_style: True if an encoder will be written beside it.
        overwrite: True to replace existing output.

    Raises:
        UsageError: The suffix is not ``.edgemodel``.
        OutputExistsError: The output exists and ``overwrite`` is false.
    """
    if path.suffix != ".edgemodel":
        raise UsageError(
            f"cannot write {path.name or str(path)!r}", remedy="give a name with .edgemodel"
        )
    for one in (path, encoder_path(path)) if any_style else (path,):
        if one.exists() and not (overwrite and one.is_dir()):
            raise OutputExistsError(f"{one} exists", remedy="choose another name or --overwrite")


def save_stylizer(
    trained: TrainedStylizer, path: Path, *, size: int = 512, overwrite: bool = False
) -> Path:
    """Save a trained stylizer.

    Args:
        trained: The trained stylizer.
        path: ``NAME.edgemodel``.
        size: Default side in pixels of the pictures it is exported for.
        overwrite: True to replace existing output.

    Raises:
        EdgeSdkError: See :func:`check_outputs` and
            :func:`edgesdk.frontend.edgemodel.file.save_model`.
    """
    check_outputs(path, any_style=False, overwrite=overwrite)
    count = len(trained.styles)
    signature = ModelSignature(
        inputs=(
            TensorSpec("picture", (1, 3, size, size), layout="NCHW"),
            TensorSpec("style", (1, count, 1, 1)),
        ),
        image=IMAGE_PRESETS["unit"],
    )
    return save_model(trained.model, "multi_style", path, signature=signature, overwrite=overwrite)


def save_any_stylizer(
    trained: TrainedAnyStylizer, path: Path, *, size: int = 512, overwrite: bool = False
) -> tuple[Path, Path]:
    """Save an any-style network with its encoder beside it.

    Args:
        trained: The trained stylizer.
        path: ``NAME.edgemodel``.
        size: Default side in pixels of the pictures it is exported for.
        overwrite: True to replace existing output.

    Returns:
        Folders of the painting network and of the encoder.

    Raises:
        EdgeSdkError: See :func:`check_outputs` and
            :func:`edgesdk.frontend.edgemodel.file.save_model`.
    """
    check_outputs(path, any_style=True, overwrite=overwrite)
    beside = encoder_path(path)
    image = IMAGE_PRESETS["unit"]
    picture = TensorSpec("picture", (1, 3, size, size), layout="NCHW")
    style = TensorSpec("style", (1, trained.encoder.width, 1, 1))
    painting = TensorSpec("painting", (1, 3, 256, 256), layout="NCHW")
    save_model(
        trained.encoder,
        "style_encoder",
        beside,
        signature=ModelSignature(inputs=(painting,), image=image),
        overwrite=overwrite,
    )
    save_model(
        trained.painter,
        "any_style",
        path,
        signature=ModelSignature(inputs=(picture, style), image=image),
        overwrite=overwrite,
    )
    return path, beside
