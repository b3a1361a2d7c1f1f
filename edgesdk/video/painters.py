"""Stylizing networks as painters: any session with a picture in and a picture out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgesdk.errors import ModelOutputError, UsageError
from edgesdk.runtime.session import Session
from edgesdk.spec import TensorSpec
from edgesdk.video.styles import StyleInput, find_style_input, style_vector

__all__ = ["SessionPainter", "session_painter"]

Picture = NDArray[np.uint8]

# What halves a picture twice, as most stylizers do, returns another size for others.
_MULTIPLE = 4
_PROBE_SIDE = 64
# An answer in 0..1 may overshoot a little; one in 0..255 never stays below this.
_UNIT_LIMIT = 3.0


@dataclass(frozen=True)
class _Face:
    """How a picture lies in a tensor: sizes that are free are None."""

    name: str
    dtype: np.dtype
    channels_last: bool
    height: int | None
    width: int | None
    multiple: int
    smallest: int
    largest: int


def session_painter(
    session: Session,
    *,
    white: float | None = None,
    style: str | int | None = None,
    blend: Mapping[str, float] | None = None,
    style_names: Sequence[str] = (),
    constants: Mapping[str, np.ndarray] | None = None,
) -> SessionPainter:
    """A painter of a stylizing network.

    Layout (NCHW or NHWC), type, and fixed or free sizes are read from the session's inputs. The
    range of the values stands in no file: the network is shown a small picture in 0..1, and its
    answer tells whether it works in 0..1 or in 0..255. A network of fixed size is shown the
    picture scaled and padded to fit. One more input that is a float vector (``[S]``, ``[1, S]``,
    ``[1, S, 1, 1]``) is taken for the shares of its styles.

    Args:
        session: A loaded artefact; it must stay open while the painter is used.
        white: The value of white, in and out, 1 or 255 for instance; black is 0. None: found out.
        style: For a network of several styles, the name or number of one, from 0; by default 0.
        blend: Several styles with weights, instead of one; scaled to a sum of 1.
        style_names: Names of the styles in the order of their shares.
        constants: Values of further inputs, by name.

    Raises:
        UsageError: No input is a picture, an input has no value, there are not as many names as
            styles, or ``white`` is no positive number.
        UnknownNameError: The network has no such style.
        ModelOutputError: It answers something that is no picture, or is not finite.
        SessionError: The runtime failed.
    """
    faces = [spec for spec in session.inputs if _is_picture(spec)]
    if len(faces) != 1:
        raise UsageError(
            f"a stylizer has one picture as input; this one has {len(faces)} among "
            + ", ".join(str(spec) for spec in session.inputs),
            remedy="use a network with one input of 1x3xHxW or 1xHxWx3",
        )
    given = dict(constants or {})
    others = [spec for spec in session.inputs if spec is not faces[0] and spec.name not in given]
    styles = find_style_input(others, style_names)
    if styles is not None:
        others = [spec for spec in others if spec.name != styles.name]
    elif style is not None or blend:
        raise _one_style()
    if others:
        raise UsageError(
            "the network has inputs without a value: " + ", ".join(str(spec) for spec in others),
            remedy="give them as constants",
        )
    if white is not None and not (math.isfinite(white) and white > 0):
        raise UsageError(f"white must be a positive number, not {white}")
    shares = (
        None if styles is None else style_vector(styles.count, style, blend, names=styles.names)
    )
    painter = SessionPainter(session, _face(faces[0]), given, white, styles, shares)
    painter.remarks = () if styles is None else styles.remarks(style, blend)
    return painter


class SessionPainter:
    """Paints with a session; made by :func:`session_painter`.

    Attributes:
        white: The value of white at the network's face.
        styles: The input that takes the shares of its styles; None for a network of one style.
        remarks: Sentences for the user on what was made of the choice among them, such as which
            style it is where none was chosen.
    """

    def __init__(
        self,
        session: Session,
        face: _Face,
        constants: Mapping[str, np.ndarray],
        white: float | None,
        styles: StyleInput | None = None,
        shares: NDArray[np.float32] | None = None,
    ) -> None:
        self._session = session
        self._face = face
        self._constants = dict(constants)
        self.styles = styles
        self._shares = shares
        self.remarks: tuple[str, ...] = ()
        self._on_close: list[Callable[[], None]] = []
        self.white = 255.0 if white is None else float(white)
        if white is None:
            self.white = self._found_white()

    def __call__(self, pixels: Picture) -> Picture:
        """Paint a picture, uint8, H x W x 3, RGB; the answer is of the same size.

        Raises:
            ModelOutputError: The answer is no picture, or is not finite.
            SessionError: The runtime failed.
        """
        height, width = pixels.shape[:2]
        shown, (inner_height, inner_width) = self._fitted(pixels)
        answer = self._answer(shown, self.white)[:inner_height, :inner_width]
        if answer.dtype != np.uint8:
            scaled = answer.astype(np.float32) * np.float32(255 / self.white)
            answer = (np.clip(scaled, 0, 255) + np.float32(0.5)).astype(np.uint8)
        if (inner_height, inner_width) != (height, width):
            picture = Image.fromarray(np.ascontiguousarray(answer))
            answer = np.array(picture.resize((width, height), Image.Resampling.BICUBIC))
        return np.ascontiguousarray(answer)

    @property
    def shares(self) -> NDArray[np.float32] | None:
        """The share of each style in what is painted now; None for a network of one style."""
        return None if self._shares is None else self._shares.copy()

    def set_style(
        self,
        style: str | int | None = None,
        blend: Mapping[str, float] | None = None,
        *,
        weights: Sequence[float] | np.ndarray | None = None,
    ) -> None:
        """Paint in another style from the next picture on; the session stays as it is.

        May be called from any thread: a picture that is being painted keeps its style.

        Args:
            style: The name or number of one.
            blend: Several with weights, instead of one; scaled to a sum of 1.
            weights: A weight for each style in order, instead of both; scaled likewise.

        Raises:
            UnknownNameError: The network has no such style.
            UsageError: It has one style alone, no choice or more than one was made, or weights are
                negative, not finite, all zero or of another number.
        """
        if self.styles is None:
            raise _one_style()
        if style is None and not blend and weights is None:
            raise UsageError("no style was chosen", remedy="give a style, a blend or weights")
        self._shares = style_vector(
            self.styles.count, style, blend, weights=weights, names=self.styles.names
        )
        self.remarks = () if weights is not None else self.styles.remarks(style, blend)

    def _fitted(self, pixels: Picture) -> tuple[Picture, tuple[int, int]]:
        """The picture in a size the network takes, and how much of that is picture."""
        face = self._face
        height, width = pixels.shape[:2]
        room_height = face.height or face.largest // face.multiple * face.multiple
        room_width = face.width or face.largest // face.multiple * face.multiple
        scale = min(room_height / height, room_width / width)
        # A network of free size sees the picture as it is; one of fixed size as large as it can.
        if scale < 1 or face.height or face.width:
            size = (max(1, int(width * scale + 1e-6)), max(1, int(height * scale + 1e-6)))
            if size != (width, height):
                scaled = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
                pixels = np.asarray(scaled)
        inner = pixels.shape[:2]
        wanted = [
            fixed or -(-max(size, face.smallest) // face.multiple) * face.multiple
            for fixed, size in zip((face.height, face.width), inner, strict=True)
        ]
        missing = [full - size for full, size in zip(wanted, inner, strict=True)]
        if any(missing):
            pixels = np.pad(pixels, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="reflect")
        return pixels, (inner[0], inner[1])

    def _answer(self, pixels: Picture, white: float) -> np.ndarray:
        face = self._face
        tensor: np.ndarray = pixels
        if face.dtype != np.uint8:
            tensor = pixels.astype(np.float32) * np.float32(white / 255)
        tensor = tensor if face.channels_last else tensor.transpose(2, 0, 1)
        tensor = np.ascontiguousarray(tensor[None]).astype(face.dtype, copy=False)
        arrays = {face.name: tensor, **self._constants}
        if self.styles is not None and self._shares is not None:
            arrays[self.styles.name] = self.styles.array(self._shares)
        answers = self._session.run(arrays)
        height, width = pixels.shape[:2]
        for answer in answers.values():
            if answer.shape == (1, 3, height, width):
                picture = answer[0].transpose(1, 2, 0)
            elif answer.shape == (1, height, width, 3):
                picture = answer[0]
            else:
                continue
            if picture.dtype.kind == "f" and not np.isfinite(picture).all():
                raise ModelOutputError("the network's answer is not finite")
            if picture.dtype.kind != "f" and picture.dtype != np.uint8:
                raise ModelOutputError(f"the network answers in {picture.dtype}, no picture's type")
            return picture
        told = ", ".join(f"{name} {tuple(array.shape)}" for name, array in answers.items())
        raise ModelOutputError(
            f"no answer of the network is a picture of {width} x {height}: {told}",
            remedy="use a stylizer that returns 1x3xHxW or 1xHxWx3 of its input's size",
        )

    def _found_white(self) -> float:
        # Smooth colours and an edge: something to paint in every channel.
        ramp = np.linspace(0, 255, _PROBE_SIDE)
        probe = np.empty((_PROBE_SIDE, _PROBE_SIDE, 3))
        probe[..., 0], probe[..., 1] = ramp[None], ramp[:, None]
        probe[..., 2] = np.where(ramp[None] + ramp[:, None] < 255, 40, 220)
        shown, _ = self._fitted(probe.astype(np.uint8))
        answer = self._answer(shown, 1.0)
        # A network in 0..255 that is shown near-black still answers in levels; only one that turns
        # black into black does not, and that one paints alike in either range.
        within_unit = answer.dtype != np.uint8 and float(np.abs(answer).max()) <= _UNIT_LIMIT
        return 1.0 if within_unit else 255.0

    def close_with(self, close: Callable[[], None]) -> None:
        """Have ``close`` called by :meth:`close`, for a session that nobody else closes."""
        self._on_close.append(close)

    def close(self) -> None:
        """Close what the painter was made with; a second call does nothing."""
        while self._on_close:
            self._on_close.pop()()


def _one_style() -> UsageError:
    return UsageError("this network has one style", remedy="leave style and blend out")


def _axes(spec: TensorSpec) -> tuple[int, int, int] | None:
    """Axes of height, width and channels; None where the tensor is no colour picture."""
    if len(spec.shape) != 4 or spec.dtype not in ("uint8", "float32", "float16"):
        return None
    if spec.shape[0] != 1 and 0 not in spec.dynamic:
        return None
    # One pixel is no picture: the shares of three styles look like that.
    if not spec.dynamic.keys() - {0} and math.prod(spec.shape[1:]) == max(spec.shape[1:]):
        return None
    if spec.shape[1] == 3 and 1 not in spec.dynamic and spec.layout != "NHWC":
        return 2, 3, 1
    if spec.shape[3] == 3 and 3 not in spec.dynamic:
        return 1, 2, 3
    return None


def _is_picture(spec: TensorSpec) -> bool:
    return _axes(spec) is not None


def _face(spec: TensorSpec) -> _Face:
    axes = _axes(spec)
    if axes is None:
        raise UsageError(f"{spec} is no picture")
    rows, columns, _ = axes
    free = [spec.dynamic[axis] for axis in (rows, columns) if axis in spec.dynamic]
    return _Face(
        name=spec.name,
        dtype=np.dtype(spec.dtype),
        channels_last=axes[2] == 3,
        height=None if rows in spec.dynamic else spec.shape[rows],
        width=None if columns in spec.dynamic else spec.shape[columns],
        multiple=math.lcm(_MULTIPLE, *(dim.multiple for dim in free)) if free else 1,
        smallest=max((dim.smallest for dim in free), default=1),
        largest=min((dim.largest for dim in free), default=65536),
    )
