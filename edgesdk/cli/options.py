"""Options that several verbs share, under the same words everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "BundleArgument",
    "DebugOption",
    "JsonOption",
    "MaxErrorOption",
    "MinAgreementOption",
    "MinCosineOption",
    "QuietOption",
    "TargetsOption",
    "ThreadsOption",
]

BundleArgument = Annotated[Path, typer.Argument(help="The bundle, a folder NAME.edge.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, no more.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
DebugOption = Annotated[bool, typer.Option("--debug", help="Add the traceback to an error.")]
ThreadsOption = Annotated[int, typer.Option("--threads", min=1, help="Threads of each runtime.")]
TargetsOption = Annotated[
    list[str] | None, typer.Option("--target", help="Only this artefact; may be repeated.")
]
MinCosineOption = Annotated[
    float | None, typer.Option("--min-cosine", help="Gate: smallest cosine similarity.")
]
MaxErrorOption = Annotated[
    float | None,
    typer.Option("--max-error", help="Gate: largest difference, as a share of the range."),
]
MinAgreementOption = Annotated[
    float | None, typer.Option("--min-agreement", help="Gate: smallest top-1 agreement, 0..1.")
]
