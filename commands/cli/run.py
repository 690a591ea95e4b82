# SPDX-License-Identifier: GPL-2.0-or-later
"""`armprobe run GUEST`: the guest alone, to its end; its exit status is armprobe's."""

from __future__ import annotations

import argparse

from armprobe.commands.terminal import Lines, complain, say
from armprobe.machine import StopReason

from .open_session import listening, open_session
from .options import Options, Verb, add_guest, add_session, add_until
from .prompt import run_commands
from .until import INTERRUPTED


def _run(options: Options) -> int:
    with open_session(options) as session:
        if options.until is not None:
            return run_commands(session, options, options.commands)
        session.on_notice(complain)
        lines = Lines(say)
        session.machine.console.listen(lambda data: lines.add(session.console_text.add(data), session))
        if options.commands and (failed := run_commands(session, options, options.commands)):
            return failed
        with listening(session, options, default=None):
            stop = session.owner.call_interruptibly(session.go, session.machine.run)
            lines.end()
            if not stop.reason.final:
                complain(f"armprobe: {session.describe(stop)}")
                return INTERRUPTED if stop.reason is StopReason.INTERRUPTED else 1
            return session.exit_status


def _arguments(parser: argparse.ArgumentParser) -> None:
    add_guest(parser)
    add_session(parser)
    add_until(parser)


RUN = Verb("run", "run GUEST to its end, with its console on standard output and its exit status", _arguments, _run)
