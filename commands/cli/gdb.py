# SPDX-License-Identifier: GPL-2.0-or-later
"""`armprobe gdb [GUEST] [-- GDB-ARGUMENT ...]`: gdb-multiarch attached to the guest, with armprobe's commands in it."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from armprobe.clients.gdb_session import GDBINIT, PROXY
from armprobe.commands.errors import CommandError
from armprobe.machine.loaders import DEMO
from armprobe.session import Session
from armprobe.session.symbol_cache import symbol_path
from armprobe.stub import PRIVATE

from .open_session import listening, open_session
from .options import Options, Verb, add_guest, add_private_stub
from .prompt import run_commands


def _run(options: Options) -> int:
    with open_session(options) as session:
        if options.commands:
            return run_commands(session, options, options.commands)
        return _gdb(session, options)


def _gdb(session: Session, options: Options) -> int:
    debugger = shutil.which("gdb-multiarch")
    if debugger is None:
        raise CommandError("gdb-multiarch is not installed (Debian: apt-get install gdb-multiarch)")
    if options.listen == "none":
        raise CommandError("gdb attaches through the stub, so --listen cannot be none here")
    session.debug_target.show_console()  # there is no other terminal for it
    with (
        listening(session, options, default=PRIVATE),
        tempfile.TemporaryDirectory(prefix="armprobe-") as folder,
    ):
        command = [debugger, "--quiet"]
        # The demo kernel's debug information has its sources in guests/demo (its Makefile, MAP).
        command += ["-iex", f"set substitute-path guests/demo {shlex.quote(str(DEMO.parent))}"]
        if (symbols := symbol_path(session, Path(folder))) is not None:
            command += ["-iex", f"file {shlex.quote(str(symbols))}"]  # before gdb loads a file of the user
        command += ["-x", str(GDBINIT)]
        # Extended, so that `run` restarts the guest.
        command += ["-ex", f"target extended-remote {session.stub_address.removeprefix('unix:')}", *options.for_gdb]
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is gdb's
        for number in (signal.SIGTERM, signal.SIGHUP):  # otherwise the folders would stay
            signal.signal(number, lambda number, _: sys.exit(128 + number))
        try:
            return subprocess.run(
                command,
                env={**os.environ, "ARMPROBE_GDB_PROXY": str(PROXY)},
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
                check=False,
            ).returncode
        except OSError as error:
            raise CommandError(f"{debugger} does not run: {error.strerror}") from None


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "%(prog)s [OPTION ...] [guest] [-- GDB-ARGUMENT ...]"
    parser.epilog = """\
The arguments after -- go to gdb, which handles them when it has connected:

  armprobe gdb -- -ex 'break kfree' -ex run
  armprobe gdb linux --vmlinux vmlinux -- -x commands.gdb

run starts the guest from its beginning. Breakpoints and probes stay."""
    add_guest(parser)
    add_private_stub(parser)


GDB = Verb("gdb", "start gdb-multiarch, attached to GUEST and with armprobe's commands", _arguments, _run)
