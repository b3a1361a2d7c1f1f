"""Write the support matrix: every architecture on every target, verified in its runtime.

    .venv/bin/python scripts/support_matrix.py            # all, into docs/support-matrix.*
    .venv/bin/python scripts/support_matrix.py vgg16 unet # some, printed only

Cells come from real exports. Unchanged ones come from the cache, so a stopped run resumes.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from edgesdk.bundle.manifest import ArtefactRecord, Manifest
from edgesdk.converters.registry import TARGETS
from edgesdk.errors import EdgeSdkError
from edgesdk.exporter.export import export
from edgesdk.host.cache import Cache, package_versions
from edgesdk.report.summary import delegated_share

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "docs" / "support-matrix.md"
FIGURES = ROOT / "docs" / "support-matrix.json"

#: Every target in single precision, so that differences are rounding alone.
_SINGLE = [
    f"{name}:fp32" if "fp32" in target.variants else name for name, target in TARGETS.items()
]

#: Rows of the matrix: architectures and their descriptions.
ARCHITECTURES = {
    "vgg16": "VGG",
    "resnet18": "ResNet",
    "densenet_small": "dense concatenation",
    "squeezenet1_1": "SqueezeNet",
    "mobilenet_v2": "MobileNetV2",
    "mobilenet_v3_small": "MobileNetV3, hard-swish and SE",
    "efficientnet_lite0": "EfficientNet-Lite, trained weights",
    "shufflenet_v2_x1_0": "channel shuffle",
    "unet": "U-Net",
    "johnson": "style net, textbook form",
    "johnson_mobile": "style net, rewritten",
    "multi_style": "style net that blends styles",
    "super_resolution": "PixelShuffle",
    "vit_tiny": "small ViT",
    "two_stream": "two inputs, two outputs",
    "detector": "dictionary output",
}


@dataclass(frozen=True)
class Cell:
    """One architecture on one target."""

    passed: bool
    text: str
    reason: str = ""


def artefact_cell(artefact: ArtefactRecord) -> Cell:
    """Build the cell of an artefact from its records."""
    parity, coverage = artefact.parity, artefact.coverage
    if parity is None or parity.failure:
        return Cell(False, "does not run", (parity.failure or "") if parity else "not verified")
    worst = max(output.max_abs or 0.0 for output in parity.outputs)
    text = f"{worst:.1e}"
    share = delegated_share(coverage) if coverage is not None else None
    if share is not None and artefact.target.startswith(("executorch", "litert")):
        text += f", {share:.0%} in {coverage.partitions}" if coverage else ""
    if not parity.passed:
        cosine = min(output.cosine or -1.0 for output in parity.outputs)
        return Cell(False, text, f"parity: cosine {cosine:.6f}")
    return Cell(True, text)


def row(manifest: Manifest) -> dict[str, Cell]:
    """Return the cells of one export by target."""
    cells = {a.target.partition(":")[0]: artefact_cell(a) for a in manifest.artefacts}
    for failure in manifest.failures:
        reason = failure.message.splitlines()[0]
        cells[failure.target.partition(":")[0]] = Cell(False, failure.error, reason)
    return cells


def measure(name: str, folder: Path, cache: Cache | None) -> dict[str, Cell]:
    """Export one architecture to every target."""
    try:
        bundle = export(name, to=_SINGLE, output=folder / f"{name}.edge", cache=cache)
    except EdgeSdkError as error:
        return {target: Cell(False, type(error).__name__, error.message) for target in TARGETS}
    return row(bundle.manifest)


def table(rows: dict[str, dict[str, Cell]]) -> str:
    """Format the matrix in Markdown."""
    cells = [cell for columns in rows.values() for cell in columns.values()]
    passed = sum(cell.passed for cell in cells)
    versions = package_versions(["torch", "executorch", "coremltools", "litert-torch", "onnx"])
    measured = ", ".join(f"{name} {version}" for name, version in versions.items())
    lines = [
        "<!-- Written by scripts/support_matrix.py; do not edit. -->",
        f"{passed} of {len(cells)} cells pass parity (cosine >= 0.9999 and max abs <= 1e-3 of the "
        "output's range, float32, Core ML as coreml:fp32, real and random inputs). A cell shows "
        "the largest absolute difference from the model, and for ExecuTorch and LiteRT the share "
        "of operators that XNNPACK took and in how many pieces. Core ML is run by the evaluator, "
        "not by Apple.",
        "",
        f"Measured with {measured}.",
        "",
        "| architecture | " + " | ".join(TARGETS) + " |",
        "|---|" + "---|" * len(TARGETS),
    ]
    notes = []
    for name, columns in rows.items():
        shown = []
        for target in TARGETS:
            cell = columns[target]
            if not cell.passed:
                notes.append(f"- **{name}, {target}**: {cell.text}: {cell.reason}")
            shown.append(cell.text if cell.passed else f"**{cell.text}**")
        lines.append(f"| `{name}` ({ARCHITECTURES[name]}) | " + " | ".join(shown) + " |")
    if notes:
        lines += ["", "Cells that do not pass, with reasons:", "", *notes]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure the given architectures, and write the page if it was all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="ARCHITECTURE", help="all if none is given")
    parser.add_argument("--no-cache", action="store_true", help="measure everything anew")
    chosen = parser.parse_args()
    unknown = sorted(set(chosen.names) - set(ARCHITECTURES))
    if unknown:
        parser.error(f"not in the matrix: {', '.join(unknown)}")
    cache = None if chosen.no_cache else Cache()
    rows = {}
    with tempfile.TemporaryDirectory(prefix="support-matrix-") as folder:
        for name in chosen.names or ARCHITECTURES:
            rows[name] = measure(name, Path(folder), cache)
            cells = ", ".join(f"{target} {cell.text}" for target, cell in rows[name].items())
            print(f"{name}: {cells}", file=sys.stderr, flush=True)
    text = table(rows)
    print(text)
    if not chosen.names:
        TABLE.write_text(text, encoding="utf-8")
        figures = {
            name: {target: asdict(cell) for target, cell in columns.items()}
            for name, columns in rows.items()
        }
        FIGURES.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
