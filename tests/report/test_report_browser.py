"""The report in a real browser: it renders, fits a phone, logs no error and asks for nothing."""

from __future__ import annotations

import base64
import contextlib
import io
import itertools
import json
import os
import re
import select
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from edgesdk.bundle.manifest import Manifest
from edgesdk.report import Photograph, render

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE_S = 60.0
PHONE, DESKTOP = (360, 800), (1280, 900)

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="the report's look needs Chromium: apt-get install chromium"
)


class Browser:
    """Chromium's DevTools protocol over a pair of pipes: JSON messages, each ended by a zero."""

    def __init__(self, profile: Path) -> None:
        assert CHROMIUM is not None
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()
        # The shell leaves the pipes where the protocol wants them: descriptors 3 and 4.
        command = f'exec 3<&{to_browser} 4>&{from_browser}; exec "$@"'
        self._process = subprocess.Popen(
            [
                *("bash", "-c", command, "bash", CHROMIUM, *FLAGS, f"--user-data-dir={profile}"),
                *("--remote-debugging-pipe", "about:blank"),
            ],
            pass_fds=(to_browser, from_browser),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._ids = itertools.count(1)
        self._buffer = b""
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def _message(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(0, deadline - time.monotonic()))
            chunk = os.read(self._read, 1 << 16) if ready else b""
            if not chunk:
                pytest.fail(f"Chromium fell silent (exit code {self._process.poll()})")
            self._buffer += chunk
        message, _, self._buffer = self._buffer.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and wait for its answer; events that come first are kept."""
        number = next(self._ids)
        command: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session is not None:
            command["sessionId"] = self._session
        os.write(self._write, json.dumps(command).encode() + b"\0")
        deadline = time.monotonic() + PATIENCE_S
        while (message := self._message(deadline)).get("id") != number:
            self.events.append(message)
        assert "error" not in message, f"{method}: {message['error']}"
        answer: dict[str, Any] = message["result"]
        return answer

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def show(self, page: Path, size: tuple[int, int], dark: bool = False) -> None:
        """Load ``page`` at ``size`` CSS pixels and wait until it is loaded."""
        width, height = size
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.events.clear()
        self.call("Page.navigate", url=page.as_uri())
        deadline = time.monotonic() + PATIENCE_S
        while not self.named("Page.loadEventFired"):
            self.events.append(self._message(deadline))

    def named(self, *methods: str) -> list[dict[str, Any]]:
        """Parameters of the events of these names since the page was asked for."""
        return [event["params"] for event in self.events if event.get("method") in methods]

    def screenshot(self) -> Image.Image:
        """Return a screenshot."""
        data = self.call("Page.captureScreenshot", format="png")["data"]
        return Image.open(io.BytesIO(base64.b64decode(data)))

    def close(self) -> None:
        """End this browser and nothing else."""
        with contextlib.suppress(OSError):
            os.write(self._write, b'{"id":0,"method":"Browser.close"}\0')
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._write)
        os.close(self._read)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    opened = Browser(tmp_path_factory.mktemp("chromium"))
    yield opened
    opened.close()


@pytest.fixture
def page(tmp_path: Path) -> Callable[..., Path]:
    def write(manifest: Manifest, *photographs: Photograph) -> Path:
        path = tmp_path / "report.html"
        path.write_text(render(manifest, photographs), encoding="utf-8")
        return path

    return write


def picture() -> bytes:
    stream = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(stream, "JPEG")
    return stream.getvalue()


KINDS = ("full", "passed", "empty", "failed_only", "evaluator_only", "partial")


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_is_quiet_and_fits_a_phone(
    kind: str, browser: Browser, page: Callable[..., Path], request: pytest.FixtureRequest
) -> None:
    manifest = request.getfixturevalue(kind)
    path = page(manifest, Photograph("cat.jpg", picture()))
    for size in (PHONE, DESKTOP):
        browser.show(path, size)
        assert browser.evaluate("innerWidth") == size[0]
        assert browser.evaluate("document.documentElement.scrollWidth") <= size[0]
        assert browser.evaluate("document.querySelector('h1').textContent") == manifest.name
        # An image that the policy or its own bytes forbid has no size.
        sizes = browser.evaluate("[...document.images].map(image => image.naturalWidth)")
        assert sizes == [160]
        asked = [event["request"]["url"] for event in browser.named("Network.requestWillBeSent")]
        assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()]
        faults = ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled")
        assert browser.named(*faults) == []


def test_nothing_is_cut_off_or_overlaps_on_a_phone(
    browser: Browser, page: Callable[..., Path], full: Manifest
) -> None:
    long = full.model_copy(
        update={
            "name": "n" * 200,
            "source": full.source.model_copy(update={"model": "m." * 300, "spec": "s/" * 300}),
        }
    )
    browser.show(page(long), PHONE)
    assert browser.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
    # What sticks out must lie in a container that scrolls or clips by itself.
    sticking_out = browser.evaluate(
        "[...document.querySelectorAll('main *, header *')].filter(e => {"
        " if (e.getBoundingClientRect().right <= innerWidth + 0.5) return false;"
        " for (let p = e.parentElement; p; p = p.parentElement)"
        "  if (getComputedStyle(p).overflowX !== 'visible') return false;"
        " return true; }).map(e => e.outerHTML.slice(0, 200))"
    )
    assert sticking_out == []


@pytest.mark.parametrize("dark", [False, True])
def test_text_contrasts_with_its_ground(
    dark: bool, browser: Browser, page: Callable[..., Path], full: Manifest
) -> None:
    browser.show(page(full), DESKTOP, dark)
    weakest = browser.evaluate(
        """(() => {
        const read = c => c.match(/[\\d.]+/g).map(Number);
        const light = c => { const [r, g, b] = read(c).map(v => v / 255)
            .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
            return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
        const ground = e => { for (; e; e = e.parentElement) {
            const c = getComputedStyle(e).backgroundColor;
            if ((read(c)[3] ?? 1) > 0) return c; } return 'rgb(255, 255, 255)'; };
        const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
        let worst = [99, ''];
        while (walker.nextNode()) {
            const e = walker.currentNode.parentElement;
            if (!walker.currentNode.data.trim() || e.closest('title')) continue;
            const style = getComputedStyle(e);
            const ink = e.closest('svg') ? style.fill : style.color;
            const pair = [light(ink), light(ground(e))].sort((a, b) => b - a);
            const ratio = (pair[0] + 0.05) / (pair[1] + 0.05);
            if (ratio < worst[0]) worst = [ratio, e.outerHTML.slice(0, 120)];
        }
        return worst; })()"""
    )
    assert weakest[0] >= 4.5, weakest
    bars = "getComputedStyle(document.body).backgroundColor"
    assert browser.evaluate(bars) == ("rgb(16, 18, 20)" if dark else "rgb(247, 247, 245)")


@pytest.mark.parametrize("size", [PHONE, DESKTOP])
def test_the_first_screen_is_not_blank(
    size: tuple[int, int], browser: Browser, page: Callable[..., Path], full: Manifest
) -> None:
    browser.show(page(full), size)
    shot = browser.screenshot()
    assert shot.size == size
    assert len(set(shot.convert("RGB").resize((90, 90)).tobytes())) > 100


def test_bars_are_as_long_as_their_figures(
    browser: Browser, page: Callable[..., Path], passed: Manifest
) -> None:
    browser.show(page(passed), DESKTOP)
    widths = browser.evaluate(
        "[...document.querySelectorAll('ol[aria-label^=Latency] .bar')]"
        ".map(bar => bar.getBoundingClientRect().width)"
    )
    assert len(widths) == 2
    assert widths[1] / widths[0] == pytest.approx(20.0 / 9.7, rel=0.02)


def test_the_policy_of_the_page_stops_a_script(
    browser: Browser, page: Callable[..., Path], full: Manifest
) -> None:
    path = page(full)
    planted = "<script>document.title = 'planted'</script></body>"
    path.write_text(path.read_text("utf-8").replace("</body>", planted), "utf-8")
    browser.show(path, DESKTOP)
    assert browser.evaluate("document.scripts.length") == 1
    assert browser.evaluate("document.title") == "mobilenet_v2 – conversion report"
    assert "Content Security Policy" in str(browser.named("Log.entryAdded"))


def test_the_browser_reads_what_was_written(
    page: Callable[..., Path], full: Manifest, tmp_path: Path
) -> None:
    assert CHROMIUM is not None
    profile = tmp_path / "profile"
    profile.mkdir()
    dumped = subprocess.run(
        [
            *(CHROMIUM, *FLAGS, f"--user-data-dir={profile}"),
            *("--dump-dom", page(full).as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    ).stdout
    # The parser of the browser moves what is misplaced, such as a paragraph in a table.
    elements = re.findall(r"<(\w+)", page(full).read_text("utf-8").partition("</style>")[2])
    assert re.findall(r"<(\w+)", dumped.partition("</style>")[2]) == elements
