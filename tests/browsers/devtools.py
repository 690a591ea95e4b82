# SPDX-License-Identifier: GPL-2.0-or-later
"""A page in headless Chromium, driven by the DevTools protocol over a pipe: JSON, with a NUL behind each message."""

from __future__ import annotations

import fcntl
import json
import os
import signal
from pathlib import Path
from typing import Any, Final, Self

_READS, _WRITES = 3, 4  # the browser's end (content/public/common/content_switches.cc)
_FLAGS: Final = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage"),
    *("--hide-scrollbars", "--remote-debugging-pipe"),
)


class DevToolsError(Exception):
    """The browser refuses a command, or its page has thrown an exception."""


class Browser:
    """A browser, of which one page is looked at. A context, which ends it."""

    def __init__(self, browser: str, profile: Path) -> None:
        ours, theirs = os.pipe(), os.pipe()
        self._to, self._from = ours[1], theirs[0]
        inherited = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (ours[0], theirs[1])]  # not 3, not 4
        null = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in range(3)]
        pipes = [(os.POSIX_SPAWN_DUP2, end, fd) for end, fd in zip(inherited, (_READS, _WRITES), strict=True)]
        self._process = os.posix_spawn(
            browser, [browser, *_FLAGS, f"--user-data-dir={profile}"], os.environ, file_actions=[*null, *pipes]
        )
        for end in (ours[0], theirs[1], *inherited):
            os.close(end)
        self._said = bytearray()
        self._numbers = 0
        self._events: list[dict[str, Any]] = []
        self._session = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._to)
        os.close(self._from)
        os.kill(self._process, signal.SIGTERM)
        os.waitpid(self._process, 0)

    def tell(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command; its result. Raises DevToolsError."""
        self._numbers += 1
        message = {"id": self._numbers, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        unsent = json.dumps(message).encode() + b"\0"
        while unsent:
            unsent = unsent[os.write(self._to, unsent) :]
        while (answer := self._next()).get("id") != self._numbers:
            self._events.append(answer)
        if "error" in answer:
            raise DevToolsError(f"{method}: {answer['error']['message']}")
        return dict(answer["result"])

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._said:
            part = os.read(self._from, 1 << 16)
            if not part:
                raise DevToolsError("the browser has ended")
            self._said += part
        message, _, rest = self._said.partition(b"\0")
        self._said = rest
        return dict(json.loads(message))

    def run(self, script: str) -> Any:
        """The value of an expression of JavaScript. Raises DevToolsError."""
        done = self.tell("Runtime.evaluate", expression=script, returnByValue=True)
        if "exceptionDetails" in done:
            raise DevToolsError(str(done["exceptionDetails"]))
        return done["result"].get("value")

    def open(self, address: str, width: int, scheme: str, script: str) -> None:
        """Look at a new page, `width` pixels wide, in the colour scheme "light" or "dark", once it is loaded.

        `script` is executed in it before its own.
        """
        self._session = ""
        target = self.tell("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.tell("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.tell("Page.enable")
        self.tell("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        self.tell("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.tell("Page.addScriptToEvaluateOnNewDocument", source=script)
        self._events.clear()
        self.tell("Page.navigate", url=address)
        while not any(event.get("method") == "Page.loadEventFired" for event in self._events):
            self._events.append(self._next())

    def click(self, x: float, y: float) -> None:
        """Press and release the left button at a place of the window, in pixels."""
        for kind in "mousePressed", "mouseReleased":
            self.tell("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
