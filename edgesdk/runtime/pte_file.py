"""Read an ExecuTorch program (``.pte``) without its runtime: structure, operators, backends."""

from __future__ import annotations

import os
import re
import struct
from dataclasses import dataclass

from edgesdk.runtime.error_translation import damaged_file
from edgesdk.runtime.flatbuffer import FlatbufferError, FlatTable, check_indices, root_table

__all__ = ["PteContents", "read_pte"]

_KIND = "ExecuTorch program (.pte)"
_IDENTIFIER = re.compile(rb"ET\d\d")
_EXTENDED = b"eh00"
#: Magic, length, program size, segment base; a fifth field holds the size of the segments.
_EXTENDED_MINIMUM = 24
_EXTENDED_WITH_SIZE = 32

# Slots of the tables, in the order of ExecuTorch's schema.
_PROGRAM_PLANS, _PROGRAM_CONSTANTS, _PROGRAM_INLINE, _PROGRAM_SEGMENTS = 1, 2, 3, 4
_PROGRAM_CONSTANT_SEGMENT = 5
_PLAN_NAME, _PLAN_VALUES, _PLAN_INPUTS, _PLAN_OUTPUTS, _PLAN_CHAINS = 0, 2, 3, 4, 5
_PLAN_OPERATORS, _PLAN_DELEGATES = 6, 7
_KERNEL_CALL, _DELEGATE_CALL = 1, 2
_IN_SEGMENT = 1


@dataclass(frozen=True)
class PteContents:
    """Requirements of a program's method ``forward``.

    Attributes:
        methods: Names of all methods.
        operators: Kernels that ``forward`` calls, such as ``aten::sort.values``.
        backends: Delegates that ``forward`` calls, such as ``XnnpackBackend``.
        calls: Operator or backend called by each instruction of ``forward``.
    """

    methods: tuple[str, ...]
    operators: tuple[str, ...]
    backends: tuple[str, ...]
    calls: tuple[str, ...]


def read_pte(path: str | os.PathLike[str], data: bytes) -> PteContents:
    """Check the structure of a program and list its requirements.

    Args:
        path: Path of the file, for messages.
        data: Content of the file.

    Raises:
        SessionError: The file is damaged or not an ExecuTorch program.
    """
    try:
        segment_base = _check_header(data)
        program = root_table(data)
        segments = _check_segments(program, data, segment_base)
        methods: list[str] = []
        contents = PteContents((), (), (), ())
        for plan in program.tables(_PROGRAM_PLANS):
            name = plan.text(_PLAN_NAME)
            methods.append(name)
            found = _check_plan(plan, program, segments)
            if name == "forward":
                contents = found
    except FlatbufferError as error:
        raise damaged_file(path, _KIND, str(error)) from error
    if not methods:
        raise damaged_file(path, _KIND, "it holds no method")
    return PteContents(tuple(methods), contents.operators, contents.backends, contents.calls)


def _check_header(data: bytes) -> int:
    """Check the identifier and the extended header.

    Returns:
        The byte at which the segments begin; 0 without segments.
    """
    if len(data) < 16 or not _IDENTIFIER.fullmatch(data[4:8]):
        raise FlatbufferError("the identifier ET12 is missing at byte 4")
    if data[8:12] != _EXTENDED:
        return 0
    length = struct.unpack_from("<I", data, 12)[0]
    if not _EXTENDED_MINIMUM <= length <= 1024 or len(data) < 8 + length:
        raise FlatbufferError(f"an extended header of {length} bytes is impossible")
    program_size, segment_base = struct.unpack_from("<QQ", data, 16)
    if not 8 + length <= program_size <= len(data):
        raise FlatbufferError(f"the header claims a program of {program_size} bytes in {len(data)}")
    if segment_base and not program_size <= segment_base <= len(data):
        raise FlatbufferError(f"the segments cannot begin at byte {segment_base} of {len(data)}")
    if length >= _EXTENDED_WITH_SIZE and segment_base:
        segments_size = struct.unpack_from("<Q", data, 32)[0]
        if segment_base + segments_size > len(data):
            raise FlatbufferError(
                f"the header claims {segment_base + segments_size} bytes, there are {len(data)}"
            )
    return int(segment_base)


def _check_segments(program: FlatTable, data: bytes, base: int) -> list[int]:
    """Check that every segment lies in the file.

    Returns:
        The size of each segment.
    """
    sizes: list[int] = []
    for segment in program.tables(_PROGRAM_SEGMENTS):
        offset, size = segment.number(0, "Q"), segment.number(1, "Q")
        if base + offset + size > len(data):
            raise FlatbufferError(f"segment {len(sizes)} extends beyond the end of the file")
        sizes.append(size)
    constants = program.table(_PROGRAM_CONSTANT_SEGMENT)
    if constants is not None:
        offsets = constants.numbers(1, "Q")
        index = constants.number(0, "I")
        if offsets and (index >= len(sizes) or max(offsets) > sizes[index]):
            raise FlatbufferError("the constants lie outside their segment")
    for buffer in program.tables(_PROGRAM_CONSTANTS):
        buffer.length(0, 1)
    return sizes


def _check_plan(plan: FlatTable, program: FlatTable, segments: list[int]) -> PteContents:
    values = sum(1 for _ in plan.tables(_PLAN_VALUES))
    for slot in (_PLAN_INPUTS, _PLAN_OUTPUTS):
        check_indices("item", plan.numbers(slot, "i"), values)
    operators = []
    for operator in plan.tables(_PLAN_OPERATORS):
        name, overload = operator.text(0), operator.text(1)
        operators.append(f"{name}.{overload}" if overload else name)
    inline = program.length(_PROGRAM_INLINE, 4)
    backends = []
    for delegate in plan.tables(_PLAN_DELEGATES):
        backends.append(delegate.text(0))
        reference = delegate.table(1)
        if reference is not None:
            in_segment = reference.number(0, "b") == _IN_SEGMENT
            if reference.number(1, "I") >= (len(segments) if in_segment else inline):
                raise FlatbufferError(f"the data of the delegate {backends[-1]!r} is missing")
    calls = []
    for chain in plan.tables(_PLAN_CHAINS):
        for instruction in chain.tables(2):
            kind, arguments = instruction.number(0, "B"), instruction.table(1)
            if kind not in (_KERNEL_CALL, _DELEGATE_CALL) or arguments is None:
                calls.append("")
                continue
            check_indices("item", arguments.numbers(1, "i"), values)
            names = operators if kind == _KERNEL_CALL else backends
            index = arguments.number(0, "i")
            check_indices("item", [index], len(names))
            calls.append(names[index])
    return PteContents((), tuple(operators), tuple(backends), tuple(calls))
