"""Loads and runs one artefact after the other in a process that may die of it.

Reads one JSON object a line, ``{"path": ...}``, and answers with one: ``{"outcome": ...}``, which
is ``ran``, ``error`` (with the class of an SDK error) or ``traceback`` (anything else).
"""

from __future__ import annotations

import json
import os
import sys
import traceback

import numpy as np

from edgesdk import runtime
from edgesdk.errors import EdgeSdkError


def attempt(path: str) -> dict[str, str]:
    try:
        with runtime.open(path) as session:
            # Small and legal: free dimensions at their example, integers inside of any table.
            inputs = {spec.name: np.ones(spec.shape, spec.dtype) for spec in session.inputs}
            session.run(inputs)
    except EdgeSdkError as error:
        return {"outcome": "error", "detail": f"{type(error).__name__}: {error}"}
    except MemoryError:
        # The input itself would be too large: the file declares it.
        return {"outcome": "error", "detail": "MemoryError"}
    except BaseException:  # noqa: BLE001 - whatever escapes is what the test looks for
        return {"outcome": "traceback", "detail": traceback.format_exc()}
    return {"outcome": "ran", "detail": ""}


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    # What native code prints to stdout must not mix with the answers.
    os.dup2(2, 1)
    answers.write(json.dumps({"outcome": "ready", "detail": ""}) + "\n")
    answers.flush()
    for line in sys.stdin:
        answers.write(json.dumps(attempt(json.loads(line)["path"])) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
