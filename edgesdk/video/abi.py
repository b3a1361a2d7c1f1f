"""The C header of the native core for ctypes: codes, structures and prototypes.

This module mirrors ``native/include/edgesdk.h``; :data:`edgesdk.video.library.ABI_VERSION` keeps
the two in step.
"""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

from edgesdk.errors import EdgeSdkError, MissingEnvironmentError, UsageError
from edgesdk.video.library import load

__all__ = [
    "DIRECTIONS",
    "FORMATS",
    "INTEGER_SETTINGS",
    "PATHS",
    "QUALITIES",
    "REASONS",
    "SETTINGS",
    "SLOTS",
    "USES",
    "ConfigStruct",
    "ImageStruct",
    "MeasuresStruct",
    "call",
    "core_paths",
    "native",
]

#: Instruction sets; ``auto`` is the fastest this processor has. All give the same bytes.
PATHS = {"auto": 0, "scalar": 1, "avx2": 2, "neon": 3, "avx512": 4}
#: ``fast`` ends at half the flow size, the others at the flow size, with more work in ``precise``.
QUALITIES = {"fast": 0, "balanced": 1, "precise": 2}
#: Directions of the flow: frame to key frame, and back.
DIRECTIONS = {"to_key": 0, "from_key": 1}
#: Reasons why a frame must be a key frame, as bits.
REASONS = {"cut": 1, "occluded": 2, "residual": 4, "interval": 8}
#: The two key frames a core holds.
SLOTS = {"a": 0, "b": 1}
#: Slots that a call uses.
USES = {"a": 1, "b": 2, "both": 3}
#: Pixel formats by their number of channels.
FORMATS = {4: 1, 3: 2, 1: 3}
_STATE = 5
_ENVIRONMENT = (6, 7, 8)
_INTERNAL = 9


class ImageStruct(ctypes.Structure):
    """``edgesdk_image``."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("width", ctypes.c_int32),
        ("height", ctypes.c_int32),
        ("stride", ctypes.c_int64),
        ("format", ctypes.c_int32),
    )


class ConfigStruct(ctypes.Structure):
    """``edgesdk_video_config``."""

    _fields_ = (
        ("struct_size", ctypes.c_uint32),
        ("width", ctypes.c_int32),
        ("height", ctypes.c_int32),
        ("flow_width", ctypes.c_int32),
        ("flow_height", ctypes.c_int32),
        ("threads", ctypes.c_int32),
        ("path", ctypes.c_int32),
        ("quality", ctypes.c_int32),
        ("occlusion_slope", ctypes.c_float),
        ("occlusion_offset", ctypes.c_float),
        ("residual_sigma", ctypes.c_float),
        ("affine_radius", ctypes.c_int32),
        ("affine_epsilon", ctypes.c_float),
        ("cut_correlation", ctypes.c_float),
        ("occluded_fraction", ctypes.c_float),
        ("mean_residual", ctypes.c_float),
        ("longest_interval", ctypes.c_int32),
    )


#: Settings of a configuration that are whole numbers, and all of them.
INTEGER_SETTINGS = frozenset({"affine_radius", "longest_interval"})
SETTINGS = frozenset(name for name, _ in ConfigStruct._fields_[8:])


class MeasuresStruct(ctypes.Structure):
    """``edgesdk_measures``."""

    _fields_ = (
        ("correlation", ctypes.c_float),
        ("occluded_fraction", ctypes.c_float),
        ("mean_residual", ctypes.c_float),
        ("reasons", ctypes.c_int32),
    )


_CORE = _POINTER = ctypes.c_void_p
_INT = ctypes.c_int32
#: A plane or flow: its first value, and the bytes from row to row.
_PLANE = (_POINTER, ctypes.c_int64)

_PROTOTYPES: dict[str, tuple[Any, ...]] = {
    "config_default": (_INT, _INT, _POINTER),
    "create": (_POINTER, _POINTER),
    "config_get": (_CORE, _POINTER),
    "set_key": (_CORE, _INT, _POINTER),
    "set_key_from_frame": (_CORE, _INT),
    "set_painted": (_CORE, _INT, _POINTER),
    "promote": (_CORE,),
    "set_frame": (_CORE, _POINTER),
    "get_frame": (_CORE, _POINTER),
    "estimate": (_CORE, _INT),
    "set_flow": (_CORE, _INT, *_PLANE, *_PLANE),
    "join_flows": (_CORE, *_PLANE, *_PLANE, *_PLANE),
    "get_flow": (_CORE, _INT, _INT, *_PLANE),
    "get_validity": (_CORE, _INT, _POINTER, *_PLANE),
    "set_validity": (_CORE, _INT, _POINTER, *_PLANE),
    "measure": (_CORE, _INT, _POINTER),
    "correlation": (_CORE, _INT, _POINTER),
    "render": (_CORE, _INT, ctypes.c_float, _POINTER, _POINTER),
    "shrink": (_POINTER, _POINTER),
    "upscale": (_CORE, *(_POINTER,) * 4),
}


@cache
def native(path: Path | None = None) -> ctypes.CDLL:
    """Return the library with typed functions; ``path`` as for ``edgesdk.video.library.load``."""
    library = load(path)
    for name, types in _PROTOTYPES.items():
        function = getattr(library, f"edgesdk_video_{name}")
        function.argtypes, function.restype = types, ctypes.c_int32
    library.edgesdk_video_destroy.argtypes = (ctypes.c_void_p,)
    library.edgesdk_video_destroy.restype = None
    library.edgesdk_error_text.argtypes = (ctypes.c_int32,)
    library.edgesdk_error_text.restype = ctypes.c_char_p
    library.edgesdk_path_available.argtypes = (ctypes.c_int32,)
    library.edgesdk_allocation_count.restype = ctypes.c_int64
    return library


def core_paths() -> tuple[str, ...]:
    """Return the instruction sets this processor can run, without ``auto``."""
    library = native()
    return tuple(
        name for name, code in PATHS.items() if code and library.edgesdk_path_available(code)
    )


def call(library: ctypes.CDLL, name: str, *arguments: Any) -> None:
    """Call ``edgesdk_video_NAME``.

    Raises:
        UsageError: An argument is wrong, or something the call needs is not set yet.
        MissingEnvironmentError: Memory or threads are exhausted, or the processor lacks the path.
    """
    status = getattr(library, f"edgesdk_video_{name}")(*arguments)
    if status == 0:
        return
    text = library.edgesdk_error_text(status).decode("ascii")
    if status == _STATE:
        raise UsageError(
            f"{name}: {text}", remedy="call set_key, set_painted, set_frame, estimate in order"
        )
    if status in _ENVIRONMENT:
        raise MissingEnvironmentError(f"{name}: {text}", remedy="use fewer threads or pixels")
    if status == _INTERNAL:
        raise EdgeSdkError(f"{name}: {text}", remedy="report this with the calls that led to it")
    raise UsageError(f"{name}: {text}")
