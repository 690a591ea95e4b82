# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes the requests of `cases`: a Chromium that is shown a page of ours, and curl."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from tests.browsers.cases import CURL, page

NAME: Final = "rebound.example"
"""The page's host when it is of the stub's own origin: a name that leads to 127.0.0.1, as an attacker's would."""
_PATIENCE: Final = 180.0  # seconds
_FLAGS: Final = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage"),
    *("--disable-features=LocalNetworkAccessChecks,HttpsUpgrades", f"--host-resolver-rules=MAP {NAME} 127.0.0.1"),
)


def chromium() -> str | None:
    """The browser, if there is one."""
    return shutil.which("chromium") or shutil.which("google-chrome")


class _Control(BaseHTTPRequestHandler):
    """What the page tells of its progress."""

    server: _ControlServer

    def do_GET(self) -> None:
        step, _, name = self.path[1:].partition("?")
        self.server.told(step, name)
        self.send_response(200)
        self.send_header("Access-Control-Allow-Origin", "*")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None: ...


class _ControlServer(ThreadingHTTPServer):
    def __init__(self, told: Callable[[str, str], None]) -> None:
        super().__init__(("127.0.0.1", 0), _Control)
        self.told = told


class _Page(BaseHTTPRequestHandler):
    text = b""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(self.text)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(self.text)

    def log_message(self, format: str, *args: object) -> None: ...


def browse(
    rebound: bool, listen: Callable[[int], int], begin: Callable[[str], None], end: Callable[[str], None]
) -> None:
    """Have the browser make its requests, of the stub's own origin if `rebound`.

    listen: has the stub, or what is in its place, listen on a port (0: any), and gives the port; called before any of
    the requests. begin, end: called before and after each of them, with its name.
    """
    browser = chromium()
    assert browser, "there is no Chromium"
    done = threading.Event()
    # Of its own origin is what comes from its port: the page is served there until it has come, then the stub is.
    pages = ThreadingHTTPServer(("127.0.0.1", 0), type("Page", (_Page,), {}))
    port = pages.server_address[1]

    def told(step: str, name: str) -> None:
        match step:
            case "go":
                if rebound:
                    pages.shutdown()
                    pages.server_close()
                    listen(port)
            case "begin":
                begin(name)
            case "end":
                end(name)
            case "done":
                done.set()

    control = _ControlServer(told)
    stub = port if rebound else listen(0)
    host = NAME if rebound else "127.0.0.1"
    pages.RequestHandlerClass.text = page(  # type: ignore[attr-defined]
        f"{host}:{stub}", f"http://127.0.0.1:{control.server_address[1]}", rebound
    ).encode()
    for server in (pages, control):
        threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(prefix="armprobe-browser-", ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [browser, *_FLAGS, f"--user-data-dir={profile}", f"http://{host}:{port}/"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            assert done.wait(_PATIENCE), "the browser did not get to the end of the page"
        finally:
            process.terminate()
            process.wait()
    control.shutdown()
    control.server_close()
    if not rebound:
        pages.shutdown()
        pages.server_close()


def run_curl(name: str, port: int) -> None:
    """Have curl make one request."""
    arguments = [argument.replace("PLACE", f"127.0.0.1:{port}") for argument in CURL[name]]
    command = ["curl", "--silent", "--globoff", "--max-time", "10", "--noproxy", "", *arguments]
    subprocess.run(command, capture_output=True, check=False)
