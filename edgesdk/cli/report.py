"""``edgesdk report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgesdk.cli.console import Output
from edgesdk.cli.options import BundleArgument, DebugOption, JsonOption, QuietOption

__all__ = ["report"]


def report(
    bundle: BundleArgument,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where; report.html in the bundle.")
    ] = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Write one HTML page that shows which artefact to ship."""
    del debug
    from edgesdk.report import write_report

    out = Output(json=json, quiet=quiet)
    written = write_report(bundle, output)
    out.result({"report": str(written)})
    out.line(str(written))
