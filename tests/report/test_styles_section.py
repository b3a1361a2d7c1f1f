"""The report's section on a stylizer's styles: pictures, figures, and what is missing."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from rich.console import Console

from edgesdk.bundle.bundle import Bundle
from edgesdk.bundle.manifest import (
    FileRecord,
    Manifest,
    PaintedPictureRecord,
    PaintedRecord,
    PaintingsRecord,
    ReferenceRecord,
    ThumbnailRecord,
)
from edgesdk.bundle.writer import BundleWriter
from edgesdk.cli.tables import painted_table, painting_notes
from edgesdk.errors import BundleUnsafeError
from edgesdk.report import render, write_report
from edgesdk.report.painted_rows import change_text
from edgesdk.report.styles import styles_view

NAMES = ("<b>bold</b>", "{{ 7*7 }}", "Starry Night")


def jpeg(colour: str, size: tuple[int, int] = (192, 144), kind: str = "JPEG") -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size, colour).save(stream, kind)
    return stream.getvalue()


CONTENTS = {
    "styles/photograph.jpg": jpeg("navy"),
    **{f"styles/{place:03d}.jpg": jpeg(c) for place, c in enumerate(("red", "lime", "yellow"))},
}


def file(path: str) -> FileRecord:
    return FileRecord(path=path, sha256="a" * 64, size=len(CONTENTS.get(path, b"x")))


def painted(**changes: Any) -> PaintedRecord:
    pictures = [
        PaintedPictureRecord(
            style=NAMES[0], photograph="cat.jpg", psnr_db=31.25, style_change=0.0213
        ),
        PaintedPictureRecord(style=NAMES[2], photograph="dog.jpg", style_change=0.0),
    ]
    record: dict[str, Any] = {
        "runtime": "onnxruntime 1.31.1",
        "pictures": pictures,
        "psnr_db": 34.26,
        "least_psnr_db": 31.25,
        "style_change": 0.01065,
    }
    return PaintedRecord(**(record | changes))


@pytest.fixture
def styled(full: Manifest) -> Manifest:
    """A stylizer's manifest: painted, evaluated, failed, and not run at all."""
    records = [
        painted(),
        painted(evaluator=True, psnr_db=None, least_psnr_db=None, style_change=None),
        PaintedRecord(failure="the Python package 'ai-edge-litert' is not installed"),
        None,
    ]
    artefacts = [
        artefact.model_copy(update={"painted": record})
        for artefact, record in zip(full.artefacts, records, strict=False)
    ]
    return full.model_copy(
        update={
            "artefacts": artefacts,
            "paintings": PaintingsRecord(
                photograph="cat.jpg",
                unpainted=file("styles/photograph.jpg"),
                thumbnails=[
                    ThumbnailRecord(style=name, file=file(f"styles/{place:03d}.jpg"))
                    for place, name in enumerate(NAMES)
                ],
                network="VGG16 in trunk.npz, conv1_2",
            ),
        }
    )


def section(text: str) -> str:
    found = text[text.index('<section id="styles">') :]
    return found[: found.index("</section>")]


def words(text: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", text).split())


def test_every_style_is_shown_with_its_name(styled: Manifest) -> None:
    text = render(styled, thumbnails=CONTENTS)
    found = section(text)
    pictures = [
        Image.open(io.BytesIO(base64.b64decode(data)))
        for data in re.findall(r'<img src="data:image/jpeg;base64,([^"]+)"', found)
    ]
    assert [picture.size for picture in pictures] == [(160, 120)] * 4
    colours = [picture.convert("RGB").getpixel((80, 60)) for picture in pictures]
    wanted = [(0, 0, 128), (255, 0, 0), (0, 255, 0), (255, 255, 0)]
    for colour, right in zip(colours, wanted, strict=True):
        assert isinstance(colour, tuple)
        assert max(abs(a - b) for a, b in zip(colour, right, strict=True)) < 8
    names = re.findall(r"<p>(.*?)</p>", found)
    assert names == ["unpainted", "&lt;b&gt;bold&lt;/b&gt;", "{{ 7*7 }}", "Starry Night"]
    assert "<b>" not in text and 'href="#styles"' in text


def test_every_artefact_has_its_figures(styled: Manifest) -> None:
    found = words(section(render(styled, thumbnails=CONTENTS)))
    assert "executorch:xnnpack 2 34.3 dB 31.2 dB 0.011" in found
    # What an evaluator painted is marked; pictures without any difference are equal.
    assert "coreml 2 equal evaluated equal evaluated –" in found
    assert (
        "litert int8-static the Python package &#39;ai-edge-litert&#39; is not installed" in found
    )
    assert "onnx fp32" not in found
    assert "All pictures (4)" in found
    assert "&lt;b&gt;bold&lt;/b&gt; cat.jpg 31.2 dB 0.021" in found
    assert "Starry Night dog.jpg equal 0" in found
    assert "(VGG16 in trunk.npz, conv1_2)" in found


def test_a_missing_figure_has_a_reason(styled: Manifest) -> None:
    note = "the change of style was not measured: <no> network"
    paintings = PaintingsRecord(note=note)
    found = words(section(render(styled.model_copy(update={"paintings": paintings}))))
    assert "The change of style was not measured: &lt;no&gt; network." in found
    assert "Gram" not in found


def test_models_without_styles_have_no_section(full: Manifest) -> None:
    assert styles_view(full, {}) is None
    text = render(full)
    assert 'id="styles"' not in text and "#styles" not in text.partition("<main>")[2]
    assert painted_table(full) is None and painting_notes(full) == []


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"<script>alert(1)</script>", "cannot be read as a picture"),
        (b"", "cannot be read as a picture"),
        # Three kilobytes that would be four million pixels.
        (jpeg("navy", (2000, 2000), "PNG"), "cannot be read as a picture"),
        (b"GIF89a" + bytes(20), "cannot be read as a picture"),
        (None, "file not available"),
    ],
)
def test_a_broken_thumbnail_has_a_note(
    styled: Manifest, content: bytes | None, expected: str
) -> None:
    contents = {path: data for path, data in CONTENTS.items() if path != "styles/001.jpg"}
    if content is not None:
        contents["styles/001.jpg"] = content
    text = render(styled, thumbnails=contents)
    found = section(text)
    assert found.count("<img ") == 3 and found.count(expected) == 1
    assert "alert(1)" not in text


def test_only_pictures_reach_the_page(styled: Manifest) -> None:
    # A comment in the file is content of somebody else.
    stream = io.BytesIO()
    Image.new("RGB", (20, 20)).save(stream, "JPEG", comment=b"secret words")
    text = render(styled, thumbnails={**CONTENTS, "styles/000.jpg": stream.getvalue()})
    encoded = re.findall(r'base64,([^"]+)"', text)
    assert len(encoded) == 4
    assert not [data for data in encoded if b"secret" in base64.b64decode(data)]


def test_no_more_pictures_than_a_page_holds(styled: Manifest) -> None:
    record = ThumbnailRecord(style="a", file=file("styles/000.jpg"))
    paintings = PaintingsRecord(photograph="cat.jpg", thumbnails=[record] * 300)
    view = styles_view(styled.model_copy(update={"paintings": paintings}), {})
    assert view is not None and len(view.tiles) == 256


@pytest.mark.parametrize("value", [0.0, -1.0, 5e-324, 1e9, 1.7e308, -1.7e308])
def test_any_figures_give_a_section(styled: Manifest, value: float) -> None:
    record = painted(
        psnr_db=value,
        least_psnr_db=value,
        style_change=value,
        pictures=[
            PaintedPictureRecord(style="a", photograph="b", psnr_db=value, style_change=value)
        ],
    )
    artefact = styled.artefacts[0].model_copy(update={"painted": record})
    text = section(render(styled.model_copy(update={"artefacts": [artefact]})))
    assert "nan" not in words(text) and max(map(len, words(text).split())) < 40


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, "–"), (0.0, "0"), (1e-9, "< 0.001"), (0.0213, "0.021"), (1.0, "1.000"), (2e6, "2e6")],
)
def test_a_change_of_style_in_words(value: float | None, expected: str) -> None:
    assert change_text(value).replace("e+0", "e") == expected


def test_the_terminal_has_the_same_figures(styled: Manifest) -> None:
    table = painted_table(styled)
    assert table is not None
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(table)
    lines = [" ".join(line.split()) for line in console.export_text().splitlines()]
    assert lines == [
        "painted pictures PSNR mean PSNR least style change",
        "executorch:xnnpack 2 34.3 dB 31.2 dB 0.011",
        "coreml 2 * equal equal –",
        "litert int8-static 0 – – –",
    ]
    unmeasured = styled.artefacts[0].model_copy(update={"painted": painted(style_change=None)})
    table = painted_table(styled.model_copy(update={"artefacts": [unmeasured]}))
    assert table is not None and len(table.columns) == 4
    # The reason for missing paintings is shown, unless the artefact does not run at all.
    assert painting_notes(styled) == [
        "litert int8-static: paints nothing: the Python package 'ai-edge-litert' is not installed"
    ]


@pytest.fixture
def written(styled: Manifest, tmp_path: Path) -> Callable[[dict[str, bytes]], Bundle]:
    """Writes a bundle with these thumbnails."""

    def write(contents: dict[str, bytes]) -> Bundle:
        with BundleWriter(tmp_path / "styled.edge", overwrite=True) as writer:
            records = {}
            for path, content in {"samples.safetensors": b"samples", **contents}.items():
                (writer.folder / path).parent.mkdir(exist_ok=True)
                (writer.folder / path).write_bytes(content)
                records[path] = writer.add(writer.folder / path, path)
            names = [path for path in records if path.startswith("styles/0")]
            paintings = PaintingsRecord(
                photograph="cat.jpg",
                unpainted=records["styles/photograph.jpg"],
                thumbnails=[ThumbnailRecord(style=name, file=records[name]) for name in names],
            )
            reference = ReferenceRecord(samples=records["samples.safetensors"])
            changes = {"paintings": paintings, "reference": reference, "artefacts": []}
            return writer.commit(styled.model_copy(update=changes))

    return write


def test_a_bundle_is_reported_with_its_thumbnails(
    written: Callable[[dict[str, bytes]], Bundle],
) -> None:
    bundle = written(CONTENTS)
    text = section(write_report(bundle.path).read_text("utf-8"))
    assert text.count("data:image/jpeg;base64,") == 4
    # The report in the bundle changes nothing in it.
    assert Bundle.open(bundle.path) == bundle


def test_a_huge_file_is_no_thumbnail(written: Callable[[dict[str, bytes]], Bundle]) -> None:
    bundle = written({**CONTENTS, "styles/001.jpg": CONTENTS["styles/001.jpg"] + bytes(2**19)})
    text = section(write_report(bundle.path).read_text("utf-8"))
    assert text.count("<img ") == 3 and "file not available" in text


def test_no_link_is_followed_to_a_thumbnail(
    written: Callable[[dict[str, bytes]], Bundle], tmp_path: Path
) -> None:
    bundle = written(CONTENTS)
    outside = tmp_path / "outside.jpg"
    outside.write_bytes(CONTENTS["styles/001.jpg"])
    path = bundle.path / "styles" / "001.jpg"
    path.unlink()
    path.symlink_to(outside)
    with pytest.raises(BundleUnsafeError):
        write_report(bundle)


def test_the_same_manifest_gives_the_same_page(styled: Manifest) -> None:
    again = Manifest.model_validate(json.loads(styled.model_dump_json()))
    assert render(again, thumbnails=CONTENTS) == render(styled, thumbnails=CONTENTS)
