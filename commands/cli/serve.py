# SPDX-License-Identifier: GPL-2.0-or-later
"""`armprobe serve [GUEST]`: the GDB stub alone, in the foreground."""

from __future__ import annotations

import argparse
import signal
import threading

from armprobe.commands.terminal import Lines, OutputClosed, say
from armprobe.machine.owner import BETWEEN_WAITS

from .open_session import gdb_hint, listening, open_session
from .options import Options, Verb, add_guest, add_session
from .prompt import run_commands


def _run(options: Options) -> int:
    with open_session(options) as session:
        if options.commands:
            return run_commands(session, options, options.commands)
        with listening(session, options, default=options.usual_listen):
            lines = Lines(say)
            lines.add(f"armprobe: {session.name}; {gdb_hint(session)}; Ctrl-C ends\n", None)
            ended = threading.Event()
            signal.signal(signal.SIGTERM, lambda *_: ended.set())

            def show(text: str) -> None:
                try:
                    lines.add(text, session)
                except OutputClosed:
                    ended.set()

            session.on_notice(show)
            session.show_console()
            try:
                while not ended.wait(BETWEEN_WAITS):
                    pass
            except KeyboardInterrupt:
                lines.end()
                say("\n")
    return 0


def _arguments(parser: argparse.ArgumentParser) -> None:
    add_guest(parser)
    add_session(parser)


SERVE = Verb("serve", "serve GUEST to GDB, in the foreground and without a prompt", _arguments, _run)
