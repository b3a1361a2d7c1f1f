"""Old names of options, accepted for one release."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["RENAMED", "with_new_names"]

#: New spelling of each old option, by verb.
RENAMED: dict[str, dict[str, str]] = {
    "export": {
        "--drop-samples": "--evaluation-samples",
        "--face": "--io-dtype",
        "--repair": "--accuracy-control",
    },
    "quantize-report": {"--drop-samples": "--evaluation-samples", "--repair": "--accuracy-control"},
    "prune": {"--factor": "--gate-threshold", "--only": "--split", "--work": "--checkpoint"},
    "stylize": {
        "--keep": "--keep-partial",
        "--quality": "--flow-quality",
        "--smooth": "--upscale network",
        "--smooth-weights": "--upscale-weights",
        "--white": "--value-range",
    },
    "classify": {"--only": "--split"},
    "style": {
        "--any": "--arbitrary",
        "--from": "--add-to",
        "--perceptual": "--vgg16",
        "--start": "--fine-tune",
    },
}


def with_new_names(verb: str, arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Replace old option names of ``verb``.

    Args:
        verb: Name of the verb.
        arguments: Its command line, ``--option value`` or ``--option=value``.

    Returns:
        The new command line, and one note for each old name in it.
    """
    renamed = RENAMED.get(verb, {})
    found: list[str] = []
    notes: list[str] = []
    for index, argument in enumerate(arguments):
        if argument == "--":
            found += arguments[index:]
            break
        name, equals, value = argument.partition("=")
        if name not in renamed:
            found.append(argument)
            continue
        first, *more = renamed[name].split()
        found += [f"{first}{equals}{value}", *more]
        notes.append(f"{name} is now {renamed[name]}")
    return found, notes
