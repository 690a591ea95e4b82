# SPDX-License-Identifier: GPL-2.0-or-later
"""`armprobe script FILE`: a file of commands, or a program on the API."""

from __future__ import annotations

import argparse
import logging
import runpy
import sys

from armprobe.clients import GdbError
from armprobe.commands.errors import CommandError
from armprobe.commands.render.styled import show_traceback, shows_styles
from armprobe.commands.scripting import read_lines
from armprobe.commands.terminal import OutputClosed, complain
from armprobe.machine import MachineError, host_files
from armprobe.probes import ProbeError
from armprobe.probes.handler_failures import HANDLERS_LOG
from armprobe.stub import StubError

from .open_session import open_session
from .options import Options, Verb, add_file, add_guest, add_session, add_until
from .prompt import run_commands


class _Failures(logging.Handler):
    """Counts handlers that raised, and shows those exceptions that are shown nowhere else."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler.emit`."""
        self.count += 1
        if record.levelno >= logging.WARNING:
            complain(record.getMessage())


def _run(options: Options) -> int:
    if options.file.suffix == ".py":
        if options.json:
            raise CommandError("--json is for files of commands: a program has values by Session.ask")
        if options.until is not None:
            raise CommandError("--until is for files of commands: a program has machine.console.expect")
        return _run_program(options)
    with open_session(options) as session:
        name = host_files.shown(options.file)
        return run_commands(session, options, read_lines(options.file), file=name, keep_going=options.keep_going)


def _run_program(options: Options) -> int:
    """Run a program on the API. Returns 1 if a handler of a probe raised, unless the program has its own `on_error`."""
    host_files.open_regular(options.file).close()
    sys.argv = [str(options.file), *options.arguments]
    log, failures = logging.getLogger(HANDLERS_LOG), _Failures()
    log.addHandler(failures)
    log.setLevel(logging.INFO)
    try:
        runpy.run_path(str(options.file), run_name="__main__")
    except (CommandError, GdbError, MachineError, ProbeError, StubError, OutputClosed):
        raise  # its one sentence is enough
    except Exception as error:
        if not shows_styles(sys.stderr):
            raise
        show_traceback(error, str(options.file))
        return 1
    finally:
        log.removeHandler(failures)
    return int(failures.count > 0)


def _arguments(parser: argparse.ArgumentParser) -> None:
    add_file(parser, "file", help="file of commands, one a line, or a Python program (.py) on the API")
    parser.add_argument("arguments", nargs="*", help="arguments of the Python program (sys.argv)")
    parser.add_argument("--keep-going", action="store_true", help="go on after a command of the file that fails")
    add_guest(parser, "--guest")
    add_session(parser)
    add_until(parser)


SCRIPT = Verb("script", "run a file of commands, or a Python program on the API", _arguments, _run)
