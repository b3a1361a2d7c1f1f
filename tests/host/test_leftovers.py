"""Unfinished files of dead processes are removed by the next writer beside them; no others."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edgesdk.host.atomic_write import partial_beside, write_atomically

START = """
import pathlib, sys, time
from edgesdk.host.atomic_write import partial_beside
place = partial_beside(pathlib.Path(sys.argv[1]))
place.mkdir()
(place / "half").write_text("x")
print(place.name, flush=True)
time.sleep(600)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def writing(tmp_path: Path):
    process = subprocess.Popen(
        [sys.executable, "-c", START, str(tmp_path / "net.edge")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    left = process.stdout.readline().strip()
    yield process, left
    process.kill()
    process.wait()


def test_what_a_killed_process_left_is_removed_and_a_living_one_keeps_its_own(
    writing, tmp_path: Path
) -> None:
    process, left = writing
    assert names(tmp_path) == [left]
    write_atomically(tmp_path / "other.json", b"{}")
    assert names(tmp_path) == [left, "other.json"]
    process.send_signal(signal.SIGKILL)
    process.wait()
    write_atomically(tmp_path / "other.json", b"{}")
    assert names(tmp_path) == ["other.json"]


def test_a_reused_process_number_is_another_process(tmp_path: Path) -> None:
    mine = partial_beside(tmp_path / "net.edge")
    mine.mkdir()
    machine, pid, start, token = mine.name.split(".")[-2].split("-")
    assert int(pid) == os.getpid()
    other = "0" * 8 if start != "0" * 8 else "1" * 8
    stale = tmp_path / f".net.edge.{machine}-{pid}-{other}-{token}.partial"
    stale.mkdir()
    partial_beside(tmp_path / "net.edge")
    assert names(tmp_path) == [mine.name]


@pytest.mark.parametrize(
    "name",
    [
        # Another machine on a shared disk, a name without a mark, and files of the user.
        ".net.edge.00000000-1-00000000-00000000.partial",
        ".net.edge.0123abcd.partial",
        ".notes.partial",
    ],
)
def test_others_are_not_touched(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    write_atomically(tmp_path / "net.json", b"{}")
    assert names(tmp_path) == [name, "net.json"]


def test_a_missing_folder_has_no_leftovers(tmp_path: Path) -> None:
    place = partial_beside(tmp_path / "absent" / "net.edge")
    assert re.fullmatch(
        r"\.net\.edge\.[0-9a-f]{8}-\d+-[0-9a-f]{8}-[0-9a-f]{8}\.partial", place.name
    )
    assert place.parent == tmp_path / "absent"
