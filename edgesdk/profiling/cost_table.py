"""Cost of a model as a table for the terminal."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from edgesdk.profiling.cost import ModelCost

__all__ = ["summary_table"]


def summary_table(cost: ModelCost) -> Table:
    """Build a table with one row per layer, a column per precision, and totals at the foot."""
    stored = sorted({*cost.params_by_bits} or {32})
    computed = sorted({*cost.macs_by_bits} or {32})
    table = Table(header_style="bold", footer_style="bold", box=None, pad_edge=False)
    table.show_footer = True
    table.add_column("layer", Text("total"), overflow="fold")
    table.add_column("kind", overflow="fold")
    table.add_column("output", overflow="fold")
    for bits in stored:
        total = cost.params_by_bits.get(bits, 0)
        _numbers(table, f"params\n{bits}-bit", f"{total:,}")
    for bits in computed:
        total = cost.macs_by_bits.get(bits, 0)
        _numbers(table, f"MACs\n{bits}-bit", f"{total:,}")
    _numbers(table, "memory\nkB", _kilobytes(cost.memory_bytes))
    for row in cost.rows:
        table.add_row(
            # Names come from foreign models: do not interpret markup in them.
            Text(row.name or "(model)"),
            Text(row.kind),
            Text("x".join(map(str, row.output_shape)) or "–"),
            *(_count(row.params_by_bits.get(bits, 0)) for bits in stored),
            *(_count(row.macs if row.mac_bits == bits else 0) for bits in computed),
            _kilobytes(row.memory_bytes),
        )
    return table


def _numbers(table: Table, title: str, total: str) -> None:
    table.add_column(title, Text(total), justify="right", no_wrap=True)


def _count(number: int) -> str:
    return f"{number:,}" if number else "–"


def _kilobytes(size: int) -> str:
    return f"{size / 1000:,.2f}" if size else "–"
