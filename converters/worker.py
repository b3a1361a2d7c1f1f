"""Converter process: a crash, hang or memory leak stays inside it."""

from __future__ import annotations

import errno
import importlib
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from edgesdk.converters.conversion import Conversion, ConversionRequest
from edgesdk.converters.registry import TARGETS
from edgesdk.errors import QuantizationError, StorageError
from edgesdk.host.processes import Progress, serve

__all__ = ["main"]

_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO)


def _convert(
    payload: dict[str, Any], arrays: dict[str, np.ndarray], progress: Progress
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    del arrays
    request = TypeAdapter(ConversionRequest).validate_python(payload)
    target = TARGETS[request.target]
    progress({"step": "loading the converter"})
    warnings.simplefilter("ignore")
    started = time.perf_counter()
    module = importlib.import_module(target.module)
    progress({"step": "converting"})
    try:
        conversion: Conversion = module.convert(request)
    except Exception as error:
        raise _disk_error(error, request.output) or error from error
    if request.quantization is not None and conversion.quantized is None:
        raise QuantizationError(
            f"{request.target}'s converter cannot quantize",
            remedy="export this target without --quantize",
        )
    seconds = time.perf_counter() - started
    reply = TypeAdapter(Conversion).dump_python(conversion, mode="json")
    return {"conversion": reply, "seconds": seconds}, {}


def _disk_error(error: BaseException, output: Path) -> StorageError | None:
    """Return the error for a full or failing disk among the causes; None if there is none."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in _DISK:
            return StorageError(
                f"cannot write {output.name!r}: {cause.strerror}",
                remedy="free some space or use another disk",
            )
        cause = cause.__cause__ or cause.__context__
    return None


def main() -> None:
    """Serve requests until the parent closes the connection."""
    serve({"convert": _convert})


if __name__ == "__main__":
    main()
