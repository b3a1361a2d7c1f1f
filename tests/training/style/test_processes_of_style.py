"""Two processes train the stylizer that one trains."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

SCRIPT = """
import json, sys, torch
from pathlib import Path
torch.set_num_threads(1)
from edgesdk.training.engine import RunOptions
from edgesdk.training.style.recipe import StyleRecipe
from edgesdk.training.style.stylizer import train_stylizer
content, styles, trunk, recipe, folder = sys.argv[1:]
folder = Path(folder)
trained = train_stylizer(
    Path(content), Path(styles), StyleRecipe(**json.loads(recipe)), perceptual=Path(trunk),
    config={"encoder_widths": [4, 4, 8], "expanded_widths": [16], "decoder_widths": [8, 4]},
    options=RunOptions(checkpoint=folder / "run"),
)
losses = trained.history.records[-1].losses
state = [value.double().sum().item() for value in trained.model.state_dict().values()]
found = {"processes": trained.processes, "losses": losses, "state": state}
(folder / f"found-{'main' if trained.is_main else 'other'}.json").write_text(json.dumps(found))
"""
LAUNCHER = ["-m", "accelerate.commands.accelerate_cli", "launch", "--multi_gpu"]
LAUNCHER += ["--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no"]
LAUNCHER += ["--dynamo_backend", "no", "--main_process_port", "0"]


def test_two_processes_share_out_the_pictures_of_each_step(
    photographs_folder: Path, paintings_folder: Path, trunk: Path, short, tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    # Second frames have motions of their own in each process.
    recipe = json.dumps({**short.to_dict(), "temporal_weight": 0, "steps": 6})
    found = {}
    for name, launcher in (("one", []), ("two", LAUNCHER)):
        (tmp_path / name).mkdir()
        arguments = [photographs_folder, paintings_folder, trunk, recipe, tmp_path / name]
        done = subprocess.run(
            [sys.executable, *launcher, str(script), *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        found[name] = json.loads((tmp_path / name / "found-main.json").read_text())
    assert (found["one"]["processes"], found["two"]["processes"]) == (1, 2)
    # The same pictures in another order of sums.
    assert found["two"]["losses"] == pytest.approx(found["one"]["losses"], rel=1e-3, abs=1e-6)
    other = json.loads((tmp_path / "two" / "found-other.json").read_text())
    assert other["state"] == found["two"]["state"]
