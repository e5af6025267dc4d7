"""The report page in headless Chromium, at desktop and phone width: no request, no console message, no sideways scroll.

Speaks the DevTools protocol over a pipe, so that nothing beside Chromium is needed. VISIONFM_SCREENSHOTS=FOLDER keeps
the pictures; VISIONFM_PAGE=FILE looks at that page in place of a fabricated one.
"""

import base64
import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
]
WIDTHS = {"desktop": (1280, 900, False), "phone": (390, 844, True)}
LOCAL = ("data:", "file:", "about:", "chrome:")


class Browser:
    """Headless Chromium behind a pipe (fd 3 in, fd 4 out; messages end with a zero byte)."""

    def __init__(self, folder: Path) -> None:
        theirs_in, self._to = os.pipe()
        self._from, theirs_out = os.pipe()
        high_in, high_out = (fcntl.fcntl(end, fcntl.F_DUPFD, 50) for end in (theirs_in, theirs_out))

        def take_ends() -> None:
            os.dup2(high_in, 3)
            os.dup2(high_out, 4)

        command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={folder}"]
        self.process = subprocess.Popen(
            command, preexec_fn=take_ends, pass_fds=(3, 4), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for end in (theirs_in, theirs_out, high_in, high_out):
            os.close(end)
        self._buffer, self._count, self.events = b"", 0, []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.call(f"{domain}.enable")

    session: str | None = None
    events: list[dict[str, Any]]

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result; events that come in between are kept."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._count:
                assert "error" not in answer, answer["error"]
                return dict(answer["result"])

    def wait_for(self, event: str) -> None:
        """Read until an event has come."""
        while not any(message["method"] == event for message in self.events):
            self._next()

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            part = os.read(self._from, 1 << 16)
            assert part, "Chromium ended"
            self._buffer += part
        text, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        if "method" in message:
            self.events.append(message)
        return message

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression in the page."""
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)[
            "result"
        ].get("value")

    def open(self, path: Path, width: int, height: int, mobile: bool) -> None:
        """Load a file at a window size, forgetting earlier events."""
        self.events.clear()
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)
        self.call("Page.navigate", url=path.resolve().as_uri())
        self.wait_for("Page.loadEventFired")
        self.evaluate("document.fonts.ready")
        time.sleep(0.3)  # late console messages and requests
        self.evaluate("1")

    def screenshot(self, path: Path) -> None:
        """Write the whole page as PNG."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 16000), "scale": 1}
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(shot["data"]))

    def close(self) -> None:
        """End this Chromium."""
        with contextlib.suppress(AssertionError, OSError):
            self.session = None
            self.call("Browser.close")
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
        os.close(self._to)
        os.close(self._from)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("needs Chromium on the PATH (apt-get install chromium) to look at the page")
    found = Browser(tmp_path_factory.mktemp("chromium"))
    yield found
    found.close()


@pytest.fixture(scope="module")
def report_page(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if given := os.environ.get("VISIONFM_PAGE"):
        return Path(given).resolve()
    from visionfm.project.settings import ReportSettings
    from visionfm.report.stage import Outputs, report

    with contextlib.chdir(tmp_path_factory.mktemp("page")):
        run = request.getfixturevalue("fabricate_at")()
        out = Outputs.of(run.plan)
        report(out, ReportSettings(config=run.config))
        return out.page.resolve()


def test_page_shows_whole_at_desktop_and_phone_width_without_request_or_console_message(
    browser: Browser, report_page: Path
) -> None:
    for name, (width, height, mobile) in WIDTHS.items():
        browser.open(report_page, width, height, mobile)
        if folder := os.environ.get("VISIONFM_SCREENSHOTS"):
            Path(folder).mkdir(parents=True, exist_ok=True)
            browser.screenshot(Path(folder, f"{name}.png"))
            browser.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
            browser.screenshot(Path(folder, f"{name}-open.png"))
        requests = [e["params"]["request"]["url"] for e in browser.events if e["method"] == "Network.requestWillBeSent"]
        assert [url[:100] for url in requests if not url.startswith(LOCAL)] == []
        assert [url for url in requests if url.startswith("file:")] == [report_page.as_uri()], "another file was read"
        said = [e["params"] for e in browser.events if e["method"] in ("Log.entryAdded", "Runtime.consoleAPICalled")]
        assert said == [], f"{name}: console messages"
        browser.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert browser.evaluate("document.documentElement.scrollWidth") <= width, f"{name}: the page scrolls sideways"
        assert browser.evaluate("document.documentElement.clientWidth") == width
        stick_out = browser.evaluate(
            "[...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll, pre, svg, .skip') && "
            "e.getBoundingClientRect().right > document.documentElement.clientWidth + 1).map(e => "
            "e.outerHTML.slice(0, 120))"
        )
        assert stick_out == []


def test_every_figure_is_drawn_and_every_picture_decodes(browser: Browser, report_page: Path) -> None:
    browser.open(report_page, 1280, 900, False)
    boxes = browser.evaluate(
        "[...document.querySelectorAll('.figures svg')].map(s => s.getBoundingClientRect().height)"
    )
    assert boxes
    assert min(boxes) > 150
    assert browser.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")


def test_ids_are_unique_and_every_reference_has_its_target(browser: Browser, report_page: Path) -> None:
    browser.open(report_page, 1280, 900, False)
    ids = browser.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))
    links = "[...document.querySelectorAll('a[href^=\\'#\\'], use')].map(e => e.getAttribute('href').slice(1))"
    links = browser.evaluate(links)
    assert set(links) <= set(ids)


# A figure is one image with a name; rows of a table are alike; what a shadow lies under, axe cannot judge.
EASIER = """
document.querySelectorAll('svg[role=img]').forEach(figure => figure.replaceChildren());
document.querySelectorAll('tr:nth-child(n + 3)').forEach(row => row.remove());
document.querySelectorAll('.scroll').forEach(box => { box.style.background = 'none' });
document.querySelectorAll('details').forEach(fold => { fold.open = true });
"""


def axe_findings(browser: Browser) -> list[str]:
    """Return what axe-core finds wrong with the open page."""
    browser.evaluate(EASIER)
    browser.evaluate(Path(str(files("axe_core_python")), "axe.min.js").read_text())
    run = "axe.run().then(found => found.violations.flatMap(one => one.nodes.map(node => `${one.id}: ${node.html}`)))"
    found: list[str] = browser.evaluate(run)
    return [text[:200] for text in found]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_for_those_who_cannot_see_the_page_as_others_do(
    browser: Browser, report_page: Path, scheme: str
) -> None:
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    browser.open(report_page, 1280, 900, False)
    assert axe_findings(browser) == []


def test_a_link_of_the_contents_opens_the_fold_that_it_names(browser: Browser, report_page: Path) -> None:
    browser.open(report_page, 1280, 900, False)
    assert not browser.evaluate("document.querySelector('#config').checkVisibility({contentVisibilityAuto: true})")
    browser.evaluate("document.querySelector('nav a[href=\"#config\"]').click()")
    assert browser.evaluate("document.querySelector('#config').closest('details').open")
