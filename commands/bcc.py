# SPDX-License-Identifier: GPL-2.0-or-later
"""The flags of bcc's tools, in the commands that have the names of those tools."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from .declaration import Option
from .measuring import RUN as _RUN
from .task_options import OPTIONS as _TASK_OPTIONS


def _with_flag(options: tuple[Option, ...], name: str, flag: str) -> tuple[Option, ...]:
    return tuple(
        replace(each, flag=flag, help=f"{each.help}; also {flag} {each.name.upper()}") if each.name == name else each
        for each in options
    )


TASK_OPTIONS: Final = _with_flag(_TASK_OPTIONS, "pid", "-p")
RUN: Final = _with_flag(_RUN, "seconds", "-d")
RUN_OF_STACKCOUNT: Final = _with_flag(_RUN, "seconds", "-D")
INSTEAD: Final = {
    "-i": "live=yes shows the answer again and again until Ctrl-C",
    "-T": "the answer says how long it counted",
    "-r": "a pattern has * and ?, no regular expression",
    "-u": "times are in nanoseconds",
    "-m": "times are in nanoseconds",
    "-c": "counts shows what was counted so far, and counts clear=yes forgets it",
    "-t": "pid= takes the number of a thread, too",
}
"""What to write in place of the others (bcc's tools/*_example.txt)."""
