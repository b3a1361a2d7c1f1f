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
    from edgesdk.bundle.bundle import Bundle
    from edgesdk.cli.tables import deviation_lines, footnotes, targets_table
    from edgesdk.errors import GateError
    from edgesdk.report.summary import summary_rows
    from edgesdk.verification.verify_bundle import Tolerances, require_parity
    from edgesdk.verification.verify_bundle import verify as run

    out = Output(json=json, quiet=quiet)
    gates = Tolerances(min_cosine, max_error, min_agreement)
    with out.progress("verifying") as progress:
        opened = run(
            Bundle.open(bundle),
            targets=target or (),
            gates=gates,
            threads=threads,
            on_progress=progress.step,
        )
        # Only what was asked for is judged, whatever the bundle says of the rest.
        asked = [opened.artefact(name) for name in target or ()] or opened.manifest.artefacts
        deviations = []
        if bisect:
            from edgesdk.verification.bisection.bisect import bisect as find

            # A quantized artefact differs everywhere: that is no fault to be searched for.
            searched = [one for one in asked if one.quantized is None] or asked
            for artefact in searched:
                deviations.append(find(opened, artefact, gates=gates, on_progress=progress.step))
    judged = opened.manifest.model_copy(update={"artefacts": asked, "failures": []})
    try:
        problem = None
        require_parity(judged)
    except GateError as error:
        problem = error
        if bisect:
            # What it would say next has been done.
            problem.remedy = None
    result = {
        "bundle": str(bundle),
        "artefacts": [
            {"target": record.target, "parity": record.parity and record.parity.model_dump()}
            for record in asked
        ],
    }
    if bisect:
        result["deviations"] = [deviation.to_dict() for deviation in deviations]
    out.result(result, problem)
    rows = summary_rows(judged)
    out.table(targets_table(rows))
    for text in footnotes(rows):
        out.line(text)
    for line in deviation_lines(deviations):
        out.line(line)
    if problem is None:
        return 0
    out.problem(problem)
    return problem.exit_code
