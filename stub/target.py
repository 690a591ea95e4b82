# SPDX-License-Identifier: GPL-2.0-or-later
"""What the stub needs of a machine: the `Target` protocol and the values that cross it.

Nothing else is known here of machines or probes. Addresses are 64-bit guest virtual addresses, lengths are bytes.
"""

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple, Protocol, runtime_checkable

from armprobe.expressions import View
from armprobe.machine.memory.regions import Region
from armprobe.machine.semihosting import FileCall

INTERRUPTED = 2  # GDB_SIGNAL_INT; these are GDB's own signal numbers, not the host's (gdb/signals.def)
TRAPPED = 5  # GDB_SIGNAL_TRAP


class BreakKind(enum.Enum):
    """What a breakpoint or watchpoint waits for; the value is the digit of its Z packet (GDB manual, "Packets")."""

    SOFTWARE = 0
    HARDWARE = 1
    WRITE = 2
    READ = 3
    ACCESS = 4


@dataclass(frozen=True)
class StopEvent:
    """Why a machine stopped, said by the machine and never inferred here.

    `kind` is one of "breakpoint", "hwbreak", "watchpoint", "step", "interrupt", "probe", "call", "exited", "error". The
    first two are for breakpoints the client inserted, with pc at the breakpoint's address: GDB takes them as proof of a
    hit and silently resumes where it knows of no breakpoint, so the guest's own BRK is any other kind.
    """

    signal: int
    """GDB's signal number: 5 TRAP, 2 INT, 11 SEGV."""
    kind: str
    watch: tuple[BreakKind, int] | None = None
    """For "watchpoint": which kind of watchpoint was hit, and an address it watches.

    The machine has stopped before the load or store, with pc at it, as AArch64 watchpoints do (Arm ARM, D2.10): GDB
    counts on that, and executes the instruction itself before it looks at the value.
    """
    exit_code: int | None = None
    """For "exited" (power-off, reset): 0 to 255."""
    text: str = ""
    """One line for the user's console, shown just before the stop; not shown for the stop that `attach` returns."""
    probe: "ProbeHit | None" = None
    """For "probe", unless it stopped for something other than a stage of a hit."""
    call: FileCall | None = None
    """For "call": what the guest asks of the client's files. `Target.answer` follows, or the call has failed."""


@dataclass(frozen=True)
class ProbeHit:
    """The stage of a probe's hit at which a machine has stopped."""

    kind: str
    """"kprobe", "kretprobe" or "jprobe"."""
    name: str
    """What its user called the place: "kfree+0x10"."""
    function: str
    """The function it is in; empty if there is no symbol."""
    stage: str
    """"pre", "post", "entry" or "return"."""
    hit: int
    """Counted from 1."""


@dataclass(frozen=True)
class Place:
    """An address in the guest, and the symbol that it is in."""

    address: int
    name: str
    start: int
    size: int
    """Bytes from `start` on that are the symbol's; 0 if that is not known."""


class Changes(NamedTuple):
    """How often a machine was run or changed from outside: a client compares two of them."""

    registers: int
    """Its registers, and with them the place where it is."""
    memory: int


class TargetError(Exception):
    """A request the machine refuses. `errno` (1 to 255) is all that some clients show, `message` is one sentence."""

    def __init__(self, errno: int, message: str) -> None:
        super().__init__(message)
        self.errno = errno
        self.message = message


@dataclass(frozen=True, eq=False)
class Client:
    """One client, as long as it is connected; none is equal to another."""

    trusted: bool = False
    """Whether its commands may touch what those of the machine's own user may, such as files."""


@dataclass(frozen=True)
class ExecFile:
    """The file of the program that a machine runs, of which clients take the symbols."""

    name: str
    """An absolute path for clients to call it by; there need be no such file."""
    open: Callable[[], BinaryIO]
    """Gives it open to read; called when a client opens it. May raise `TargetError`."""


class Scene(View, Protocol):
    """The guest as it is when execution has reached an instruction, for those who look on from inside the run.

    Looking must be quick: the guest waits. The names of registers are those that `Target.read_registers` knows.
    """

    @property
    def vectors(self) -> bytes:
        """v0 to v31, 16 bytes each, little-endian."""

    @property
    def microseconds(self) -> int:
        """Guest time since reset."""


Decide = Callable[[Scene], bool]
"""Whether the machine is to stop, asked from inside the run."""


class Target(Protocol):
    """A machine under the control of at most one client.

    The methods are called from the stub's threads, one at a time but for a `command` that runs long: meanwhile
    `interrupt` may be called, and, where the client leaves instead of waiting, `kill` and `detach`. Any may raise
    `TargetError`.
    """

    # What may be absent: `changes`, a `Changes` of now.

    @property
    def system_registers(self) -> tuple[str, ...]:
        """Names, as GDB is to show them, of the system registers worth reading; each has 64 bits."""

    @property
    def exec_file(self) -> ExecFile | None:
        """The file of what runs; None if there is none to be had."""

    def attach(self, client: Client) -> StopEvent:
        """Stop the machine for a client that takes control; say why it is, or was already, stopped."""

    def detach(self) -> None:
        """End the control that `attach` began: called once for each `attach`, however the client left.

        The client's breakpoints are removed. The machine resumes if it ran before `attach`, and otherwise stays
        stopped, or is stopped if the client had left it running.
        """

    def kill(self) -> None:
        """Put the guest back to its start, running or not; `detach` follows."""

    def restart(self) -> StopEvent:
        """Put the guest back to its start, running or not, with what is inserted left in; say why it is stopped."""

    def read_registers(self, names: Sequence[str]) -> list[int]:
        """Values of x0 to x30, sp, pc, cpsr, v0 to v31 (128 bits), fpsr, fpcr and the system registers."""

    def write_register(self, name: str, value: int) -> None: ...

    def read_memory(self, address: int, length: int) -> bytes:
        """1 to `length` bytes from `address`: as many as can be read. `TargetError` if the first cannot."""

    def write_memory(self, address: int, data: bytes) -> None: ...

    def memory_region(self, address: int) -> Region:
        """What `address` is in, at this moment."""

    @property
    def memory_size(self) -> int:
        """Bytes of RAM."""

    def mapped_memory(self) -> Sequence[Region]:
        """RAM and devices that virtual addresses lead to at this moment, in order; of very many some are left out."""

    def untranslated_memory(self) -> Sequence[Region]:
        """All of the address space while the guest's MMU is off, in order; nothing once it is on."""

    def insert(
        self, kind: BreakKind, address: int, length: int, decide: Decide | None = None, persistent: bool = False
    ) -> None:
        """Insert a break- or watchpoint; `length` is the instruction's size or the number of bytes watched.

        A breakpoint (kinds SOFTWARE and HARDWARE) with `decide` stops the machine only where that says so. One that is
        `persistent` is left in by `detach`, to be replaced when a client inserts it again, and goes with the guest.
        """

    def remove(self, kind: BreakKind, address: int, length: int) -> None:
        """Remove what `insert` inserted with the same arguments."""

    def trace(
        self, address: int, hit: Callable[[Scene], int], stepped: Callable[[Scene], None], steps: bool
    ) -> Callable[[], None]:
        """Have `hit` called, from inside the run, each time the instruction at `address` is about to be executed.

        With `steps`, its result is the number of instructions to be executed one by one then, `stepped` being called
        after each; the machine does not stop for the client. The result takes it out again, and does nothing if `kill`
        has. `TargetError` where there can be none.
        """

    def resume(self, step: bool, range: tuple[int, int] | None, done: Callable[[StopEvent], None]) -> None:
        """Start the machine and return at once; `done` is called once, from any thread, when it has stopped, which for
        a step may be before this returns.

        With `step`, one instruction is executed; with `range` (start, end) too, instructions are stepped until pc is
        outside start <= pc < end. A breakpoint right here stops no step, but a machine that is to go on freely, before
        it has executed anything: a client steps first. No watchpoint stops an instruction that one has just stopped.
        """

    def answer(self, result: int, errno: int, interrupted: bool, done: Callable[[StopEvent], None]) -> None:
        """Give the client's answer to the `StopEvent.call` that the machine stopped for, and go on as the last `resume`
        would have; `interrupted` says to stop instead, as for `interrupt`. `done` is that of `resume`.
        """

    def interrupt(self) -> None:
        """Ask what runs, the machine or a `command`, to stop soon; harmless when nothing runs.

        A machine that `resume` was called for before is sure to stop, even if it has not started yet. Must not wait.
        """

    def show(self, text: str) -> None:
        """Show text to whoever is at the machine itself. Called from inside a run, too."""

    def command(self, client: Client, line: str, out: Callable[[str], None]) -> bool:
        """Run a command of the user's. `out` takes pieces of text; the result is False if the command failed.

        Called only while the machine is stopped for the client.
        """

    def complete(self, line: str) -> list[str]:
        """Candidates for the last word of `line`."""

    def place(self, word: str) -> Place | None:
        """What `word` means, as a command's user names a place; None if it means nothing."""

    def command_table(self) -> str:
        """The commands as JSON: a list of {"name", "summary", "usage", "help": str, "gdb": bool}."""


@runtime_checkable
class Debuggable(Protocol):
    """What is no target itself but has one, such as a session."""

    @property
    def debug_target(self) -> Target:
        """What debuggers drive."""


def target_of(served: Target | Debuggable) -> Target:
    """The target that `served` is or has."""
    return served.debug_target if isinstance(served, Debuggable) else served
