"""``edgesdk profile``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgesdk.cli.console import Output
from edgesdk.cli.options import (
    BundleArgument,
    DebugOption,
    JsonOption,
    QuietOption,
    TargetsOption,
    ThreadsOption,
)
from edgesdk.errors import EdgeSdkError, GateError, MissingEnvironmentError

if TYPE_CHECKING:
    from edgesdk.profiling.profile import ProfileResult

__all__ = ["profile"]


def profile(
    bundle: BundleArgument,
    device: Annotated[str, typer.Option("--device", help="Where to measure.")] = "local",
    target: TargetsOption = None,
    threads: ThreadsOption = 1,
    runs: Annotated[int, typer.Option("--runs", min=1, help="Timed runs.")] = 20,
    timeout: Annotated[float, typer.Option("--timeout", min=1, help="Seconds a run.")] = 60.0,
    include_evaluators: Annotated[
        bool,
        typer.Option("--include-evaluators", help="Time evaluators too; no phone's figures."),
    ] = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> int:
    """Measure the artefacts side by side on a device."""
    del debug
    from edgesdk.cli.tables import PROFILE_COLUMNS, footnotes, targets_table
    from edgesdk.devices.base import Step
    from edgesdk.profiling.profile import profile as run
    from edgesdk.report.summary import summary_rows

    out = Output(json=json, quiet=quiet)
    with out.progress("measuring") as progress:

        def told(step: Step) -> None:
            progress.count(step.done, step.total, step.doing)

        result = run(
            bundle,
            device=device,
            targets=target,
            threads=threads,
            runs=runs,
            timeout=timeout,
            include_evaluators=include_evaluators,
            on_progress=told,
        )
    entries: list[dict[str, Any]] = [
        {
            "target": entry.target,
            "profile": entry.record and entry.record.model_dump(mode="json"),
            "failure": entry.failure and entry.failure.to_dict(),
            "skipped": entry.skipped or None,
        }
        for entry in result.artefacts
    ]
    problem = _problem(result)
    body = {"bundle": str(bundle), "device": result.device_name, "artefacts": entries}
    out.result(body, problem)
    out.line(f"{result.device_name}, {threads} thread{'s' if threads > 1 else ''}")
    measured = {entry.target for entry in result.artefacts}
    rows = [row for row in summary_rows(result.bundle.manifest) if row.target in measured]
    out.table(targets_table(rows, PROFILE_COLUMNS))
    for text in footnotes(rows):
        out.line(text)
    for entry in result.skipped:
        out.remark(f"{entry.target}: {entry.skipped}")
    if problem is None:
        return 0
    out.problem(problem)
    return problem.exit_code


def _problem(result: ProfileResult) -> EdgeSdkError | None:
    """Artefacts that could not be measured; exit code 3 where nothing but their runtime lacks."""
    if not result.failures:
        return None
    told = [f"{entry.target}: {entry.failure}" for entry in result.failures]
    lacking = all(isinstance(entry.failure, MissingEnvironmentError) for entry in result.failures)
    kind = MissingEnvironmentError if lacking else GateError
    return kind(
        f"{len(told)} of {len(result.artefacts)} artefacts could not be measured\n  "
        + "\n".join(told).replace("\n", "\n  ")
    )
