"""``edgesdk cost``."""

from __future__ import annotations

from edgesdk.cli import options as opt
from edgesdk.cli.console import Output
from edgesdk.cli.verb import verb

__all__ = ["cost"]


@verb(
    {
        "Count the layers of a zoo network": "edgesdk cost resnet18",
        "Count your own network": "edgesdk cost net.py:build --input image:1x3x224x224",
    }
)
def cost(
    out: Output,
    *,
    source: opt.SourceArgument,
    inputs: opt.InputOption = None,
    weights: opt.WeightsOption = None,
) -> None:
    """Count parameters, multiply-accumulates and memory by layer."""
    from edgesdk.cli.export_request import example_and_inputs

    example, specs = example_and_inputs(inputs or [])
    with out.progress("model") as progress:
        progress.begin("loading torch")
        from edgesdk.exporter.cost_record import cost_of
        from edgesdk.exporter.prepared import prepare
        from edgesdk.profiling.cost_table import summary_table

        prepared = prepare(source, example, inputs=specs, weights=weights)
        counted = cost_of(prepared)
        progress.begin("ready")
    described = [str(spec) for spec in prepared.specs]
    out.result({"source": source, "inputs": described, **counted.to_dict()})
    out.table(summary_table(counted))
    out.line()
    out.line(
        f"{counted.params:,} parameters, {counted.macs:,} multiply-accumulates, "
        f"{counted.memory_bytes / 1e6:,.2f} MB of weights for {', '.join(described)}"
    )
