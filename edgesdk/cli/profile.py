"""``edgesdk profile``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgesdk.cli import options as opt
from edgesdk.cli.console import Output
from edgesdk.cli.verb import verb
from edgesdk.errors import EdgeSdkError, GateError, MissingEnvironmentError

if TYPE_CHECKING:
    from edgesdk.profiling.profile import ProfileResult

__all__ = ["profile"]


@verb(
    {
        "Measure every artefact with two threads": "edgesdk profile lite0.edge --threads 2",
        "Measure one artefact longer": "edgesdk profile lite0.edge --target onnx --runs 100",
    }
)
def profile(
    out: Output,
    *,
    bundle: opt.BundleArgument,
    target: opt.TargetsOption = None,
    device: str = opt.MEASUREMENT.option(
        "--device DEVICE", "local", help="Device to measure on (default: local)."
    ),
    threads: opt.ThreadsOption = 1,
    runs: opt.RunsOption = 20,
    include_evaluators: bool = opt.MEASUREMENT.option(
        "--include-evaluators",
        False,
        help="Measure reference evaluators too (Core ML off a Mac); their times say nothing "
        "about phones.",
    ),
    timeout: float = opt.LIMITS.option(
        "--timeout SECONDS", 60.0, min=1, help="Largest time of one run."
    ),
) -> None:
    """Measure latency and memory of a bundle's artefacts."""
    from edgesdk.cli.tables import PROFILE_COLUMNS, artefact_facts, footnotes, targets_table
    from edgesdk.profiling.profile import profile as run
    from edgesdk.report.summary import summary_rows, warnings_of

    with out.progress("measuring") as progress:
        result = run(
            bundle,
            device=device,
            targets=target,
            threads=threads,
            runs=runs,
            timeout=timeout,
            include_evaluators=include_evaluators,
            on_progress=progress.measurement,
        )
    manifest = result.bundle.manifest
    facts = {
        artefact.file.path: one
        for artefact, one in zip(manifest.artefacts, artefact_facts(manifest), strict=True)
    }
    warnings = warnings_of(manifest)
    entries: list[dict[str, Any]] = [
        {
            **facts[entry.file],
            "profile": entry.record and entry.record.model_dump(mode="json"),
            "failure": entry.failure and entry.failure.to_dict(),
            "skipped": entry.skipped or None,
        }
        for entry in result.artefacts
    ]
    body = {
        "bundle": str(bundle),
        "device": result.device_name,
        "artefacts": entries,
        "warnings": warnings,
    }
    out.result(body, _problem(result))
    out.line(f"{result.device_name}, {threads} thread{'s' if threads > 1 else ''}")
    measured = {entry.file for entry in result.artefacts}
    rows = [row for row in summary_rows(manifest) if row.file in measured]
    out.table(targets_table(rows, PROFILE_COLUMNS))
    for text in footnotes(rows):
        out.line(text)
    for text in warnings:
        out.line(f"warning: {text}")
    for entry in result.skipped:
        out.remark(f"{entry.name}: {entry.skipped}")


def _problem(result: ProfileResult) -> EdgeSdkError | None:
    """Return the error of artefacts not measured: exit code 3 if only runtimes are missing."""
    if not result.failures:
        return None
    failures = [f"{entry.name}: {entry.failure}" for entry in result.failures]
    missing = all(isinstance(entry.failure, MissingEnvironmentError) for entry in result.failures)
    kind = MissingEnvironmentError if missing else GateError
    return kind(
        f"{len(failures)} of {len(result.artefacts)} artefacts could not be measured\n  "
        + "\n".join(failures).replace("\n", "\n  ")
    )
