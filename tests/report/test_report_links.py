"""Files that the report links to."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import pytest
from PIL import Image

from edgesdk.bundle.manifest import Manifest
from edgesdk.errors import InputNotFoundError, InputSpecError
from edgesdk.report import render
from edgesdk.report.links import linked_files
from edgesdk.report.quantities import bytes_text


def test_files_are_led_to_from_where_the_page_lies(full: Manifest, tmp_path: Path) -> None:
    (tmp_path / "net.edge").mkdir()
    clip = tmp_path / 'a "clip" <1>&.mp4'
    clip.write_bytes(b"0" * 2048)
    sheet = tmp_path / "net.edge" / "x:sheet.png"
    Image.new("RGB", (1920, 480), "teal").save(sheet)
    found = linked_files([clip, sheet], tmp_path / "net.edge")
    assert [link.address for link in found] == [
        "../a%20%22clip%22%20%3C1%3E%26.mp4",
        "./x%3Asheet.png",
    ]
    assert found[0].picture == "" and found[0].size == 2048
    shown = base64.b64decode(found[1].picture.removeprefix("data:image/jpeg;base64,"))
    with Image.open(io.BytesIO(shown)) as picture:
        assert picture.size == (960, 240)
    page = render(full, links=found)
    assert "<h2>Linked files</h2>" in page
    assert 'href="../a%20%22clip%22%20%3C1%3E%26.mp4"' in page
    assert "a &#34;clip&#34; &lt;1&gt;&amp;.mp4</a>" in page
    assert f"{bytes_text(2048)}</span>" in page


def test_without_files_there_is_no_section(full: Manifest) -> None:
    assert "Linked files" not in render(full)


def test_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputNotFoundError, match=r"no such file: .*absent\.mp4"):
        linked_files([tmp_path / "absent.mp4"], tmp_path)
    with pytest.raises(InputNotFoundError, match="is a folder"):
        linked_files([tmp_path], tmp_path)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(InputSpecError, match=r"broken\.png"):
        linked_files([tmp_path / "broken.png"], tmp_path)
