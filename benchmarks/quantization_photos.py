"""Claim: quantized EfficientNet-Lite0 keeps its classes on photographs it was not calibrated on.

Measures every supported recipe on every target, with ImageNet weights, in its runtime, on
photographs not used for calibration: size against fp32, top-1 agreement with the float model, share
of photographs with the float model's class in the top 5, and median latency in one interleaved run.
Then measures mixed precision: layers stay float until 92 % agree.

    python benchmarks/quantization_photos.py --photos DIR
    python benchmarks/quantization_photos.py --table      # print the latest results
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from edgesdk import QuantizeOptions, export, quantize_report
from edgesdk.bundle.manifest import ArtefactRecord, Manifest
from edgesdk.host.cache import Cache
from edgesdk.report.conditions import main_condition, profile_under

RESULTS = Path(__file__).parent / "results" / "quantization_photos.json"
RECIPES = (
    "fp16",
    "w8_only",
    "w8a32_dynamic",
    "w8a8_static",
    "w4_only",
    "w4_only_block32",
    "w4a32_dynamic",
    "palette4",
)
TARGETS = ("executorch", "coreml", "litert", "onnx")
#: Smallest agreement and largest size against fp32 of a recipe, and the target agreement.
BOUNDS = {
    "w8a8_static": (0.85, 0.30, 0.90),
    "w8a32_dynamic": (0.93, None, 0.96),
    "w4_only_block32": (0.70, 0.20, 0.80),
}
CALIBRATED_ON = 64
MIXED_DROP = 0.08


def rows_of(manifest: Manifest) -> list[dict[str, Any]]:
    condition = main_condition(manifest)
    floats = {one.target: one for one in manifest.artefacts if one.quantized is None}
    return [_row(one, floats[one.target], condition) for one in manifest.artefacts]


def _row(one: ArtefactRecord, base: ArtefactRecord, condition: Any) -> dict[str, Any]:
    profile, base_profile = (profile_under(record, condition) for record in (one, base))
    drop = one.quantized.drop if one.quantized else None
    weights = one.quantized.weights if one.quantized else {32: 1}
    return {
        "target": one.target,
        "recipe": one.quantization or "fp32",
        "size": one.file.size,
        "of_fp32": one.file.size / base.file.size,
        "agreement": drop.agreement if drop else None,
        "top5": drop.containment if drop else None,
        "samples": drop.samples if drop else 0,
        "parity": min((output.cosine or 0.0 for output in one.parity.outputs), default=0.0)
        if one.parity
        else None,
        "small_weights": sum(n for bits, n in weights.items() if bits <= 8) / sum(weights.values()),
        "float_layers": len(one.quantized.float_layers) if one.quantized else 0,
        "p50_ms": profile.latency.p50 if profile and not profile.evaluator else None,
        "of_fp32_ms": profile.latency.p50 / base_profile.latency.p50
        if profile and base_profile and not profile.evaluator
        else None,
    }


def measure(photos: Path, targets: list[str], recipes: list[str], ranges: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        options = QuantizeOptions(
            tuple(recipes),
            calibration=photos,
            evaluation=photos,
            calibration_samples=CALIBRATED_ON,
            ranges=ranges,
        )
        print(f"quantizing for {', '.join(targets)}: {', '.join(recipes)}", file=sys.stderr)
        made = quantize_report(
            "efficientnet_lite0",
            quantize=options,
            targets=targets,
            output=Path(folder) / "report.edge",
            cache=Cache(),
            on_progress=_print_step,
        )
        rows = rows_of(made.bundle.manifest)
        mixed = export(
            "efficientnet_lite0",
            targets=targets,
            output=Path(folder) / "mixed.edge",
            cache=Cache(),
            quantize=QuantizeOptions(
                ("fp32", "w8a8_static"),
                calibration=photos,
                evaluation=photos,
                calibration_samples=CALIBRATED_ON,
                ranges=ranges,
                max_drop=MIXED_DROP,
                accuracy_control=True,
            ),
            on_progress=_print_step,
        )
        return {
            "rows": rows,
            "mixed": [row for row in rows_of(mixed.manifest) if row["recipe"] != "fp32"],
            "suggestions": [found.reason for found in made.suggestions],
            "refused": [
                f"{failure.target}: {failure.message}" for failure in made.bundle.manifest.failures
            ],
        }


def merged(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """Replace the accuracy rows of earlier results by new ones.

    Latencies and the suggestions based on them stay: they compare artefacts of one run.
    """
    again = {(row["target"], row["recipe"]): row for row in now["rows"]}
    latencies = ("p50_ms", "of_fp32_ms")
    rows = [
        again.get((row["target"], row["recipe"]), row) | {key: row[key] for key in latencies}
        for row in before["rows"]
    ]
    known = {(row["target"], row["recipe"]) for row in rows}
    rows += [row | dict.fromkeys(latencies) for key, row in again.items() if key not in known]
    return before | {"rows": rows}


def _print_step(target: str, step: str) -> None:
    print(f"  {target}: {step}", file=sys.stderr)


def table(found: dict[str, Any]) -> bool:
    """Print the results; return True if every bound is met."""
    _print_rows("EfficientNet-Lite0, its ImageNet weights", found["rows"])
    _print_rows(f"mixed precision, at most {MIXED_DROP:.0%} of agreement lost", found["mixed"])
    met = True
    for row in found["rows"]:
        if row["recipe"] in BOUNDS:
            agreement, size, aim = BOUNDS[row["recipe"]]
            good = row["agreement"] >= agreement and (size is None or row["of_fp32"] <= size)
            met &= good
            print(
                f"{'met' if good else 'MISSED'}: {row['target']} {row['recipe']}, agreement "
                f">= {agreement:.2f}{f', size <= {size:.2f}' if size else ''}"
                f" (aim {aim:.2f}: {'reached' if row['agreement'] >= aim else 'not reached'})"
            )
    for row in found["mixed"]:
        good = row["agreement"] >= 1 - MIXED_DROP and row["small_weights"] >= 0.8
        met &= good
        print(
            f"{'met' if good else 'MISSED'}: {row['target']} mixed, >= 0.92 with >= 80 % <= 8 bits"
        )
    for sentence in found["suggestions"]:
        print(f"ship {sentence}")
    for sentence in found["refused"]:
        print(f"refused: {sentence}")
    return met


def _print_rows(title: str, rows: list[dict[str, Any]]) -> None:
    print(f"\n{title}\n")
    print(
        "| target | recipe | MB | of fp32 | agreement | in top 5 | weights ≤ 8 bits | kept float "
        "| to simulation | p50 ms | of fp32 |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        cells = [
            row["target"],
            row["recipe"],
            f"{row['size'] / 1e6:.2f}",
            f"{row['of_fp32']:.3f}",
            _share(row["agreement"]),
            _share(row["top5"]),
            _share(row["small_weights"]),
            str(row["float_layers"]),
            f"{row['parity']:.5f}" if row["parity"] is not None else "–",
            f"{row['p50_ms']:.1f}" if row["p50_ms"] else "–",
            f"{row['of_fp32_ms']:.2f}" if row["of_fp32_ms"] else "–",
        ]
        print(f"| {' | '.join(cells)} |")
    print()


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, help="at least 264 photographs")
    parser.add_argument("--targets", default=",".join(TARGETS))
    parser.add_argument("--recipes", default=",".join(RECIPES))
    parser.add_argument("--ranges", default="")
    parser.add_argument("--table", action="store_true", help="print the table without measuring")
    given = parser.parse_args()
    if not given.table and given.photos is None:
        print("no photographs: give a folder with --photos; the latest results are:")
    elif not given.table:
        results = measure(
            given.photos, given.targets.split(","), given.recipes.split(","), given.ranges
        )
        whole = given.targets == ",".join(TARGETS) and given.recipes == ",".join(RECIPES)
        if RESULTS.exists() and not whole:
            results = merged(json.loads(RESULTS.read_text()), results)
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    if RESULTS.exists():
        sys.exit(0 if table(json.loads(RESULTS.read_text())) else 1)
