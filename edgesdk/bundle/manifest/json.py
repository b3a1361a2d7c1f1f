"""``manifest.json`` as bytes: written deterministically, read as untrusted input.

A reader accepts JSON that every JSON library reads alike: no NaN, no duplicate keys, no integer
beyond 64 bits, and bounded nesting and length.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from edgesdk.bundle.manifest.schema import SCHEMA_VERSION, Manifest
from edgesdk.errors import BundleSchemaError, BundleUnsafeError, EdgeSdkError
from edgesdk.version import __version__

__all__ = [
    "MANIFEST_NAME",
    "MAX_MANIFEST_BYTES",
    "is_manifest",
    "manifest_bytes",
    "manifest_schema",
    "parse_manifest",
]

MANIFEST_NAME = "manifest.json"
MAX_MANIFEST_BYTES = 16 * 2**20

# Room for about 150 profiles of 500 operators each; reading it still takes seconds.
_MAX_VALUES = 500_000
_MAX_ITEMS = 10_000
_MAX_TEXT = 20_000
# The longest list of numbers is a shape; multiplying a very long one takes seconds.
_MAX_NUMBERS = 64
_MAX_INTEGER = 2**63 - 1

# Schema version that introduced each field; older manifests cannot have it.
_SINCE = {
    "classes": 2,
    "cost": 2,
    "sensitivity": 3,
    "styles": 4,
    "paintings": 5,
    "constant_outputs": 7,
}
_SINCE_OF_ARTEFACTS = {"quantized": 3, "simulated": 3, "painted": 5, "rewrites": 6, "loss": 7}

_NUMBER_LIKE = re.compile(r"[\s+\-_.\d]+")
_PLAIN_NUMBER = re.compile(r"0|[1-9][0-9]*")
_RELEASE = re.compile(r"\d{1,4}(\.\d{1,6}){0,3}((a|b|rc|\.post|\.dev)\d{1,6})?", re.ASCII)
_REMEDY = "edgesdk did not write this manifest; copy the bundle again, or export it again"


def manifest_bytes(manifest: Manifest) -> bytes:
    """Write the manifest as UTF-8 JSON: schema order, one space per level, final newline.

    Raises:
        BundleSchemaError: It violates its schema (``model_copy`` and ``model_construct`` check
            nothing).
        BundleUnsafeError: It is larger than a reader accepts.
    """
    try:
        plain = manifest.model_dump(mode="json", warnings="error")
        # Python's number format, not pydantic's: the language fixes it.
        text = json.dumps(plain, indent=1, ensure_ascii=False, allow_nan=False)
        content = f"{text}\n".encode()
    except (PydanticSerializationError, ValueError, TypeError, RecursionError) as error:
        raise BundleSchemaError(f"the manifest cannot be written: {_short(str(error))}") from error
    parse_manifest(content)
    return content


def parse_manifest(content: bytes) -> Manifest:
    """Read the bytes of a ``manifest.json``.

    Returns:
        The manifest in the newest schema, whichever schema it was written in.

    Raises:
        BundleSchemaError: The content is not JSON, not a manifest, or of a newer schema.
        BundleUnsafeError: The content exceeds the limits of size, length or depth.
    """
    data = _load(content)
    if not isinstance(data, dict):
        _refuse(f"manifest.json holds {_json_type(data)} where an object is expected")
    _check_version(data)
    try:
        # Strict: an app in Kotlin or Swift does not accept "5" as 5 either.
        manifest = Manifest.model_validate_json(content, strict=True)
        return manifest.model_copy(update={"schema_version": SCHEMA_VERSION})
    except ValidationError as error:
        raise BundleSchemaError(_explain(error), where=MANIFEST_NAME, remedy=_REMEDY) from error
    except EdgeSdkError as error:
        # The specs raise errors of their own, which pydantic lets through.
        raise BundleSchemaError(
            f"manifest.json: {_short(error.message)}", where=MANIFEST_NAME, remedy=_REMEDY
        ) from error
    except RecursionError as error:
        raise BundleUnsafeError("manifest.json is nested too deep") from error


def is_manifest(content: bytes) -> bool:
    """Return True if the bytes claim to be a manifest, of any schema version and validity."""
    try:
        data = _load(content)
    except EdgeSdkError:
        return False
    return isinstance(data, dict) and "schema_version" in data and "artefacts" in data


def manifest_schema() -> str:
    """Return the JSON Schema of ``manifest.json`` as text ending in a newline."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Manifest.model_json_schema(mode="serialization"),
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _refuse(message: str) -> NoReturn:
    raise BundleSchemaError(message, where=MANIFEST_NAME, remedy=_REMEDY)


def _load(content: bytes) -> Any:
    if len(content) > MAX_MANIFEST_BYTES:
        raise BundleUnsafeError(f"manifest.json is larger than {MAX_MANIFEST_BYTES >> 20} MiB")
    # Commas and brackets bound the number of values, and so the memory, before parsing.
    if sum(content.count(mark) for mark in (b",", b"[", b"{")) > _MAX_VALUES:
        raise BundleUnsafeError(f"manifest.json holds more than {_MAX_VALUES} values")
    try:
        return json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_number,
            parse_constant=_constant,
        )
    except UnicodeDecodeError as error:
        _refuse(f"manifest.json is not UTF-8 at byte {error.start}")
    except json.JSONDecodeError as error:
        _refuse(f"manifest.json is not JSON: {error.msg} at line {error.lineno}")
    except RecursionError as error:
        raise BundleUnsafeError("manifest.json is nested too deep") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                _refuse(f"manifest.json gives the key {_short(key)!r} twice in one object")
            seen.add(key)
    if len(result) > _MAX_ITEMS:
        raise BundleUnsafeError(f"manifest.json has an object of {len(result)} keys")
    for key, value in result.items():
        # Axes are keys too; readers would take "00" and "0" for one axis.
        if _NUMBER_LIKE.fullmatch(key) and not _PLAIN_NUMBER.fullmatch(key):
            _refuse(f"manifest.json has the key {_short(key)!r}, which is not a plain number")
        if isinstance(value, list) and len(value) > _MAX_ITEMS:
            raise BundleUnsafeError(
                f"manifest.json lists {len(value)} items in {_short(key)!r}, "
                f"more than the {_MAX_ITEMS} a reader takes"
            )
        if isinstance(value, list) and value[_MAX_NUMBERS:] and type(value[0]) in (int, float):
            raise BundleUnsafeError(f"manifest.json lists {len(value)} numbers in {_short(key)!r}")
        if isinstance(value, str) and len(value) > _MAX_TEXT:
            raise BundleUnsafeError(
                f"manifest.json has a text of {len(value)} characters in {_short(key)!r}"
            )
    return result


def _integer(text: str) -> int:
    # Check the length first: Python parses the digits of a huge integer in quadratic time.
    if len(text) > 20 or abs(int(text)) > _MAX_INTEGER:
        _refuse(f"manifest.json has the integer {text[:20]}..., which does not fit 64 bits")
    return int(text)


def _number(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        _refuse(f"manifest.json has the number {text[:20]}, which is beyond double precision")
    return value


def _constant(text: str) -> NoReturn:
    _refuse(f"manifest.json holds {text}, which is not JSON")


def _json_type(value: object) -> str:
    names = {list: "a list", str: "a text", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")


def _check_version(data: dict[str, Any]) -> None:
    version = data.get("schema_version")
    if type(version) is not int or version < 1:
        _refuse("manifest.json has no schema_version, or none that is a positive integer")
    for field, since in _SINCE.items():
        if field in data and version < since:
            _refuse(f"manifest.json: {field} is not a field of schema {version}")
    artefacts = data.get("artefacts")
    for artefact in artefacts if isinstance(artefacts, list) else ():
        for field, since in _SINCE_OF_ARTEFACTS.items():
            if isinstance(artefact, dict) and field in artefact and version < since:
                _refuse(f"manifest.json: {field} is not a field of schema {version}")
    if version > SCHEMA_VERSION:
        versions = data.get("versions")
        maker = versions.get("edgesdk") if isinstance(versions, dict) else None
        # The text ends up in a command that people paste: allow release numbers only.
        known = isinstance(maker, str) and _RELEASE.fullmatch(maker) is not None
        needed = f"edgesdk >= {maker}" if known else f"an edgesdk newer than {__version__}"
        raise BundleSchemaError(
            f"this bundle needs {needed}: its manifest has schema {version}, and edgesdk "
            f"{__version__} reads up to {SCHEMA_VERSION}",
            remedy=f'upgrade: pip install --upgrade "edgesdk{f">={maker}" if known else ""}"',
        )


_WORDS = {
    "missing": "is missing",
    "extra_forbidden": f"is not a field of schema {SCHEMA_VERSION}",
    "unexpected_keyword_argument": f"is not a field of schema {SCHEMA_VERSION}",
}


def _explain(error: ValidationError) -> str:
    if error.error_count() > _MAX_ITEMS:
        return f"manifest.json has {error.error_count()} wrong fields"
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    field = ""
    for step in first["loc"]:
        field += f"[{step}]" if isinstance(step, int) else f".{step}"
    message = first["msg"].removeprefix("Input ")
    reason = _WORDS.get(first["type"]) or message[:1].lower() + message[1:]
    more = error.error_count() - 1
    tail = f" (and {more} more like it)" if more else ""
    return f"manifest.json: {_short(field.lstrip('.') or 'the whole')} {_short(reason)}{tail}"


def _short(text: str) -> str:
    # Names come from the file and may hide control characters for a terminal.
    plain = "".join(sign if sign.isprintable() else "?" for sign in text[:301])
    return plain if len(plain) <= 300 else f"{plain[:300]}..."
