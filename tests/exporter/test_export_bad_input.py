"""Bad input: the error names the fault, its place and a remedy; nothing is half-written."""

from __future__ import annotations

import json
import pickle
import re
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from edgesdk import export
from edgesdk.cli import main
from edgesdk.errors import InputSpecError, UnknownNameError, UsageError

GOOD = ("export", "nets/tiny.py:build", "--to", "onnx")
INPUT = ("--input", "image:1x3x32x32")
#: Exit codes of errors that are not the call's.
CODES = {
    "BundleError": 6,
    "CaptureError": 5,
    "FactoryError": 5,
    "ModelOutputError": 5,
    "StorageError": 3,
    "UnsafeFileError": 6,
    "WeightsDamagedError": 6,
    "WeightsError": 5,
}


def line_of(project, mark):
    lines = (project / "nets/tiny.py").read_text().splitlines()
    [number] = [n for n, text in enumerate(lines, 1) if f"# {mark}" in text]
    return f"nets/tiny.py:{number}"


@pytest.fixture
def refused(here, project, capsys):
    """Runs a command that must be refused; gives the error as the user and as a program see it."""

    def run(*arguments):
        if arguments[0] == "export" and "-o" not in arguments:
            arguments = (*arguments, "-o", "fresh.edge")
        before = set(project.iterdir())
        capsys.readouterr()
        code = here(*arguments, "--json")
        told = capsys.readouterr()
        error = json.loads(told.out)
        assert error["exit_code"] == code == CODES.get(error["error"], 2)
        assert f"error: {error['message'].splitlines()[0]}" in told.err
        assert error["remedy"], "an error without a remedy"
        assert f"fix: {error['remedy'].splitlines()[0]}" in told.err
        assert "Traceback" not in told.err
        # Nothing of what torch says to itself: progress, then the error.
        lines = told.err.partition("error: ")[0].splitlines()
        assert all(re.match(r" *\d+\.\d s  \w+: \w", line) for line in lines), told.err
        left = {path for path in set(project.iterdir()) - before if path.name != "__pycache__"}
        assert not left, "something half-written"
        return error

    return run


@pytest.mark.parametrize(
    ("arguments", "kind", "message", "remedy"),
    [
        (
            ("export", "nets/tny.py:build"),
            "SourceNotFoundError",
            "no such file",
            "did you mean nets/tiny.py",
        ),
        (
            ("export", "nets/tiny.py"),
            "SourceNotFoundError",
            "does not name a factory",
            "nets/tiny.py:",
        ),
        (("export", "nets/tiny.py:biuld"), "SourceNotFoundError", "no 'biuld'", "'build'"),
        (("export", "nets/tiny.py:number"), "FactoryError", "returned a int", "return the model"),
        (
            ("export", "mobilenet_v3_smal"),
            "UnknownNameError",
            "unknown model",
            "mobilenet_v3_small",
        ),
        (("export", "no.such.module:build"), "SourceNotFoundError", "no module", "install it"),
        (("export", "tiny.pth"), "SourceNotFoundError", "no such file", "check the path"),
        (GOOD, "InputSpecError", "inputs of tiny are unknown", "--input image:1x3x224x224"),
        ((*GOOD, "--input", "image:1x5x32x32"), "InputSpecError", "refuses the input", "--input"),
        ((*GOOD, "--input", "image:1x3x32x32:int64"), "InputSpecError", "refuses", "dtype"),
        ((*GOOD, "--input", "image:1x3x32x32:floaty"), "UnknownNameError", "dtype", "float"),
        ((*GOOD, "--input", "image=1,3"), "InputSpecError", "cannot read the input", "NAME:"),
        ((*GOOD, "--input", "lost.npz"), "InputNotFoundError", "no such file", "path"),
        ((*GOOD, *INPUT, "--image", "imagnet"), "UnknownNameError", "image preset", "'imagenet'"),
        ((*GOOD, *INPUT, "--image", "grey"), "InputSpecError", "no input for images", "1x1xHxW"),
        ((*GOOD, *INPUT, "--dynamic", "bach"), "UnknownNameError", "dynamic axis", "'batch'"),
        ((*GOOD, *INPUT, "--dynamic", "litert:batch"), "UsageError", "not exported", "onnx"),
        ((*GOOD, *INPUT, "--dynamic", "batch=8..2"), "InputSpecError", "no room", "two sizes"),
        ((*GOOD, *INPUT, "--dynamic", "hw=128..512/32"), "InputSpecError", "outside", "widen"),
        ((*GOOD, *INPUT, "--samples", "lost.jpg"), "InputNotFoundError", "no such file", "path"),
        ((*GOOD, *INPUT, "--min-cosine", "1.1"), "UsageError", "invalid gate for cosine: 1.1", ""),
        ((*GOOD, *INPUT, "--max-error", "-1"), "UsageError", "gate for relative error: -1", ""),
        ((*GOOD, *INPUT, "--max-error", "inf"), "UsageError", "gate for relative error: inf", ""),
        ((*GOOD, *INPUT, "--max-error", "nan"), "UsageError", "gate for relative error: nan", ""),
        ((*GOOD, *INPUT, "--jobs", "-1"), "UsageError", "--jobs", "--help"),
        ((*GOOD, *INPUT, "--to", "onx"), "UnknownNameError", "target 'onx'", "'onnx'"),
        ((*GOOD, *INPUT, "--to", "onnx:fp8"), "UnknownNameError", "variant of onnx", "fp32"),
        ((*GOOD, *INPUT, "--to", "onnx,onnx:fp32"), "UsageError", "twice", "once"),
        (("export", "nets/tiny.py:build", "--to", ","), "UsageError", "no target", "--to"),
        ((*GOOD, *INPUT, "--name", "n" * 300), "UsageError", "300 characters", ""),
        ((*GOOD, *INPUT, "-o", ".."), "UsageError", "cannot be the name", "net.edge"),
        ((*GOOD, *INPUT, "-o", "no/such/net.edge"), "StorageError", "no such file", "create"),
        ((*GOOD, *INPUT, "--outptu", "x"), "UsageError", "--outptu", "--output"),
        (("exprot", "x"), "UsageError", "'exprot'", "'export'"),
        (("export",), "UsageError", "SOURCE", "--help"),
    ],
    ids=lambda value: " ".join(value)[-40:] if isinstance(value, tuple) else "",
)
def test_each_is_refused_in_words(refused, arguments, kind, message, remedy):
    error = refused(*arguments)
    assert error["error"] == kind
    assert message in error["message"]
    assert remedy in error["remedy"]


def test_an_exception_of_the_factory_is_led_back_to_its_line(refused, project):
    error = refused("export", "nets/tiny.py:raising")
    assert error["error"] == "FactoryError"
    assert "RuntimeError: the weights are on another machine" in error["message"]
    assert error["where"].startswith(line_of(project, "the line that raises"))


def test_control_flow_that_follows_data_is_led_back_to_its_line(refused, project):
    error = refused("export", "nets/tiny.py:branching", "--input", "x:1x4")
    assert error["error"] == "CaptureError"
    assert error["where"].startswith(line_of(project, "the line of the branch"))
    assert "torch.where" in error["remedy"]


def test_a_model_that_answers_nan_is_refused_with_the_operator(refused, project):
    error = refused("export", "nets/tiny.py:logarithm", "--input", "x:1x4")
    assert error["error"] == "ModelOutputError"
    assert "log" in error["message"]
    assert error["where"].startswith(line_of(project, "the line of the logarithm"))


def test_weights_that_do_not_match_are_listed(refused, tmp_path):
    file = tmp_path / "other.safetensors"
    save_file({"head.weight": torch.zeros(10, 16), "tail.weight": torch.zeros(2)}, file)
    error = refused(*GOOD, *INPUT, "--weights", str(file))
    assert error["error"] == "WeightsError"
    assert "missing: first.conv.bias" in error["message"]
    assert "not in the model: tail.weight" in error["message"]


def test_a_pickle_that_wants_to_run_code_is_not_run(refused, tmp_path):
    class Harm:
        def __reduce__(self):
            return (exec, (f"open({str(tmp_path / 'harm')!r}, 'w')",))

    plain = tmp_path / "plain.pth"
    plain.write_bytes(pickle.dumps(Harm()))
    zipped = tmp_path / "zipped.pth"
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Harm(), protocol=2))
        archive.writestr("archive/version", "3")
    for file in (plain, zipped):
        error = refused(*GOOD, *INPUT, "--weights", str(file))
        assert error["error"] in ("UnsafeFileError", "WeightsDamagedError")
        error = refused(*GOOD, "--input", str(file))
        assert error["error"] in ("UnsafeFileError", "WeightsDamagedError", "InputSpecError")
    assert not (tmp_path / "harm").exists()


def test_an_example_of_objects_is_not_unpickled(refused, tmp_path):
    file = tmp_path / "objects.npz"
    np.savez(file, image=np.array([{"a": 1}], dtype=object))
    error = refused(*GOOD, "--input", str(file))
    assert error["error"] == "InputSpecError"


def test_an_existing_output_is_left_alone(refused, exported):
    before = {path: path.stat().st_mtime_ns for path in exported.path.rglob("*")}
    error = refused(*GOOD, *INPUT, "-o", "tiny.edge")
    assert error["error"] == "OutputExistsError"
    assert "--overwrite" in error["remedy"]
    assert {path: path.stat().st_mtime_ns for path in exported.path.rglob("*")} == before


def test_a_folder_that_is_no_bundle_is_never_replaced(refused, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("years of work")
    error = refused(*GOOD, *INPUT, "-o", str(tmp_path / "thesis"), "--overwrite")
    assert error["error"] == "OutputExistsError"
    assert (tmp_path / "thesis" / "chapter1.tex").read_text() == "years of work"


@pytest.mark.parametrize("verb", ["verify", "profile", "report"])
def test_verbs_without_a_bundle(refused, verb, tmp_path):
    assert refused(verb, "lost.edge")["error"] == "InputNotFoundError"
    assert refused(verb, str(tmp_path))["error"] == "BundleError"
    assert refused(verb)["error"] == "UsageError"
    assert "--json" in refused(verb, "x", "--jsn")["remedy"]


@pytest.mark.parametrize(
    ("changes", "kind", "message", "remedy"),
    [
        ({"target": ["onnx"]}, UnknownNameError, "option 'target'", "'targets'"),
        ({"verfy": False}, UnknownNameError, "option 'verfy'", "'verify'"),
        ({"targets": "onx"}, UnknownNameError, "target 'onx'", "'onnx'"),
        ({"targets": []}, UsageError, "no target", ""),
        ({"jobs": -2}, UsageError, "number of jobs: -2", ""),
        ({"jobs": "2"}, UsageError, "invalid option jobs: '2'", "give a int"),
        ({"gates": 0.5}, UsageError, "invalid option gates: 0.5", "Tolerances"),
        ({"inputs": "x:0x3"}, InputSpecError, "size of zero", ""),
        ({"dynamic": "bach"}, UnknownNameError, "'bach'", "'batch'"),
        ({"weights": "w.pth"}, UsageError, "load the weights", ""),
        ({"options": {"jobs": 1}}, UsageError, "must be an ExportOptions", "keyword"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_the_python_call_is_checked_like_the_command(tmp_path, changes, kind, message, remedy):
    model = torch.nn.Linear(3, 2).eval()
    arguments = {"targets": ["onnx"], "output": tmp_path / "net.edge", **changes}
    with pytest.raises(kind, match=re.escape(message)) as caught:
        export(model, None if "inputs" in changes else torch.ones(1, 3), **arguments)
    assert remedy in (caught.value.remedy or "")
    assert list(tmp_path.iterdir()) == []


def test_something_that_is_no_model(tmp_path):
    with pytest.raises(UsageError, match="expected a model, got dict"):
        export({}, torch.ones(1), output=tmp_path / "net.edge")  # type: ignore[arg-type]


def test_the_command_in_process_gives_its_exit_code(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("edgesdk ")


def test_a_quantized_model_is_refused_without_remarks_of_libraries(edgesdk_command):
    arguments = ("export", "nets/quantized.py:build", "--input", "x:1x8", "--to", "onnx", "-o")
    ended = edgesdk_command(*arguments, "quantized.edge", "--quiet")
    assert ended.code == 5
    assert ended.err.splitlines() == [
        "error: the layer '0' is quantized by torch already (Linear)",
        "  fix: give the float model; --quantize does this",
    ]
    debugged = edgesdk_command(*arguments, "quantized.edge", "--quiet", "--debug")
    assert "a library's remark" in debugged.err
