# SPDX-License-Identifier: GPL-2.0-or-later
"""What the stub needs of a machine: small protocols, one capability a file, and the values that cross them.

A `Target` has control, registers, memory and resuming; that is enough for a gdb. All other capabilities are optional. A
target has one by having its members; a feature (`stub/features`) names the capability that it requires, and is served
where the target has that.

Nothing else is known here of machines or probes. Addresses are 64-bit guest virtual addresses, lengths are bytes. The
methods are called from the stub's threads, one at a time except where they say otherwise. Any may raise `TargetError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from armprobe.machine.lazy_names import lazy_names

if TYPE_CHECKING:
    from .breakpoints import Breakpoints, ConditionalBreakpoints
    from .changes import ChangeCount, Changes
    from .control import Client, Control
    from .display import Display, display_of
    from .errors import TargetError
    from .exec_file import ExecFile, Program
    from .guest_view import Decide, GuestView
    from .host_calls import HostCalls
    from .libraries import Libraries, Library
    from .memory import Memory
    from .memory_map import MemoryMap
    from .monitor import Commands, Monitor, Place
    from .registers import Registers, SystemRegisters
    from .restart import Restart
    from .resume import Resume
    from .reverse import Reverse
    from .stops import (
        SIGINT,
        SIGSEGV,
        SIGTRAP,
        BreakKind,
        BreakpointHit,
        Exited,
        HistoryEdge,
        HostCall,
        Interrupted,
        LibrariesChanged,
        ProbeHit,
        ProbeStop,
        Signalled,
        Stepped,
        StopEvent,
        WatchKind,
        WatchpointHit,
    )
    from .target import Debuggable, Target, target_of
    from .threads import Thread, Threads
    from .tracepoints import Tracepoints
    from .watchpoints import Watchpoints
else:
    __getattr__ = lazy_names(
        __name__,
        {
            ".breakpoints": ("Breakpoints", "ConditionalBreakpoints"),
            ".changes": ("ChangeCount", "Changes"),
            ".control": ("Client", "Control"),
            ".display": ("Display", "display_of"),
            ".errors": ("TargetError",),
            ".exec_file": ("ExecFile", "Program"),
            ".guest_view": ("Decide", "GuestView"),
            ".host_calls": ("HostCalls",),
            ".libraries": ("Libraries", "Library"),
            ".memory": ("Memory",),
            ".memory_map": ("MemoryMap",),
            ".monitor": ("Commands", "Monitor", "Place"),
            ".registers": ("Registers", "SystemRegisters"),
            ".restart": ("Restart",),
            ".resume": ("Resume",),
            ".reverse": ("Reverse",),
            ".stops": (
                "SIGINT",
                "SIGSEGV",
                "SIGTRAP",
                "BreakKind",
                "BreakpointHit",
                "Exited",
                "HistoryEdge",
                "HostCall",
                "Interrupted",
                "LibrariesChanged",
                "ProbeHit",
                "ProbeStop",
                "Signalled",
                "Stepped",
                "StopEvent",
                "WatchKind",
                "WatchpointHit",
            ),
            ".threads": ("Thread", "Threads"),
            ".tracepoints": ("Tracepoints",),
            ".watchpoints": ("Watchpoints",),
            ".target": ("Debuggable", "Target", "target_of"),
        },
    )

__all__ = [
    "SIGINT",
    "SIGSEGV",
    "SIGTRAP",
    "BreakKind",
    "BreakpointHit",
    "Breakpoints",
    "ChangeCount",
    "Changes",
    "Client",
    "Commands",
    "ConditionalBreakpoints",
    "Control",
    "Debuggable",
    "Decide",
    "Display",
    "ExecFile",
    "Exited",
    "GuestView",
    "HistoryEdge",
    "HostCall",
    "HostCalls",
    "Interrupted",
    "Libraries",
    "LibrariesChanged",
    "Library",
    "Memory",
    "MemoryMap",
    "Monitor",
    "Place",
    "ProbeHit",
    "ProbeStop",
    "Program",
    "Registers",
    "Restart",
    "Resume",
    "Reverse",
    "Signalled",
    "Stepped",
    "StopEvent",
    "SystemRegisters",
    "Target",
    "TargetError",
    "Thread",
    "Threads",
    "Tracepoints",
    "WatchKind",
    "WatchpointHit",
    "Watchpoints",
    "display_of",
    "target_of",
]
