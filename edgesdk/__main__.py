"""``python -m edgesdk``, which launchers of several processes call."""

from __future__ import annotations

from edgesdk.cli import main

if __name__ == "__main__":
    main()
