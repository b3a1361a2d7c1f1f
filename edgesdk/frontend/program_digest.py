"""Content hash of a captured program."""

from __future__ import annotations

import hashlib

import torch
from torch.utils import _pytree as pytree

from edgesdk.frontend.provenance import frames

__all__ = ["program_digest"]


def program_digest(program: torch.export.ExportedProgram) -> str:
    """Hash a program: graph, shapes, source lines, weights and constants.

    Programs with equal hashes convert to equal artefacts.
    """
    digest = hashlib.sha256()

    def feed(text: str) -> None:
        data = text.encode()
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)

    for name, module in program.graph_module.named_modules():
        if not isinstance(module, torch.fx.GraphModule):
            continue
        feed(name)
        for node in module.graph.nodes:
            value = node.meta.get("val")
            shapes = pytree.tree_map(
                lambda leaf: (
                    (tuple(map(str, leaf.shape)), str(leaf.dtype), tuple(map(str, leaf.stride())))
                    if isinstance(leaf, torch.Tensor)
                    else str(leaf)
                ),
                value,
            )
            feed(f"{node.format_node()}|{node.args}|{node.kwargs}|{shapes}")
            # Generated code, such as <eval_with_key>.7, gets a new number in every process.
            lines = [
                str(frame)
                for frame in frames(node.meta.get("stack_trace") or "")
                if not frame.file.startswith("<")
            ]
            feed(f"{lines}|{list((node.meta.get('nn_module_stack') or {}).values())}")
    feed(f"{program.graph_signature}|{program.call_spec}")
    feed(str(sorted((str(k), str(v)) for k, v in program.range_constraints.items())))
    for store in (program.state_dict, program.constants):
        for name in sorted(store):
            value = store[name]
            feed(name)
            if isinstance(value, torch.Tensor):
                data = value.detach().cpu().contiguous()
                feed(f"{tuple(data.shape)} {data.dtype}")
                digest.update(data.reshape(-1).view(torch.uint8).numpy().data)
            else:
                feed(repr(value))
    return digest.hexdigest()
