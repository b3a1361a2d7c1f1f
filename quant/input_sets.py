"""Input sets for calibration and evaluation: read from any source, checked, and sized."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgesdk.errors import DataError, InputNotFoundError
from edgesdk.host.image_files import IMAGE_SUFFIXES
from edgesdk.quant.plan import Arrays
from edgesdk.spec import ImageSpec, TensorSpec

if TYPE_CHECKING:
    from torch.export import ExportedProgram

__all__ = ["InputSet", "enough_samples", "picture_files", "read_inputs"]


_ARRAY_SUFFIXES = (".npz", ".npy", ".safetensors", ".pt", ".pth")
#: Initial number of samples, doubled until the ranges converge.
_FIRST = 16
#: Mean relative change of all ranges below which they count as converged.
_CONVERGED = 0.01


@dataclass(frozen=True)
class InputSet:
    """Inputs of a model, one set of arrays per sample.

    Attributes:
        names: Name of each sample, such as its file.
        inputs: Arrays by input name, in the shape and dtype of the input.
        source: Description of their source.
        notes: Remarks for the user.
    """

    names: tuple[str, ...]
    inputs: tuple[Arrays, ...]
    source: str
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def sha256(self) -> str:
        """Digest of the arrays, in order."""
        sha = hashlib.sha256()
        for arrays in self.inputs:
            for name in sorted(arrays):
                array = np.ascontiguousarray(arrays[name])
                sha.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
                sha.update(array.tobytes())
        return sha.hexdigest()

    def first(self, count: int) -> InputSet:
        """Return the first ``count`` samples as a set."""
        return InputSet(self.names[:count], self.inputs[:count], self.source, self.notes)


def picture_files(folder: Path) -> list[Path]:
    """List the photographs in a folder and its subfolders, sorted by path.

    Raises:
        DataError: The folder holds none.
    """
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()
    )
    if not found:
        raise DataError(
            f"{folder} holds no photographs", remedy="put JPEG, PNG or WebP files there"
        )
    return found


def read_inputs(
    source: Any,
    specs: Sequence[TensorSpec],
    *,
    image: ImageSpec | None = None,
    backgrounds: Sequence[Mapping[str, np.ndarray]] = (),
    limit: int = 512,
    seed: int = 0,
    exclude: Iterable[str] = (),
) -> InputSet:
    """Read inputs of a model from any source.

    Args:
        source: A folder of photographs, a photograph, a file of arrays by input name (with a
            leading axis of samples, or one sample), a ``DataLoader``, or an iterable of arrays,
            tuples or dictionaries by input name; a label behind the inputs is ignored.
        specs: The model's inputs.
        image: Preprocessing of photographs, for inputs without their own.
        backgrounds: Arrays by input name for the inputs other than the photograph. Each photograph
            uses the next of several (the styles of a stylizer, for example), and photographs
            repeat until all were used.
        limit: Largest number of samples, chosen by the seed.
        seed: Seed of the choice.
        exclude: Names of samples to leave out.

    Raises:
        DataError: The source holds no inputs, NaN or infinity, arrays of the wrong shape or dtype,
            or only constant samples.
        InputNotFoundError: The source is a path that does not exist.
        InputSpecError: A photograph or file cannot be read.
        UnsafeFileError: The file is a pickle that would run code.
    """
    taken = frozenset(exclude)
    if isinstance(source, (str, Path)):
        path = Path(source)
        if not path.exists():
            raise InputNotFoundError(path)
        if path.is_dir() or path.suffix.lower() in IMAGE_SUFFIXES:
            files = picture_files(path) if path.is_dir() else [path]
            root = path if path.is_dir() else path.parent
            return _read_photographs(
                files, root, specs, image, backgrounds or [{}], limit, seed, taken
            )
        if path.suffix.lower() not in _ARRAY_SUFFIXES or not path.is_file():
            raise DataError(
                f"no inputs in {path}",
                remedy="give a folder of photographs, or an .npz or .safetensors file with one "
                "array per input",
            )
        named = [(f"{path.name}[{row}]", arrays) for row, arrays in _rows_of(path, specs)]
        words = path.name
    else:
        named = [(f"sample {row}", arrays) for row, arrays in enumerate(_rows(source, specs))]
        words = "samples given in Python"
    left = [(name, arrays) for name, arrays in named if name not in taken]
    order = np.random.default_rng(seed).permutation(len(left))[:limit]
    return _checked(
        tuple(left[place][0] for place in order), tuple(left[place][1] for place in order), words
    )


def _read_photographs(
    files: Sequence[Path],
    root: Path,
    specs: Sequence[TensorSpec],
    image: ImageSpec | None,
    backgrounds: Sequence[Mapping[str, np.ndarray]],
    limit: int,
    seed: int,
    taken: frozenset[str],
) -> InputSet:
    from edgesdk.frontend.sample_files import read_sample

    named = [(path.relative_to(root).as_posix(), path) for path in files]
    order = np.random.default_rng(seed).permutation(len(named))
    left = [named[place] for place in order if named[place][0] not in taken][:limit]
    count = min(limit, max(len(left), len(backgrounds))) if left else 0
    pairs = [(left[k % len(left)], backgrounds[k % len(backgrounds)]) for k in range(count)]
    return _checked(
        tuple(name for (name, _), _ in pairs),
        tuple(read_sample(path, specs, background, image) for (_, path), background in pairs),
        f"{len(left)} of {len(files)} photographs in {root.name}",
    )


def _rows_of(path: Path, specs: Sequence[TensorSpec]) -> list[tuple[int, Arrays]]:
    from edgesdk.frontend.sample_files import read_example

    found = read_example(path)
    if not isinstance(found, Mapping):
        found = {specs[0].name: found[0] if isinstance(found, (tuple, list)) else found}
    arrays = {name: _array(value) for name, value in found.items()}
    missing = [spec.name for spec in specs if spec.name not in arrays]
    if missing:
        raise DataError(
            f"{path.name} has no array {missing[0]!r}", remedy=f"write {_listed(specs)}"
        )
    return list(enumerate(_split({spec.name: arrays[spec.name] for spec in specs}, specs)))


def _listed(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(str(spec) for spec in specs)


def _split(arrays: Arrays, specs: Sequence[TensorSpec]) -> list[Arrays]:
    """Split arrays with a leading axis of samples; return a single sample unchanged."""
    if all(arrays[spec.name].shape == spec.shape for spec in specs):
        return [_fitted(arrays, specs)]
    stacked = {}
    for spec in specs:
        array = arrays[spec.name]
        # The axis of samples replaces a batch of one, or precedes the whole shape.
        in_place = spec.shape[:1] == (1,) and array.ndim == len(spec.shape)
        stacked[spec.name] = array[:, None] if in_place else array
    counts = {len(array) if array.ndim else 0 for array in stacked.values()}
    if len(counts) != 1 or not max(counts):
        raise DataError(
            "the inputs differ in their number of samples", remedy=f"give {_listed(specs)}"
        )
    return [
        _fitted({name: array[row] for name, array in stacked.items()}, specs)
        for row in range(max(counts))
    ]


def _rows(source: Any, specs: Sequence[TensorSpec]) -> list[Arrays]:
    try:
        items = iter(source)
    except TypeError as error:
        raise DataError(
            f"cannot read inputs from a {type(source).__name__}",
            remedy="give a folder, a file of arrays, a DataLoader or an iterable of inputs",
        ) from error
    found = [row for item in items for row in _split(_named(item, specs), specs)]
    if not found:
        raise DataError("the source holds no inputs", remedy="give at least one sample")
    return found


def _named(item: Any, specs: Sequence[TensorSpec]) -> Arrays:
    if isinstance(item, Mapping):
        values = {spec.name: item.get(spec.name) for spec in specs}
    else:
        # In a tuple, a label may follow the inputs.
        parts = list(item) if isinstance(item, (tuple, list)) else [item]
        values = dict(zip((spec.name for spec in specs), parts, strict=False))
    missing = [spec.name for spec in specs if values.get(spec.name) is None]
    if missing:
        raise DataError(f"a sample has no input {missing[0]!r}", remedy=f"give {_listed(specs)}")
    return {name: _array(value) for name, value in values.items()}


def _array(value: Any) -> np.ndarray:
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    return np.asarray(value)


def _fitted(arrays: Arrays, specs: Sequence[TensorSpec]) -> Arrays:
    fitted = {}
    for spec in specs:
        array = arrays[spec.name]
        if array.shape != spec.shape:
            raise DataError(
                f"a sample of input {spec.name!r} has shape {tuple(array.shape)}, not {spec.shape}",
                remedy=f"give {spec}",
            )
        if not np.can_cast(array.dtype, spec.dtype, "same_kind"):
            raise DataError(
                f"a sample of input {spec.name!r} has dtype {array.dtype}, not {spec.dtype}",
                remedy=f"give {spec}",
            )
        fitted[spec.name] = np.ascontiguousarray(array.astype(spec.dtype))
    return fitted


def _checked(names: tuple[str, ...], inputs: tuple[Arrays, ...], source: str) -> InputSet:
    if not inputs:
        raise DataError(f"no samples remain of {source}", remedy="give more samples")
    flat = 0
    for name, arrays in zip(names, inputs, strict=True):
        for input_name, array in arrays.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise DataError(
                    f"{name} holds NaN or infinity in {input_name!r}",
                    remedy="remove this sample: it has no valid range",
                )
        flat += all(array.size > 1 and array.min() == array.max() for array in arrays.values())
    if flat == len(inputs):
        raise DataError(
            f"every sample of {source} is constant, such as a black picture",
            remedy="give inputs like those of the app: ranges of constant ones are too narrow",
        )
    notes = []
    if len(inputs) == 1:
        notes.append("only one sample: ranges may not fit other inputs")
    if flat:
        notes.append(f"{flat} of {len(inputs)} samples are constant")
    return InputSet(names, inputs, source, tuple(notes))


def enough_samples(
    program: ExportedProgram,
    names: Sequence[str],
    inputs: Sequence[Arrays],
    on_sample: Callable[[int, int], None] | None = None,
    *,
    least: int = _FIRST,
) -> tuple[int, float]:
    """Find the number of calibration samples at which the ranges converge.

    The program runs on ``least`` samples, then on twice as many, and so on, until the mean extremes
    of all tensors change by less than 1 % of their widths. All range methods depend on mean
    extremes, which need no histogram.

    Args:
        program: Float program.
        names: Names of its inputs, in order.
        inputs: Samples, in the order of use.
        on_sample: Called with the number of samples done and the number in all.
        least: Initial number of samples, at least 16.

    Returns:
        Number of samples, and the last mean change as a share; 1.0 if there were too few samples.
    """
    import torch

    sums: dict[str, list[float]] = {}

    class Watch(torch.fx.Interpreter):
        def run_node(self, n: torch.fx.Node) -> Any:
            value = super().run_node(n)
            if (
                n.op == "call_function"
                and isinstance(value, torch.Tensor)
                and value.dtype == torch.float32
                and value.numel() > 1
            ):
                total = sums.setdefault(n.name, [0.0, 0.0])
                low, high = torch.aminmax(value)
                total[0] += float(low)
                total[1] += float(high)
            return value

    watch = Watch(program.module(check_guards=False))
    before: dict[str, tuple[float, float]] = {}
    mark, change = max(least, _FIRST), 1.0
    for index, arrays in enumerate(inputs):
        with torch.no_grad():
            watch.run(*(torch.from_numpy(arrays[name].copy()) for name in names))
        count = index + 1
        if on_sample:
            on_sample(count, len(inputs))
        if count < mark:
            continue
        now = {name: (low / count, high / count) for name, (low, high) in sums.items()}
        if before:
            change = float(np.mean([_range_change(before[name], now[name]) for name in now]))
            if change < _CONVERGED:
                return count, change
        before, mark = now, 2 * mark
    return len(inputs), change


def _range_change(old: tuple[float, float], new: tuple[float, float]) -> float:
    width = new[1] - new[0]
    if width <= 0:
        return 0.0
    return (abs(new[0] - old[0]) + abs(new[1] - old[1])) / width
