"""Folders of pictures as videos, both ways."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgesdk.errors import (
    InputNotFoundError,
    MediaError,
    OutputExistsError,
    UsageError,
)
from edgesdk.video.media.picture_folder import (
    PictureFolderReader,
    PictureFolderWriter,
    natural_order,
)


def write(folder: Path, names: list[str], size: tuple[int, int] = (32, 24)) -> Path:
    """Pictures that are as bright as their place in ``names``."""
    folder.mkdir(exist_ok=True)
    for place, name in enumerate(names):
        Image.new("RGB", size, (10 * place, 0, 0)).save(folder / name)
    return folder


def test_natural_order() -> None:
    names = ["b1.png", "a10.png", "a9.png", "A1.png", "a01b2.png", "a01b10.png", "10.png", "9.png"]
    assert sorted(names, key=natural_order) == [
        *("9.png", "10.png", "A1.png", "a01b2.png", "a01b10.png", "a9.png", "a10.png", "b1.png")
    ]


def test_pictures_become_frames_in_their_order(tmp_path: Path) -> None:
    folder = write(tmp_path / "in", ["f1.png", "f2.bmp", "f10.png"])
    (folder / "notes.txt").write_text("no picture")
    (folder / ".hidden.png").write_bytes(b"no picture")
    (folder / "sub.png").mkdir()
    reader = PictureFolderReader(folder, rate=Fraction(30_000, 1001))
    frames = list(reader)
    assert [int(frame.pixels[0, 0, 0]) for frame in frames] == [0, 10, 20]
    assert [frame.time for frame in frames] == [Fraction(1001 * i, 30_000) for i in range(3)]
    assert reader.names == ["f1.png", "f2.bmp", "f10.png"]
    assert reader.properties.size == (32, 24) and reader.properties.frames == 3


def test_kinds_of_pictures(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    Image.new("RGBA", (4, 6), (50, 60, 70, 0)).save(folder / "1.png")
    Image.new("L", (4, 6), 90).save(folder / "2.png")
    Image.new("P", (4, 6)).save(folder / "3.png")
    ends = np.repeat(np.array([[0, 257, 32_896, 65_535]], np.uint16), 6, axis=0)
    Image.fromarray(ends).save(folder / "4.png")
    turned = Image.new("RGB", (6, 4), (1, 2, 3))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(folder / "5.jpg", exif=exif)
    found = [frame.pixels for frame in PictureFolderReader(folder)]
    assert [pixels.shape for pixels in found] == [(6, 4, 3)] * 5
    assert found[0][0, 0].tolist() == [50, 60, 70]
    assert found[1][0, 0].tolist() == [90, 90, 90]
    assert found[3][0, :, 1].tolist() == [0, 1, 128, 255]


def test_a_damaged_picture_is_skipped_and_counted(tmp_path: Path) -> None:
    folder = write(tmp_path / "in", ["1.png", "2.png", "3.png"])
    (folder / "2.png").write_bytes((folder / "2.png").read_bytes()[:60])
    reader = PictureFolderReader(folder)
    assert [frame.index for frame in reader] == [0, 1]
    assert reader.trouble.skipped == 1 and "'2.png'" in reader.trouble.remarks[0]
    with pytest.raises(MediaError, match=r"'2\.png' cannot be decoded"):
        list(PictureFolderReader(folder, strict=True))


def test_pictures_of_two_sizes(tmp_path: Path) -> None:
    folder = write(tmp_path / "in", ["1.png"])
    write(folder, ["2.png"], size=(40, 24))
    with pytest.raises(MediaError, match=r"32 x 24 to 40 x 24 at '2\.png'"):
        list(PictureFolderReader(folder))


def test_folders_without_pictures(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="holds no picture"):
        PictureFolderReader(tmp_path)
    (tmp_path / "1.png").write_bytes(b"words")
    with pytest.raises(MediaError, match="not one picture"):
        PictureFolderReader(tmp_path)
    with pytest.raises(InputNotFoundError, match="no such folder"):
        PictureFolderReader(tmp_path / "absent")
    with pytest.raises(UsageError, match="above zero"):
        PictureFolderReader(tmp_path, rate=Fraction(0))


def copy(source: Path, target: Path, **options: bool) -> None:
    with (
        PictureFolderReader(source) as reader,
        PictureFolderWriter(
            target, reader.properties, names=reader.names, source=source, **options
        ) as writer,
    ):
        for frame in reader:
            writer.write(frame.pixels, frame.time)
        writer.finish()


def test_frames_are_written_under_their_names(tmp_path: Path) -> None:
    source = write(tmp_path / "in", ["shot 2.png", "shot 10.bmp", "shot 10.png"])
    copy(source, tmp_path / "out")
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["shot 10.png", "shot 10_000003.png", "shot 2.png"]
    before, after = (list(PictureFolderReader(path)) for path in (source, tmp_path / "out"))
    assert all(
        np.array_equal(a.pixels, b.pixels) for a, b in zip(before[:1], after[:1], strict=True)
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


def test_nothing_is_left_of_what_was_not_finished(tmp_path: Path) -> None:
    source = write(tmp_path / "in", ["1.png"])
    with PictureFolderReader(source) as reader:
        with PictureFolderWriter(tmp_path / "out", reader.properties) as writer:
            writer.write(next(iter(reader)).pixels, Fraction(0))
        with (
            PictureFolderWriter(tmp_path / "out", reader.properties) as writer,
            pytest.raises(MediaError, match="no frame"),
        ):
            writer.finish()
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_which_folders_are_replaced(tmp_path: Path) -> None:
    source = write(tmp_path / "in", ["1.png", "2.png"])
    target = write(tmp_path / "out", ["old.png"])
    with pytest.raises(OutputExistsError, match="exists already"):
        copy(source, target)
    copy(source, target, overwrite=True)
    assert sorted(path.name for path in target.iterdir()) == ["1.png", "2.png"]
    (target / "thesis.txt").write_text("years of work")
    with pytest.raises(
        OutputExistsError, match=r"holds other files than pictures \('thesis.txt'\)"
    ):
        copy(source, target, overwrite=True)
    (tmp_path / "empty").mkdir()
    copy(source, tmp_path / "empty")
    (tmp_path / "file").write_text("a file")
    with pytest.raises(OutputExistsError, match="is not a folder"):
        copy(source, tmp_path / "file", overwrite=True)
    assert (tmp_path / "file").read_text() == "a file"


def test_the_source_is_never_overwritten(tmp_path: Path) -> None:
    source = write(tmp_path / "in", ["1.png"])
    for target in (source, source / "out"):
        with pytest.raises(UsageError, match=r"input itself|lies in the folder"):
            copy(source, target, overwrite=True)
    assert [path.name for path in source.iterdir()] == ["1.png"]
