# SPDX-License-Identifier: GPL-2.0-or-later
"""`python -m tests.browsers.live`: the browser and the curl that are installed, at a guest's stub."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from armprobe.commands import Session
from armprobe.stub import Server, serve
from tests.browsers.browser import browse, chromium, run_curl
from tests.browsers.cases import CURL, TARGET
from tests.stub.client import Client  # tests have no import name to go by


class Guest:
    """The demo kernel, whose stub trusts whoever comes, and what has happened to it."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._server: Server | None = None
        self.requests = 0
        self.harmed: list[str] = []
        self._heard: list[str] = []
        session.on_notice(self._heard.append)

    def listen(self, port: int) -> int:
        self._server = serve(self._session, f"127.0.0.1:{port}", trust_tcp=True)
        return int(self._server.address.rpartition(":")[2])

    def begin(self, name: str) -> None:
        self._heard.clear()

    def end(self, name: str) -> None:
        """Has anything of a request been acted on? That a debugger is let in at once shows that nothing of it waits."""
        self.requests += 1
        heard = "".join(self._heard)
        if heard or Path(TARGET).exists():
            self.harmed.append(f"{name}: {heard}")
        assert self._server
        with Client(self._server.address) as debugger:
            assert debugger.ask(b"qC") == b"QC1"
            assert debugger.ask(b"D") == b"OK"
            debugger.rest()

    def close(self) -> None:
        assert self._server
        self._server.close()


def main() -> int:
    """Make all requests with what is installed; 1 if any did anything."""
    Path(TARGET).unlink(missing_ok=True)
    with Session("demo") as session:
        session.run("continue until=workload_round")
        guest = Guest(session)
        for rebound in (False, True) if chromium() else ():
            browse(rebound, guest.listen, guest.begin, guest.end)
            guest.close()
        if shutil.which("curl"):
            port = guest.listen(0)
            for name in CURL:
                guest.begin(name)
                run_curl(name, port)
                guest.end(name)
            guest.close()
    missing = [name for name, there in (("chromium", chromium()), ("curl", shutil.which("curl"))) if not there]
    absent = ", ".join(missing) or "none"
    print(f"requests: {guest.requests} made; not installed: {absent}; did something: {guest.harmed or 'none'}")
    return int(bool(guest.harmed))


if __name__ == "__main__":
    sys.exit(main())
