"""``edgesdk cost``."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Annotated

import typer

from edgesdk.cli.console import Output
from edgesdk.cli.options import DebugOption, JsonOption, QuietOption

__all__ = ["cost"]


def cost(
    source: Annotated[
        str,
        typer.Argument(
            help="Zoo name, path/file.py:factory, package.module:factory, .pt2 or .edgemodel."
        ),
    ],
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", help="NAME:1x3x224x224[:dtype], or a file with an example."),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option("--weights", help="safetensors, or .pth of tensors only.")
    ] = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Count a model's parameters, multiplications and memory, layer by layer."""
    del debug
    from edgesdk.cli.export_request import example_and_inputs

    out = Output(json=json, quiet=quiet)
    example, specs = example_and_inputs(inputs or [])
    # What the user's own code prints is no result.
    with out.progress("counting") as progress, contextlib.redirect_stdout(sys.stderr):
        progress.step("model", "loading torch")
        from edgesdk.exporter.cost_record import cost_of
        from edgesdk.exporter.prepared import prepare
        from edgesdk.profiling.cost_table import summary_table

        prepared = prepare(source, example, inputs=specs, weights=weights)
        counted = cost_of(prepared)
        progress.step("model", "ready")
    described = [str(spec) for spec in prepared.specs]
    out.result({"source": source, "inputs": described, **counted.to_dict()})
    out.table(summary_table(counted))
    out.line("")
    out.line(
        f"{counted.params:,} parameters, {counted.macs:,} multiply-accumulates, "
        f"{counted.memory_bytes / 1e6:,.2f} MB of weights for {', '.join(described)}"
    )
