"""Mistakes of the first minutes: they are named at once, before torch is loaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgesdk.cli import main
from edgesdk.errors import InputNotFoundError
from edgesdk.near_names import nearest_path

#: Verbs run in one process, so that each costs no start; none may load these.
_EACH = """
import json, sys
from edgesdk.cli import main
for arguments in json.loads(sys.argv[1]):
    code = main(arguments)
    heavy = sorted({name.partition(".")[0] for name in sys.modules} & {"torch", "onnx", "jax"})
    print(json.dumps([code, heavy, arguments]))
"""
_PATHS = [
    ["export", "nets/tyni.py:build"],
    ["export", "lost.pt2"],
    ["export", "lost.pth"],
    ["export", "resnet18", "--weights", "lost.pth"],
    ["export", "resnet18", "--input", "lost.npz"],
    ["export", "resnet18", "--samples", "lost.jpg"],
    ["export", "resnet18", "--quantize", "w8a8_static", "--calibration", "lost"],
    ["export", "resnet18", "--quantize", "fp16", "--data", "lost"],
    ["export", "resnet18", "--quantize", "fp16", "--evaluate", "lost"],
    ["cost", "lost.edgemodel"],
    ["cost", "resnet18", "--weights", "lost.safetensors"],
    ["quantize-report", "resnet18", "--evaluate", "lost"],
    ["prune", "resnet18", "-o", "x.edgemodel", "--data", "lost"],
    ["prune", "lost.py:build", "-o", "x.edgemodel"],
    ["train", "classify", "resnet18", "-o", "x.edgemodel", "--data", "lost"],
    ["train", "style", "-o", "x.edgemodel", "--content", "nets", "--styles", "lost"],
    ["verify", "lost.edge"],
    ["profile", "lost.edge"],
    ["report", "lost.edge"],
    ["report", "nets", "--samples", "lost.png"],
    ["report", "nets", "--link", "lost.mp4"],
    ["stylize", "lost.mp4", "-o", "out.mp4", "--colour", "nets/tiny.py"],
    ["stylize", "nets", "-o", "out", "--colour", "lost.jpg"],
    ["stylize", "nets", "-o", "out", "--bundle", "lost.edge"],
    ["stylize", "nets", "-o", "out", "--onnx", "lost.onnx"],
    ["stylize", "nets", "-o", "out", "--colour", "nets/tiny.py", "--upscale-weights", "lost.st"],
]
_NAMES = [
    ["export", "resnet81"],
    ["export", "resnet18", "-t", "tflite"],
    ["export", "resnet18", "--quantize", "int8"],
    ["export", "resnet18", "--quantize", "w8a8_static", "--io-dtype", "int9"],
    ["export", "resnet18", "--image", "imagnet"],
    ["export", "resnet18", "--dynamic", "bach"],
    ["export", "resnet18", "--min-cosine", "2"],
    ["export", "resnet18", "--max-drop", "1%"],
    ["export", "resnet18", "-o", "nets"],
    ["cost", "resnet81"],
    ["quantize-report", "resnet18", "-t", "ort", "--evaluate", "nets"],
    ["quantize-report", "resnet18", "--quantize", "int8", "--evaluate", "nets"],
    ["quantize-report", "resnet18"],
    ["stylize", "nets", "-o", "out"],
    ["stylize", "nets", "-o", "out", "--colour", "nets/tiny.py", "--colour-method", "no"],
    *(
        [*verb.split(), "--no-such-option"]
        for verb in (
            "doctor",
            "models",
            "train classify",
            "train style",
            "cost",
            "prune",
            "quantize-report",
            "export",
            "verify",
            "profile",
            "report",
            "stylize",
        )
    ),
]


def test_mistakes_load_no_torch_and_end_with_2(edgesdk_command):
    ended = edgesdk_command(json.dumps([*_PATHS, *_NAMES]), code=_EACH)
    rows = [json.loads(line) for line in ended.out.splitlines()]
    assert len(rows) == len(_PATHS) + len(_NAMES), ended.err
    assert [row for row in rows if row[:2] != [2, []]] == []
    errors = [line for line in ended.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == len(rows)
    assert all(line.startswith("error: no such ") for line in errors[: len(_PATHS)]), errors
    assert all("lost" in line or "tyni" in line for line in errors[: len(_PATHS)]), errors


def test_an_absent_path_suggests_a_near_one(tmp_path: Path) -> None:
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    (tmp_path / "photos" / "cat" / "1.jpg").touch()
    for given, near in (
        ("fotos", "photos"),
        ("photo/cat", "photos/cat"),
        ("Photos/cats/1.jpeg", "photos/cat/1.jpg"),
    ):
        error = InputNotFoundError(tmp_path / given)
        assert error.message == f"no such file: {tmp_path / given}"
        assert error.remedy == f"did you mean {tmp_path / near}?"
        assert error.exit_code == 2
    assert nearest_path(tmp_path / "elsewhere" / "cat") is None
    assert InputNotFoundError(tmp_path / "zzz", "bundle", remedy="make one").remedy == "make one"


@pytest.mark.parametrize(
    ("given", "remedy"),
    [
        ("--jsn", "did you mean --json?"),
        ("--quantise", "did you mean --quantize?"),
        ("--targets", "did you mean --to?"),
        ("--int8", "did you mean --quantize?"),
        ("--bogus", "see edgesdk export --help"),
        ("--nope", "see edgesdk export --help"),
    ],
)
def test_unknown_options_suggest_near_ones_alone(
    given: str, remedy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "resnet18", given]) == 2
    assert f"  fix: {remedy}" in capsys.readouterr().err.splitlines()


def test_t_is_short_for_the_option_of_targets(capsys: pytest.CaptureFixture[str]) -> None:
    for verb in ("export", "quantize-report", "verify", "profile", "stylize"):
        assert main([verb, "--help"]) == 0
        assert capsys.readouterr().out.count("-t ") == 1, verb
