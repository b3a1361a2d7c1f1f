"""The names of ``edgesdk``: lazy, typed, and equal to the options of the command line."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import click
import pytest
import torch
import typer

import edgesdk
from edgesdk.cli.main import app
from edgesdk.errors import BundleError, UnknownNameError, UsageError
from edgesdk.exporter import options as export_options
from edgesdk.exporter.options import UNSET, ExportOptions, with_keyword_arguments
from edgesdk.exporter.quantization import options as quantize_options
from edgesdk.exporter.quantization.options import KEYWORDS, QuantizeOptions
from edgesdk.host.cache import Cache

ROOT = Path(__file__).resolve().parents[1]

#: Options of every verb that steer the terminal.
TERMINAL = {"json", "quiet", "debug", "help"}


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        cwd=ROOT,
    )


def options_of(*words: str) -> set[str]:
    """Names of the options and arguments of a command."""
    command: click.Command = typer.main.get_command(app)
    for word in words:
        command = command.commands[word]  # type: ignore[attr-defined]
    return {str(parameter.name) for parameter in command.params} - TERMINAL


def parameters_of(function: object) -> set[str]:
    return set(inspect.signature(function).parameters)  # type: ignore[arg-type]


def test_every_name_is_there_and_most_can_be_called() -> None:
    assert edgesdk.__all__ == sorted(edgesdk.__all__)
    assert dir(edgesdk) == edgesdk.__all__
    for name in edgesdk.__all__:
        assert name == "__version__" or callable(getattr(edgesdk, name))
    with pytest.raises(AttributeError, match="has no attribute 'exprot'"):
        edgesdk.exprot  # noqa: B018


def test_light_names_load_no_torch() -> None:
    done = run(
        """
        import sys, edgesdk
        edgesdk.EdgeSdkError, edgesdk.doctor, edgesdk.report, edgesdk.Bundle
        print("torch" in sys.modules)
        """
    )
    assert done.stdout.split() == ["False"]


@pytest.mark.parametrize("first", ["edgesdk.report", "import edgesdk.report.summary"])
def test_report_is_a_function_and_a_package(first: str, tmp_path: Path) -> None:
    done = run(
        f"""
        import sys, edgesdk
        {first}
        from edgesdk.errors import InputNotFoundError
        from edgesdk.report import summary_rows
        for function in (edgesdk.report, edgesdk.write_report):
            try:
                function(sys.argv[1])
            except InputNotFoundError as error:
                print(error.exit_code, edgesdk.report.summary_rows is summary_rows)
        """,
        str(tmp_path / "lost.edge"),
    )
    assert done.stdout.split() == ["2", "True", "2", "True"]


def test_export_has_the_options_of_the_command_line() -> None:
    assert parameters_of(edgesdk.export) == (
        (options_of("export") - {"source"})
        # Values that the command line builds of several options, and callbacks.
        | {"model", "example", "options", "gates", "limits", "on_progress", "targets"}
    )


def test_other_verbs_have_the_options_of_the_command_line() -> None:
    assert parameters_of(edgesdk.train) == (
        (options_of("train", "classify") - {"source", "threads"}) | {"model", "on_progress", "stop"}
    )
    assert parameters_of(edgesdk.cost) == (options_of("cost") - {"source"}) | {"model", "example"}
    assert parameters_of(edgesdk.doctor) == options_of("doctor") | {"on_progress"}
    assert parameters_of(inspect.unwrap(edgesdk.report.report)) == options_of("report") | {
        "overwrite"
    }


def test_export_has_every_field_of_its_options() -> None:
    parameters = parameters_of(edgesdk.export)
    assert {field.name for field in dataclasses.fields(ExportOptions)} <= parameters
    assert KEYWORDS.keys() <= parameters
    fields = {field.name for field in dataclasses.fields(QuantizeOptions)}
    assert set(KEYWORDS.values()) == fields - {"recipes", "sensitivity", "seed"}


@pytest.mark.parametrize(
    ("module", "name"), [(export_options, "ExportOptions"), (quantize_options, "QuantizeOptions")]
)
def test_the_signature_for_editors_is_that_of_the_fields(module: object, name: str) -> None:
    tree = ast.parse(Path(str(module.__file__)).read_text("utf-8"))  # type: ignore[attr-defined]
    [kind] = [n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name]
    [init] = [
        inner
        for node in kind.body
        if isinstance(node, ast.If)
        for inner in node.body
        if isinstance(inner, ast.FunctionDef)
    ]
    described = [one.arg for one in (*init.args.args[1:], *init.args.kwonlyargs)]
    assert described == list(inspect.signature(getattr(module, name)).parameters)


@pytest.mark.parametrize("name", ["export", "train", "cost", "doctor", "verify", "profile"])
def test_every_argument_is_described(name: str) -> None:
    function = getattr(edgesdk, name)
    described = inspect.getdoc(function) or ""
    for parameter in inspect.signature(function).parameters.values():
        assert f"\n    {parameter.name}: " in described, parameter.name
        assert parameter.kind is not inspect.Parameter.VAR_KEYWORD
        assert parameter.annotation is not inspect.Parameter.empty


def test_arguments_replace_options_and_the_others_stay() -> None:
    options = ExportOptions(overwrite=True, jobs=3, quantize=QuantizeOptions("fp16", seed=4))
    settings = with_keyword_arguments(
        options, {"overwrite": False, "jobs": UNSET, "keep_float": "head", "max_drop": "1%"}
    )
    assert (settings.overwrite, settings.jobs) == (False, 3)
    assert settings.quantize == QuantizeOptions(
        "fp16", seed=4, float_layers=("head",), max_drop=0.01
    )
    assert with_keyword_arguments(options, {"overwrite": UNSET}) == options


def test_bounds_and_limits_are_parts_of_their_values() -> None:
    settings = with_keyword_arguments(
        None, {"min_cosine": 0.9, "max_error": None, "timeout": 5, "memory_limit": 1.5}
    )
    assert (settings.gates.cosine, settings.gates.relative_error) == (0.9, None)
    assert (settings.limits.seconds, settings.limits.memory_bytes) == (5.0, 3 * 2**29)
    assert with_keyword_arguments(None, {"memory_limit": None}).limits.memory_bytes is None
    assert isinstance(with_keyword_arguments(None, {"cache": True}).cache, Cache)
    assert with_keyword_arguments(None, {"cache": False}).cache is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"calibration": "photos/"}, "calibration needs a recipe"),
        ({"data": "d", "evaluate": "e"}, "data, evaluate need a recipe"),
        ({"timeout": 0}, "invalid option timeout: 0"),
        ({"timeout": True}, "invalid option timeout: True"),
        ({"memory_limit": "2"}, "invalid option memory_limit: '2'"),
        ({"quantize": "w8_only", "max_drop": "much"}, "invalid accuracy drop: much"),
        ({"cache": "yes"}, "invalid option cache: 'yes'"),
        ({"to": "onnx", "targets": "onnx"}, "to and targets name the same thing twice"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_wrong_arguments_are_refused(
    given: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        edgesdk.export("vgg16", output=tmp_path / "n.edge", **given)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_cost_counts_a_model_in_memory_and_a_source() -> None:
    layer = torch.nn.Linear(3, 2)
    counted = edgesdk.cost(layer, torch.ones(1, 3))
    assert (counted.params, counted.macs) == (8, 6)
    assert edgesdk.cost(layer, inputs="x:1x3").macs == 6
    with pytest.raises(UnknownNameError, match="dtype"):
        edgesdk.cost(layer, inputs="x:1x3:floaty")


def test_doctor_returns_what_it_found() -> None:
    examination = edgesdk.doctor(quick=True, on_progress=None)
    assert examination.machine.cores >= 1
    assert any(backend.name for backend in examination.backends)
    with pytest.raises(UsageError, match="timeout is 0"):
        edgesdk.doctor(timeout=0)


def test_report_refuses_what_is_not_a_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError):
        edgesdk.report(tmp_path)


GOOD = """
from pathlib import Path

import edgesdk
from edgesdk.bundle.bundle import Bundle


def ship(photos: Path) -> Path:
    try:
        bundle: Bundle = edgesdk.export(
            "mobilenet_v2",
            to=["onnx", "litert"],
            image="auto",
            quantize="w8a8_static",
            calibration=photos,
            max_drop="1%",
            dynamic="batch",
            overwrite=True,
            on_progress=lambda target, step: print(target, step),
        )
    except edgesdk.EdgeSdkError as error:
        raise SystemExit(error.exit_code) from error
    edgesdk.verify(bundle, targets=["onnx"], on_progress=None)
    measured = edgesdk.profile(bundle, runs=5)
    options = edgesdk.ExportOptions(samples=photos, quantize=("fp32", "fp16"))
    edgesdk.export("mobilenet_v2", options=options)
    trained = edgesdk.train("mobilenet_v2", photos, epochs=1)
    edgesdk.prune(trained.model, options=edgesdk.PruneOptions(macs=0.5))
    print(edgesdk.cost("resnet18").params, edgesdk.doctor(quick=True).exit_code)
    return edgesdk.report(measured.bundle)
"""
BAD = """
import edgesdk

edgesdk.export("mobilenet_v2", overwrit=True)
edgesdk.export("mobilenet_v2", overwrite="yes")
edgesdk.export("mobilenet_v2", quantize=8)
edgesdk.report(3)
edgesdk.doctor().nothing
"""


@pytest.mark.slow
def test_type_checkers_know_the_namespace(tmp_path: Path) -> None:
    (tmp_path / "good.py").write_text(GOOD)
    (tmp_path / "bad.py").write_text(BAD)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent"),
            *("--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(tmp_path / "c")),
            *("--no-error-summary", "good.py", "bad.py"),
        ],
        cwd=tmp_path,
        env=os.environ | {"MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=500,
    )
    lines = [line for line in done.stdout.splitlines() if ": error: " in line]
    assert [line.partition(": error")[0] for line in lines] == [
        f"bad.py:{number}" for number in (4, 5, 6, 7, 8)
    ], done.stdout + done.stderr


def test_the_package_says_that_it_is_typed() -> None:
    assert (ROOT / "edgesdk" / "py.typed").is_file()
