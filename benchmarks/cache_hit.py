"""Claim: an unchanged export from the cache takes at most 10 % of the first export's time.

Each round exports EfficientNet-Lite0 to four targets into an empty cache and then again, each in a
fresh process.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EXPORT = "import sys; from edgesdk.cli import main; sys.exit(main(sys.argv[1:]))"


def timed(folder: Path) -> float:
    """Measure the seconds of one export with the cache in a folder."""
    command = [sys.executable, "-c", EXPORT, "export", "efficientnet_lite0", "--quiet"]
    command += ["-o", str(folder / "net.edge"), "--overwrite"]
    environment = {**os.environ, "EDGESDK_CACHE": str(folder / "cache")}
    started = time.perf_counter()
    subprocess.run(command, env=environment, check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=2)
    first, again = [], []
    for index in range(parser.parse_args().rounds):
        with tempfile.TemporaryDirectory() as folder:
            first.append(timed(Path(folder)))
            again += [timed(Path(folder)), timed(Path(folder))]
        print(f"round {index + 1}: first {first[-1]:.1f} s, again {again[-1]:.1f} s", flush=True)
    ratio = statistics.median(again) / statistics.median(first)
    print(f"\nfirst {statistics.median(first):.1f} s, again {statistics.median(again):.1f} s")
    print(f"again / first = {ratio:.3f} (claim: <= 0.10)")


if __name__ == "__main__":
    main()
