"""The error tree: what its docstring draws is what there is."""

from __future__ import annotations

import copy
import json
import pickle
import re

import pytest

from edgesdk import errors
from edgesdk.errors import (
    CaptureError,
    ConversionError,
    EdgeSdkError,
    MissingBackendError,
    UnknownNameError,
)
from edgesdk.host.processes.failures import by_name
from edgesdk.near_names import nearest

_ROW = re.compile(r"^    (?P<indent>[│├└─ ]*)(?P<name>[A-Z]\w+) +(?P<code>\d+)  ", re.MULTILINE)


def drawn() -> dict[str, tuple[str | None, int]]:
    """Parent and exit code of each error, as the docstring draws them."""
    found: dict[str, tuple[str | None, int]] = {}
    above: list[str] = []
    for row in _ROW.finditer(errors.__doc__ or ""):
        depth = len(row["indent"]) // 4
        above[depth:] = [row["name"]]
        found[row["name"]] = (above[depth - 1] if depth else None, int(row["code"]))
    return found


def classes() -> list[type[EdgeSdkError]]:
    named = [getattr(errors, name) for name in errors.__all__]
    return [each for each in named if isinstance(each, type)]


def test_docstring_draws_every_class_with_its_parent_and_exit_code() -> None:
    real = {
        kind.__name__: (
            kind.__mro__[1].__name__ if kind is not EdgeSdkError else None,
            kind.exit_code,
        )
        for kind in classes()
    }
    assert drawn() == real
    assert len(real) == 43


def test_every_public_name_is_listed() -> None:
    defined = {
        name
        for name, value in vars(errors).items()
        if not name.startswith("_") and getattr(value, "__module__", "") == errors.__name__
    }
    assert defined == set(errors.__all__)
    assert list(errors.__all__) == sorted(errors.__all__)


@pytest.mark.parametrize(
    ("where", "remedy", "text"),
    [
        (None, None, "it broke"),
        ("net.py:3", None, "it broke\n  at: net.py:3"),
        (None, "mend it", "it broke\n  fix: mend it"),
        ("net.py:3", "mend it", "it broke\n  at: net.py:3\n  fix: mend it"),
    ],
)
def test_text_holds_message_place_and_remedy(
    where: str | None, remedy: str | None, text: str
) -> None:
    error = CaptureError("it broke", where=where, remedy=remedy)
    assert str(error) == text
    assert error.args == ("it broke",)


@pytest.mark.parametrize("kind", classes(), ids=lambda kind: kind.__name__)
def test_every_class_survives_pickle_copy_and_json(kind: type[EdgeSdkError]) -> None:
    error = by_name(kind.__name__, "größer als\nerlaubt", where="net.py:41", remedy="kleiner")
    assert type(error) is kind
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):  # noqa: S301
        assert type(again) is kind
        assert (again.message, again.where, again.remedy) == (
            "größer als\nerlaubt",
            "net.py:41",
            "kleiner",
        )
        assert str(again) == str(error)
    told = json.loads(json.dumps(error.to_dict()))
    assert told == {
        "error": kind.__name__,
        "message": "größer als\nerlaubt",
        "where": "net.py:41",
        "remedy": "kleiner",
        "exit_code": kind.exit_code,
    }
    back = by_name(told["error"], told["message"], where=told["where"], remedy=told["remedy"])
    assert (type(back), str(back)) == (kind, str(error))


def test_a_changed_message_is_what_travels() -> None:
    error = CaptureError("the model fails")
    error.message += " (on cat.jpg)"
    assert str(pickle.loads(pickle.dumps(error))) == "the model fails (on cat.jpg)"  # noqa: S301


def test_errors_with_their_own_arguments_keep_their_text() -> None:
    unknown = UnknownNameError("target", "onx", ["onnx", "coreml"])
    assert str(unknown) == "unknown target 'onx'\n  fix: did you mean 'onnx'?"
    far = UnknownNameError("target", "zzz", ["onnx", "coreml"])
    assert far.remedy == "one of: coreml, onnx"
    absent = MissingBackendError("coremltools", "coreml")
    assert absent.remedy == 'pip install "edgesdk[coreml]"'
    for error in (unknown, far, absent):
        again = pickle.loads(pickle.dumps(error))  # noqa: S301
        assert (type(again), str(again)) == (type(error), str(error))


def test_a_name_nobody_knows_becomes_a_conversion_error() -> None:
    for kind in ("Nonsense", "", "Exception", "SystemExit", "_family"):
        assert type(by_name(kind, "x", where=None, remedy=None)) is ConversionError


@pytest.mark.parametrize(
    ("name", "known", "found"),
    [
        ("ONNX", ["onnx", "coreml"], "onnx"),
        ("mobilnet_v2", ["mobilenet_v2", "resnet18"], "mobilenet_v2"),
        ("float", ["float32", "int8"], "float32"),
        ("zzz", ["onnx"], None),
        ("onnx", [], None),
        ("", ["onnx"], None),
    ],
)
def test_nearest(name: str, known: list[str], found: str | None) -> None:
    assert nearest(name, known) == found
