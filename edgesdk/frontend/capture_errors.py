"""Explain why a model cannot be captured, with the user's own line."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from edgesdk.errors import CaptureError
from edgesdk.frontend.provenance import frames, user_frame, where
from edgesdk.spec import DynamicDim, TensorSpec

__all__ = ["capture_error", "first_line", "of_the_wrapper", "user_location"]

#: Captures the model with other inputs; returns the program or raises.
Attempt = Callable[[Sequence[TensorSpec]], "object"]

_MANUAL = "https://docs.pytorch.org/docs/stable/export.html"


def user_location(error: BaseException) -> str | None:
    """Return the file and line of the user's code that raised, or None."""
    text = "".join(traceback.format_list(traceback.extract_tb(error.__traceback__)))
    # torch.export reports the user's stack inside the message when the frames are gone.
    for trace in (text, str(error)):
        frame = user_frame(_without_wrapper(trace))
        if frame is not None:
            return f"{frame}: {frame.code}" if frame.code else str(frame)
    match = re.search(r"\(?([\w./\-]+\.py):(\d+) in \w+\)?", str(error))
    return f"{match[1]}:{match[2]}" if match and "site-packages" not in match[1] else None


def _without_wrapper(trace: str) -> str:
    kept = [frame for frame in frames(trace) if not of_the_wrapper(frame.file)]
    return "".join(
        f'  File "{frame.file}", line {frame.line}, in {frame.function}\n    {frame.code}\n'
        for frame in kept
    )


def of_the_wrapper(file: str) -> bool:
    """Return True if a file belongs to the wrapper around the user's model."""
    return Path(file).is_relative_to(Path(__file__).parent)


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message, or its type."""
    return str(error).strip().partition("\n")[0].strip() or type(error).__name__


def capture_error(
    error: BaseException, specs: Sequence[TensorSpec], attempt: Attempt
) -> CaptureError:
    """Translate an exception of ``torch.export``.

    Args:
        error: The exception.
        specs: Inputs of the capture that failed.
        attempt: Capture the model once more with other inputs.
    """
    text, place = str(error), user_location(error)
    if "data-dependent" in text or "GuardOnDataDependent" in type(error).__name__:
        return CaptureError(
            "the model's control flow depends on tensor values, which no target supports",
            where=place,
            remedy="choose with torch.where(condition, a, b), or torch.cond for whole branches",
        )
    if any(spec.dynamic for spec in specs) and re.search(
        r"Constraints violated|specializ|not in range|dynamic|inconsistent min", text
    ):
        return _free_size_error(text, place, specs, attempt)
    return CaptureError(
        f"torch.export cannot trace the model: {first_line(error)}",
        where=place,
        remedy=f"keep forward() to tensor operations; see {_MANUAL}",
    )


def _free_size_error(
    text: str, place: str | None, specs: Sequence[TensorSpec], attempt: Attempt
) -> CaptureError:
    dims = {dim.name: dim for spec in specs for dim in spec.dynamic.values()}
    names = ", ".join(sorted(dims))
    # A guard such as size == 4*(size // 4) or -size % 4 means that the network counts in fours.
    for step in sorted({int(step) for step in re.findall(r"(?://|%) (\d+)", text)} - {0, 1}):
        if not _follows(specs, step, attempt):
            continue
        axis = "batch" if set(dims) == {"batch"} else "hw"
        dim = _stepped(next(iter(dims.values())), step)
        option = f"--dynamic {axis}={dim.smallest}..{dim.largest}/{step}"
        padding = _padding_line(specs, attempt)
        if padding is None:
            return CaptureError(
                f"the model only accepts multiples of {step} ({names})",
                where=place,
                remedy=f"declare the step: {option}",
            )
        return CaptureError(
            f"the padding to a multiple of {step} cannot be followed for free sizes ({names})",
            where=place or padding or None,
            remedy=f"declare the step: {option}, or pad outside the model",
        )
    return CaptureError(
        f"the model fixes a dimension that should stay free ({names}): " + _constraint(text),
        where=place,
        remedy="compute sizes from the input's shape in the model, choose a range that fits "
        "(--dynamic hw=64..512/32), or export without --dynamic",
    )


def _stepped(dim: DynamicDim, step: int) -> DynamicDim:
    return replace(dim, multiple=step)


def _follows(specs: Sequence[TensorSpec], step: int, attempt: Attempt) -> bool:
    """Return True if the model can be captured for free sizes that are multiples of ``step``."""
    try:
        attempt(
            [
                replace(spec, dynamic={a: _stepped(d, step) for a, d in spec.dynamic.items()})
                for spec in specs
            ]
        )
    except Exception:  # noqa: BLE001 - the remedy is not given then
        return False
    return True


def _padding_line(specs: Sequence[TensorSpec], attempt: Attempt) -> str | None:
    """Return the line of the model's first padding; None if the model pads nothing."""
    try:
        program = attempt([replace(spec, dynamic={}) for spec in specs])
    except Exception:  # noqa: BLE001 - the first failure is the one to explain
        return None
    graph = program.graph  # type: ignore[attr-defined]
    pads = [node for node in graph.nodes if str(node.target).startswith("aten.pad.")]
    return where(pads[0]) if pads else None


def _constraint(text: str) -> str:
    lines = [line.strip(" -") for line in text.splitlines()]
    causes = [line for line in lines if "Not all values" in line or "specialized" in line]
    # The rest of the message is about torch.export's own arguments.
    return (causes or [line for line in lines if line])[0].split(". If you")[0][:400]
