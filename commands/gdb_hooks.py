# SPDX-License-Identifier: GPL-2.0-or-later
"""Loaded into gdb by `gdb_proxy.py`: hooks of gdb's own commands. Standard library only."""

import gdb

HOOKS = {  # of gdb's commands, and the methods of the proxy that they call
    "target hook-remote": "keep_hooks",  # a hook after it that Python has defined (as GEF does) runs no hook-define
    "target hook-extended-remote": "keep_hooks",
    "target hookpost-remote": "update",
    "target hookpost-extended-remote": "update",
    "info hookpost-args": "arguments",
}
INTERNAL = "armprobe-proxy"  # the command that the proxy's own hooks have
NOTICE = "guest-changes"  # the command that LOOKS have in front of them
# gdb's commands that show or use registers and memory of the stopped guest. Those that resume it are not listed: the
# stub itself refuses to resume from registers that gdb does not know.
LOOKS = (
    "print", "print-object", "call", "output", "printf", "eval", "x", "display", "explore", "set", "set variable",
    "backtrace", "frame", "frame address", "frame apply", "frame function", "frame level", "frame view", "faas",
    "up", "up-silently", "down", "down-silently", "return", "list", "disassemble", "find", "dump memory", "dump value",
    "dump binary memory", "dump binary value", "generate-core-file", "info all-registers", "info args", "info display",
    "info float", "info frame", "info frame function", "info frame level", "info line", "info locals",
    "info registers", "info symbol", "info vector", "break", "tbreak", "hbreak", "thbreak", "watch", "rwatch",
    "awatch", "if", "while", "python", "python-interactive", "source",
)  # fmt: skip


def is_command(name: str) -> bool:
    """Whether gdb already has `name` as a command or as the abbreviation of one."""
    try:
        gdb.execute(f"help {name}", to_string=True)
    except gdb.error as error:
        return "ambiguous" in str(error).lower()
    return True


def define_command(name: str, *body: str) -> None:
    """Define a command, or a hook, in gdb's own language."""
    gdb.execute("\n".join((f"define {name}", *body, "end")), to_string=True)


def hook_of(command: str) -> str:
    """The name of the hook that gdb executes before a command (GDB manual, "Hooks")."""
    prefix, space, name = command.rpartition(" ")
    return f"{prefix}{space}hook-{name}"


def put_first(line: str, hook: str, define: bool) -> None:
    """Make `line` the first of a hook, in front of the user's own lines. define: also if there is no such hook."""
    try:
        _, *body = gdb.execute(f"show user {hook}", to_string=True).rstrip("\n").splitlines()
    except gdb.error:  # the user has no such hook in gdb's own language
        body = []
        if not define or is_command(hook):
            return
    if not body or body[0].strip() != line:
        define_command(hook, line, *body)


def calling(method: str) -> str:
    """The line in gdb's own language that calls a method of the proxy."""
    return f"{INTERNAL} {method}"
