"""``edgesdk verify``."""

from __future__ import annotations

from typing import Annotated

import typer

from edgesdk.cli.console import Output
from edgesdk.cli.options import (
    BundleArgument,
    DebugOption,
    JsonOption,
    MaxErrorOption,
    MinAgreementOption,
    MinCosineOption,
    QuietOption,
    TargetsOption,
    ThreadsOption,
)

__all__ = ["verify"]


def verify(
    bundle: BundleArgument,
    target: TargetsOption = None,
    bisect: Annotated[
        bool, typer.Option("--bisect", help="Find the first operator that deviates.")
    ] = False,
    min_cosine: MinCosineOption = None,
    max_error: MaxErrorOption = None,
    min_agreement: MinAgreementOption = None,
    threads: ThreadsOption = 1,
    json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> int:
    """Prove a bundle's artefacts on this machine; find where one deviates."""
    del debug
    from edgesdk.bundle import Bundle
    from edgesdk.cli.tables import deviation_lines, targets_table
    from edgesdk.report.summary import summary_rows
    from edgesdk.verification import GateOptions, require_parity
    from edgesdk.verification import verify as run

    out = Output(json=json, quiet=quiet)
    gates = GateOptions(min_cosine, max_error, min_agreement)
    with out.progress("verifying") as progress:
        opened = run(
            Bundle.open(bundle),
            targets=target or (),
            gates=gates,
            threads=threads,
            on_progress=progress.step,
        )
        deviations = []
        if bisect:
            from edgesdk.bisection import bisect as find

            chosen = [opened.artefact(name) for name in target or ()]
            for artefact in chosen or opened.manifest.artefacts:
                deviations.append(find(opened, artefact, gates=gates, on_progress=progress.step))
    result = {
        "bundle": str(bundle),
        "artefacts": [
            {"target": record.target, "parity": record.parity and record.parity.model_dump()}
            for record in opened.manifest.artefacts
        ],
    }
    if bisect:
        result["deviations"] = [deviation.to_dict() for deviation in deviations]
    out.result(result)
    out.table(targets_table(summary_rows(opened.manifest)))
    for line in deviation_lines(deviations):
        out.line(line)
    require_parity(opened.manifest, allow_failures=True)
    return 0
