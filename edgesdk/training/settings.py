"""Frozen settings read from files and command lines, with errors of this SDK."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from edgesdk.errors import UnknownNameError, UsageError

__all__ = ["Settings"]


class Settings(BaseModel):
    """Base of settings: frozen, checked, convertible to JSON.

    Raises:
        UsageError: A value is out of range or missing.
        UnknownNameError: A key is unknown; the message suggests the nearest known one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise _usage_error(type(self), error) from None

    def changed(self, **values: Any) -> Self:
        """Return these settings with other values, checked."""
        return type(self)(**{**self.to_dict(), **values})

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON values."""
        return self.model_dump(mode="json")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build settings from the values of :meth:`to_dict` or of a file."""
        return cls(**{str(key): value for key, value in values.items()})


def _usage_error(kind: type[BaseModel], error: ValidationError) -> UsageError:
    problem = error.errors(include_url=False, include_context=False)[0]
    key = ".".join(str(part) for part in problem["loc"])
    name = re.sub("(?<!^)(?=[A-Z])", " ", kind.__name__).lower()
    if problem["type"] == "extra_forbidden":
        return UnknownNameError(f"key of a {name}", key, kind.model_fields)
    if problem["type"] == "missing":
        return UsageError(f"the recipe does not say {key}", remedy=f"add {key}")
    message = problem["msg"][0].lower() + problem["msg"][1:]
    return UsageError(f"{name}: {key}: {message}", remedy=f"correct {key}")
