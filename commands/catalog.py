# SPDX-License-Identifier: GPL-2.0-or-later
"""All commands there are, by name: the file of a command is imported when the command is used."""

from __future__ import annotations

import importlib
from functools import partial
from typing import Final

from armprobe.traces.plugins import added

from .declaration import Command
from .registry import Listed, Registry

FILES: Final = {
    "probe": ("kprobe", "kretprobe", "jprobe", "probes", "blacklist", "enable|en", "disable|dis", "unregister"),
    "aggregation": ("count", "hist", "latency|funclatency", "stacks|stackcount", "counts"),
    "argdist": ("argdist",),
    "functions": ("funccount", "top", "funcgraph"),
    "events": (
        "event",
        "events",
        "events enable",
        "events disable",
        "events format",
        "events clear",
        "events load",
        "events save",
    ),
    "perf_probe": ("probe",),
    "event_triggers": ("events filter", "events trigger", "events hist", "events tracing"),
    "hits": ("regs", "pt-regs"),
    "trace": ("trace", "trace follow", "trace save", "trace >", "trace size"),
    "query": ("query",),
    "check": ("decode", "check"),
    "run": ("continue|c", "run|r", "step|si|stepi", "call", "console", "semihosting", "quit|exit|q"),
    "stepping": ("nexti|ni", "finish|fin"),
    "lines": ("next|n", "step-line|s", "list|l", "info line"),
    "until": ("until|u|advance",),
    "breakpoints": (
        "break|b|br",
        "tbreak|tb",
        "watch",
        "rwatch",
        "awatch",
        "delete|d",
        "info breakpoints|info b|info break|info watchpoints",
    ),
    "snapshots": ("snapshot", "restore", "snapshots", "reset", "save", "load", "vmcore", "disk"),
    "timeline": (
        "goto",
        "mark",
        "branches|timelines",
        "when",
        "reverse-stepi|rsi",
        "last-write",
        "first-write",
    ),
    "reverse": (
        "reverse-step|rs",
        "reverse-next|rn",
        "reverse-nexti|rni",
        "reverse-finish",
        "reverse-continue|rc",
    ),
    "past_calls": ("calls", "first-call"),
    "difference": ("diff",),
    "inspect": ("backtrace|bt", "symbols", "disassemble", "info|i"),
    "context": ("context",),
    "examine": ("examine|x",),
    "print": ("print|p",),
    "ptype": ("ptype", "whatis"),
    "variables": ("info args",),
    "assign": ("set",),
    "kernel": ("tasks", "task", "threads", "crashes", "dmesg", "modules", "mounts"),
    "kernel_tables": ("files", "maps", "slabs", "irqs", "timers", "syscalls"),
    "tracepoints": ("tracepoints",),
    "guest": ("push", "pull", "sh"),
    "scripting": ("source", "echo"),
    "host_shell": ("shell",),
}
"""The names of the commands that each file declares, in its order, with their aliases."""


def registry() -> Registry:
    """A registry of all commands, as the REPL, the debugger and scripts have them."""
    return Registry(_listed(file, names.split("|")) for file, declared in FILES.items() for names in declared)


def _listed(file: str, names: list[str]) -> Listed:
    return Listed(names[0], tuple(names[1:]), partial(_declared, file, names[0]))


def _declared(file: str, name: str) -> Command:
    module = importlib.import_module(f".{file}", __package__)
    declared: tuple[Command, ...] = module.COMMANDS
    return next(command for command in declared if command.name == name)


def with_plugins(commands: Registry) -> tuple[Registry, list[str]]:
    """These commands and those that other packages add, and a sentence for each of the latter that cannot be used."""
    found, notes = added("armprobe.commands", Command)
    for package, command in found:
        try:
            commands = Registry((*commands.listed, command))
        except ValueError as error:
            notes.append(f"the command {command.name!r} of {package} cannot be used: {error}")
    return commands, notes
