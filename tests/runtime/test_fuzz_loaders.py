"""Damaged files of every format: an SDK error, a result, or at worst a dead child process."""

from __future__ import annotations

import json
import os
import random
import selectors
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

WORKER = Path(__file__).with_name("loading_worker.py")
#: Of one file, loading and running; generous, as the machine may be busy.
LIMIT_SECONDS = 60.0
START_SECONDS = 300.0
#: Files a format: 320 in all. A Core ML package takes longest, as its program is evaluated.
FILES = {"executorch": 80, "litert": 80, "onnx": 80, "torch": 55, "coreml": 25}
MAGIC = {"executorch": (4, b"ET12"), "litert": (4, b"TFL3"), "torch": (0, b"PK\x03\x04")}


def damaged(content: bytes, chance: random.Random, magic: tuple[int, bytes] | None) -> bytes:
    """One of five kinds of damage."""
    kind = chance.randrange(5)
    data = bytearray(content)
    if kind == 0:
        return bytes(data[: chance.randrange(len(data))])
    if kind == 1:
        for _ in range(chance.choice((1, 3, 30))):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    elif kind == 2:
        start = chance.randrange(len(data))
        length = chance.choice((1, 4, 16, 256, 4096))
        data[start : start + length] = bytes(len(data[start : start + length]))
    elif kind == 3:
        # Most of the structure lies in the first part; random words hit offsets and counts.
        for _ in range(chance.choice((1, 4))):
            place = chance.randrange(min(len(data) - 4, 6000))
            data[place : place + 4] = chance.choice(
                (b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\x80", chance.randbytes(4))
            )
    else:
        data = bytearray(chance.randbytes(chance.choice((64, 1024, 20_000))))
        if magic is not None:
            place, text = magic
            data[place : place + len(text)] = text
    return bytes(data)


class Worker:
    """A child process that is started again when it dies."""

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert self._answer(START_SECONDS)["outcome"] == "ready"

    def _answer(self, limit: float) -> dict[str, str]:
        stream = self.process.stdout
        assert stream is not None
        with selectors.DefaultSelector() as selector:
            selector.register(stream, selectors.EVENT_READ)
            if not selector.select(limit):
                self.process.kill()
                return {"outcome": "hang", "detail": ""}
        line = stream.readline()
        if not line:
            return {"outcome": "died", "detail": str(self.process.wait())}
        answer: dict[str, str] = json.loads(line)
        return answer

    def attempt(self, path: Path) -> dict[str, str]:
        if self.process.poll() is not None:
            self._start()
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps({"path": str(path)}).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass
        return self._answer(LIMIT_SECONDS)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def worker() -> Iterator[Worker]:
    child = Worker()
    yield child
    child.close()


def victims(kind: str, source: Path, folder: Path, chance: random.Random) -> Iterator[Path]:
    for number in range(FILES[kind]):
        path = folder / f"{number}{source.suffix}"
        if source.is_dir():
            shutil.copytree(source, path)
            files = sorted(file for file in path.rglob("*") if file.is_file())
            target = chance.choice(files)
            target.write_bytes(damaged(target.read_bytes(), chance, None))
        else:
            path.write_bytes(damaged(source.read_bytes(), chance, MAGIC.get(kind)))
        yield path


@pytest.mark.parametrize("kind", list(FILES))
def test_damaged_files(
    kind: str,
    worker: Worker,
    artefacts: dict[str, Path],
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    assert worker.attempt(artefacts[kind])["outcome"] == "ran"
    chance = random.Random(f"damaged {kind}")
    outcomes: Counter[str] = Counter()
    for path in victims(kind, artefacts[kind], tmp_path, chance):
        answer = worker.attempt(path)
        outcomes[answer["outcome"]] += 1
        assert answer["outcome"] in ("ran", "error", "died"), (path, answer)
        if answer["outcome"] == "error":
            assert answer["detail"].strip()
    # A crash is the runtime's own; the structural checks keep it rare.
    record_property("outcomes", dict(outcomes))
    print(f"{kind}: {dict(outcomes)}")
    assert outcomes["error"] >= FILES[kind] // 4
    assert outcomes["died"] <= FILES[kind] // 4
