"""Commands that make, prove and measure the bundle again."""

from __future__ import annotations

import shlex

from edgesdk.manifest import Manifest

__all__ = ["reproduction_commands"]


def reproduction_commands(manifest: Manifest) -> list[tuple[str, str]]:
    """What each command does, and the command, ready to paste into a POSIX shell.

    A model that was given in Python has no command that exports it.
    """
    folder = shlex.quote(f"./{manifest.name}.edge")
    commands = [
        ("Compare every artefact with the original again", f"edgesdk verify {folder}"),
        ("Measure latency, memory and load time again", f"edgesdk profile {folder}"),
        ("Write this page again", f"edgesdk report {folder}"),
    ]
    export = _export(manifest, folder)
    return [("Convert the model again", export), *commands] if export else commands


def _export(manifest: Manifest, folder: str) -> str:
    spec = manifest.source.spec
    # A word that starts with a hyphen would be an option of whoever pastes it.
    if spec == manifest.source.model or spec.startswith("-") or not spec.isprintable():
        return ""
    names = [record.target for record in manifest.artefacts]
    names += [record.target for record in manifest.failures]
    targets = ",".join(dict.fromkeys(names))
    words = ["edgesdk", "export", shlex.quote(spec)]
    if targets:
        words += ["--target", shlex.quote(targets)]
    return " ".join([*words, "--output", folder])
