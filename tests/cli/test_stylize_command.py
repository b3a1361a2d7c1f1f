"""``edgesdk stylize`` as a user runs it."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edgesdk.errors import UsageError
from edgesdk.host.progress import Progress, clock
from edgesdk.video.media.reading import VideoReader
from edgesdk.video.option_texts import parse_blend, parse_rate
from edgesdk.video.stylize_result import StylizeProgress

av = pytest.importorskip("av")

pytestmark = pytest.mark.usefixtures("native_library")

Run = Callable[..., int]
MakeClip = Callable[..., Path]

#: What a terminal gives a command, whatever the tests were started with.
DEFAULT_SIGNALS = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "sys.argv[0] = 'edgesdk'; from edgesdk.cli import main; main()"
)


def scene(frames: int, size: tuple[int, int]) -> list[NDArray[np.uint8]]:
    random = np.random.default_rng(1)
    small = random.integers(40, 215, (size[1] // 8, (size[0] + frames) // 8, 3), dtype=np.uint8)
    wide = np.asarray(
        Image.fromarray(small).resize((size[0] + frames, size[1]), Image.Resampling.BICUBIC)
    )
    return [np.ascontiguousarray(wide[:, i : i + size[0]]) for i in range(frames)]


@pytest.fixture
def make_clip(project: Path, tmp_path: Path) -> MakeClip:
    def make(
        name: str = "in.mp4",
        *,
        frames: int = 20,
        size: tuple[int, int] = (64, 48),
        codec: str = "libx264",
    ) -> Path:
        path = tmp_path / name
        container = av.open(str(path), "w")
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        moving = scene(min(frames, 20), size)
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(moving[index % len(moving)], format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        container.close()
        return path

    return make


@pytest.fixture
def sunset(tmp_path: Path) -> Path:
    """A picture of warm colours."""
    path = tmp_path / "sunset.png"
    ramp = np.linspace(0, 1, 32)[:, None, None]
    colours = ramp * np.array([250, 160, 60]) + (1 - ramp) * np.array([90, 20, 40])
    Image.fromarray(np.repeat(colours, 32, axis=1).astype(np.uint8)).save(path)
    return path


@pytest.fixture
def pictures(project: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for place, picture in enumerate(scene(4, (48, 32))):
        Image.fromarray(picture).save(folder / f"{place}.png")
    return folder


def negative_onnx(path: Path, height: int | str, width: int | str, largest: float) -> Path:
    """A network that answers ``largest`` minus its input, within range, NCHW."""
    onnx = pytest.importorskip("onnx")
    shape = [1, 3, height, width]
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Sub", ["largest", "image"], ["difference"]),
            onnx.helper.make_node("Clip", ["difference", "black", "largest"], ["painted"]),
        ],
        "negative",
        [value("image", onnx.TensorProto.FLOAT, shape)],
        [value("painted", onnx.TensorProto.FLOAT, shape)],
        [
            onnx.helper.make_tensor("largest", onnx.TensorProto.FLOAT, [], [largest]),
            onnx.helper.make_tensor("black", onnx.TensorProto.FLOAT, [], [0.0]),
        ],
    )
    opset = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), str(path))
    return path


def test_an_onnx_file_of_one_style_has_none_to_choose(
    here: Run, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = negative_onnx(tmp_path / "negative.onnx", "h", "w", 1.0)
    arguments = ("stylize", str(pictures), "-o", str(tmp_path / "out"), "--onnx", str(network))
    assert here(*arguments, "--style", "0") == 2
    assert "this network has one style" in capsys.readouterr().err
    assert here(*arguments) == 0
    assert "note:" not in capsys.readouterr().err


def frames_of(path: Path) -> list[Any]:
    with VideoReader(path) as reader:
        return list(reader)


@pytest.mark.parametrize("method", ["reinhard", "wct"])
def test_colours_of_a_picture(
    method: str,
    here: Run,
    make_clip: MakeClip,
    sunset: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source, target = make_clip(), tmp_path / "out.mp4"
    ran = here(
        *("stylize", str(source), "-o", str(target), "--colour", str(sunset)),
        *("--colour-method", method),
    )
    ended = capsys.readouterr()
    assert ran == 0, ended.err
    first, second = ended.out.splitlines()
    assert first.startswith(f"{target}: 20 frames of 64 x 48, ") and "each used for" in first
    assert "frames a second: reading" in second and "painter" in second
    assert "stylizing: 20/20" in ended.err and "frames/s" in ended.err and "0:00 left" in ended.err
    # Warmer than it was.
    before, after = (frames_of(path)[10].pixels.mean(axis=(0, 1)) for path in (source, target))
    assert after[0] - after[2] > before[0] - before[2] + 40


def test_json(
    here: Run,
    make_clip: MakeClip,
    sunset: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    target = tmp_path / "out.mp4"
    ran = here(
        *("stylize", str(make_clip()), "-o", str(target), "--colour", str(sunset)),
        *("--keyframes", "5", "--seconds", "0.6", "--stream", "--json", "--quiet"),
    )
    ended = capsys.readouterr()
    assert (ran, ended.err) == (0, "")
    found = json.loads(ended.out)
    assert found["frames"] == 15 and found["keys"] == 3 and found["reuse"] == 5
    assert found["reasons"] == {"first": 1, "interval": 2}
    assert (found["width"], found["height"], found["output"]) == (64, 48, str(target))
    assert found["failures"] == [] and found["skipped"] == 0 and found["comparison"] is None
    assert set(found["seconds"]) >= {"painter", "flow", "render"} and not found["interrupted"]


@pytest.mark.parametrize(
    ("height", "width", "largest", "told"),
    [
        ("h", "w", 1.0, ()),
        (48, 64, 255.0, ()),
        (48, 64, 1.0, ()),
        ("h", "w", 255.0, ("--value-range", "255")),
        ("h", "w", 1.0, ("--value-range", "1")),
    ],
)
def test_any_onnx_stylizer(
    height: int | str,
    width: int | str,
    largest: float,
    told: tuple[str, ...],
    here: Run,
    make_clip: MakeClip,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    network = negative_onnx(tmp_path / "negative.onnx", height, width, largest)
    source, target = make_clip(), tmp_path / "out.mp4"
    ran = here("stylize", str(source), "-o", str(target), "--onnx", str(network), *told)
    assert ran == 0, capsys.readouterr().err
    before, after = (frames_of(path)[0].pixels.astype(int) for path in (source, target))
    assert np.abs(before + after - 255).mean() < 8


def test_a_comparison(
    here: Run,
    make_clip: MakeClip,
    sunset: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("skimage")
    target = tmp_path / "out.mp4"
    ran = here("stylize", str(make_clip()), "-o", str(target), "--colour", str(sunset), "--compare")
    ended = capsys.readouterr()
    assert ran == 0, ended.err
    assert "comparing: 20/20" in ended.err
    rows = [line.split() for line in ended.out.splitlines()]
    assert [row[0] for row in rows if row[0] == "original"] == ["original"]
    assert "times as fast as painting every frame" in ended.out and "SSIM 0." in ended.out
    assert (tmp_path / "out-side-by-side.mp4").exists()
    assert (tmp_path / "out-contact-sheet.png").exists()


def test_pictures_in_and_out(here: Run, pictures: Path, sunset: Path, tmp_path: Path) -> None:
    painted = tmp_path / "painted"
    assert here("stylize", str(pictures), "-o", str(painted), "--colour", str(sunset), "-q") == 0
    assert sorted(path.name for path in painted.iterdir()) == [f"{i}.png" for i in range(4)]
    video = tmp_path / "out.mp4"
    rate = ("--rate", "30000/1001")
    arguments = ("stylize", str(pictures), "-o", str(video), "--colour", str(sunset))
    assert here(*arguments, *rate, "-q") == 0
    assert frames_of(video)[3].time == Fraction(3003, 30_000)


def test_damaged_packets_are_told(
    here: Run,
    make_clip: MakeClip,
    sunset: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = make_clip("in.mkv", codec="ffv1")
    with av.open(str(source)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][10]
        place, size = packet.pos, packet.size
    content = bytearray(source.read_bytes())
    content[place + 12 : place + size] = bytes(255 for _ in range(size - 12))
    source.write_bytes(content)
    arguments = ("stylize", str(source), "--colour", str(sunset), "-o")
    assert here(*arguments, str(tmp_path / "out.mp4")) == 0
    assert "skipped 1 damaged: at 0.4" in capsys.readouterr().err
    assert here(*arguments, str(tmp_path / "strict.mp4"), "--strict") == 5
    assert "cannot be decoded" in capsys.readouterr().err
    assert not (tmp_path / "strict.mp4").exists()


def test_a_network_that_fails_on_a_key_frame(
    here: Run, make_clip: MakeClip, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    onnx = pytest.importorskip("onnx")
    value = onnx.helper.make_tensor_value_info
    shape = [1, 3, "h", "w"]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Div", ["image", "nothing"], ["painted"])],
        "nan",
        [value("image", onnx.TensorProto.FLOAT, shape)],
        [value("painted", onnx.TensorProto.FLOAT, shape)],
        [onnx.helper.make_tensor("nothing", onnx.TensorProto.FLOAT, [1], [float("nan")])],
    )
    opset = [onnx.helper.make_opsetid("", 17)]
    network = tmp_path / "nan.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), str(network))
    target = tmp_path / "out.mp4"
    ran = here(
        "stylize",
        str(make_clip()),
        "-o",
        str(target),
        "--onnx",
        str(network),
        "--value-range",
        "1",
        "--json",
    )
    ended = capsys.readouterr()
    assert ran == 1
    found = json.loads(ended.out)
    assert found["error"] == "PaintingError" and found["exit_code"] == 1
    assert len(found["failures"]) == found["keys"] and "finite" in found["failures"][0]["message"]
    assert "error: the painter failed on" in ended.err
    assert len(frames_of(target)) == 20


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        ((), 2, "give exactly one of --bundle"),
        (("--colour", "sunset.png", "--bundle", "b.edge"), 2, "one of --bundle"),
        (("--colour", "sunset.png", "--colour-method", "vivid"), 2, "unknown colour method"),
        (("--colour", "absent.png"), 2, "no such file or folder: absent.png"),
        (("--colour", "in.mp4"), 5, "in.mp4"),
        (("--onnx", "absent.onnx"), 2, "no such file or folder: absent.onnx"),
        (("--colour", "sunset.png", "--value-range", "1"), 2, "--value-range needs --onnx"),
        (("--bundle", "absent.edge"), 2, "no such file or folder: absent.edge"),
        (("--colour", "sunset.png", "--style", "mosaic"), 2, "--colour has no styles"),
        (("--colour", "sunset.png", "--blend", "0:1"), 2, "--colour has no styles"),
        (("--onnx", "b.onnx", "--target", "onnx"), 2, "--target needs --bundle"),
        (("--onnx", "b.onnx", "--blend", "2"), 2, "'2' is not a style with a weight"),
        (("--bundle", "b.edge", "--blend", "mosaic"), 2, "'mosaic' is not a style with a weight"),
        (("--colour", "sunset.png", "--keyframes", "few"), 2, "key frames are 'auto'"),
        (("--colour", "sunset.png", "--max-size", "4"), 2, "max_size"),
        (("--colour", "sunset.png", "--strength", "2"), 2, "--strength"),
        (("--colour", "sunset.png", "--rate", "30"), 2, "its own frame times"),
        (("--colour", "sunset.png", "--rate", "fast"), 2, "not a number of frames per second"),
        (("--colour", "sunset.png", "--seconds", "0"), 2, "seconds must be above zero"),
        (("--colour", "sunset.png", "-o", "in.mp4"), 2, "is the input itself"),
        (("--colour", "sunset.png", "-o", "out.gif"), 2, "does not end like a video"),
        (("--colour", "sunset.png", "-o", "no/out.mp4"), 3, "no such file or folder"),
    ],
)
def test_what_cannot_be_done(
    arguments: tuple[str, ...],
    code: int,
    told: str,
    here: Run,
    make_clip: MakeClip,
    sunset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_clip()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "b.edge").mkdir()
    (tmp_path / "b.onnx").touch()
    before = sorted(path.name for path in tmp_path.iterdir())
    given = arguments if "-o" in arguments else (*arguments, "-o", "out.mp4")
    assert here("stylize", "in.mp4", *given) == code
    ended = capsys.readouterr()
    assert told in ended.err and ended.out == "" and "Traceback" not in ended.err
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="device files are Linux's")
def test_no_camera(
    here: Run, sunset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("-o", str(tmp_path / "out.mp4"), "--colour", str(sunset))
    assert here("stylize", "250", *arguments) == 3
    assert "this machine has no camera 250" in capsys.readouterr().err


def stopped(
    edgesdk_command: Any, source: Path, target: Path, sunset: Path, *more: str
) -> tuple[int, str, str]:
    """Run the command, and press Ctrl-C when it has begun."""
    process = edgesdk_command.start(
        *("stylize", str(source), "-o", str(target), "--colour", str(sunset), *more),
        code=DEFAULT_SIGNALS,
        start_new_session=True,
    )
    beside, deadline = f".{target.name}.*.partial", time.monotonic() + 60
    while not list(target.parent.glob(beside)) and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.5)
    assert process.poll() is None, process.communicate()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
def test_ctrl_c_leaves_nothing(
    edgesdk_command: Any, make_clip: MakeClip, sunset: Path, tmp_path: Path
) -> None:
    source = make_clip(frames=3000, size=(96, 64))
    code, out, err = stopped(edgesdk_command, source, tmp_path / "out.mp4", sunset, "--json")
    assert code == 130, err
    assert json.loads(out)["error"] == "Interrupted" and "Traceback" not in err
    assert err.splitlines()[-1] == "interrupted; nothing half-written is left"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "sunset.png"]


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
def test_ctrl_c_with_keep_leaves_a_playable_file(
    edgesdk_command: Any, make_clip: MakeClip, sunset: Path, tmp_path: Path
) -> None:
    source = make_clip(frames=3000, size=(96, 64))
    target = tmp_path / "out.mp4"
    code, out, err = stopped(edgesdk_command, source, target, sunset, "--keep-partial", "--json")
    assert code == 130, err
    found = json.loads(out)
    assert found["interrupted"] and 0 < found["frames"] < 3000
    assert len(frames_of(target)) == found["frames"]


def test_blends_and_rates() -> None:
    assert parse_blend("A:0.3, B:0.7") == {"A": 0.3, "B": 0.7}
    assert parse_blend("a:b:1") == {"a:b": 1.0}
    for text in ("", "A", "A:", ":1", "A:-1", "A:nan", "A:inf", "A:1,A:2", "A:0,B:0"):
        with pytest.raises(UsageError):
            parse_blend(text)
    assert parse_rate("30000/1001") == Fraction(30_000, 1001) and parse_rate("12.5") == 12.5
    for text in ("", "0", "-1", "1/0", "nan", "1e9"):
        with pytest.raises(UsageError):
            parse_rate(text)


def test_progress_without_a_total(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("stylizing") as progress:
        progress._last_line -= 10
        progress.stylizing(StylizeProgress("stylizing", 40, None, 12.5, None))
        progress.stylizing(StylizeProgress("stylizing", 41, None, 12.5, None))
        progress.stylizing(StylizeProgress("stylizing", 70, 70, 12.5, 0.0))
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition("stylizing: ")[2] for line in lines] == [
        *("40  12.5 frames/s", "70/70  12.5 frames/s  0:00 left"),
    ]
    with Progress("stylizing", quiet=True) as progress:
        progress.stylizing(StylizeProgress("stylizing", 70, 70, 12.5, 0.0))
    assert capsys.readouterr().err == ""
    assert (clock(59.6), clock(3723)) == ("1:00", "1:02:03")
