"""A converter's process in which some targets end badly; the others are converted as ever."""

from __future__ import annotations

import ctypes
import json
import os
import time
from pathlib import Path

from edgesdk.converters import worker
from edgesdk.host.processes import serve


def convert(payload, arrays, progress):
    print("the vendor's last words", flush=True)
    fate = json.loads(os.environ["FATES"]).get(payload["target"])
    if fate is None:
        return worker._convert(payload, arrays, progress)
    # Half an artefact, which nobody may take for a whole one.
    Path(payload["output"]).write_bytes(b"half")
    if fate == "crash":
        ctypes.string_at(0)
    if fate == "hang":
        time.sleep(600)
    if fate == "raise":
        raise ZeroDivisionError("inside the vendor's code")
    eaten = []
    while fate == "eat":
        eaten.append(b"x" * 2**26)
    return {}, {}


if __name__ == "__main__":
    serve({"convert": convert})
