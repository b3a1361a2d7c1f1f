"""Painters of stylizing networks: any session from picture to picture."""

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

# Most stylizers halve a picture twice and return another size for other multiples.
_MULTIPLE = 4
_PROBE_SIDE = 64
# An output in 0..1 may overshoot a little; one in 0..255 never stays below this.
_UNIT_LIMIT = 3.0


@dataclass(frozen=True)
class _PictureInput:
    """Layout of a network's picture input; dynamic sizes are None."""

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
    """Make a painter of a stylizing network.

    >>> with runtime.open("style.onnx") as session:             # doctest: +SKIP
    ...     painted = session_painter(session)(pixels)          # doctest: +SKIP

    Layout (NCHW or NHWC), type, and fixed or dynamic sizes come from the session's inputs. No
    file states the value range: the painter shows the network a small picture in 0..1, and the
    output reveals whether it works in 0..1 or in 0..255. For a network of fixed size the picture is
    scaled and padded. One more input that is a float vector (``[S]``, ``[1, S]``, ``[1, S, 1, 1]``)
    takes the shares of its styles.

    Args:
        session: A loaded artefact; keep it open while the painter is used.
        white: Value of white at input and output, such as 1 or 255; black is 0. None: detect it.
        style: Name of one of the network's styles, or its number from 0; None: style 0.
        blend: Several styles with weights, instead of one; scaled to a sum of 1.
        style_names: Names of the styles in the order of their shares.
        constants: Values of further inputs, by name.

    Raises:
        UsageError: No input is a picture, an input has no value, the numbers of names and styles
            differ, or ``white`` is not a positive number.
        UnknownNameError: The network has no such style.
        ModelOutputError: The output is not a picture, or is not finite.
        SessionError: The runtime failed.
    """
    pictures = [(spec, axes) for spec in session.inputs if (axes := _axes(spec)) is not None]
    if len(pictures) != 1:
        raise UsageError(
            f"a stylizer has one picture as input; this one has {len(pictures)} among "
            + ", ".join(str(spec) for spec in session.inputs),
            remedy="use a network with one input of 1x3xHxW or 1xHxWx3",
        )
    picture, axes = pictures[0]
    given = dict(constants or {})
    others = [spec for spec in session.inputs if spec is not picture and spec.name not in given]
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
    painter = SessionPainter(session, _picture_input(picture, axes), given, white, styles, shares)
    painter.remarks = () if styles is None else styles.remarks(style, blend)
    return painter


class SessionPainter:
    """Paints with a session; made by :func:`session_painter`.

    Attributes:
        white: Value of white at the network's input and output.
        styles: Input that takes the shares of the styles; None for a network of one style.
        remarks: Sentences for the user on how the choice of style was read.
    """

    def __init__(
        self,
        session: Session,
        picture: _PictureInput,
        constants: Mapping[str, np.ndarray],
        white: float | None,
        styles: StyleInput | None = None,
        shares: NDArray[np.float32] | None = None,
    ) -> None:
        self._session = session
        self._input = picture
        self._constants = dict(constants)
        self.styles = styles
        self._shares = shares
        self.remarks: tuple[str, ...] = ()
        self._on_close: list[Callable[[], None]] = []
        self.white = self._found_white() if white is None else float(white)

    def __call__(self, pixels: Picture) -> Picture:
        """Paint a picture, uint8, H x W x 3, RGB; returns one of the same size.

        Raises:
            ModelOutputError: The output is not a picture, or is not finite.
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
        """Present share of each style; None for a network of one style."""
        return None if self._shares is None else self._shares.copy()

    def set_style(
        self,
        style: str | int | None = None,
        blend: Mapping[str, float] | None = None,
        *,
        weights: Sequence[float] | np.ndarray | None = None,
    ) -> None:
        """Change the style from the next picture on, without reloading the network.

        May be called from any thread: a picture that is being painted keeps its style.

        Args:
            style: Name or number of a style.
            blend: Weights of several styles, instead; scaled to a sum of 1.
            weights: A weight for each style in order, instead of both; scaled likewise.

        Raises:
            UnknownNameError: The network has no such style.
            UsageError: The network has one style, no choice or more than one was made, or weights
                are negative, not finite, all zero or not one for each style.
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
        """Return the picture in a size the network takes, and height and width of its content."""
        spec = self._input
        height, width = pixels.shape[:2]
        room = spec.largest // spec.multiple * spec.multiple
        scale = min((spec.height or room) / height, (spec.width or room) / width)
        # A network of dynamic size sees the picture as it is, one of fixed size as large as fits.
        if scale < 1 or spec.height or spec.width:
            size = (max(1, int(width * scale + 1e-6)), max(1, int(height * scale + 1e-6)))
            if size != (width, height):
                scaled = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
                pixels = np.asarray(scaled)
        inner = pixels.shape[:2]
        wanted = [
            fixed or -(-max(size, spec.smallest) // spec.multiple) * spec.multiple
            for fixed, size in zip((spec.height, spec.width), inner, strict=True)
        ]
        missing = [full - size for full, size in zip(wanted, inner, strict=True)]
        if any(missing):
            pixels = np.pad(pixels, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="reflect")
        return pixels, (inner[0], inner[1])

    def _answer(self, pixels: Picture, white: float) -> np.ndarray:
        spec = self._input
        tensor: np.ndarray = pixels
        if spec.dtype != np.uint8:
            tensor = pixels.astype(np.float32) * np.float32(white / 255)
        tensor = tensor if spec.channels_last else tensor.transpose(2, 0, 1)
        tensor = np.ascontiguousarray(tensor[None]).astype(spec.dtype, copy=False)
        arrays = {spec.name: tensor, **self._constants}
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
                raise ModelOutputError("the network's output is not finite")
            if picture.dtype.kind != "f" and picture.dtype != np.uint8:
                raise ModelOutputError(
                    f"the network's output is {picture.dtype}, not a picture's type"
                )
            return picture
        shapes = ", ".join(f"{name} {tuple(array.shape)}" for name, array in answers.items())
        raise ModelOutputError(
            f"no output of the network is a picture of {width} x {height}: {shapes}",
            remedy="use a stylizer that returns 1x3xHxW or 1xHxWx3 of its input's size",
        )

    def _found_white(self) -> float:
        # Colour ramps and an edge give the network something to paint in every channel.
        ramp = np.linspace(0, 255, _PROBE_SIDE)
        probe = np.empty((_PROBE_SIDE, _PROBE_SIDE, 3))
        probe[..., 0], probe[..., 1] = ramp[None], ramp[:, None]
        probe[..., 2] = np.where(ramp[None] + ramp[:, None] < 255, 40, 220)
        shown, _ = self._fitted(probe.astype(np.uint8))
        answer = self._answer(shown, 1.0)
        # A network in 0..255 returns levels even for a nearly black picture. Only one that turns
        # black into black does not, and it paints alike in either range.
        within_unit = answer.dtype != np.uint8 and float(np.abs(answer).max()) <= _UNIT_LIMIT
        return 1.0 if within_unit else 255.0

    def close_with(self, close: Callable[[], None]) -> None:
        """Call ``close`` in :meth:`close`, for a session that nobody else closes."""
        self._on_close.append(close)

    def close(self) -> None:
        """Close the session if the painter owns it; a second call does nothing."""
        while self._on_close:
            self._on_close.pop()()


def _one_style() -> UsageError:
    return UsageError("this network has one style", remedy="leave style and blend out")


def _axes(spec: TensorSpec) -> tuple[int, int, int] | None:
    """Return the axes of height, width and channels; None if it is not a colour picture."""
    if len(spec.shape) != 4 or spec.dtype not in ("uint8", "float32", "float16"):
        return None
    if spec.shape[0] != 1 and 0 not in spec.dynamic:
        return None
    # A single pixel does not count as a picture: the shares of three styles have that shape.
    if not spec.dynamic.keys() - {0} and math.prod(spec.shape[1:]) == max(spec.shape[1:]):
        return None
    if spec.shape[1] == 3 and 1 not in spec.dynamic and spec.layout != "NHWC":
        return 2, 3, 1
    if spec.shape[3] == 3 and 3 not in spec.dynamic:
        return 1, 2, 3
    return None


def _picture_input(spec: TensorSpec, axes: tuple[int, int, int]) -> _PictureInput:
    rows, columns, channels = axes
    free = [spec.dynamic[axis] for axis in (rows, columns) if axis in spec.dynamic]
    return _PictureInput(
        name=spec.name,
        dtype=np.dtype(spec.dtype),
        channels_last=channels == 3,
        height=None if rows in spec.dynamic else spec.shape[rows],
        width=None if columns in spec.dynamic else spec.shape[columns],
        multiple=math.lcm(_MULTIPLE, *(dim.multiple for dim in free)) if free else 1,
        smallest=max((dim.smallest for dim in free), default=1),
        largest=min((dim.largest for dim in free), default=65536),
    )
