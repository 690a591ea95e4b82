# SPDX-License-Identifier: GPL-2.0-or-later
"""`armprobe [GUEST]`: the prompt, or the commands of -c; `armprobe linux` is the same on Debian's kernel."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from armprobe.commands.errors import CommandError
from armprobe.commands.parsing import Line
from armprobe.commands.terminal import say
from armprobe.guests.linux.debian import FLAVOURS

from .open_session import gdb_hint, listening, open_session
from .options import Options, Verb, add_file, add_guest, add_session, add_until

if TYPE_CHECKING:
    from armprobe.session import Session


def run_commands(
    session: Session, options: Options, lines: Sequence[Line], *, file: str = "", keep_going: bool = True
) -> int:
    """Run command lines (see `run_lines`). Returns 1 if one failed or if a handler raised meanwhile, which was reported
    then, else the exit status of the guest, 0 if it has not ended."""
    from armprobe.commands.script import run_lines

    from .until import Printed, run_until

    with listening(session, options, default=None), Printed(session) as printed:
        failed = run_lines(session, lines, options.json, file=file, keep_going=keep_going)
        if not failed and options.until is not None:
            failed = run_until(session, options.until, options.timeout, bytes(printed.output), shown=not options.json)
        return failed or int(bool(session.kprobes.errors)) or session.exit_status


def _run(options: Options) -> int:
    if options.json and not options.commands:
        raise CommandError("--json is for commands that are given: with -c CMD, or in a file with armprobe script FILE")
    with open_session(options) as session:
        if options.commands:
            return run_commands(session, options, options.commands)
        with listening(session, options, default=options.usual_listen):
            if options.until is not None:
                from .until import run_until

                run_until(session, options.until, options.timeout)
            session.show_console()
            if not sys.stdin.isatty():  # a pipe or a file: its lines are run in silence
                from armprobe.commands.script import run_lines

                return run_lines(session, sys.stdin)
            from armprobe.commands.attach import attached
            from armprobe.commands.context import after_stops
            from armprobe.commands.repl import Repl  # with prompt_toolkit, which takes as long as the rest

            say(f"armprobe: {session.name}, {len(session.machine.symbols):,} symbols; {gdb_hint(session)}\n")
            timeline = session.machine.timeline
            if timeline.enabled and timeline.start < timeline.end:
                reach = f"{timeline.start:,} to {timeline.end:,}"
                say(f"it has its history, from position {reach}: reverse-continue, goto, last-write and calls\n")
            console, after = partial(attached, session), after_stops(session)
            return Repl(session, session.shell.registry, console=console, after=after).run()


def _prompt_arguments(parser: argparse.ArgumentParser) -> None:
    add_guest(parser)
    add_session(parser)
    add_until(parser)


def _linux_arguments(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(guest="linux")
    add_file(parser, "--kernel", metavar="FILE", help="kernel to boot instead of Debian's")
    parser.add_argument("--refresh", action="store_true", help="look for a newer Debian kernel")
    which = "which of Debian's kernels: cloud (the default), generic, for boards, or rt, the one with PREEMPT_RT"
    parser.add_argument("--flavour", choices=tuple(FLAVOURS), help=which)
    add_session(parser)
    add_until(parser)


PROMPT = Verb("prompt", "start a prompt on GUEST; armprobe [GUEST] is short for it", _prompt_arguments, _run)
LINUX = Verb(
    "linux",
    "boot a stock Debian arm64 kernel to its shell: fetched and booted once, then resumed from a snapshot",
    _linux_arguments,
    _run,
)
