# SPDX-License-Identifier: GPL-2.0-or-later
"""Why a machine has stopped. The machine says it; nothing here infers it.

Each reason is a class of its own. How a client is told of it is decided in one place, `stub/stop_reply.py`.
"""

import enum

from armprobe.machine.lazy_dataclass import lazy_dataclass
from armprobe.machine.semihosting import FileCall

SIGINT, SIGTRAP, SIGSEGV = 2, 5, 11
"""GDB's own numbers of signals, not the host's (gdb/signals.def)."""


class BreakKind(enum.Enum):
    """How a breakpoint is made; the value is the digit of its Z packet (GDB manual, "Packets")."""

    SOFTWARE = 0
    HARDWARE = 1


class WatchKind(enum.Enum):
    """Which accesses a watchpoint waits for; the value is the digit of its Z packet (GDB manual, "Packets")."""

    WRITE = 2
    READ = 3
    ACCESS = 4


@lazy_dataclass(kw_only=True)
class StopEvent:
    """A stop: where and when. Its class says why."""

    core: int = 0
    """The CPU that has stopped, from 0."""
    position: int = 0
    """Instructions executed since reset."""
    text: str = ""
    """One line for the user's console, shown just before the stop, but not for the stop that `attach` returns."""


@lazy_dataclass(kw_only=True)
class Stepped(StopEvent):
    """The step, or the steps through a range, have ended."""


@lazy_dataclass(kw_only=True)
class Interrupted(StopEvent):
    """A client or a person asked for it."""


@lazy_dataclass(kw_only=True)
class BreakpointHit(StopEvent):
    """The PC is at a breakpoint that the client has inserted.

    GDB takes it as proof of a hit, and silently resumes where it knows of no breakpoint. So the guest's own BRK is
    another kind of stop.
    """

    kind: BreakKind


@lazy_dataclass(kw_only=True)
class WatchpointHit(StopEvent):
    """The next instruction makes an access that a watchpoint waits for.

    The machine stops before the load or store, with the PC at it, as AArch64 watchpoints do (Arm ARM, D2.10). GDB
    counts on that, and executes the instruction itself before it looks at the value.
    """

    kind: WatchKind
    address: int
    """One that the watchpoint watches."""


@lazy_dataclass(kw_only=True)
class ProbeStop(StopEvent):
    """The probes stop the machine; `text` says why."""

    stepping: bool = False
    """Whether it came in the middle of a step."""


@lazy_dataclass(kw_only=True)
class ProbeHit(ProbeStop):
    """A probe stops the machine at a stage of its hit."""

    kind: str
    """"kprobe", "kretprobe" or "jprobe"."""
    name: str
    """What its user called the place: "kfree+0x10"."""
    function: str
    """The function that it is in; empty if there is no symbol."""
    stage: str
    """"pre", "post", "entry" or "return"."""
    hit: int
    """The number of the hit, from 1."""


@lazy_dataclass(kw_only=True)
class HostCall(StopEvent):
    """The guest asks for something of the client's files. `HostCalls.answer` follows, or the call has failed."""

    call: FileCall


@lazy_dataclass(kw_only=True)
class LibrariesChanged(StopEvent):
    """The program has loaded or unloaded a library. GDB reads the list again, and goes on."""


@lazy_dataclass(kw_only=True)
class HistoryEdge(StopEvent):
    """The history begins here: there is nothing to go back to."""


@lazy_dataclass(kw_only=True)
class Exited(StopEvent):
    """The guest has ended: by its own exit, by power-off or by reset."""

    code: int
    """0 to 255."""


@lazy_dataclass(kw_only=True)
class Signalled(StopEvent):
    """Anything else, with the signal that describes it best."""

    signal: int = SIGTRAP
    """GDB's number."""
