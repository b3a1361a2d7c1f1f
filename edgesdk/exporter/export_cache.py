"""Serve an unchanged export from the cache."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgesdk.bundle.manifest import FileRecord, Manifest
from edgesdk.bundle.samples import Samples
from edgesdk.errors import EdgeSdkError
from edgesdk.exporter.fingerprint import fingerprint
from edgesdk.exporter.prepared import PreparedModel
from edgesdk.frontend.capture import run_eager
from edgesdk.host.cache import Cache, key_of, package_versions
from edgesdk.host.digest import digest
from edgesdk.host.own_code import code_digest

__all__ = ["ExportCache"]


@dataclass(frozen=True)
class ExportCache:
    """Cache entry of one export, under a key over everything that decides its result.

    Attributes:
        cache: The cache.
        key: Key of the entry.
    """

    cache: Cache
    key: str

    @classmethod
    def of(
        cls,
        cache: Cache | None,
        prepared: PreparedModel,
        options: Mapping[str, Any],
        sample_files: Sequence[Path],
        distributions: Sequence[str],
    ) -> ExportCache | None:
        """Return the entry of an export; None without a cache or if the model has no fingerprint.

        Args:
            cache: The cache.
            prepared: The model.
            options: Every option that decides the result, as plain JSON.
            sample_files: Files that parity is measured on.
            distributions: Packages whose versions decide the result.
        """
        model = fingerprint(prepared.loaded.model) if cache is not None else None
        if cache is None or model is None:
            return None
        facts = {
            "kind": "export",
            "code": code_digest(),
            "model": model,
            "specs": [repr(spec) for spec in prepared.specs],
            "structure": repr(prepared.structure),
            "image": repr(prepared.image),
            "labels": prepared.loaded.labels,
            "styles": list(prepared.styles),
            "notes": list(prepared.loaded.notes),
            "options": dict(options),
            "samples": [[path.name, digest(path)] for path in sample_files],
            "versions": package_versions(distributions),
            "python": platform.python_version(),
            "machine": [platform.system(), platform.machine()],
        }
        return cls(cache, key_of(facts))

    def serve(self, prepared: PreparedModel, folder: Path) -> Manifest | None:
        """Restore the files of the export.

        Args:
            prepared: The model; its outputs must equal the stored ones bit by bit.
            folder: Folder for the files.

        Returns:
            The stored manifest; None if anything is missing or differs.
        """
        facts = self.cache.get(self.key, folder)
        if facts is None:
            return None
        try:
            manifest = Manifest.model_validate(facts["manifest"])
            whole = all(
                self.cache.get(str(key), folder) is not None for key in facts["conversions"]
            ) and all(
                digest(folder / record.path) == record.sha256 for record in _records(manifest)
            )
            if whole and self._same_outputs(prepared, folder / manifest.reference.samples.path):
                return manifest
        except (EdgeSdkError, OSError, ValueError, KeyError, TypeError):
            # A damaged entry counts as missing: the export runs in full.
            return None
        return None

    @staticmethod
    def _same_outputs(prepared: PreparedModel, path: Path) -> bool:
        samples = Samples.load(path)
        model = prepared.flat_model()
        for inputs, expected in zip(samples.inputs, samples.expected, strict=True):
            outputs = run_eager(model, inputs)
            if set(outputs) != set(expected):
                return False
            if any(
                outputs[name].dtype != expected[name].dtype
                or not np.array_equal(outputs[name], expected[name])
                for name in expected
            ):
                return False
        return True

    def remember(self, manifest: Manifest, folder: Path, conversions: Sequence[str]) -> None:
        """Store a finished export, unless a part of it failed: that may work next time.

        Args:
            manifest: Manifest of the export.
            folder: The bundle.
            conversions: Cache keys of its artefacts.
        """
        if manifest.failures or any(
            record.parity is None
            or record.parity.failure
            or (record.painted is not None and record.painted.failure)
            for record in manifest.artefacts
        ):
            return
        own = [manifest.reference.samples, manifest.reference.program]
        facts = {"manifest": manifest.model_dump(mode="json"), "conversions": list(conversions)}
        files = [folder / record.path for record in own if record]
        if manifest.paintings is not None and manifest.paintings.files:
            # Entries keep files by name only, but folders with their contents.
            files.append(folder / Path(manifest.paintings.files[0].path).parent)
        self.cache.put(self.key, facts, files)


def _records(manifest: Manifest) -> list[FileRecord]:
    files = [manifest.reference.samples, *(artefact.file for artefact in manifest.artefacts)]
    files += [artefact.simulated for artefact in manifest.artefacts if artefact.simulated]
    if manifest.reference.program is not None:
        files.append(manifest.reference.program)
    if manifest.paintings is not None:
        files += manifest.paintings.files
    return files
