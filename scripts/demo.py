"""The main job, start to end: one real classifier to four runtimes, proven, measured, reported.

Runs the commands a user would type, into ``demo/``, on the photographs that the package ships.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from edgesdk.cli import main

BUNDLE = Path("demo/efficientnet_lite0.edge")


def run(command: str) -> int:
    """Show a command and run it."""
    print(f"\n$ edgesdk {command}", flush=True)
    return main(shlex.split(command))


def demo() -> int:
    """Run the demo and return the worst exit code."""
    BUNDLE.parent.mkdir(exist_ok=True)
    codes = [
        run(
            "export efficientnet_lite0 --to executorch,coreml,litert,onnx --image auto "
            f"-o {BUNDLE} --overwrite"
        )
    ]
    if BUNDLE.exists():
        codes.append(run(f"profile {BUNDLE} --device local --runs 30"))
        codes.append(run(f"report {BUNDLE}"))
        print(f"\nOpen {BUNDLE / 'report.html'} in a browser.")
    return max(codes)


if __name__ == "__main__":
    sys.exit(demo())
