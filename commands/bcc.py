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

_PROGRAM: Final = "there is no program of BPF that it could print"
_KERNELS: Final = "stacks are the kernel's"
_ONE: Final = "it is about one function: give its name"
_INSTEAD: Final = {
    "-i": "live=yes shows the answer again and again until Ctrl-C",
    "-T": "the answer is shown once, when the counting ends",
    "-c": "the guest has one CPU",
    "-t": "pid= takes the number of a thread, too",
    "-v": _PROGRAM,
}
"""What to write in place of the others (the argparse of tools/*.py of bcc)."""
OF_FUNCCOUNT: Final = _INSTEAD | {"-r": "a pattern has * and ?, no regular expression", "-D": _PROGRAM}
OF_FUNCLATENCY: Final = _INSTEAD | {
    "-u": "times are in nanoseconds",
    "-m": "times are in nanoseconds",
    "-F": _ONE,
    "-r": _ONE,
    "-l": "all calls are timed, also those within each other",
}
OF_STACKCOUNT: Final = _INSTEAD | {
    "-d": _KERNELS,
    "-K": _KERNELS,
    "-U": _KERNELS,
    "-P": "count FUNCTION by $pid counts by the task",
    "-r": _ONE,
    "-s": "the places in a stack have offsets, but with folded=yes",
    "-v": "--json has the addresses",
}
OF_ARGDIST: Final = _INSTEAD | {
    "-T": "the most frequent keys are the last",
    "-c": "counts shows what was counted so far, and counts clear=yes forgets it",
    "-n": "give seconds= or instructions=",
    "-I": "the types are those that the kernel itself describes",
    "-z": "the first 511 bytes of a text count",
}

_LONG: Final = {"--pid": "-p", "--interval": "-i"}
"""The long names of flags (the same argparse)."""
LONG_OF_FUNCCOUNT: Final = _LONG | {
    "--duration": "-d",
    "--timestamp": "-T",
    "--regexp": "-r",
    "--debug": "-D",
    "--cpu": "-c",
}
LONG_OF_FUNCLATENCY: Final = _LONG | {
    "--verbose": "-v",
    "--duration": "-d",
    "--timestamp": "-T",
    "--microseconds": "-u",
    "--milliseconds": "-m",
    "--function": "-F",
    "--regexp": "-r",
    "--level": "-l",
}
LONG_OF_STACKCOUNT: Final = _LONG | {
    "--verbose": "-v",
    "--cpu": "-c",
    "--duration": "-D",
    "--timestamp": "-T",
    "--regexp": "-r",
    "--offset": "-s",
    "--perpid": "-P",
    "--kernel-stacks-only": "-K",
    "--user-stacks-only": "-U",
    "--delimited": "-d",
    "--folded": "-f",
}
LONG_OF_ARGDIST: Final = _LONG | {
    "--verbose": "-v",
    "--tid": "-t",
    "--string-size": "-z",
    "--duration": "-d",
    "--number": "-n",
    "--cumulative": "-c",
    "--top": "-T",
    "--histogram": "-H",
    "--count": "-C",
    "--include": "-I",
}
