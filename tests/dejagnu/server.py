# SPDX-License-Identifier: GPL-2.0-or-later
"""Serves a program that a line of standard input names, on a socket that it names, until the next line.

Each in a process forked from this one: starting Python anew takes longer than most of the tests.
"""

from __future__ import annotations

import os
import signal
import sys

from armprobe.commands import Session
from armprobe.stub import serve


def main() -> None:
    """Lines are "SOCKET PROGRAM", or empty for none."""
    child = 0
    for line in sys.stdin:
        if child:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            child = 0
        socket, _, program = line.rstrip("\n").partition(" ")
        if socket:
            child = os.fork()
            if not child:
                with Session(program) as session, serve(session, f"unix:{socket}"):
                    signal.pause()
    if child:
        os.kill(child, signal.SIGKILL)


if __name__ == "__main__":
    main()
