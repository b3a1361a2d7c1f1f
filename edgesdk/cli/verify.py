"""``edgesdk verify``."""

from __future__ import annotations

from edgesdk.cli import options as opt
from edgesdk.cli.console import Output
from edgesdk.cli.verb import verb

__all__ = ["verify"]


@verb(
    {
        "Run every artefact and compare it with the model": "edgesdk verify lite0.edge",
        "Find the operator that breaks one of them": (
            "edgesdk verify lite0.edge --target litert --bisect"
        ),
    }
)
def verify(
    out: Output,
    *,
    bundle: opt.BundleArgument,
    target: opt.TargetsOption = None,
    bisect: bool = opt.INPUT.option(
        "--bisect", False, help="Find the first operator whose value differs, by source line."
    ),
    min_cosine: opt.MinCosineOption = None,
    max_error: opt.MaxErrorOption = None,
    min_agreement: opt.MinAgreementOption = None,
    threads: opt.ThreadsOption = 1,
) -> None:
    """Run a bundle's artefacts and compare them with the model."""
    from edgesdk.bundle.bundle import Bundle, select_artefacts
    from edgesdk.cli.tables import artefact_facts, deviation_lines, footnotes, targets_table
    from edgesdk.errors import GateError
    from edgesdk.report.summary import summary_rows, warnings_of
    from edgesdk.verification.verify_bundle import Tolerances, require_parity
    from edgesdk.verification.verify_bundle import verify as run

    gates = Tolerances(min_cosine, max_error, min_agreement)
    with out.progress("verifying") as progress:
        opened = run(
            Bundle.open(bundle),
            targets=target or (),
            gates=gates,
            threads=threads,
            on_progress=progress.step,
        )
        # Gates hold for the chosen artefacts alone.
        chosen = select_artefacts(opened.manifest, target or None)
        deviations = []
        if bisect:
            from edgesdk.verification.bisection.bisect import bisect as find

            # Quantized artefacts differ at every operator by design.
            searched = [one for one in chosen if one.quantized is None] or chosen
            for artefact in searched:
                deviations.append(find(opened, artefact, gates=gates, on_progress=progress.step))
    judged = opened.manifest.model_copy(update={"artefacts": chosen, "failures": []})
    try:
        problem = None
        require_parity(judged)
    except GateError as error:
        problem = error
        if bisect:
            # The remedy is --bisect.
            problem.remedy = None
    warnings = warnings_of(judged)
    result = {
        "bundle": str(bundle),
        "artefacts": [
            {**facts, "parity": record.parity and record.parity.model_dump()}
            for record, facts in zip(chosen, artefact_facts(judged), strict=True)
        ],
        "warnings": warnings,
    }
    if bisect:
        result["deviations"] = [deviation.to_dict() for deviation in deviations]
    out.result(result, problem)
    rows = summary_rows(judged)
    out.table(targets_table(rows))
    for text in footnotes(rows):
        out.line(text)
    for text in warnings:
        out.line(f"warning: {text}")
    for line in deviation_lines(deviations):
        out.line(line)
