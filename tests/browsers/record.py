# SPDX-License-Identifier: GPL-2.0-or-later
"""`python -m tests.browsers.record`: store the requests of the Chromium and the curl that are installed, as bytes."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Final

from tests.browsers.browser import browse, chromium, run_curl
from tests.browsers.cases import CURL, NAMES

FOLDER: Final = Path(__file__).parent / "requests"
_QUIET: Final = 0.5  # seconds without a byte after which a request is taken to be complete
_MOST: Final = 1 << 17  # bytes


class Recorder:
    """In the stub's place: takes what comes, answers nothing, and hangs up."""

    def __init__(self) -> None:
        self.name = ""
        self.found: dict[str, bytes] = {}
        self._listener = socket.socket()

    def listen(self, port: int) -> int:
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("127.0.0.1", port))
        self._listener.listen()
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()
        return int(self._listener.getsockname()[1])

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connected, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._take, args=(connected, self.name), daemon=True).start()

    def _take(self, connected: socket.socket, name: str) -> None:
        said = bytearray()
        connected.settimeout(_QUIET)
        with connected:
            try:
                while len(said) < _MOST and (piece := connected.recv(1 << 16)):
                    said += piece
            except OSError:
                pass
        if said:  # browsers also connect without saying anything, in advance
            self.found.setdefault(name, bytes(said))

    def begin(self, name: str) -> None:
        self.name = name


def main() -> int:
    """Record them all; 1 if one is missing."""
    recorder = Recorder()
    for rebound in (False, True):
        browse(rebound, recorder.listen, recorder.begin, lambda name: None)
        recorder.close()
    port = recorder.listen(0)
    for name in CURL:
        recorder.begin(name)
        run_curl(name, port)
    recorder.close()
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    for name, said in recorder.found.items():
        (FOLDER / f"{name}.bin").write_bytes(said)
    programs = [str(chromium()), "curl"]
    versions = [subprocess.run([each, "--version"], capture_output=True, text=True, check=False) for each in programs]
    lines = [version.stdout.splitlines()[0].strip() for version in versions]
    heading = "Requests as bytes, made by `python -m tests.browsers.record` with\n\n"
    (FOLDER / "README.md").write_text(heading + "".join(f"* {line}\n" for line in lines))
    missing = set(NAMES) - recorder.found.keys()
    print(f"{len(recorder.found)} recorded; missing: {', '.join(sorted(missing)) or 'none'}")
    return int(bool(missing))


if __name__ == "__main__":
    sys.exit(main())
