"""Program files made to run code when they are read: refused, and nothing of them runs."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from edgesdk.errors import InputNotFoundError, SourceDamagedError, UnsafeFileError
from edgesdk.frontend.pt2.reader import check_program_file, load_program

MODEL = "models/model.json"
SAMPLES = "data/sample_inputs/model.pt"
WEIGHTS = "data/weights/model_weights_config.json"
CONSTANTS = "data/constants/model_constants_config.json"


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        # The product of sizes and the padding put expressions and texts into the file.
        flat = self.layer(x).reshape(x.shape[0] * 3)
        return {"flat": nn.functional.pad(flat[None], (1, 1), mode="replicate")[0]}


@pytest.fixture(scope="module")
def program() -> torch.export.ExportedProgram:
    batch = torch.export.Dim("batch", min=2, max=16)
    return torch.export.export(Small().eval(), (torch.ones(3, 4),), dynamic_shapes=({0: batch},))


@pytest.fixture(scope="module")
def honest(program: torch.export.ExportedProgram, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "small.pt2"
    torch.export.save(program, path)
    return path


class Trap:
    """Touches a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.file),)


def rewritten(honest: Path, folder: Path, changes: dict[str, bytes | None]) -> Path:
    """A copy with records replaced, added, or (None) left out."""
    path = folder / "crafted.pt2"
    with zipfile.ZipFile(honest) as source:
        records = {entry.filename: source.read(entry.filename) for entry in source.infolist()}
    root = next(iter(records)).split("/")[0]
    for name, content in changes.items():
        records.pop(f"{root}/{name}", None)
        if content is not None:
            records[f"{root}/{name}"] = content
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as target:
        for name, content in records.items():
            target.writestr(name, content)
    return path


def changed_json(honest: Path, folder: Path, record: str, change: Callable[[Any], None]) -> Path:
    with zipfile.ZipFile(honest) as source:
        name = next(name for name in source.namelist() if name.endswith(record))
        content = json.loads(source.read(name))
    change(content)
    return rewritten(honest, folder, {record: json.dumps(content).encode()})


def assert_refused(path: Path, trap: Path) -> None:
    for function in (check_program_file, load_program):
        with pytest.raises(UnsafeFileError) as caught:
            function(path)
        assert caught.value.remedy
    assert not trap.exists()


def test_an_honest_program_loads(honest: Path, program: torch.export.ExportedProgram) -> None:
    check_program_file(honest)
    x = torch.randn(5, 4)
    loaded = load_program(str(honest)).module()(x)
    torch.testing.assert_close(loaded["flat"], program.module()(x)["flat"])


def test_sizes_that_are_multiples_can_be_decomposed(tmp_path: Path) -> None:
    height = 8 * torch.export.Dim("eighth", min=2, max=16)
    pool = torch.nn.AvgPool2d(8).eval()
    torch.export.save(
        torch.export.export(pool, (torch.ones(1, 1, 24, 32),), dynamic_shapes=({2: height},)),
        tmp_path / "steps.pt2",
    )
    # As torch reads the file itself, this fails in its own passes.
    program = load_program(tmp_path / "steps.pt2").run_decompositions()
    x = torch.randn(1, 1, 40, 32)
    torch.testing.assert_close(program.module()(x), pool(x))
    with pytest.raises(AssertionError, match="128"):
        program.module()(torch.randn(1, 1, 136, 32))


def test_pickled_sample_inputs(honest: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    for legacy in (True, False):
        buffer = io.BytesIO()
        torch.save(((Trap(trap),), {}), buffer, _use_new_zipfile_serialization=not legacy)
        assert_refused(rewritten(honest, tmp_path, {SAMPLES: buffer.getvalue()}), trap)
    raw = pickle.dumps(((Trap(trap),), {}))
    crafted = rewritten(honest, tmp_path, {SAMPLES: raw})
    assert_refused(crafted, trap)


def test_torch_itself_runs_them(honest: Path, tmp_path: Path) -> None:
    # What the refusals here are worth: the same files, opened by torch's own loader.
    trap = tmp_path / "trap"
    buffer = io.BytesIO()
    torch.save(((Trap(trap),), {}), buffer)
    crafted = rewritten(honest, tmp_path, {SAMPLES: buffer.getvalue()})
    logging.disable(logging.WARNING)
    try:
        torch.export.load(crafted)
        assert trap.exists()
        trap.rmdir()
        text = f"__import__('os').mkdir({str(trap)!r})"
        crafted = changed_json(honest, tmp_path, MODEL, _set_expression(text))
        with contextlib.suppress(Exception):
            torch.export.load(crafted)
        assert trap.exists()
    finally:
        logging.disable(logging.NOTSET)


@pytest.mark.parametrize("kind", ["weights", "constants"])
def test_pickled_tensors(kind: str, honest: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    buffer = io.BytesIO()
    torch.save(Trap(trap), buffer)
    prefix = "weight" if kind == "weights" else "tensor"
    record = WEIGHTS if kind == "weights" else CONSTANTS
    entry = {
        "path_name": f"{prefix}_77",
        "is_param": False,
        "use_pickle": True,
        "tensor_meta": None,
    }
    configured = changed_json(
        honest, tmp_path, record, lambda content: content["config"].update(layer=entry)
    )
    second = tmp_path / "second"
    second.mkdir()
    crafted = rewritten(configured, second, {f"data/{kind}/{prefix}_77": buffer.getvalue()})
    assert_refused(crafted, trap)


@pytest.mark.parametrize("prefix", ["opaque_obj_0", "custom_obj_0"])
def test_pickled_objects(prefix: str, honest: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    crafted = rewritten(honest, tmp_path, {f"data/constants/{prefix}": pickle.dumps(Trap(trap))})
    assert_refused(crafted, trap)


@pytest.mark.parametrize("kind", ["weights", "constants"])
def test_pickles_of_the_older_form(kind: str, honest: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    buffer = io.BytesIO()
    torch.save({"x": Trap(trap)}, buffer)
    name = f"data/{kind}/model.pt"
    assert_refused(rewritten(honest, tmp_path, {name: buffer.getvalue()}), trap)


def test_a_program_of_the_oldest_form(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    path = tmp_path / "old.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("version", "8.8")
        for name in ("exported_program.json", "state_dict.pt", "constants.pt", "example_inputs.pt"):
            archive.writestr(f"serialized_{name}", pickle.dumps(Trap(trap)))
    with pytest.raises(SourceDamagedError, match=r"torch 2\.7"):
        load_program(path)
    assert not trap.exists()


def test_compiled_libraries(honest: Path, tmp_path: Path) -> None:
    crafted = rewritten(honest, tmp_path, {"data/aotinductor/model/a.wrapper.so": b"\x7fELF"})
    assert_refused(crafted, tmp_path / "trap")


def _set_operator(target: str, argument: dict[str, Any] | None = None) -> Callable[[Any], None]:
    def change(content: Any) -> None:
        node = content["graph_module"]["graph"]["nodes"][0]
        node["target"] = target
        if argument is not None:
            node["inputs"] = [{"name": "", "arg": argument, "kind": 1}]

    return change


@pytest.mark.parametrize(
    "target",
    [
        "torch.os.system",
        "torch.hub.load",
        "torch.load",
        "torch.ops.load_library",
        "torch.ops.aten.from_file.default",
        "torch.ops.aten.add.Tensor.__globals__",
        "torch.ops.aten.__class__.mro",
        "torch.ops.higher_order.aoti_call_delegate",
        "_operator.methodcaller",
        "_operator.call",
        "math.__loader__",
        "math.os.system",
        "#edge:aten.add",
        "os.system",
        "eval",
    ],
)
def test_operators_that_are_none(target: str, honest: Path, tmp_path: Path) -> None:
    crafted = changed_json(honest, tmp_path, MODEL, _set_operator(target, {"as_string": "x"}))
    assert_refused(crafted, tmp_path / "trap")


def test_a_text_for_an_operator_nobody_knows(honest: Path, tmp_path: Path) -> None:
    change = _set_operator("torch.ops.image.write_file.default", {"as_string": "/tmp/x"})
    assert_refused(changed_json(honest, tmp_path, MODEL, change), tmp_path / "trap")
    change = _set_operator("torch.ops.aten.relu.default", {"as_operator": "torch.os.system"})
    assert_refused(changed_json(honest, tmp_path, MODEL, change), tmp_path / "trap")


def _set_expression(text: str) -> Callable[[Any], None]:
    def change(content: Any) -> None:
        values = content["graph_module"]["graph"]["tensor_values"]
        size = {"as_expr": {"expr_str": text, "hint": {"as_int": 3}}}
        next(iter(values.values()))["sizes"][0] = size

    return change


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').mkdir(TRAP)",
        "Symbol.__init__.__globals__",
        "Symbol('s0').is_integer",
        "(lambda: 0)()",
        "[x for x in ()]",
        "open(TRAP)",
        "eval('1')",
        "Symbol('s0; import os')",
        "Float('__import__')",
        "sympify('1')",
        "9**9**9**9",
        "((((9**64)**64)**64)**64)",
        "Pow(Pow(Pow(Pow(Integer(9), 64), 64), 64), 64)",
        "Pow(Integer(9), Integer(999999999))",
        "2 << 99999999",
        "Integer(" * 300 + "1" + ")" * 300,
        "1 +",
    ],
)
def test_sizes_that_are_code(text: str, honest: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    crafted = changed_json(
        honest, tmp_path, MODEL, _set_expression(text.replace("TRAP", repr(str(trap))))
    )
    assert_refused(crafted, trap)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').mkdir(TRAP)",
        "torch.os.mkdir(TRAP)",
        "torch.os",
        "L['x'].__class__",
        "L['x'].size()[0] == 1, __import__('os').mkdir(TRAP)",
        "L['x'].tofile(TRAP)",
        "math.__loader__",
        "print(1)",
        "max(1, key=__import__('os').mkdir)",
        "max([TRAP], key=L['x'])",
        "L['x\\'] + __import__(\\'os\\')'] == 1",
        "(yield)",
    ],
)
def test_guards_that_are_code(text: str, honest: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trap"

    def change(content: Any) -> None:
        content["guards_code"] = [text.replace("TRAP", repr(str(trap)))]

    assert_refused(changed_json(honest, tmp_path, MODEL, change), trap)


@pytest.mark.parametrize(
    "text",
    [
        "max(1, L['x'].size()[0]//4) < L['x'].size()[0]",
        "min(2, abs(L['x'].size()[0])) == 2",
        "float(L['x'].size()[0]) > 1.5",
    ],
)
def test_guards_as_an_exporter_writes_them(text: str, honest: Path, tmp_path: Path) -> None:
    def change(content: Any) -> None:
        content["guards_code"] = [text]

    check_program_file(changed_json(honest, tmp_path, MODEL, change))


@pytest.mark.parametrize("name", ["x): pass\nimport os", "x=__import__('os')", "a b", "x'"])
def test_names_that_are_code(name: str, honest: Path, tmp_path: Path) -> None:
    def change(content: Any) -> None:
        text = json.dumps(content["graph_module"]).replace(
            '{"name": "x"}', json.dumps({"name": name})
        )
        content["graph_module"] = json.loads(text)

    assert_refused(changed_json(honest, tmp_path, MODEL, change), tmp_path / "trap")


@pytest.mark.parametrize(
    "node",
    [
        {
            "type": "collections.defaultdict",
            "context": {
                "default_factory_module": "antigravity",
                "default_factory_name": "x",
                "dict_context": [],
            },
            "children_spec": [],
        },
        {
            "type": "builtins.dict",
            "context": '[{"__enum__": true, "fqn": "antigravity:x", "name": "y"}]',
            "children_spec": [],
        },
        {"type": "builtins.dict", "context": "[\"a'] + __import__('os')\"]", "children_spec": []},
        {"type": "builtins.list", "context": "null", "children_spec": None},
        [],
    ],
)
def test_trees_that_import(node: Any, honest: Path, tmp_path: Path) -> None:
    def change(content: Any) -> None:
        signature = content["graph_module"]["module_call_graph"][0]["signature"]
        signature["in_spec"] = json.dumps([1, node])

    assert_refused(changed_json(honest, tmp_path, MODEL, change), tmp_path / "trap")


def test_entries_that_leave_the_archive_or_expand(honest: Path, tmp_path: Path) -> None:
    path = rewritten(honest, tmp_path, {"extra/note": b"x"})
    check_program_file(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("small/../../escaped", "x")
    assert_refused(path, tmp_path / "trap")
    path = rewritten(honest, tmp_path, {})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("small/extra/bomb", b"\0" * 10_000_000, zipfile.ZIP_DEFLATED)
    assert_refused(path, tmp_path / "trap")
    path = rewritten(honest, tmp_path, {"data/unheard/of": b""})
    assert_refused(path, tmp_path / "trap")


def test_an_empty_record_is_no_large_tensor(honest: Path, tmp_path: Path) -> None:
    def change(content: Any) -> None:
        entry = next(iter(content["config"].values()))
        entry["tensor_meta"]["sizes"] = [{"as_int": 2**40}]
        entry["path_name"] = "weight_5"

    configured = changed_json(honest, tmp_path, WEIGHTS, change)
    second = tmp_path / "second"
    second.mkdir()
    crafted = rewritten(configured, second, {"data/weights/weight_5": b""})
    with pytest.raises(SourceDamagedError, match="is empty"):
        check_program_file(crafted)


def test_damage_is_told(honest: Path, tmp_path: Path) -> None:
    with pytest.raises(InputNotFoundError):
        load_program(tmp_path / "absent.pt2")
    for record in (MODEL, SAMPLES, WEIGHTS, "archive_format"):
        with pytest.raises(SourceDamagedError, match="damaged"):
            load_program(rewritten(honest, tmp_path, {record: None}))
    for content in (b"", b"{", b"[]", b"null", b"[" * 100_000):
        with pytest.raises(SourceDamagedError, match="damaged"):
            load_program(rewritten(honest, tmp_path, {MODEL: content}))
    for content in (b"{}", b"[]", b'{"config": [1]}', b'{"config": {"a": {}}}'):
        with pytest.raises(SourceDamagedError, match="damaged"):
            load_program(rewritten(honest, tmp_path, {WEIGHTS: content}))
