"""The report page in headless Chromium, at desktop and phone width: no request, no console message, no sideways scroll.

VISIONFM_SCREENSHOTS=FOLDER keeps the pictures; VISIONFM_PAGE=FILE looks at that page in place of a fabricated one.
"""

import contextlib
import os
from importlib.resources import files
from pathlib import Path

import pytest
from world.browser import Browser

WIDTHS = {"desktop": (1280, 900, False), "phone": (390, 844, True)}
LOCAL = ("data:", "file:", "about:", "chrome:")


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
        browser.open(report_page.as_uri(), width, height, mobile)
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
    browser.open(report_page.as_uri(), 1280, 900, False)
    boxes = browser.evaluate(
        "[...document.querySelectorAll('.figures svg')].map(s => s.getBoundingClientRect().height)"
    )
    assert boxes
    assert min(boxes) > 150
    assert browser.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")


def test_ids_are_unique_and_every_reference_has_its_target(browser: Browser, report_page: Path) -> None:
    browser.open(report_page.as_uri(), 1280, 900, False)
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
    browser.open(report_page.as_uri(), 1280, 900, False)
    assert axe_findings(browser) == []


def test_a_link_of_the_contents_opens_the_fold_that_it_names(browser: Browser, report_page: Path) -> None:
    browser.open(report_page.as_uri(), 1280, 900, False)
    assert not browser.evaluate("document.querySelector('#config').checkVisibility({contentVisibilityAuto: true})")
    browser.evaluate("document.querySelector('nav a[href=\"#config\"]').click()")
    assert browser.evaluate("document.querySelector('#config').closest('details').open")
