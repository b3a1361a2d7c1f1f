"""Write the options in a message as arguments of the Python functions.

Messages name an option as the command line spells it, ``--io-dtype float``. A person who called a
function of the package reads ``io_dtype="float"`` in its place.
"""

from __future__ import annotations

import re

__all__ = ["ARGUMENTS", "FLAGS", "in_python"]

#: Options with a value, and the argument of the same meaning where it has another name.
ARGUMENTS = {
    "--add-to": "base",
    "--blend": "blend",
    "--calibration": "calibration",
    "--channels": "channels",
    "--data": "data",
    "--dynamic": "dynamic",
    "--evaluate": "evaluate",
    "--evaluation": "evaluation",
    "--fine-tune": "start",
    "--flops": "macs",
    "--gate-threshold": "threshold",
    "--image": "image",
    "--image-size": "image_size",
    "--input": "inputs",
    "--io-dtype": "io_dtype",
    "--keep-float": "keep_float",
    "--latency": "latency",
    "--max-drop": "max_drop",
    "--memory-limit": "memory_limit",
    "--output": "output",
    "--params": "params",
    "--protect": "protect",
    "--quantize": "quantize",
    "--rate": "rate",
    "--retrain": "retrain",
    "--round-to": "round_to",
    "--samples": "samples",
    "--set": "settings",
    "--split": "split",
    "--target": "targets",
    "--timeout": "timeout",
    "--to": "to",
    "--vgg16": "perceptual",
    "--weights": "weights",
}

#: Options without a value, and the argument that does the same.
FLAGS = {
    "--accuracy-control": "accuracy_control=True",
    "--compare": "compare=True",
    "--debug": "error.__cause__",
    "--no-reference": "reference=False",
    "--no-resume": "resume=False",
    "--overwrite": "overwrite=True",
    "--strict": "strict=True",
}

# An option, and the value behind it. A word of prose has neither digits nor signs nor capitals, and
# is a value only if it is one of those that messages name.
_OPTION = re.compile(
    r"""
    (?P<option> --[a-z][a-z0-9-]* )
    (?: [ =] (?P<value>
        (?: float | int8 | none | test | imagenet | unit ) \b
        | (?= [^\s;)]* [A-Z0-9=/:%,] [^\s;)] | [^\s;)]* [A-Z0-9%] ) [^\s;)]* [^\s;),.]
    ) )?
    """,
    re.VERBOSE,
)
_PLACEHOLDER = re.compile(r"[A-Z][A-Z0-9_]*")
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
# Commands in a message stay commands.
_COMMAND = re.compile(r"(`[^`]*`|\b(?:pip|edgesdk|python|sdkmanager|brew|xcode-select) [^;\n]*)")


def in_python(text: str) -> str:
    """Return a message with its options written as arguments.

    Quoted commands, and options of other programs, stay as they are.

    Args:
        text: A message or a remedy.
    """
    if "--" not in text:
        return text
    parts = _COMMAND.split(text)
    return "".join(
        part if position % 2 else _OPTION.sub(_argument, part)
        for position, part in enumerate(parts)
    )


def _argument(found: re.Match[str]) -> str:
    option, value = found["option"], found["value"]
    if option in FLAGS:
        rest = found[0][len(option) :]
        return FLAGS[option] + rest
    name = ARGUMENTS.get(option)
    if name is None:
        return found[0]
    if value is None:
        return f"{name}="
    if _PLACEHOLDER.fullmatch(value) or _NUMBER.fullmatch(value):
        return f"{name}={value}"
    return f'{name}="{value}"'
