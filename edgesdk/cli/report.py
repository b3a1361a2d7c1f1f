"""``edgesdk report``."""

from __future__ import annotations

from pathlib import Path

from edgesdk.cli import options as opt
from edgesdk.cli.console import Output
from edgesdk.cli.verb import verb

__all__ = ["report"]


@verb(
    {
        "Write lite0.edge/report.html": "edgesdk report lite0.edge",
        "Show your own photographs": "edgesdk report lite0.edge --samples photos/ -o lite0.html",
    }
)
def report(
    out: Output,
    *,
    bundle: opt.BundleArgument,
    samples: list[Path] | None = opt.INPUT.option(
        "--samples PATH",
        None,
        check=opt.existing,
        help="Show these photographs, a file or folder (default: those of the package). "
        "Repeatable.",
    ),
    link: list[Path] | None = opt.INPUT.option(
        "--link FILE",
        None,
        check=opt.existing,
        help="Link to this file, such as a stylized video. Repeatable.",
    ),
    output: Path | None = opt.OUTPUT.option(
        "--output -o PATH", None, help="Page to write (default: BUNDLE/report.html)."
    ),
) -> None:
    """Write an HTML page that shows which artefact to ship."""
    from edgesdk.report.writing import report as run

    written = run(bundle, output, samples=samples or (), link=link or ())
    out.result({"report": str(written)})
    out.line(str(written))
