"""Reasons of ExecuTorch's partitioners for leaving an operator, found by repeating their checks.

XNNPACK logs its reason at debug level, Vulkan passes it to a method, Core ML collects it in a set;
here each becomes a reason and a detail.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

from edgesdk.converters.coverage.undelegated import Reason
from edgesdk.errors import MissingBackendError, UnknownNameError

if TYPE_CHECKING:
    from torch.export import ExportedProgram
    from torch.fx import Node

__all__ = ["ReasonFinder", "reason_finder"]

#: Maps an undelegated node and its program to a reason and a detail.
ReasonFinder: TypeAlias = "Callable[[Node, ExportedProgram], tuple[Reason, str]]"

# Exceptions of a partitioner's check on a node that it does not expect.
_CHECK_ERRORS = (
    AssertionError,
    AttributeError,
    IndexError,
    KeyError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)
_ACCEPTED = "the delegate's checks accept it, but the partitioner left it out"


def reason_finder(delegate: str, partitioner: Any = None) -> ReasonFinder:
    """Return the function that finds the reasons of one delegate.

    Args:
        delegate: ``xnnpack``, ``vulkan``, ``coreml``, ``portable`` or ``none``.
        partitioner: Partitioner used; None for the default of the delegate.

    Raises:
        UnknownNameError: The delegate is unknown.
        MissingBackendError: A package the delegate needs is not installed.
    """
    finders: dict[str, Callable[[Any], ReasonFinder]] = {
        "coreml": _coreml,
        "none": _portable,
        "portable": _portable,
        "vulkan": _vulkan,
        "xnnpack": _xnnpack,
    }
    if delegate not in finders:
        raise UnknownNameError("delegate", delegate, finders)
    try:
        return finders[delegate](partitioner)
    except ImportError as error:
        package = (error.name or "executorch").partition(".")[0]
        raise MissingBackendError(package, "executorch") from error


def _portable(partitioner: Any) -> ReasonFinder:
    def find_reason(node: Node, program: ExportedProgram) -> tuple[Reason, str]:
        return "not supported", "the portable variant has no delegate"

    return find_reason


def _xnnpack(partitioner: Any) -> ReasonFinder:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir.backend.canonical_partitioners.config_partitioner import (
        format_target_name,
    )

    configs = (partitioner or XnnpackPartitioner()).target_partitioner_configs

    def find_reason(node: Node, program: ExportedProgram) -> tuple[Reason, str]:
        name = format_target_name(getattr(node.target, "__name__", str(node.target)))
        config = configs.get(name)
        if config is None:
            return "not supported", f"XNNPACK does not support {name}"
        with _collected_log() as words:
            try:
                accepted = config.check_constraints(node, program)
                dependencies = config.get_node_and_deps(node, program) if accepted else []
            except _CHECK_ERRORS as error:
                return "unknown", f"the delegate's check failed: {error}"
        if accepted and not dependencies:
            return "constraint", "outputs other than its first one are used"
        if accepted:
            return "unknown", _ACCEPTED
        return _xnnpack_reason(node, "; ".join(dict.fromkeys(words)))

    return find_reason


@contextmanager
def _collected_log() -> Iterator[list[str]]:
    """Collect the log messages of XNNPACK's configurations, hidden from the terminal."""
    from executorch.exir.backend.utils import WhyNoPartition

    words: list[str] = []

    class _LogCollector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if isinstance(record.msg, WhyNoPartition):
                words.append(record.msg.reason)

    logger = logging.getLogger("executorch.backends.xnnpack.partition.config")
    collector, level, propagate = _LogCollector(), logger.level, logger.propagate
    logger.addHandler(collector)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    try:
        yield words
    finally:
        logger.removeHandler(collector)
        logger.setLevel(level)
        logger.propagate = propagate


def _xnnpack_reason(node: Node, words: str) -> tuple[Reason, str]:
    if not words:
        # Only the check of slices with a step logs nothing.
        if "slice" in str(node.target) and len(node.args) > 4:
            return "constraint", f"slices with step {node.args[4]} are not supported, only step 1"
        return "constraint", "the delegate's check refuses it without a reason"
    lowered = words.lower()
    if "invalid dtype" in lowered:
        return _invalid_dtype_reason(node)
    if any(mark in lowered for mark in ("dynamic", "symbolic", "inferred dimension", "symint")):
        return "dynamic shape", words
    if "dtype" in lowered or "fp16" in lowered or "precision type" in lowered:
        return "dtype", words
    return "constraint", words


def _invalid_dtype_reason(node: Node) -> tuple[Reason, str]:
    """Return the real reason for "invalid dtype": sizes, empty tensors and free sizes too."""
    import torch
    from torch.fx.experimental.symbolic_shapes import has_free_unbacked_symbols

    dtypes: list[str] = []
    for value in _values(node):
        if not isinstance(value, torch.Tensor):
            return "dynamic shape", "an argument is a size that is known only at run time"
        if has_free_unbacked_symbols(value):
            return "dynamic shape", "the shape of an input depends on data"
        if value.numel() == 0:
            return "constraint", "empty tensors are not supported"
        dtypes.append(str(value.dtype).removeprefix("torch."))
    odd = sorted(set(dtypes) - {"float32", "float16"})
    if odd:
        return "dtype", f"{', '.join(odd)}: XNNPACK supports float32 and float16 here"
    return "dtype", f"mixed: {', '.join(sorted(set(dtypes)))}"


def _values(node: Node) -> Iterator[Any]:
    for argument in (*node.all_input_nodes, node):
        value = argument.meta.get("val")
        if value is not None:
            yield from value if isinstance(value, (list, tuple)) else (value,)


def _vulkan(partitioner: Any) -> ReasonFinder:
    import executorch.backends.vulkan.utils as limits
    from executorch.backends.vulkan.partitioner.vulkan_partitioner import (
        VulkanPartitioner,
        VulkanSupportedOperators,
    )

    used = partitioner or VulkanPartitioner()
    textures = used.options.get("texture_limits") or (
        limits.SMALL_TEXTURE_LIMITS
        if used.options.get("small_texture_limits", False)
        else limits.DEFAULT_TEXTURE_LIMITS
    )

    def find_reason(node: Node, program: ExportedProgram) -> tuple[Reason, str]:
        words: list[str] = []
        # Fused patterns need no check: the delegate took the nodes inside them.
        support = VulkanSupportedOperators(
            textures,
            used.options.get("buffer_limit", limits.DEFAULT_BUFFER_LIMIT),
            require_dynamic_shape=used.options.get("require_dynamic_shapes", False),
            skip_bool_tensors=used.options.get("skip_bool_tensors", False),
            operator_blocklist=used.operator_blocklist,
            operator_allowlist=used.operator_allowlist,
            nn_module_blocklist=used.nn_module_blocklist,
            nn_module_allowlist=used.nn_module_allowlist,
        )
        support.log_skip = lambda _, reason: words.append(reason)
        try:
            accepted = support.is_node_supported({}, node)
        except _CHECK_ERRORS as error:
            return "unknown", f"the delegate's check failed: {error}"
        if accepted:
            return "unknown", _ACCEPTED
        text = "; ".join(words)
        if "no operator implementation" in text:
            return "not supported", text
        if "dtype" in text.lower() or "bool tensor" in text:
            return "dtype", f"{text}: {', '.join(_dtypes(node))}"
        if "dynamic shape" in text:
            return "dynamic shape", text
        return "constraint", text

    return find_reason


def _dtypes(node: Node) -> list[str]:
    found = {str(getattr(value, "dtype", type(value).__name__)) for value in _values(node)}
    return sorted(name.removeprefix("torch.") for name in found)


def _coreml(partitioner: Any) -> ReasonFinder:
    from executorch.backends.apple.coreml.partition import coreml_partitioner

    used = partitioner or coreml_partitioner.CoreMLPartitioner()

    def find_reason(node: Node, program: ExportedProgram) -> tuple[Reason, str]:
        support = coreml_partitioner._OperatorsSupportedForCoreMLBackend(
            used.skip_ops_for_coreml_delegation, False, log=True
        )
        words: list[str] = []
        support.log_once = words.append
        try:
            accepted = support.is_node_supported({}, node)
        except _CHECK_ERRORS as error:
            return "unknown", f"the delegate's check failed: {error}"
        if accepted:
            return "unknown", _ACCEPTED
        text = "; ".join(dict.fromkeys(words))
        overridden = "Overriding" in text or "skip_ops_for_coreml_delegation" in text
        return ("constraint" if overridden else "not supported"), text

    return find_reason
