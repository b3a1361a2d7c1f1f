"""Training recipes: all hyperparameters of a classifier's training, as plain data.

A recipe is JSON. The package has five (``recipes.json``); users write their own as files. Two runs
with the same recipe, data set and seed give the same weights.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import Field, field_validator

from edgesdk.errors import InputNotFoundError, MissingBackendError, UnknownNameError, UsageError
from edgesdk.near_names import nearest
from edgesdk.training.settings import Settings

__all__ = [
    "Augmentation",
    "Recipe",
    "load_recipe",
    "overridden",
    "read_settings",
    "recipe",
    "recipe_names",
]

_NAMED = Path(__file__).with_name("recipes.json")
_FILE_SUFFIXES = (".json", ".yaml", ".yml")
# A recipe has about twenty numbers; a larger file is not a recipe.
_MAX_BYTES = 2**16

Kind = TypeVar("Kind", bound=Settings)


class Augmentation(Settings):
    """Random changes of training images, drawn anew for every sample and epoch.

    Attributes:
        flip: Probability of mirroring left to right; ``true`` stands for 0.5.
        crop: Pixels of black padding on every side before a random crop to the original size.
        colour: Strength of brightness, contrast and saturation jitter: each is multiplied by a
            number between ``1 - colour`` and ``1 + colour``. For ``uint8`` images only.
        cutout: Side in pixels of a randomly placed square that is set to the mean.
    """

    flip: float = Field(default=0.0, ge=0, le=1)
    crop: int = Field(default=0, ge=0, le=512)
    colour: float = Field(default=0.0, ge=0, le=1)
    cutout: int = Field(default=0, ge=0, le=4096)

    @field_validator("flip", mode="before")
    @classmethod
    def _probability(cls, value: Any) -> Any:
        return 0.5 * value if isinstance(value, bool) else value


class Recipe(Settings):
    """Hyperparameters of a classifier's training: frozen, JSON-able, validated.

    Attributes:
        epochs: Passes over the training set.
        batch_size: Samples per step, over all processes together.
        optimizer: ``sgd``, ``adam`` or ``adamw``.
        learning_rate: Highest rate of the run.
        momentum: Momentum of ``sgd``.
        nesterov: True for Nesterov momentum, with ``sgd``.
        weight_decay: On every parameter; decoupled from the gradient for ``adamw``.
        schedule: ``cosine`` (to zero), ``step`` or ``constant``; updated every step.
        milestones: Fractions of the run at which ``step`` multiplies the rate by ``gamma``.
        gamma: See ``milestones``.
        warmup_epochs: Epochs, whole or fractional, in which the rate rises from zero.
        label_smoothing: Share of the target that is spread over all classes.
        ema_decay: Decay of the averaged weights, which are validated and saved; 0 for off.
        mixup: Alpha of mixup's Beta distribution; 0 for off.
        augmentation: Random changes of images.
        clip_gradient: Largest norm of the gradient; 0 for no limit.
        seed: Seed of the sample order, the augmentation and random layers of the model.
        precision: ``fp32``, or ``bf16``/``fp16`` for mixed precision.

    Raises:
        UsageError: A value is out of range or missing.
        UnknownNameError: An unknown key; the message suggests the nearest known one.
    """

    epochs: int = Field(ge=1, le=100_000)
    batch_size: int = Field(ge=2, le=1_000_000)
    optimizer: Literal["sgd", "adam", "adamw"]
    learning_rate: float = Field(gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: float = Field(default=0.0, ge=0)
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    milestones: tuple[float, ...] = (0.5, 0.75)
    gamma: float = Field(default=0.1, gt=0, le=1)
    warmup_epochs: float = Field(default=0.0, ge=0)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    ema_decay: float = Field(default=0.0, ge=0, lt=1)
    mixup: float = Field(default=0.0, ge=0)
    augmentation: Augmentation = Augmentation()
    clip_gradient: float = Field(default=0.0, ge=0)
    seed: int = Field(default=0, ge=0, lt=2**63)
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        if self.nesterov and (self.optimizer != "sgd" or self.momentum == 0):
            raise UsageError(
                "recipe: nesterov needs sgd with momentum", remedy="set nesterov to false"
            )
        if self.warmup_epochs >= self.epochs:
            raise UsageError(
                f"recipe: warmup_epochs ({self.warmup_epochs:g}) must be below epochs "
                f"({self.epochs})",
                remedy="set warmup_epochs below epochs",
            )

    @field_validator("milestones")
    @classmethod
    def _fractions(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0 < value < 1 for value in values) or list(values) != sorted(set(values)):
            raise ValueError("milestones must be rising fractions of the run between 0 and 1")
        return values

    def changed(self, **values: Any) -> Self:
        """Return a copy with some values replaced, validated.

        Args:
            **values: Fields to replace; ``augmentation`` may be a mapping of the keys that differ.
        """
        given = dict(values)
        if isinstance(given.get("augmentation"), Mapping):
            given["augmentation"] = {**self.augmentation.model_dump(), **given["augmentation"]}
        return super().changed(**given)


@cache
def _named() -> dict[str, Recipe]:
    text = _NAMED.read_text(encoding="utf-8")
    return {name: Recipe.from_dict(values) for name, values in json.loads(text).items()}


def recipe_names() -> tuple[str, ...]:
    """Return the names of the package's recipes, sorted.

    Example:
        >>> from edgesdk.training import recipe_names
        >>> "quick_sgd" in recipe_names()
    """
    return tuple(sorted(_named()))


def recipe(name: str) -> Recipe:
    """Return a recipe of the package.

    Example:
        >>> from edgesdk.training import recipe
        >>> recipe("quick_sgd").changed(epochs=3)

    Raises:
        UnknownNameError: The package has no recipe of this name.
    """
    found = _named().get(name)
    if found is None:
        raise UnknownNameError("recipe", name, recipe_names())
    return found


def load_recipe(name: str) -> Recipe:
    """Load a recipe by name, or from a ``.json``, ``.yaml`` or ``.yml`` file.

    Example:
        >>> from edgesdk.training import load_recipe
        >>> load_recipe("mine.yaml").learning_rate

    Raises:
        UnknownNameError: Unknown recipe, or an unknown key in the file.
        UsageError: The file does not exist or is not a recipe.
        MissingBackendError: A YAML file, and PyYAML is not installed.
    """
    path = Path(name)
    if path.suffix.lower() not in _FILE_SUFFIXES:
        return recipe(name)
    return read_settings(path, Recipe)


def read_settings(path: Path, kind: type[Kind]) -> Kind:
    """Read settings from a ``.json``, ``.yaml`` or ``.yml`` file.

    Raises:
        UnknownNameError: An unknown key in the file.
        UsageError: The file does not exist or is not a recipe.
        MissingBackendError: A YAML file, and PyYAML is not installed.
    """
    if not path.is_file():
        raise InputNotFoundError(path)
    if path.stat().st_size > _MAX_BYTES:
        raise UsageError(f"{path} is too large for a recipe", remedy="give the path of a recipe")
    values = _read(path)
    if not isinstance(values, dict):
        raise UsageError(f"{path} does not hold a mapping", remedy='write {"epochs": 10, ...}')
    try:
        return kind.from_dict(values)
    except UsageError as error:
        error.where = error.where or str(path)
        raise


def _read(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix.lower() == ".json":
            return json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} cannot be read: {error}", remedy="correct the file") from error
    try:
        import yaml  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingBackendError("yaml", "training") from error
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not YAML: {error}", remedy="correct the file") from error


def overridden(base: Kind, settings: Iterable[str]) -> Kind:
    """Return a recipe with some values replaced by ``key=value`` texts.

    Args:
        base: The recipe.
        settings: Such as ``learning_rate=0.05``, ``augmentation.crop=2``, ``milestones=0.3,0.6``.

    Raises:
        UsageError: A text is not ``key=value``, or a value is out of range.
        UnknownNameError: An unknown key.
    """
    values: dict[str, Any] = {}
    for text in settings:
        key, separator, value = text.partition("=")
        key = key.strip()
        if not separator or not key:
            raise UsageError(
                f"--set {text!r} is not key=value", remedy="write --set learning_rate=0.05"
            )
        outer, _, inner = key.partition(".")
        parted = [name for name in type(base).model_fields if name == "augmentation"]
        if inner and outer not in parted:
            close = nearest(outer, parted)
            remedy = f"did you mean {close}.{inner}?" if close else "only augmentation has subkeys"
            raise UsageError(f"the recipe has no {key!r}", remedy=remedy)
        if inner:
            values.setdefault("augmentation", {})[inner] = _value(value)
        else:
            values[key] = _value(value)
    return base.changed(**values)


def _value(text: str) -> Any:
    for form in (text, f"[{text}]"):
        try:
            return json.loads(form)
        except (ValueError, RecursionError):
            continue
    return text.strip()
