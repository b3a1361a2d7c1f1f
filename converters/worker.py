"""The process in which one target is converted: it may crash, hang or eat memory alone."""

from __future__ import annotations

import importlib
import time
import warnings
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from converters.conversion import Conversion, ConversionRequest
from converters.registry import TARGETS
from edgesdk.processes import Progress, serve

__all__ = ["main"]


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
    conversion: Conversion = module.convert(request)
    seconds = time.perf_counter() - started
    reply = TypeAdapter(Conversion).dump_python(conversion, mode="json")
    return {"conversion": reply, "seconds": seconds}, {}


def main() -> None:
    """Answer requests until the parent hangs up."""
    serve({"convert": _convert})


if __name__ == "__main__":
    main()
