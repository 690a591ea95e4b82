# SPDX-License-Identifier: GPL-2.0-or-later
"""An editor's side of the Debug Adapter Protocol."""

import json
import subprocess
from typing import Any


class Editor:
    """Speaks the Debug Adapter Protocol to a gdb."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process, self._number = process, 0
        self.output = ""

    def send(self, command: str, **arguments: object) -> int:
        """Send a request; its number."""
        self._number += 1
        request = {"seq": self._number, "type": "request", "command": command, "arguments": arguments}
        body = json.dumps(request).encode()
        assert self._process.stdin
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self._process.stdin.flush()
        return self._number

    def until(self, **wanted: object) -> dict[str, Any]:
        """The next message with these fields."""
        assert self._process.stdout
        while True:
            length = 0
            while line := self._process.stdout.readline().strip():
                length = int(line.rpartition(b":")[2]) if line.lower().startswith(b"content-length") else length
            assert length, "gdb has ended"
            message: dict[str, Any] = json.loads(self._process.stdout.read(length))
            if message.get("event") == "output":
                self.output += message["body"]["output"]
            if wanted.items() <= message.items():
                return message

    def ask(self, command: str, **arguments: object) -> dict[str, Any]:
        """The body of the response to a request."""
        response = self.until(request_seq=self.send(command, **arguments))
        assert response["success"], response
        body: dict[str, Any] = response.get("body", {})
        return body
