"""The main jobs, start to end: a real classifier and a real stylizer to four runtimes.

Runs the commands a user would type and writes to ``demo/``. Both models are verified, profiled and
reported, on the photographs of the package, and the stylizer paints a clip.
"""

from __future__ import annotations

import importlib.util
import shlex
import sys
from pathlib import Path

from edgesdk.cli import main

FOLDER = Path("demo")
CLASSIFIER = FOLDER / "efficientnet_lite0.edge"
STYLIZER = FOLDER / "multi_style.edge"
CLIP = Path("examples/clips/bigbuckbunny.mp4")
PAINTED = FOLDER / "bunny.mp4"
STYLE = "starry-night"
TARGETS = "executorch,coreml,litert,onnx"


def run(command: str) -> int:
    """Show a command and run it."""
    print(f"\n$ edgesdk {command}", flush=True)
    return main(shlex.split(command))


def classifier() -> list[int]:
    """Convert, verify, profile and report the classifier."""
    codes = [
        run(f"export efficientnet_lite0 --to {TARGETS} --image auto -o {CLASSIFIER} --overwrite")
    ]
    if CLASSIFIER.exists():
        codes.append(run(f"profile {CLASSIFIER} --device local --runs 30"))
        codes.append(run(f"report {CLASSIFIER}"))
    return codes


def stylizer() -> list[int]:
    """Convert, verify, profile and report the stylizer, and paint a clip with it."""
    # The shape of the clip's key frames: its longer side at 512 pixels.
    shapes = "--input picture:1x3x288x512 --input style:1x12x1x1"
    codes = [run(f"export multi_style {shapes} --to {TARGETS} -o {STYLIZER} --overwrite")]
    if not STYLIZER.exists():
        return codes
    codes.append(run(f"profile {STYLIZER} --device local --runs 10"))
    shown = ""
    if importlib.util.find_spec("av") is None:
        print("\nPyAV is not installed: no clip is painted (pip install 'edgesdk[video]')")
    else:
        codes.append(
            run(
                f"stylize {CLIP} -o {PAINTED} --bundle {STYLIZER} --style {STYLE} --compare "
                "--overwrite"
            )
        )
        made = [
            path
            for suffix in (".mp4", "-side-by-side.mp4", "-contact-sheet.png")
            if (path := PAINTED.with_name(PAINTED.stem + suffix)).exists()
        ]
        shown = "".join(f" --link {path}" for path in made)
    codes.append(run(f"report {STYLIZER}{shown}"))
    return codes


def demo() -> int:
    """Run the demo and return the worst exit code."""
    FOLDER.mkdir(exist_ok=True)
    codes = [*classifier(), *stylizer()]
    reports = [bundle / "report.html" for bundle in (CLASSIFIER, STYLIZER) if bundle.exists()]
    print(f"\nOpen {' and '.join(map(str, reports))} in a browser.")
    return max(codes)


if __name__ == "__main__":
    sys.exit(demo())
