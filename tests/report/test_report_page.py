from __future__ import annotations

import base64
import dataclasses
import io
import json
import random
import re
import shlex
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from edgesdk.bundle.bundle import Bundle
from edgesdk.bundle.manifest import CostRecord, FailureRecord, Manifest, ReferenceRecord
from edgesdk.bundle.writer import BundleWriter
from edgesdk.errors import BundleError, InputSpecError, OutputExistsError, StorageError
from edgesdk.report import Photograph, render, write_report
from edgesdk.report.commands import reproduction_commands
from edgesdk.report.io_table import image_text, shape_text
from edgesdk.spec import DynamicDim, ImageSpec, TensorSpec, parse_dynamic, parse_image, parse_input

KINDS = ("full", "passed", "empty", "failed_only", "evaluator_only", "partial")
VOID = {"meta", "link", "img", "br", "hr"}
SECTIONS_ALWAYS = {"targets", "io", "provenance"}


class Page(HTMLParser):
    """Reads a page strictly: every element is closed, in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> has an attribute twice"
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())

    def ids(self) -> list[str]:
        return [attributes["id"] or "" for _, attributes in self.tags if "id" in attributes]


@pytest.fixture(params=KINDS)
def manifest(request: pytest.FixtureRequest) -> Manifest:
    found: Manifest = request.getfixturevalue(request.param)
    return found


def test_every_kind_of_manifest_gives_a_whole_page(manifest: Manifest) -> None:
    text = render(manifest)
    page = Page(text)
    assert text.startswith("<!DOCTYPE html>")
    ids = page.ids()
    assert len(ids) == len(set(ids)) and set(ids) >= SECTIONS_ALWAYS
    # Every link of the page leads somewhere in it.
    links = [attributes["href"] or "" for tag, attributes in page.tags if tag == "a"]
    assert {link.removeprefix("#") for link in links} <= set(ids)
    assert "None" not in page.words and "Undefined" not in page.words


def test_the_same_manifest_gives_the_same_bytes(full: Manifest) -> None:
    again = Manifest.model_validate_json(full.model_dump_json())
    assert render(full).encode() == render(again).encode()


def test_nothing_is_loaded_and_nothing_runs(manifest: Manifest) -> None:
    text = render(manifest)
    page = Page(text)
    assert "http:" not in text and "https:" not in text and "url(" not in text
    assert "@import" not in text
    assert not {tag for tag, _ in page.tags} & {"script", "iframe", "object", "form", "base"}
    for _tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:"))
    policies = [attributes for tag, attributes in page.tags if "http-equiv" in attributes]
    assert (policies[0]["content"] or "").startswith(
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    )


def test_the_page_says_what_the_manifest_says(full: Manifest) -> None:
    words = Page(render(full)).words
    for expected in (
        "mobilenet_v2",
        "models.mobilenet.MobileNetV2",
        "3,504,872",
        "≠ not as simulated",
        "? not verified",
        "✗ failed",
        "evaluated, not Apple's arithmetic",
        "p90 11.1 ms",
        "97.0 % of 100 operators delegated, in 3 partitions.",
        "Memory planned for activations: 4.82 MB.",
        "Rewrite: torch.topk and torch.gather",
        "further delegate NNAPI",
        "25 more take",
        "Egyptian cat",
        "Vulkan has no aten.sort",
        "RuntimeError: aten.sort.default",
        "batch (1–8) × 3 × 224 × 224",
        "three bytes in BGR order",
        "artefacts interleaved in blocks of 10",
        "Added memory",
        "a" * 64,
        "edgesdk verify ./mobilenet_v2.edge",
    ):
        assert expected in words


def test_figures_of_an_evaluator_are_marked_and_not_drawn(evaluator_only: Manifest) -> None:
    page = Page(render(evaluator_only))
    # Latency, memory, load time and five parity figures of the one row.
    marks = [
        attributes
        for tag, attributes in page.tags
        if attributes.get("class") == "mark" and attributes.get("title")
    ]
    assert len(marks) == 8
    labels = [attributes.get("aria-label") or "" for _, attributes in page.tags]
    assert not [label for label in labels if label.startswith("Latency")]
    rings = [tag for tag, attributes in page.tags if attributes.get("class") == "dot hollow"]
    assert len(rings) == 2


def test_the_gate_line_lies_at_the_gate(passed: Manifest) -> None:
    page = render(passed)
    plot = page[page.index('aria-label="Relative error by artefact"') :]
    plot = plot[: plot.index("</ol>")]
    gates = re.findall(r'<line x1="([\d.]+)%"[^>]*class="gate"', plot)
    dots = re.findall(r'<circle cx="([\d.]+)%"', plot)
    # Value 5.1e-7 and gate 1e-3 on an axis of 1e-7 to 1e-2.
    assert {float(gate) for gate in gates} == {80.0}
    assert {float(dot) for dot in dots} == {14.15}


EVIL = (
    "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{ 7*7 }}{% raw %}&lt;\x1b[31m\u202e"
)


def poisoned(value: Any, path: tuple[str, ...] = ()) -> Any:
    """The same JSON with every free text replaced by a hostile one."""
    fixed = {"sha256", "precision", "reason", "dtype", "color", "model_color"}
    if isinstance(value, dict):
        free_keys = path and path[-1] in ("versions", "delegated")
        return {
            f"{EVIL}{key}" if free_keys else key: poisoned(item, (*path, key))
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [poisoned(item, path) for item in value]
    if isinstance(value, str) and not (path and path[-1] in fixed):
        return f"{EVIL}{'/'.join(path)}"
    return value


def test_no_text_of_the_manifest_becomes_markup(manifest: Manifest) -> None:
    plain = json.loads(manifest.model_dump_json())
    hostile = Manifest.model_validate(poisoned(plain))
    text = render(hostile, [Photograph(EVIL, jpeg())])
    page, clean = Page(text), Page(render(manifest))
    new = {tag for tag, _ in page.tags} - {tag for tag, _ in clean.tags}
    # Our own elements around the photograph and around a log that the clean page has not.
    assert new <= {"img", "ul", "section", "details", "summary", "pre"}
    assert "<script" not in text and "<img src=x" not in text
    assert not [name for _, found in page.tags for name in found if name.startswith("on")]
    assert "\x1b" not in text and "\u202e" not in text
    # The text itself is there to be read, and no template was expanded.
    assert "<script>alert(1)</script>" in page.words and "{{ 7*7 }}" in page.words


def test_terminal_sequences_leave_the_log_readable(failed_only: Manifest) -> None:
    log = "\x1b[1;31mred\x1b[0m\r\nnext\rlast\x00"
    failure = FailureRecord(target="litert", error="E", message="m", log=log)
    text = render(failed_only.model_copy(update={"failures": [failure]}))
    assert "red\nnext\nlast\N{REPLACEMENT CHARACTER}</pre>" in text


def numbers(value: Any, draw: Callable[[Any], Any]) -> Any:
    """The same JSON with every number drawn anew."""
    if isinstance(value, dict):
        return {
            key: item
            if key in ("schema_version", "shape", "dynamic", "image")
            else numbers(item, draw)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [numbers(item, draw) for item in value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return draw(value)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.integers(0, 10**6))
def test_any_figures_give_a_page(full: Manifest, seed: int) -> None:
    chosen = random.Random(seed)
    wild = [0.0, -1.0, 5e-324, 1e-12, 0.3, 1.0, 1e9, 1.7e308, -1.7e308]
    large = [0, 1, 7, 2**63 - 1, 10**400]
    plain = json.loads(full.model_dump_json())
    draw = lambda old: chosen.choice(large if isinstance(old, int) else wild)  # noqa: E731
    Page(render(Manifest.model_validate(numbers(plain, draw))))


def jpeg(size: tuple[int, int] = (400, 300), **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size, "navy").save(stream, "JPEG", **options)
    return stream.getvalue()


def thumbnails(text: str) -> list[Image.Image]:
    found = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', text)
    return [Image.open(io.BytesIO(base64.b64decode(data))) for data in found]


def test_photographs_stand_beside_what_was_seen_on_them(full: Manifest, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    exif[0x010F] = "camera maker"
    path = tmp_path / "cat.jpg"
    path.write_bytes(jpeg(exif=exif))
    see_through = io.BytesIO()
    Image.new("RGBA", (20, 10), (0, 0, 0, 0)).save(see_through, "PNG")
    text = render(
        full, [Photograph("cat.jpg", path), Photograph("other.png", see_through.getvalue())]
    )
    cat, other = thumbnails(text)
    assert cat.size == (120, 160) and not cat.getexif()
    assert other.size == (20, 10) and other.getpixel((0, 0)) == (255, 255, 255)
    words = Page(text).words
    assert "tabby original" in words and "litert int8-static: Egyptian cat" in words
    assert "other.png No class recorded." in words


@pytest.mark.parametrize("content", [b"", b"no picture", jpeg()[:200]])
def test_a_broken_photograph_is_refused(full: Manifest, content: bytes) -> None:
    with pytest.raises(InputSpecError, match=r"cat\.jpg.*cannot be read"):
        render(full, [Photograph("cat.jpg", content)])


def test_a_picture_of_too_many_pixels_is_refused(full: Manifest) -> None:
    stream = io.BytesIO()
    Image.new("1", (20_000, 6_000)).save(stream, "PNG")
    with pytest.raises(InputSpecError, match="more than"):
        render(full, [Photograph("cat.jpg", stream.getvalue())])


def test_inputs_in_words() -> None:
    spec = TensorSpec("x", (1, 3, 64, 5), dynamic={2: DynamicDim("height", 32, 512, 32)})
    assert shape_text(spec) == "1 × 3 × height (32–512, multiples of 32) × 5"
    assert shape_text(TensorSpec("x", ())) == "scalar"
    assert image_text(ImageSpec()) == (
        "Takes camera bytes, three bytes in RGB order per pixel. The artefact itself scales 0..255 "
        "to 0..1: pass the image unchanged."
    )
    grey = ImageSpec("grey", "grey", -1.0, 1.0, (0.5,), (2.0,))
    assert image_text(grey) == (
        "Takes camera bytes, one byte per pixel. The artefact itself scales 0..255 to -1..1, "
        "subtracts the mean (0.5) and divides by the standard deviation (2): pass the image "
        "unchanged."
    )


def test_the_cost_of_the_model_and_of_its_layers(full: Manifest) -> None:
    page = Page(render(full))
    assert "cost" in page.ids()
    for expected in (
        "Parameters 20.9 k 864 of 1 bit, 20,000 of 32 bit",
        "Multiply-accumulates 385 M 385,000,000 of 32 bit",
        "Weights 80.1 kB each at its own precision",
        "Stored by torch 90.0 kB",
        "features.0.binary BinaryConv2d 3x3 /2 · 1 × 32 × 112 × 112 features.0.binary",
        "192 M · 50.0 %",
        # 14 of the 20 equal layers stand beside the first.
        "6 more take 15.0 %.",
        "Every layer (21)",
        "(model) depthwise Conv2d 3x3 1 × 96 × 56 × 56 1,000 9,625,000 2.5 % 32 4.00 kB",
        "864 192,500,000 50.0 % 1 / 32 108 B",
    ):
        assert expected in page.words
    plot = render(full).partition('aria-label="Multiply-accumulates by layer"')[2]
    names = re.findall(r'class="plot-name">([^<]+)<', plot.partition("</ol>")[0])
    assert names[0] == "features.0.binary" and len(names) == 15


def test_a_model_that_was_not_counted_has_no_cost(passed: Manifest) -> None:
    page = Page(render(passed))
    assert "cost" not in page.ids() and "Multiply-accumulates" not in page.words
    empty = CostRecord(parameters=0, macs=0, size_bytes=0, memory_bytes=0)
    bare = Page(render(passed.model_copy(update={"cost": empty})))
    assert "Multiply-accumulates 0 " in bare.words and "Every layer" not in bare.words


def test_class_names_of_the_model_are_counted(passed: Manifest) -> None:
    named = passed.model_copy(update={"labels": "", "classes": ["cat", "dog"]})
    assert "Classes 2" in Page(render(named)).words


def test_the_commands_make_the_same_bundle_again(full: Manifest) -> None:
    words = shlex.split(reproduction_commands(full)[0][1])
    assert words[:3] == ["edgesdk", "export", "models/mobilenet.py:build"]
    assert words[-2:] == ["--output", "./mobilenet_v2.edge"]
    options = dict(word.removeprefix("--").split("=", 1) for word in words[3:-2])
    assert options["to"] == "executorch:xnnpack,coreml,litert,onnx,executorch:vulkan"
    artefact, model = full.artefacts[0].inputs[0], full.inputs[0]
    assert parse_image(options["image"]) == artefact.image
    assert parse_dynamic(options["dynamic"]) == {"batch": model.dynamic[0]}
    read = parse_input(options["input"])
    assert (read.name, read.shape, read.dtype) == (model.name, model.shape, model.dtype)


@pytest.mark.parametrize("spec", ["models.mobilenet.MobileNetV2", "MobileNetV2", "-rf", "a\nb"])
def test_no_command_where_none_is_safe(full: Manifest, spec: str) -> None:
    source = full.source.model_copy(update={"spec": spec})
    commands = reproduction_commands(full.model_copy(update={"source": source}))
    assert [command.split()[1] for _, command in commands] == ["verify", "profile", "report"]


def test_commands_quote_what_a_shell_would_obey(full: Manifest) -> None:
    source = full.source.model_copy(update={"spec": "x.py:f; rm -rf ~"})
    hostile = full.model_copy(update={"source": source, "name": "$(touch y)"})
    for _, command in reproduction_commands(hostile):
        words = shlex.split(command)
        assert "./$(touch y).edge" in words
        assert not {";", "rm"} & set(words)


@dataclasses.dataclass(frozen=True)
class Opened:
    path: Path
    manifest: Manifest


def test_the_report_is_written_into_the_bundle(full: Manifest, tmp_path: Path) -> None:
    written = write_report(Opened(tmp_path, full))  # type: ignore[arg-type]
    assert written == tmp_path / "report.html"
    assert written.read_bytes() == render(full).encode()
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_a_link_in_the_bundle_is_replaced_not_followed(full: Manifest, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    folder = tmp_path / "a.edge"
    folder.mkdir()
    (folder / "report.html").symlink_to(precious)
    written = write_report(Opened(folder, full))  # type: ignore[arg-type]
    assert precious.read_text() == "mine"
    assert not written.is_symlink() and "<!DOCTYPE html>" in written.read_text()


def test_where_the_report_goes(full: Manifest, tmp_path: Path) -> None:
    bundle: Any = Opened(tmp_path / "a.edge", full)
    file = tmp_path / "new" / "folder" / "page.html"
    assert write_report(bundle, file) == file
    assert write_report(bundle, tmp_path) == tmp_path / "report.html"
    with pytest.raises(OutputExistsError, match="exists already"):
        write_report(bundle, file, overwrite=False)
    with pytest.raises(StorageError, match="cannot write"):
        write_report(bundle, file / "page.html")


def test_a_bundle_stays_valid_with_its_report(partial: Manifest, tmp_path: Path) -> None:
    artefact, samples = tmp_path / "a", tmp_path / "b"
    artefact.write_bytes(b"artefact")
    samples.write_bytes(b"samples")
    with BundleWriter(tmp_path / "net.edge") as writer:
        record = partial.artefacts[0].model_copy(update={"file": writer.add(artefact, "net.onnx")})
        reference = ReferenceRecord(samples=writer.add(samples, "samples.safetensors"))
        changes = {"artefacts": [record], "reference": reference, "name": "net"}
        writer.commit(partial.model_copy(update=changes))
    written = write_report(tmp_path / "net.edge")
    assert written == tmp_path / "net.edge" / "report.html"
    assert record.file.sha256 in written.read_text("utf-8")
    again = Bundle.open(tmp_path / "net.edge")
    assert write_report(again).read_text("utf-8") == render(again.manifest)


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []
