# SPDX-License-Identifier: GPL-2.0-or-later
"""`armprobe drgn [FILE [ARGUMENT ...]]`: drgn's shell, or a script for it, on a Linux guest."""

from __future__ import annotations

import argparse
import runpy
import sys
from pathlib import Path

from armprobe.clients.drgn import program
from armprobe.commands.errors import CommandError
from armprobe.commands.script import run_lines
from armprobe.machine import MachineError, host_files

from .open_session import open_session
from .options import Options, Verb, add_file, add_guest, add_session

_DESCRIPTION = """\
Open drgn's shell on a Linux guest, or run a script for drgn on it. The guest is stopped.

  armprobe drgn                                 Debian's kernel at its shell
  armprobe drgn --snapshot FILE                 a guest that the command save has written
  armprobe drgn -c 'continue until=vfs_read'    commands of armprobe's run first
  armprobe drgn tasks.py ARGUMENT               prog is the program, as in a script of drgn's own

Only the guest's memory is needed, no vmlinux. pip install 'armprobe[drgn]' installs drgn."""


def _run(options: Options) -> int:
    if options.json:
        raise CommandError("drgn prints its own text, which --json does not change")
    script = options.file if options.file.name else None
    if script is not None:
        host_files.open_regular(script).close()
    with open_session(options) as session:
        if status := run_lines(session, options.commands, False):
            return status
        prog = program(session)
        import drgn
        import drgn.cli

        if script is None:
            if not sys.stdin.isatty():
                raise MachineError("drgn's shell needs a terminal: name a script to run (armprobe drgn FILE)")
            drgn.cli.run_interactive(prog)
            return 0
        drgn.set_default_prog(prog)
        sys.argv = [str(script), *options.arguments]
        runpy.run_path(str(script), init_globals={"prog": prog}, run_name="__main__")
    return 0


def _arguments(parser: argparse.ArgumentParser) -> None:
    add_file(parser, "file", nargs="?", default=Path(), metavar="FILE", help="script for drgn")
    parser.add_argument("arguments", nargs="*", metavar="ARGUMENT", help="arguments of the script (sys.argv[1:])")
    add_guest(
        parser, "--guest", default="linux", help="Linux guest: linux (default), or the file of a kernel or snapshot"
    )
    add_session(parser)


DRGN = Verb("drgn", "open drgn's shell, or run a script for it, on a Linux guest", _arguments, _run, _DESCRIPTION)
