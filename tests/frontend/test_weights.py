"""Weights from files that nobody vouches for."""

from __future__ import annotations

import os
import pickle
import random
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from edgesdk.errors import (
    EdgeSdkError,
    InputNotFoundError,
    UnsafeFileError,
    WeightsDamagedError,
    WeightsError,
)
from edgesdk.frontend.weights import check_weights, load_weights, read_tensors


def network() -> nn.Module:
    return nn.Sequential(
        OrderedDict(conv=nn.Conv2d(3, 4, 1), norm=nn.BatchNorm2d(4), head=nn.Conv2d(4, 2, 1))
    )


def other_state() -> dict[str, Tensor]:
    torch.manual_seed(1)
    return {
        key: torch.rand_like(value.float()).to(value.dtype)
        for key, value in network().state_dict().items()
    }


def assert_loaded(model: nn.Module, state: dict[str, Tensor]) -> None:
    for key, value in model.state_dict().items():
        assert torch.equal(value, state[key]), key


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: OrderedDict(state),
        lambda state: {"state_dict": state, "epoch": 7, "optimizer": {"lr": 0.1}},
        lambda state: {"model_state_dict": state},
        lambda state: {"model": state, "args": None},
        lambda state: {f"module.{key}": value for key, value in state.items()},
        lambda state: {"state_dict": {f"module.{k}": v for k, v in state.items()}},
        lambda state: {f"_orig_mod.{key}": value for key, value in state.items()},
        lambda state: {f"module._orig_mod.{key}": value for key, value in state.items()},
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_every_way_people_save_weights(wrap: Any, zipped: bool, tmp_path: Path) -> None:
    state, model = other_state(), network()
    torch.save(wrap(state), tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    load_weights(model, tmp_path / "w.pth")
    assert_loaded(model, state)


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod."])
def test_safetensors(prefix: str, tmp_path: Path) -> None:
    state, model = other_state(), network()
    save_file({f"{prefix}{key}": value for key, value in state.items()}, tmp_path / "w.safetensors")
    load_weights(model, tmp_path / "w.safetensors")
    assert_loaded(model, state)


def test_a_model_whose_own_names_begin_like_a_wrapper(tmp_path: Path) -> None:
    class Averaged(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = network()

    model, state = Averaged(), other_state()
    named = {f"module.{key}": value for key, value in state.items()}
    torch.save(named, tmp_path / "w.pth")
    load_weights(model, tmp_path / "w.pth")
    assert_loaded(model, named)
    torch.save({f"module.{key}": value for key, value in named.items()}, tmp_path / "w.pth")
    # Only the wrapper's own module goes.
    fresh = Averaged()
    assert load_weights(fresh, tmp_path / "w.pth") == (
        "weights: the prefix 'module.' of the keys was removed",
    )
    assert_loaded(fresh, named)


def test_half_precision_weights_become_the_models_own(tmp_path: Path) -> None:
    state, model = other_state(), network()
    torch.save(
        {k: v.half() if v.is_floating_point() else v for k, v in state.items()}, tmp_path / "w.pth"
    )
    load_weights(model, tmp_path / "w.pth")
    assert model.conv.weight.dtype == torch.float32
    assert torch.equal(model.conv.weight, state["conv.weight"].half().float())


def test_what_does_not_match_is_listed_and_the_model_stays(tmp_path: Path) -> None:
    state, model = other_state(), network()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    del state["conv.bias"]
    state["extra.weight"] = torch.ones(1)
    state["head.weight"] = torch.ones(5, 4, 1, 1)
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(WeightsError) as caught:
        load_weights(model, tmp_path / "w.pth")
    assert caught.value.message.splitlines() == [
        "the weights in w.pth do not match the model",
        "  missing: conv.bias",
        "  not in the model: extra.weight",
        "  other shape: head.weight is (5, 4, 1, 1), the model has (2, 4, 1, 1)",
    ]
    assert_loaded(model, before)


def test_long_lists_are_cut(tmp_path: Path) -> None:
    torch.save({f"layer{index}.weight": torch.ones(1) for index in range(12)}, tmp_path / "w.pth")
    with pytest.raises(WeightsError) as caught:
        load_weights(network(), tmp_path / "w.pth")
    shown = caught.value.message.splitlines()[-1]
    assert shown.startswith("  not in the model: layer0.weight, layer1.weight, layer10.weight,")
    assert shown.endswith(" and 4 more")


def test_counters_of_batches_may_be_missing(tmp_path: Path) -> None:
    state, model = other_state(), network()
    del state["norm.num_batches_tracked"]
    torch.save(state, tmp_path / "w.pth")
    load_weights(model, tmp_path / "w.pth")
    assert torch.equal(model.conv.weight, state["conv.weight"])


@pytest.mark.parametrize(
    "odd",
    [
        torch.zeros(4, 3, 1, 1, device="meta"),
        torch.zeros(4, 3, 1, 1).to_sparse(),
    ],
    ids=["meta", "sparse"],
)
def test_tensors_without_plain_numbers(odd: Tensor, tmp_path: Path) -> None:
    state, model = other_state(), network()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state["conv.weight"] = odd
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"conv\.weight"):
        load_weights(model, tmp_path / "w.pth")
    assert_loaded(model, before)


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize(
    ("form", "protocol"),
    [("bare", 0), ("bare", 2), ("bare", 4), ("legacy", 2), ("zip", 2), ("nested", 2)],
)
def test_a_pickle_that_runs_code_is_refused_and_does_not_run(
    form: str, protocol: int, tmp_path: Path
) -> None:
    folder, path = tmp_path / "ran", tmp_path / "w.pth"
    trap = Trap(folder)
    if form == "bare":
        path.write_bytes(pickle.dumps(trap, protocol))
    elif form == "legacy":
        torch.save({"w": trap}, path, _use_new_zipfile_serialization=False)
    elif form == "zip":
        torch.save(trap, path)
    else:
        torch.save({"state_dict": {"conv.weight": torch.ones(1), "x": [trap]}}, path)
    for call in (lambda: read_tensors(path), lambda: load_weights(network(), path)):
        with pytest.raises(UnsafeFileError, match=r"w\.pth is a pickle of more than tensors"):
            call()
    assert not folder.exists()


def test_a_whole_saved_module_is_refused(tmp_path: Path) -> None:
    torch.save(network(), tmp_path / "w.pth")
    with pytest.raises(UnsafeFileError) as caught:
        load_weights(network(), tmp_path / "w.pth")
    assert "save_file(model.state_dict()" in (caught.value.remedy or "")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_truncated_file(zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save(other_state(), path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    for length in (0, 1, 2, 10, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(
            WeightsDamagedError, match=r"w\.pth is damaged or does not hold weights"
        ) as caught:
            load_weights(network(), path)
        assert "weights_only" not in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 64, b"hello world\n", b"\x80\x02", b"PK\x03\x04xx"]
)
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_files_that_hold_something_else(content: bytes, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"w.{suffix}"
    path.write_bytes(content)
    with pytest.raises(WeightsDamagedError, match="is damaged or does not hold weights"):
        load_weights(network(), path)


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_changed_bytes_load_or_are_refused_in_our_words(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"w.{suffix}"
    state = other_state()
    torch.save(state, path) if suffix == "pth" else save_file(state, path)
    whole, chance = path.read_bytes(), random.Random(2)
    for _ in range(150):
        changed = bytearray(whole)
        for _ in range(4):
            changed[chance.randrange(min(len(changed), 2500))] = chance.randrange(256)
        path.write_bytes(changed)
        try:
            load_weights(network(), path)
        except EdgeSdkError:
            continue


@pytest.mark.parametrize(
    "content", [[torch.ones(1)], torch.ones(3), {"a": 1}, {"a": {"b": torch.ones(1)}}, None, 5]
)
def test_files_that_are_no_state_dictionary(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="not hold a state dictionary"):
        load_weights(network(), tmp_path / "w.pth")


@pytest.mark.parametrize(
    "name", ["none.pth", "none.safetensors", "folder.pth", "folder.safetensors"]
)
def test_missing_files_and_folders(name: str, tmp_path: Path) -> None:
    if name.startswith("folder"):
        (tmp_path / name).mkdir()
    with pytest.raises(InputNotFoundError, match=r"no such file|is a folder"):
        load_weights(network(), tmp_path / name)


def test_checking_changes_nothing_and_needs_no_storage(tmp_path: Path) -> None:
    torch.save(other_state(), tmp_path / "w.pth")
    model = network()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    check_weights(model, tmp_path / "w.pth")
    assert_loaded(model, before)
    check_weights(network().to("meta"), tmp_path / "w.pth")
    with torch.device("meta"), pytest.raises(WeightsError):
        check_weights(nn.Linear(10**6, 10**6), tmp_path / "w.pth")


LIGHTNING = {"epoch": 3, "pytorch-lightning_version": "2.5.0", "callbacks": {}, "loops": {}}


@pytest.mark.parametrize("prefix", ["model.", "net.", "module.", "module.model.", "my_backbone."])
def test_the_prefix_of_a_trainer_is_removed_and_noted(prefix: str, tmp_path: Path) -> None:
    state = other_state()
    inside = {f"{prefix}{key}": value for key, value in state.items()}
    beside = {"loss.weight": torch.ones(3), "metric.total": torch.zeros(())}
    torch.save({**LIGHTNING, "state_dict": {**beside, **inside}}, tmp_path / "last.ckpt")
    model = network()
    notes = load_weights(model, tmp_path / "last.ckpt")
    assert_loaded(model, state)
    assert notes == (
        f"weights: the prefix {prefix!r} of the keys was removed",
        "weights: left out, not the model's: loss.weight, metric.total",
    )


def test_plain_keys_need_no_notes_and_strange_ones_stay_errors(tmp_path: Path) -> None:
    torch.save(other_state(), tmp_path / "w.pth")
    assert load_weights(network(), tmp_path / "w.pth") == ()
    torch.save({**other_state(), "loss.weight": torch.ones(3)}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"not in the model: loss\.weight"):
        load_weights(network(), tmp_path / "w.pth")


def test_a_prefix_with_a_missing_key_is_an_error_of_that_key(tmp_path: Path) -> None:
    state = {f"model.{key}": value for key, value in other_state().items()}
    del state["model.head.bias"]
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(WeightsError) as caught:
        load_weights(network(), tmp_path / "w.pth")
    assert "missing: head.bias" in caught.value.message
    assert "not in the model" not in caught.value.message


def test_models_given_as_weights_are_named(tmp_path: Path) -> None:
    linear = nn.Linear(3, 2)
    torch.jit.script(linear).save(tmp_path / "script.pt")
    program = torch.export.export(linear, (torch.ones(1, 3),))
    torch.export.save(program, tmp_path / "program.pt2")
    (tmp_path / "renamed.pt").write_bytes((tmp_path / "program.pt2").read_bytes())
    (tmp_path / "lite.bin").write_bytes(b"\x1c\0\0\0TFL3\0\0")
    (tmp_path / "net.onnx").write_bytes(b"\x08\x07")
    for name, kind, remedy in (
        ("script.pt", "a TorchScript archive", "torch.jit.load('script.pt').state_dict()"),
        ("program.pt2", "an exported program", "edgesdk export program.pt2"),
        ("renamed.pt", "an exported program", "mv renamed.pt renamed.pt2"),
        ("lite.bin", "a LiteRT model", "torch.save(model.state_dict()"),
        ("net.onnx", "an ONNX model", "torch.save(model.state_dict()"),
    ):
        with pytest.raises(WeightsError) as caught:
            load_weights(linear, tmp_path / name)
        assert caught.value.message == f"{name} is {kind}, not a file of weights"
        assert remedy in (caught.value.remedy or "")
