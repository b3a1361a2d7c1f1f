"""Claim: `edgesdk --help` takes at most 0.5 s.

Runs alternate with an empty Python process, the lower bound of any command.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

HELP = "import sys; from edgesdk.cli import main; sys.exit(main(['--help']))"


def timed(code: str) -> float:
    """Measure the seconds of one fresh Python process."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    """Measure and print."""
    empty, helped = [], []
    for _ in range(15):
        empty.append(timed("pass"))
        helped.append(timed(HELP))
    print(f"python -c pass   median {statistics.median(empty):.3f} s")
    print(f"edgesdk --help   median {statistics.median(helped):.3f} s, max {max(helped):.3f} s")
    ratio = statistics.median(helped) / statistics.median(empty)
    print(f"help / empty = {ratio:.1f}; claim: median <= 0.5 s")


if __name__ == "__main__":
    main()
