"""Options in messages read as arguments of Python functions outside of the command line."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest

import edgesdk
from edgesdk.errors import DataError, UsageError
from edgesdk.option_spelling import ARGUMENTS, FLAGS, in_python
from edgesdk.training.style.stylizer import train_stylizer

ROOT = Path(__file__).resolve().parents[1]

#: Options inside the commands that messages advise to run.
OTHER_PROGRAMS = {
    "--arbitrary",
    "--bisect",
    "--cask",
    "--force-reinstall",
    "--help",
    "--index-url",
    "--install",
    "--no-deps",
    "--only-binary",
    "--raw-binary",
    "--upgrade",
    "--version",
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("use --io-dtype float", 'use io_dtype="float"'),
        ("use --io-dtype float: the first", 'use io_dtype="float": the first'),
        ("--calibration FOLDER of photographs", "calibration=FOLDER of photographs"),
        ("give --evaluate or --data", "give evaluate= or data="),
        ("give --evaluate, --data or --calibration", "give evaluate=, data= or calibration="),
        (
            "give --overwrite to replace it, or another --output",
            "give overwrite=True to replace it, or another output=",
        ),
        ("export it again without --no-reference", "export it again without reference=False"),
        ("scale them with --image-size 64, or", "scale them with image_size=64, or"),
        ("--dynamic hw=8..64/4, or pad outside", 'dynamic="hw=8..64/4", or pad outside'),
        ("give --input NAME:1x3x224x224[:dtype].", 'give inputs="NAME:1x3x224x224[:dtype]".'),
        (
            "name it: --image imagenet, or --image range=0..1,mean=a/b/c",
            'name it: image="imagenet", or image="range=0..1,mean=a/b/c"',
        ),
        ("--to executorch,coreml", 'to="executorch,coreml"'),
        ("add --quantize w8a8_static", 'add quantize="w8a8_static"'),
        (
            "give --max-drop 1% with --accuracy-control",
            'give max_drop="1%" with accuracy_control=True',
        ),
        (
            "keep the layer it names float with --keep-float, or",
            "keep the layer it names float with keep_float=, or",
        ),
        # Commands stay commands.
        ("`edgesdk verify BUNDLE --bisect` finds it", "`edgesdk verify BUNDLE --bisect` finds it"),
        (
            "pip install --force-reinstall edgesdk; or --data",
            "pip install --force-reinstall edgesdk; or data=",
        ),
        (
            "edgesdk export net.py:build --weights x.pt",
            "edgesdk export net.py:build --weights x.pt",
        ),
        ("a -- dash, a --foo", "a -- dash, a --foo"),
    ],
)
def test_options_become_arguments(text, expected):
    assert in_python(text) == expected


def test_an_error_speaks_python_and_its_command_line_form_the_options():
    error = UsageError("--image is empty", where="net.py:3", remedy="give --image unit")
    assert str(error) == 'image= is empty\n  at: net.py:3\n  fix: give image="unit"'
    assert error.on_command_line() == "--image is empty\n  at: net.py:3\n  fix: give --image unit"
    assert error.to_dict()["remedy"] == "give --image unit"


def test_python_calls_raise_messages_without_options(tmp_path):
    for call in (
        lambda: edgesdk.export("squeezenet1_1", quantize="w8a8_static", output=tmp_path / "a.edge"),
        lambda: edgesdk.export("squeezenet1_1", to="onnx", max_drop="1%"),
        lambda: edgesdk.export("squeezenet1_1", to="onnx", image=""),
        lambda: edgesdk.export("squeezenet1_1", to=()),
    ):
        with pytest.raises(UsageError) as caught:
            call()
        assert "--" not in str(caught.value)
        assert "=" in str(caught.value)


def options_in_messages() -> dict[str, str]:
    """Every option in the texts of the package, but for the command line's own."""
    found: dict[str, str] = {}
    for folder in ("edgesdk", "converters", "quant"):
        for path in (ROOT / folder).rglob("*.py"):
            if "cli" in path.parts or path.name == "option_spelling.py" or path.is_symlink():
                continue
            tree = ast.parse(path.read_text())
            docstrings = {
                id(node.body[0].value)
                for node in ast.walk(tree)
                if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
                and node.body
                and isinstance(node.body[0], ast.Expr)
            }
            for node in ast.walk(tree):
                if not isinstance(node, ast.Constant) or id(node) in docstrings:
                    continue
                for option in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", str(node.value)):
                    found[option] = str(path.relative_to(ROOT))
    return found


def test_every_option_that_a_message_names_has_an_argument():
    unknown = {
        option: place
        for option, place in options_in_messages().items()
        if option not in ARGUMENTS.keys() | FLAGS.keys() | OTHER_PROGRAMS
        # Commands that the report prints to be copied.
        and not place.endswith("report/commands.py")
    }
    assert unknown == {}


def test_arguments_exist_in_the_public_functions():
    functions = (
        edgesdk.export,
        edgesdk.verify,
        edgesdk.prune,
        edgesdk.train,
        edgesdk.stylize,
        edgesdk.profile,
        edgesdk.quantize_report,
        edgesdk.ExportOptions,
        edgesdk.PruneOptions,
        edgesdk.QuantizeOptions,
        edgesdk.StylizeOptions,
        train_stylizer,
    )
    known = {name for function in functions for name in inspect.signature(function).parameters}
    named = {*ARGUMENTS.values(), *(text.partition("=")[0] for text in FLAGS.values())}
    assert named - known - {"error.__cause__"} == set()


def test_every_error_renders():
    assert "data=" in str(DataError("x", remedy="give --data"))
