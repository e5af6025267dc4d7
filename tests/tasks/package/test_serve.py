"""The page answers images of this machine's own browser, and nobody else."""

import http.client
import json
import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from world.browser import Browser
from world.handed_over import Run

from visionfm.commands import serve
from visionfm.tasks.package.model import Model, load_model


@pytest.fixture(scope="module")
def model(sick_model: Path) -> Model:
    return load_model(sick_model, device="cpu")


@pytest.fixture(scope="module")
def port(model: Model) -> Iterator[int]:
    with serve.server(model) as serving:
        thread = threading.Thread(target=serving.serve_forever, daemon=True)
        thread.start()
        yield serving.server_port
        serving.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def image(run: Run) -> bytes:
    return (run.folder / "Fundus/eyes/000.jpg").read_bytes()


def request(port: int, way: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, Any, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(way, path, body, {name.replace("_", "-"): text for name, text in headers.items()})
    reply = connection.getresponse()
    data = reply.read()
    connection.close()
    return reply.status, reply.headers, json.loads(data) if data.startswith(b"{") else data.decode()


def token(port: int) -> str:
    found = re.search(r'"token": "([^"]+)"', request(port, "GET", "/")[2])
    assert found
    return found[1]


def ask(port: int, image: bytes, **headers: str) -> tuple[int, Any, Any]:
    said = {"X_VisionFM_Token": token(port), "X_VisionFM_Parts": f"0:{len(image)}", **headers}
    return request(port, "POST", "/answer", image, **said)


def test_it_answers_as_the_model_does(port: int, model: Model, image: bytes, run: Run) -> None:
    status, _, found = ask(port, image)
    expected = model.predict(run.folder / "Fundus/eyes/000.jpg").iloc[0]
    by_name = {one["name"]: one["value"] for one in found["answers"]}
    assert (status, found["status"]) == (200, "ok")
    assert by_name["sick"] == expected["sick"] and by_name["sick at 0.5"] == expected["sick at 0.5"]


def test_what_is_no_image_gets_a_reason(port: int) -> None:
    status, _, found = ask(port, b"no image")
    assert status == 200 and found["status"].startswith("not_an_image") and found["answers"] == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"X_VisionFM_Token": "guessed"}, 403),
        ({"Host": "evil.example:80"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"X_VisionFM_Parts": "7:1"}, 400),
        ({"X_VisionFM_Parts": "0:1"}, 400),
        ({"X_VisionFM_Parts": "many"}, 400),
        ({"Content_Length": str(serve.MOST_BYTES + 1)}, 413),
    ],
)
def test_who_else_asks_is_refused(port: int, image: bytes, headers: dict[str, str], status: int) -> None:
    assert ask(port, image, **headers)[0] == status


def test_the_page_runs_its_own_script_alone_and_stands_in_no_frame(port: int) -> None:
    status, headers, page = request(port, "GET", "/")
    policy = headers["Content-Security-Policy"]
    nonce = re.search(r"'nonce-([^']+)'", policy)
    assert status == 200 and nonce and page.count(f'nonce="{nonce[1]}"') == 2
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
    assert request(port, "GET", "/etc/passwd")[0] == 404 and request(port, "GET", "/", Host="localhost.evil")[0] == 403


def test_nothing_is_written(port: int, image: bytes) -> None:
    written: list[object] = []
    watching = True

    def watch(event: str, details: tuple[Any, ...]) -> None:  # a hook of the interpreter stays: it is switched off
        if watching and event == "open" and details[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            written.append(details[0])

    sys.addaudithook(watch)
    assert ask(port, image)[0] == 200
    watching = False
    assert all(isinstance(file, int) for file in written)  # the descriptor of bytes in memory
    assert written


@pytest.mark.parametrize(("width", "mobile"), [(1280, False), (390, True)], ids=["desktop", "phone"])
def test_a_browser_shows_the_answer_to_a_chosen_image(
    browser: Browser, port: int, model: Model, run: Run, width: int, mobile: bool
) -> None:
    photo = run.folder / "Fundus/eyes/000.jpg"
    browser.open(f"http://127.0.0.1:{port}/", width, 900, mobile)
    browser.choose("input[type=file]", photo)
    shown = "new Promise(done => setTimeout(() => done(document.getElementById('found').innerText), 100))"
    deadline = time.monotonic() + 60
    while "Typicality" not in (text := browser.evaluate(shown)):
        assert time.monotonic() < deadline, text
    likely = float(model.predict(photo).iloc[0]["sick"])
    assert f"{100 * likely:.1f} %" in text
    assert browser.evaluate("document.documentElement.scrollWidth") <= width, "the page scrolls sideways"
    assert [event for event in browser.events if event["method"] == "Log.entryAdded"] == []
    if folder := os.environ.get("VISIONFM_SCREENSHOTS"):
        browser.screenshot(Path(folder, f"serve-{width}.png"))
