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
    samples: Annotated[
        list[Path] | None,
        typer.Option("--samples", help="Photographs to show; those of the package by default."),
    ] = None,
    link: Annotated[
        list[Path] | None,
        typer.Option("--link", help="A file to lead to, such as a video it painted; repeatable."),
    ] = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Write one HTML page that shows which artefact to ship."""
    del debug
    from edgesdk.cli.export_request import sample_files
    from edgesdk.models.photos import paths
    from edgesdk.report import Photograph, write_report

    out = Output(json=json, quiet=quiet)
    files = sample_files(samples or []) or paths()
    photographs = [Photograph(file.name, file) for file in files]
    written = write_report(bundle, output, photographs=photographs, links=link or [])
    out.result({"report": str(written)})
    out.line(str(written))
