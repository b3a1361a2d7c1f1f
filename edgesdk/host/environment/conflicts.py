"""Known conflicts between package versions, with a fix for each.

Rules are data: a rule applies when all its conditions hold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from edgesdk.host.environment.findings import Finding
from edgesdk.host.environment.versions import compare, in_series

__all__ = ["RULES", "Is", "Rule", "conflicts"]

_RELATIONS: dict[str, Callable[[str, str], bool]] = {
    "<": lambda installed, given: compare(installed, given) < 0,
    ">=": lambda installed, given: compare(installed, given) >= 0,
    "in": in_series,
    "not in": lambda installed, given: not in_series(installed, given),
}


@dataclass(frozen=True)
class Is:
    """A condition on one distribution.

    Attributes:
        distribution: Normalized name.
        relation: ``present``, ``<``, ``>=``, ``in`` or ``not in`` (a series such as 2.13). None
            of them holds for a distribution that is not installed.
        version: Version to compare with; unused for ``present``.
    """

    distribution: str
    relation: str = "present"
    version: str = ""

    def holds(self, versions: Mapping[str, str]) -> bool:
        """Return True if the condition holds for ``versions``, by normalized name."""
        installed = versions.get(self.distribution)
        if installed is None:
            return False
        return self.relation == "present" or _RELATIONS[self.relation](installed, self.version)


@dataclass(frozen=True)
class Rule:
    """A finding that applies when all conditions hold.

    Attributes:
        name: Name of the rule.
        level: Level of the finding.
        when: The conditions.
        text: The sentence; ``{distribution}`` is replaced by the installed version.
        fix: Suggested fix.
    """

    name: str
    level: str
    when: tuple[Is, ...]
    text: str
    fix: str


_CPU_INDEX = "--index-url https://download.pytorch.org/whl/cpu"

RULES: tuple[Rule, ...] = (
    Rule(
        "torch-series",
        "warning",
        (Is("torch", "not in", "2.13"),),
        "torch {torch} is installed; every converter is tested with torch 2.13.0 only",
        f"pip install torch==2.13.0 {_CPU_INDEX}",
    ),
    Rule(
        "numpy-1",
        "error",
        (Is("numpy", "<", "2"),),
        "NumPy {numpy} is installed; the SDK and its converters are built for NumPy 2",
        'pip install "numpy>=2.2,<2.5"',
    ),
    Rule(
        "numpy-newer",
        "warning",
        (Is("numpy", ">=", "2.5"),),
        "NumPy {numpy} is newer than any the converters are tested with",
        'pip install "numpy>=2.2,<2.5"',
    ),
    Rule(
        "executorch-1.4",
        "warning",
        (Is("executorch", "in", "1.4"),),
        "ExecuTorch {executorch} has no per-operator profiling and no library to build "
        "custom operators against",
        "pip install executorch==1.5.1",
    ),
    Rule(
        "executorch-older",
        "error",
        (Is("executorch", "<", "1.4"), Is("torch", "in", "2.13")),
        "ExecuTorch {executorch} is built for an older torch than {torch}",
        "pip install executorch==1.5.1",
    ),
    Rule(
        "torchvision-release",
        "warning",
        (Is("torchvision", "not in", "0.28"), Is("torch", "in", "2.13")),
        "torchvision {torchvision} does not belong to torch {torch}; models that import it fail "
        "with `operator torchvision::nms does not exist`",
        f"pip install torchvision==0.28.0 {_CPU_INDEX}",
    ),
    Rule(
        "coremltools-numpy-2",
        "error",
        (Is("coremltools", "<", "8"), Is("numpy", ">=", "2")),
        "coremltools {coremltools} uses names that NumPy {numpy} no longer has",
        "pip install coremltools==9.0",
    ),
    Rule(
        "onnx-protobuf",
        "error",
        (Is("onnx", ">=", "1.22"), Is("protobuf", "<", "6.31.1")),
        "onnx {onnx} needs protobuf 6.31.1 or newer, not {protobuf}",
        "pip install protobuf==7.36.2",
    ),
    Rule(
        "onnxruntime-twins",
        "warning",
        (Is("onnxruntime"), Is("onnxruntime-gpu")),
        "onnxruntime {onnxruntime} and onnxruntime-gpu {onnxruntime-gpu} overwrite each other's "
        "files",
        "pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime==1.31.1",
    ),
    Rule(
        "tflite-runtime-twin",
        "warning",
        (Is("tflite-runtime"), Is("ai-edge-litert")),
        "tflite-runtime {tflite-runtime} is the former name of ai-edge-litert {ai-edge-litert}; "
        "which one a program loads depends on its imports",
        "pip uninstall -y tflite-runtime",
    ),
    Rule(
        "tflite-runtime-numpy-2",
        "warning",
        (Is("tflite-runtime"), Is("numpy", ">=", "2")),
        "tflite-runtime {tflite-runtime} is built for NumPy 1 and does not load beside {numpy}",
        'pip uninstall -y tflite-runtime && pip install "edgesdk[litert]"',
    ),
    Rule(
        "ai-edge-torch-twin",
        "warning",
        (Is("ai-edge-torch"), Is("litert-torch")),
        "ai-edge-torch {ai-edge-torch} is the former name of litert-torch {litert-torch} and asks "
        "for other versions of what they share",
        "pip uninstall -y ai-edge-torch",
    ),
    *(
        Rule(
            f"{name}-nightly-twin",
            "warning",
            (Is(name), Is(f"{name}-nightly")),
            f"{name} {{{name}}} and {name}-nightly {{{name}-nightly}} overwrite each other's files",
            f'pip uninstall -y {name} {name}-nightly && pip install "edgesdk[litert]"',
        )
        for name in ("ai-edge-litert", "ai-edge-quantizer", "litert-torch")
    ),
)


def conflicts(versions: Mapping[str, str], rules: Sequence[Rule] = RULES) -> list[Finding]:
    """Return the findings of every rule that applies.

    Args:
        versions: Installed version by normalized name.
        rules: The rules to apply.
    """
    return [
        Finding(rule.level, rule.name, rule.text.format_map(versions), rule.fix)
        for rule in rules
        if all(condition.holds(versions) for condition in rule.when)
    ]
