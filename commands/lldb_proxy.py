# SPDX-License-Identifier: GPL-2.0-or-later
"""Imported by LLDB (`lldbinit`): armprobe's commands as LLDB's own. Standard library only.

They go to the stub in the packets that gdb's proxy uses (stub/features/proxy.py).
"""

import re
from typing import Any

import lldb

# By LLDB's names. The others are reached by `armprobe LINE`.
COMMANDS = {
    "kprobe": "Put a kprobe on an instruction: kprobe PLACE [stop=pre,post] [if CONDITION] [print NOTE]",
    "kretprobe": "Put a kretprobe on a function: kretprobe FUNCTION [stop=entry,return] [if CONDITION] [print NOTE]",
    "probes": "List the probes with their hits and misses.",
    "unregister": "Remove a probe: unregister NUMBER|NAME|all",
    "regs": "Show pt_regs of a hit: regs [PROBE] [stage=STAGE]",
    "kprobe-trace": "Show the last hits, one a line: kprobe-trace [COUNT]",
    "armprobe": "Run any command of armprobe: armprobe LINE. `armprobe help` lists them.",
}
NAMES = {"kprobe-trace": "trace"}  # armprobe's names of those for which LLDB has its own command


class Refused(Exception):
    """The stub's reason, one sentence."""


def exchange(debugger: Any, packet: str) -> str:
    """The stub's reply to a packet. Raises `Refused`."""
    result = lldb.SBCommandReturnObject()
    debugger.GetCommandInterpreter().HandleCommand(f"process plugin packet send {packet}", result)
    found = re.search(r"^response: (.*)$", result.GetOutput() or "", re.MULTILINE)
    if found is None:
        raise Refused("LLDB is not connected to an armprobe machine: use gdb-remote HOST:PORT first")
    return found[1].strip()


def run(debugger: Any, line: str) -> str:
    """The text that a command of armprobe answers with, however long it takes. Raises `Refused`."""
    reply = exchange(debugger, f"qArmprobe.run:{line.encode(errors='surrogateescape').hex()}")
    while reply == "2":
        reply = exchange(debugger, "qArmprobe.wait")
    try:
        text = bytes.fromhex(reply[1:]).decode(errors="replace")
    except ValueError:
        text = ""
    if reply[:1] == "1":
        return text
    raise Refused(
        text.strip() if reply[:1] == "0" else "LLDB is connected to something that is not an armprobe machine"
    )


class Command:
    """A command of LLDB's that the stub runs (LLDB manual, "Python Scripting", script-based commands)."""

    name = ""

    def __init__(self, debugger: Any, _: Any) -> None:
        self._debugger = debugger

    def __call__(self, debugger: Any, arguments: str, context: Any, result: Any) -> None:
        """Run it and show the answer."""
        line = arguments if self.name == "armprobe" else f"{NAMES.get(self.name, self.name)} {arguments}"
        try:
            result.PutCString(run(debugger, line.strip()).rstrip("\n"))
        except Refused as refused:
            result.SetError(str(refused))

    def get_short_help(self) -> str:
        """One line, for `help`."""
        return COMMANDS[self.name]

    def get_long_help(self) -> str:
        """What `help NAME` shows: armprobe's own help, while it is connected."""
        try:
            return run(self._debugger, "help" if self.name == "armprobe" else f"help {NAMES.get(self.name, self.name)}")
        except Refused:
            return COMMANDS[self.name]


def __lldb_init_module(debugger: Any, names: dict[str, Any]) -> None:
    """Called by LLDB: define the commands."""
    for name in COMMANDS:
        of_python = name.replace("-", "_")
        globals()[of_python] = type(of_python, (Command,), {"name": name})
        debugger.HandleCommand(f"command script add --overwrite --class {__name__}.{of_python} {name}")
