"""Read training, validation and test sets from a folder in any of the supported formats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from edgesdk.errors import DataError, InputNotFoundError, UsageError
from edgesdk.training.data.cifar import find_cifar, read_cifar, refuse_pickled_cifar
from edgesdk.training.data.idx import find_idx, read_idx_images, read_idx_labels
from edgesdk.training.data.image_files import (
    ClassFolders,
    FileImages,
    decoded,
    find_classes,
    measure,
)
from edgesdk.training.data.labelled import LabelledImages
from edgesdk.training.data.splits import DataSplits, class_names, hold_out, mean_and_std

__all__ = ["open_data"]

#: Image folders up to this size in bytes are decoded once and kept in memory.
_IN_MEMORY = 2**30
_SIDES = range(1, 4097)
_PARTS = {"train": ("train",), "validation": ("val", "valid", "validation"), "test": ("test",)}
_CLASS_FILES = ("classes.txt", "batches.meta.txt", "fine_label_names.txt")
_RESIZE_BATCH = 1000

Parts = dict[str, LabelledImages]


def open_data(
    path: Path,
    *,
    image_size: int | None = None,
    channels: int | None = None,
    validation: float = 0.1,
    seed: int = 0,
    only: str | None = None,
) -> DataSplits:
    """Read labelled images.

    Formats: ``DIR/CLASS/*.jpg``; ``DIR/train/CLASS/*.jpg`` with ``val`` and ``test`` beside it;
    ``train-images-idx3-ubyte[.gz]`` and so on (MNIST, Fashion-MNIST); CIFAR-10 and CIFAR-100 in
    their binary version. ``DIR/classes.txt`` may name the classes of the last two, one per line.

    Example:
        >>> data = open_data(Path("photos"), image_size=64)
        >>> data.classes, len(data.train)

    Args:
        path: The folder.
        image_size: Side to scale all images to; default the size that all images share.
        channels: 1 for grey, 3 for colour; default that of the images.
        validation: Share of the training set to hold out, stratified by class, if the data have
            no validation set; 0 for none.
        seed: Seed of the held-out samples.
        only: ``test`` trains and validates on parts of the test files, for data without a training
            set. Such results are not benchmarks; a note in the result says so.

    Raises:
        DataError: Missing, damaged or unsuitable data.
        UnsafeFileError: Pickled data.
        UsageError: An option is out of range.
    """
    if image_size is not None and image_size not in _SIDES:
        raise UsageError(f"image_size is {image_size}", remedy=f"give 1..{_SIDES[-1]}")
    if channels not in (None, 1, 3):
        raise UsageError(f"channels is {channels}", remedy="give 1 for grey or 3 for colour")
    if not 0 <= validation < 1:
        raise UsageError(f"validation is {validation:g}", remedy="give a share from 0 to below 1")
    if only not in (None, "test"):
        raise UsageError(f"only is {only!r}", remedy="give 'test' or leave it out")
    if not path.exists():
        raise InputNotFoundError(path, "folder")
    if not path.is_dir():
        raise DataError(
            f"{path} is a file, not a folder", remedy="give the folder that holds the data"
        )
    try:
        parts = _read(path, image_size, channels, only)
    except OSError as error:
        raise DataError(
            f"{error.filename or path} cannot be read: {error.strerror}",
            remedy="check the path and its permissions",
        ) from error
    return _splits(parts, path, validation, seed, only)


def _read(path: Path, image_size: int | None, channels: int | None, only: str | None) -> Parts:
    refuse_pickled_cifar(path)
    idx, cifar = find_idx(path), find_cifar(path)
    if idx:
        parts = _read_idx(path, idx, only)
    elif cifar is not None:
        parts = _read_cifar(path, *cifar, only)
    else:
        return _read_folders(path, image_size, channels, only)
    return {part: _as_asked(images, image_size, channels) for part, images in parts.items()}


def _splits(parts: Parts, path: Path, validation: float, seed: int, only: str | None) -> DataSplits:
    notes = []
    if only == "test":
        parts = {"train": parts["test"]}
        notes.append(f"trained and validated on parts of the test files of {path.name}")
    train = parts["train"]
    held: LabelledImages | None = parts.get("validation")
    if held is None and validation:
        train, held = hold_out(train, validation, seed)
        notes.append(f"{len(held)} of {len(parts['train'])} samples held out for validation")
    absent = len(train.classes) - len(torch.unique(train.labels))
    if absent:
        raise DataError(
            f"{absent} of {len(train.classes)} classes have no training samples",
            remedy="give every class several images",
        )
    mean, std = mean_and_std(train)
    return DataSplits(
        train, held, parts.get("test"), train.classes, mean, std, train.image_shape, tuple(notes)
    )


def _require(path: Path, found: Sequence[str], only: str | None, train: str, test: str) -> None:
    """Raise an error that names the missing file."""
    if only == "test":
        if "test" not in found:
            raise DataError(f"{path} has no {test}", remedy=f"put {test} there")
    elif "train" not in found:
        remedy = f"put {train} there"
        if "test" in found:
            remedy += "; or train on parts of the test files alone with --split test"
        raise DataError(f"{path} has no {train}", remedy=remedy)


def _names(path: Path) -> list[str] | None:
    for name in _CLASS_FILES:
        file = path / name
        if file.is_file():
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
            return [line.strip() for line in lines if line.strip()]
    return None


def _read_idx(path: Path, files: dict[tuple[str, str], Path], only: str | None) -> Parts:
    complete = []
    for part, prefix in (("train", "train"), ("test", "t10k")):
        kinds = {kind for other, kind in files if other == part}
        if len(kinds) == 1:
            absent = ({"images", "labels"} - kinds).pop()
            form = "idx3-ubyte" if absent == "images" else "idx1-ubyte"
            name = f"{prefix}-{absent}-{form}.gz"
            raise DataError(f"{path} has no {name}", remedy=f"put {name} there")
        complete += [part] if kinds else []
    _require(path, complete, only, "train-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte.gz")
    wanted = ["test"] if only == "test" else complete
    read = {}
    for part in wanted:
        images = read_idx_images(files[part, "images"])
        labels = read_idx_labels(files[part, "labels"])
        if len(images) != len(labels):
            raise DataError(
                f"{files[part, 'images'].name} has {len(images)} images, "
                f"{files[part, 'labels'].name} has {len(labels)} labels",
                remedy="download both files from the same place",
            )
        if len(images) == 0:
            raise DataError(f"{files[part, 'images']} is empty", remedy="download the file again")
        read[part] = images, labels
    first = wanted[0]
    classes = class_names(
        _names(path), _class_count(files[first, "labels"], read[first][1]), str(path)
    )
    return {
        part: LabelledImages(images, labels, classes, str(files[part, "labels"]))
        for part, (images, labels) in read.items()
    }


def _class_count(path: Path, labels: Tensor) -> int:
    """Return the number of classes and check that each of the labels 0..K-1 occurs."""
    present = torch.unique(labels).tolist()
    gap = next((place for place, label in enumerate(present) if place != label), None)
    if gap is not None:
        raise DataError(
            f"{path}: the label {present[gap]} is out of range: no sample has the label {gap}",
            remedy="labels are 0..K-1 and each has samples; download the file again",
        )
    return len(present)


def _read_cifar(path: Path, files: dict[str, list[Path]], count: int, only: str | None) -> Parts:
    found = [part for part, paths in files.items() if paths]
    train, test = (
        ("data_batch_1.bin", "test_batch.bin") if count == 10 else ("train.bin", "test.bin")
    )
    _require(path, found, only, train, test)
    classes = class_names(_names(path), count, str(path))
    wanted = ["test"] if only == "test" else found
    return {
        part: LabelledImages(*read_cifar(files[part], count), classes, f"{path} ({part})")
        for part in wanted
    }


def _as_asked(
    images: LabelledImages, image_size: int | None, channels: int | None
) -> LabelledImages:
    """Convert images in memory to another size or number of channels."""
    now, height, width = images.image_shape
    channels = channels or now
    sides = (image_size, image_size) if image_size else (height, width)
    if (channels, *sides) == images.image_shape:
        return images
    pixels = torch.empty((len(images), channels, *sides), dtype=torch.uint8)
    for start in range(0, len(images), _RESIZE_BATCH):
        rows = range(start, min(start + _RESIZE_BATCH, len(images)))
        batch = images.batch(list(rows))[0].float()
        if channels < now:
            # The luminance of ITU-R BT.601, as in Pillow.
            weights = torch.tensor([0.299, 0.587, 0.114])
            batch = torch.einsum("nchw,c->nhw", batch, weights)[:, None]
        if sides != (height, width):
            batch = interpolate(batch, sides, mode="bilinear", antialias=True)
        pixels[start : start + len(rows)] = batch.round().clamp(0, 255).to(torch.uint8)
    return LabelledImages(pixels, images.labels, images.classes, images.name)


def _read_folders(
    path: Path, image_size: int | None, channels: int | None, only: str | None
) -> Parts:
    folders = {
        part: next((path / name for name in names if (path / name).is_dir()), None)
        for part, names in _PARTS.items()
    }
    parts = {part: folder for part, folder in folders.items() if folder is not None}
    if "train" not in parts and "test" not in parts:
        parts = {"train": path}
    _require(path, list(parts), only, "train/", "test/")
    if only == "test":
        parts = {"test": parts["test"]}
    found = {part: find_classes(folder) for part, folder in parts.items()}
    first = next(iter(found.values()))
    for part, other in found.items():
        if other.classes != first.classes:
            odd = sorted(set(other.classes) ^ set(first.classes))
            raise DataError(
                f"{parts[part]} has other classes than the training set: {', '.join(odd[:5])}",
                remedy="give every part the same class folders",
            )
    shape = _common_shape(path, list(found.values()), image_size, channels)
    size = sum(len(other.paths) for other in found.values()) * shape[0] * shape[1] * shape[2]
    hold: Callable[[FileImages], Tensor | FileImages] = (
        decoded if size <= _IN_MEMORY else lambda images: images
    )
    return {
        part: LabelledImages(
            hold(FileImages(other.paths, shape)),
            torch.tensor(other.labels),
            other.classes,
            str(parts[part]),
        )
        for part, other in found.items()
    }


def _common_shape(
    path: Path, found: Sequence[ClassFolders], image_size: int | None, channels: int | None
) -> tuple[int, int, int]:
    if image_size is None or channels is None:
        sizes, grey = measure([file for other in found for file in other.paths])
        channels = channels or (1 if grey else 3)
        if image_size is None:
            if len(sizes) > 1:
                shown = ", ".join(f"{width}x{height}" for height, width in sorted(sizes)[:3])
                raise DataError(
                    f"the images in {path} have {len(sizes)} different sizes ({shown} ...)",
                    remedy="scale them to one size with --image-size 64",
                )
            height, width = sizes.pop()
            if height not in _SIDES or width not in _SIDES:
                raise DataError(
                    f"the images in {path} are too large: {width}x{height} pixels",
                    remedy="scale them down with --image-size 224",
                )
            return channels, height, width
    return channels, image_size, image_size
