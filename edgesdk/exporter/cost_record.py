"""Cost of a prepared model, as a value and as a record of the manifest."""

from __future__ import annotations

import heapq

from torch.utils import _pytree as pytree

from edgesdk.bundle.manifest import CostRecord, LayerCostRecord
from edgesdk.errors import EdgeSdkError
from edgesdk.exporter.prepared import PreparedModel
from edgesdk.profiling.cost import LayerCost, ModelCost, count

__all__ = ["cost_of", "cost_record"]

_MAX_LAYERS = 2000
_MAX_TEXT = 500
_MAX_NUMBER = 2**63 - 1


def cost_of(prepared: PreparedModel) -> ModelCost:
    """Count the cost of a prepared model on its example.

    Raises:
        InputSpecError: The model fails on its example.
    """
    if prepared.structure is None:
        return count(prepared.loaded.model, prepared.tensors)
    args, kwargs = pytree.tree_unflatten(list(prepared.tensors), prepared.structure)
    return count(prepared.loaded.model, kwargs or args)


def cost_record(prepared: PreparedModel) -> CostRecord | None:
    """Return the cost of a prepared model for its manifest; None if it cannot be counted.

    At most 2000 layers are listed, the most expensive ones; totals cover all layers.
    """
    try:
        cost = cost_of(prepared)
    except EdgeSdkError:
        # The cost only describes the export: a failure to count it does not end the export.
        return None
    if max(cost.macs, cost.params, cost.size_bytes) > _MAX_NUMBER:
        return None
    rows = list(cost.rows)
    if len(rows) > _MAX_LAYERS:
        places = heapq.nlargest(
            _MAX_LAYERS, range(len(rows)), key=lambda place: (rows[place].macs, rows[place].params)
        )
        rows = [rows[place] for place in sorted(places)]
    return CostRecord(
        parameters=cost.params,
        macs=cost.macs,
        size_bytes=cost.size_bytes,
        memory_bytes=cost.memory_bytes,
        parameters_by_bits=cost.params_by_bits,
        macs_by_bits=cost.macs_by_bits,
        layers=[_layer(row) for row in rows],
    )


def _layer(row: LayerCost) -> LayerCostRecord:
    return LayerCostRecord(
        name=row.name[:_MAX_TEXT],
        kind=row.kind[:_MAX_TEXT],
        output_shape=list(row.output_shape),
        parameters=row.params,
        macs=row.macs,
        weight_bits=row.weight_bits,
        activation_bits=row.activation_bits,
        memory_bytes=row.memory_bytes,
    )
