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
    """Check, before hours of training, that the output and its encoder, if any, can be written.

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
    signature = _signature(size, len(trained.styles))
    return save_model(trained.model, "multi_style", path, signature=signature, overwrite=overwrite)


def save_any_stylizer(
    trained: TrainedAnyStylizer, path: Path, *, size: int = 512, overwrite: bool = False
) -> tuple[Path, Path]:
    """Save an any-style network with its encoder beside it.

    See :func:`save_stylizer` for the arguments and errors.

    Returns:
        Folders of the painting network and of the encoder.
    """
    check_outputs(path, any_style=True, overwrite=overwrite)
    beside = encoder_path(path)
    painting = TensorSpec("painting", (1, 3, 256, 256), layout="NCHW")
    encoding = ModelSignature(inputs=(painting,), image=IMAGE_PRESETS["unit"])
    save_model(trained.encoder, "style_encoder", beside, signature=encoding, overwrite=overwrite)
    signature = _signature(size, trained.encoder.width)
    save_model(trained.painter, "any_style", path, signature=signature, overwrite=overwrite)
    return path, beside


def _signature(size: int, styles: int) -> ModelSignature:
    picture = TensorSpec("picture", (1, 3, size, size), layout="NCHW")
    style = TensorSpec("style", (1, styles, 1, 1))
    return ModelSignature(inputs=(picture, style), image=IMAGE_PRESETS["unit"])
