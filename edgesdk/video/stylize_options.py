"""The options of a stylizing run, as one checked value."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from edgesdk.errors import UnknownNameError, UsageError
from edgesdk.video.abi import QUALITIES
from edgesdk.video.checks import code_of, number_between, whole_number
from edgesdk.video.key_frames import KeyframePolicy

__all__ = ["UPSCALERS", "StylizeOptions", "with_changes"]

#: Ways to enlarge paintings of scaled-down key frames, for ``StylizeOptions.upscale``.
UPSCALERS = ("core", "network")


@dataclass(frozen=True)
class StylizeOptions:
    """Options of :func:`edgesdk.stylize`.

    >>> from edgesdk import StylizeOptions, stylize
    >>> stylize("in.mp4", "out.mp4", bundle="n.edge", options=StylizeOptions())  # doctest: +SKIP

    Attributes:
        target: Artefact of the bundle; None: the first that can run here.
        style: Name or number of a style of the bundle; None: the first, with a remark.
        blend: Several styles with weights, instead of ``style``; scaled to a sum of 1.
        keyframes: Key-frame rule: ``auto``, the distance in frames, or a policy; kept as a policy.
        max_size: Longest side the painter sees, 16..8192 pixels; None: full size.
        strength: Blend factor of the painting over the original, 0..1.
        streaming: Give out frames at once, from the key frame before alone. Cameras always do.
        quality: Quality of the optical flow: ``fast``, ``balanced`` or ``precise``.
        upscale: What enlarges paintings of scaled-down key frames: the native ``core`` or a
            ``network`` (:class:`~edgesdk.video.key_frame_upscaler.KeyFrameUpscaler`).
        upscale_weights: Weights of that network, ``.safetensors``; None: those of the package.
        compare: Paint every frame too, measure both, and write a side-by-side clip and a contact
            sheet beside the output (:func:`~edgesdk.video.stylize.comparison_paths`).
        strict: Raise at the first packet or picture that cannot be decoded, instead of skipping it.
        rate: Frames a second of a folder (25 if None), or to ask a camera for.
        seconds: Stop after this many seconds of input; None: read to its end.
        crf: Constant rate factor of a written video, 0 (lossless) to 51.
        overwrite: Replace an existing output.
        threads: Threads of flow and rendering, and of decoder and encoder each, 0..64; 0: choose.

    Raises:
        UsageError: A value has the wrong type or is out of range.
        UnknownNameError: The value of ``quality`` or ``upscale`` is unknown.
    """

    target: str | None = None
    style: str | int | None = None
    blend: Mapping[str, float] | None = None
    keyframes: KeyframePolicy | str | int = "auto"
    max_size: int | None = 512
    strength: float = 1.0
    streaming: bool = False
    quality: str = "balanced"
    upscale: str = "core"
    upscale_weights: str | os.PathLike[str] | None = None
    compare: bool = False
    strict: bool = False
    rate: Fraction | None = None
    seconds: float | None = None
    crf: int = 18
    overwrite: bool = False
    threads: int = 0

    def __post_init__(self) -> None:
        for name, kinds in _KINDS.items():
            value = getattr(self, name)
            # True is an int to Python; as a number of frames it is a mistake.
            if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
                wanted = " or ".join(kind.__name__ for kind in kinds if kind is not type(None))
                raise UsageError(
                    f"the option {name} cannot be {value!r}", remedy=f"give a {wanted}"
                )
        if self.max_size is not None:
            whole_number("max_size", self.max_size, 16, 8192)
        number_between("strength", self.strength, 0, 1)
        code_of("quality", self.quality, QUALITIES)
        if self.upscale not in UPSCALERS:
            raise UnknownNameError("way to upscale", self.upscale, UPSCALERS)
        if self.upscale_weights is not None and self.upscale != "network":
            raise UsageError(
                "upscale_weights are the network's, and the core enlarges the paintings",
                remedy="set upscale to 'network' as well",
            )
        if self.seconds is not None and not self.seconds > 0:
            raise UsageError(f"seconds must be above zero, not {self.seconds}")
        whole_number("crf", self.crf, 0, 51)
        whole_number("threads", self.threads, 0, 64)
        if not isinstance(self.keyframes, KeyframePolicy):
            # The dataclass is frozen against its users, not against itself.
            object.__setattr__(self, "keyframes", KeyframePolicy.parse(str(self.keyframes)))

    @property
    def policy(self) -> KeyframePolicy:
        """The key-frame rule."""
        if isinstance(self.keyframes, KeyframePolicy):
            return self.keyframes
        return KeyframePolicy.parse(str(self.keyframes))


_KINDS: dict[str, tuple[type, ...]] = {
    "target": (str, type(None)),
    "style": (str, int, type(None)),
    "blend": (Mapping, type(None)),
    "keyframes": (KeyframePolicy, str, int),
    "streaming": (bool,),
    "quality": (str,),
    "upscale": (str,),
    "upscale_weights": (str, os.PathLike, type(None)),
    "compare": (bool,),
    "strict": (bool,),
    "rate": (Fraction, int, type(None)),
    "seconds": (int, float, type(None)),
    "overwrite": (bool,),
}

#: Arguments of :func:`edgesdk.stylize` that are not options, to suggest for a misspelt name.
_ARGUMENTS = ("bundle", "on_progress", "options", "painter", "stop")


def with_changes(options: StylizeOptions | None, changes: Mapping[str, Any]) -> StylizeOptions:
    """Return the options with some fields changed.

    Args:
        options: The options; the defaults if None.
        changes: New values by field name. ``smooth``, the former name of ``upscale="network"``
            (True) and ``upscale_weights`` (a path), is still taken and warned of.

    Raises:
        UnknownNameError: A field is unknown.
        UsageError: See :class:`StylizeOptions`.
    """
    if options is not None and not isinstance(options, StylizeOptions):
        raise UsageError("options must be StylizeOptions", remedy="pass its fields by keyword")
    changes = _without_smooth(changes)
    known = tuple(field.name for field in fields(StylizeOptions))
    for name in changes:
        if name not in known:
            raise UnknownNameError("option", name, (*known, *_ARGUMENTS))
    return replace(options or StylizeOptions(), **changes)


def _without_smooth(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Replace ``smooth`` by the two options that took its place."""
    rest = dict(changes)
    if "smooth" in rest:
        warnings.warn(
            "smooth is now upscale='network', with the file of upscale_weights",
            DeprecationWarning,
            stacklevel=4,
        )
        smooth = rest.pop("smooth")
        rest.setdefault("upscale", "network" if smooth else "core")
        if smooth and not isinstance(smooth, bool):
            rest.setdefault("upscale_weights", Path(smooth))
    return rest
