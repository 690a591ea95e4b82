# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands for the system that runs in the guest: its files, and its own commands."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from armprobe.machine import host_files
from armprobe.session.authority import Host
from armprobe.session.guest import HOME, TIMEOUT

from .declaration import Arg, Arguments, Command, Option, path, seconds
from .values import Completed, Pulled, Pushed

if TYPE_CHECKING:
    from armprobe.session import Session

GROUP = "The guest's system"


def _push(session: Session, arguments: Arguments) -> Pushed:
    where = session.guest.push(arguments.file, arguments.path)
    return Pushed(host_files.shown(arguments.file), where)


def _pull(session: Session, arguments: Arguments) -> Pulled:
    file = arguments.file or posixpath.basename(arguments.path)
    content = session.guest.pull(arguments.path, file, force=arguments.force is not None)
    return Pulled(arguments.path, host_files.shown(file), len(content))


def _sh(session: Session, arguments: Arguments) -> Completed:
    return session.guest.sh(arguments.command, arguments.timeout)


_RUNS = "The guest runs for this. If it was idle, it is idle again afterwards; if not, it is somewhere else.\n"

COMMANDS = (
    Command(
        "push",
        "Copy a file of this computer into a Linux guest.\n"
        "Missing folders are made, and a file that is there is overwritten.\n" + _RUNS,
        (
            Arg("file", "file of this computer", type=path, host=Host.READS_FILES),
            Arg(
                "path",
                f"file or folder in the guest, from {HOME} on (default: {HOME})",
                optional=True,
            ),
        ),
        _push,
        group=GROUP,
        changes_state=True,
    ),
    Command(
        "pull",
        "Copy a regular file of a Linux guest to this computer.\n"
        "A file that is there is replaced only if it is empty, or with the word force.\n" + _RUNS,
        (
            Arg("path", f"file in the guest, from {HOME} on"),
            Arg("file", "file or folder of this computer (default: the same name here)", type=path, optional=True),
            Arg("force", "replace a file that is there", optional=True, choices=("force",)),
        ),
        _pull,
        group=GROUP,
        changes_state=True,
        host=Host.WRITES_FILES,
    ),
    Command(
        "sh",
        "Execute a command in a Linux guest, by its /bin/sh, and show what it prints and its exit status.\n"
        f"It is root's, starts in {HOME}, and has nothing to read and no terminal: nothing is seen of it on the\n"
        "console. What it prints comes when it has ended.\n" + _RUNS,
        (
            Option(
                "timeout",
                f"time of the guest, such as 10 (seconds) or 20ms, after which it is killed (default: {TIMEOUT:g})",
                type=seconds,
                default=TIMEOUT,
            ),
            Arg("command", "the command, as for a shell", rest=True, foreign=True),
        ),
        _sh,
        group=GROUP,
        gdb="guest-sh",  # gdb takes sh for shell
        changes_state=True,
    ),
)
