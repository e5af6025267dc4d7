"""`visionfm serve model.vfm`: a page on this machine where one drops an image and sees the answer, for a demonstration.

Invariants: only this machine can reach it (loopback), an upload stays in memory and is bounded, and another web page in
the same browser can neither ask (a token, the Host and the Origin are checked) nor read the answer.
"""

import argparse
import hmac
import json
import logging
import math
import os
import secrets
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visionfm.errors import UsageError, VisionFMError

if TYPE_CHECKING:
    from visionfm.tasks.package.model import Model

LOOPBACK, PORT = "127.0.0.1", 8765
MOST_BYTES = 64 << 20  # of all images of one question
TIMEOUT_S = 30
TOKEN, PARTS = "X-VisionFM-Token", "X-VisionFM-Parts"
PAGE = Path(__file__).with_name("serve.html")
log = logging.getLogger("visionfm")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("model", type=Path, metavar="FILE", help="a packaged model (.vfm)")
    parser.add_argument("--port", type=int, default=PORT, help=f"on this machine alone (default {PORT}; 0: any)")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="where it computes")


def main(args: argparse.Namespace) -> None:
    """Serve until Ctrl-C."""
    if not hasattr(os, "memfd_create"):
        raise UsageError("uploads are kept in memory by what Linux alone has", do="use `visionfm predict --model`")
    from visionfm.tasks.package.model import load_model

    with server(load_model(args.model, device=args.device), args.port) as serving:
        print(f"http://{LOOPBACK}:{serving.server_port}/  (this machine alone; Ctrl-C ends it)", flush=True)
        try:
            serving.serve_forever()
        except KeyboardInterrupt:
            log.info("serve: ended")


@contextmanager
def server(model: "Model", port: int = 0) -> Iterator[ThreadingHTTPServer]:
    """Yield a server that answers for a model once it is told to serve; UsageError where the port is taken."""
    token = secrets.token_urlsafe(32)

    class Bound(_Handler):
        asked = _Asked(model, token)

    try:
        made = ThreadingHTTPServer((LOOPBACK, port), Bound)
    except OSError as error:
        raise UsageError(
            "the port cannot be used", found=error.strerror, where=port, do="name another --port"
        ) from error
    made.daemon_threads = True
    with made:
        yield made


class _Asked:
    """The model, which answers one question at a time, and the token of the page."""

    def __init__(self, model: "Model", token: str) -> None:
        self.model, self.token, self.lock = model, token, threading.Lock()

    def page(self, nonce: str) -> bytes:
        """Return the page; all that is of the model stands in one JSON, which its script reads."""
        said = self.model.contents
        facts = {
            "token": self.token,
            "title": f"{said.task} by {said.model}",
            "use": said.intended_use,
            "modalities": said.modalities,
            "joined": said.fusion != "pooled",
            "most": MOST_BYTES,
        }
        text = json.dumps(facts).replace("<", "\\u003c")
        return PAGE.read_text(encoding="utf-8").replace("NONCE", nonce).replace('"FACTS"', text).encode()

    def answer(self, parts: Sequence[tuple[str, bytes]]) -> dict[str, Any]:
        """Return status, doubts, typicality and the answers to (modality, image) pairs, which are one sample."""
        from visionfm.tasks.package.asked import Asked

        with ExitStack() as held, self.lock:
            paths = [held.enter_context(_in_memory(data)) for _, data in parts]
            images = [Asked("image", of, path, of) for (of, _), path in zip(parts, paths, strict=True)]
            row = self.model.table(images).iloc[0].to_dict()
        targets = self.model.contents.targets
        of_values = [name for name, target in targets.items() if target.type == "value"]
        values = {*targets} if self.model.contents.kind == "ordinal" else set(of_values)
        values |= {f"{name} {word}" for name in of_values for word in ("lowest", "highest")}
        skipped = ("image", "sample", "images", "modality", "status", "doubts", "typicality")
        shown = []
        for name, value in row.items():
            if name in skipped or value is None or (isinstance(value, float) and math.isnan(value)):
                continue
            number = isinstance(value, float | int)
            target = next((target for one, target in targets.items() if name == one), None)
            unit = (target.unit if target is not None else None) or ""
            shown.append({"name": name, "value": value, "unit": unit, "share": number and name not in values})
        typicality = row["typicality"]
        return {
            "status": row["status"],
            "doubts": row["doubts"],
            "typicality": None if math.isnan(typicality) else typicality,
            "answers": shown,
        }


@contextmanager
def _in_memory(data: bytes) -> Iterator[Path]:
    """Yield a path to bytes that are on no disk; a process that reads a format apart can open it too."""
    held = os.memfd_create("visionfm-upload")
    try:
        with open(held, "wb", closefd=False) as handle:
            handle.write(data)
        yield Path(f"/proc/{os.getpid()}/fd/{held}")
    finally:
        os.close(held)


class _Handler(BaseHTTPRequestHandler):
    """GET / is the page, POST /answer a question: images one after the other, `PARTS` says `place:bytes,...`."""

    asked: _Asked
    server_version, sys_version = "visionfm", ""
    timeout = TIMEOUT_S

    def do_GET(self) -> None:
        """Send the page."""
        if not self._is_ours():
            return
        if self.path != "/":
            self._refuse(HTTPStatus.NOT_FOUND, "there is one page, /")
            return
        nonce = secrets.token_urlsafe(16)
        self._send(HTTPStatus.OK, "text/html; charset=utf-8", self.asked.page(nonce), nonce)

    def do_POST(self) -> None:
        """Answer the images."""
        if not self._is_ours():
            return
        if not hmac.compare_digest(self.headers.get(TOKEN, "").encode(), self.asked.token.encode()):
            self._refuse(HTTPStatus.FORBIDDEN, "this is not asked by the page of this server: load it again")
            return
        if self.path != "/answer":
            self._refuse(HTTPStatus.NOT_FOUND, "questions go to /answer")
            return
        try:
            parts = self._parts()
        except ValueError as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))
            return
        if parts is None:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"images of more than {MOST_BYTES >> 20} MB")
            return
        try:
            found = self.asked.answer(parts)
        except VisionFMError as error:
            self._refuse(HTTPStatus.UNPROCESSABLE_ENTITY, error.problem)
            return
        self._send(HTTPStatus.OK, "application/json", json.dumps(found).encode())

    def _is_ours(self) -> bool:
        """Refuse a name that leads here from elsewhere (DNS rebinding), and the pages of other sites."""
        port = self.connection.getsockname()[1]
        hosts = (f"{LOOPBACK}:{port}", f"localhost:{port}")
        origin = self.headers.get("Origin")
        if self.headers.get("Host") in hosts and (origin is None or origin in [f"http://{host}" for host in hosts]):
            return True
        self._refuse(HTTPStatus.FORBIDDEN, f"only http://{hosts[0]}/ is answered")
        return False

    def _parts(self) -> list[tuple[str, bytes]] | None:
        """Return (modality, bytes) of the images; None where they are too large, ValueError where they do not fit."""
        length = int(self.headers.get("Content-Length", "0"))
        if length > MOST_BYTES:
            return None
        pairs = [part.split(":") for part in self.headers.get(PARTS, "").split(",")]
        sizes = [(int(place), int(size)) for place, size in pairs]
        known = self.asked.model.contents.modalities
        if any(not 0 <= place < len(known) or size <= 0 for place, size in sizes) or sum(s for _, s in sizes) != length:
            raise ValueError("the parts do not fit the images")
        if self.asked.model.contents.fusion == "pooled" and len(sizes) > 1:
            raise ValueError("this model looks at one image")
        body = self.rfile.read(length)
        found, at = [], 0
        for place, size in sizes:
            found.append((known[place], body[at : at + size]))
            at += size
        return found

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        self.close_connection = True  # what was not read of a body is no next request
        self._send(status, "application/json", json.dumps({"error": why}).encode())

    def _send(self, status: HTTPStatus, kind: str, body: bytes, nonce: str = "") -> None:
        own = f"'nonce-{nonce}'" if nonce else "'none'"
        policy = f"default-src 'none'; script-src {own}; style-src {own}; img-src blob:; connect-src 'self'; "
        headers = {
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            "Content-Security-Policy": policy + "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Cache-Control": "no-store",
        }
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep no log of who asked what."""
