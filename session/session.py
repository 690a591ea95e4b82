# SPDX-License-Identifier: GPL-2.0-or-later
"""One machine, its probes, and everyone who is attached to it: what every front end drives."""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from armprobe.machine import (
    DEFAULT_MEMORY,
    Machine,
    MachineError,
    Owner,
    Stop,
    StopReason,
    WatchHit,
    host_files,
    load,
)
from armprobe.machine.core.sysregs import SYSTEM_REGISTERS
from armprobe.machine.memory.regions import Region
from armprobe.probes import Kprobes, Probe
from armprobe.probes.guest_view import GuestView
from armprobe.probes.recorder import HANDLERS_LOG, describe_failure
from armprobe.stub import BreakKind, Changes, Client, Decide, ExecFile, Place, Scene, StopEvent, TargetError
from armprobe.wiring import shell_of

from .authority import Asker, asker
from .console_text import ConsoleLines, ConsoleText
from .debugger_breakpoints import DebuggerBreakpoints
from .errors import CommandError
from .stop_event import stop_event
from .symbol_file import SymbolFile
from .tracepoints import Tracing

if TYPE_CHECKING:
    from armprobe.wiring import Shell


log = logging.getLogger(HANDLERS_LOG)
T = TypeVar("T")
_SIGTRAP = 5  # GDB's number (gdb/signals.def)
_EFAULT, _EINVAL, _EBUSY = 14, 22, 16


class Session:
    """A guest with its probes and commands.

    `guest`, `initrd`, `vmlinux`, `cmdline`, `append`, `base` and `memory` are those of `machine.load`; `era`,
    `stepping` and `trampoline` those of `probes.Kprobes`.
    Methods may be called from any thread: all work on the machine is done by its owner's.
    Raises MachineError when the guest cannot be loaded, ProbeError for an unknown era, way to step or trampoline.
    """

    def __init__(
        self,
        guest: str | Path = "demo",
        *,
        era: str | None = None,
        stepping: str | None = None,
        trampoline: str | None = None,
        initrd: str | Path | None = None,
        vmlinux: str | Path | None = None,
        cmdline: str | None = None,
        append: str | None = None,
        base: int | None = None,
        memory: int | str = DEFAULT_MEMORY,
    ) -> None:
        self.name = str(guest)
        self.machine: Machine = load(
            guest, initrd=initrd, vmlinux=vmlinux, cmdline=cmdline, append=append, base=base, memory=memory
        )
        self.kprobes = Kprobes(self.machine, era, stepping, trampoline)
        self.probes: dict[int, Probe] = {}  # those made by commands, by number
        self._next_probe = 1
        self.stop = Stop(StopReason.UNTIL, self.machine.registers.pc, "loaded, not yet started")
        self.stub_address = ""
        self.finished = False  # quit was asked for
        self.console_text = ConsoleText()  # of what commands read of the console
        self._console_lines = ConsoleLines(self.notify)  # and of what is shown as it comes
        self.console_in_use = False  # a command shows the console itself
        self._notices: list[Callable[[str], None]] = []
        self._remarks: Callable[[str], None] = self.notify
        self._symbol_file = SymbolFile(self.machine)
        self._controlled = self._was_running = False
        self._stepping = self._over_watched = False  # the latter: over an access that a watchpoint stopped before
        self._range: tuple[int, int] | None = None  # of the last step
        self._control = threading.Lock()  # held while a debugger is in control
        self._debugger: Client | None = None  # which one
        # Whether a debugger's files are the guest's to ask for: as said here, and by the debugger itself.
        self._lends_files = False
        self._debugger_lends: bool | None = None
        self._scene = GuestView(self.machine, self.kprobes)
        self._breaks = DebuggerBreakpoints(self.machine, self._scene)
        self._tracing = Tracing(self.machine, self.kprobes, self._scene)
        self._idle = threading.Event()
        self._idle.set()
        self.owner = Owner(self.machine)
        self.kprobes.on_error = self._handler_failed

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the guest and end the owner's thread."""
        self.owner.close()

    # For people: command lines.

    @functools.cached_property
    def shell(self) -> Shell:
        """What runs and completes command lines."""
        return shell_of(self)

    def run(self, line: str) -> str:
        """Run one command line and return what it prints. Raises CommandError, one clear sentence, when it fails."""
        return self.shell.run(line)

    def ask(self, line: str) -> Any:
        """Run one command line and return its value, one of `armprobe.commands.values`. Raises CommandError."""
        return self.shell.ask(line)

    def execute(self, line: str, out: Callable[[str], None]) -> None:
        """Like `run`, but hands the output to `out` piece by piece."""
        self.shell.execute(line, out)

    def complete(self, line: str) -> list[str]:
        """Candidates for the last word of `line`."""
        return self.shell.complete(line)

    def interrupt(self) -> None:
        """Stop a running guest, whoever set it running, and what a command runs of it."""
        self.owner.interrupt()

    def status(self) -> str:
        """One line on where things stand, for a prompt's toolbar."""
        state = "running" if self.owner.running else self.owner.call_briefly(self.describe, self.stop)
        return "  ".join(filter(None, (self.name, state, f"gdb: {self.stub_address}" if self.stub_address else "")))

    def on_notice(self, callback: Callable[[str], None]) -> None:
        """Have `callback` given text that no command asked for, from whatever thread it comes."""
        self._notices.append(callback)

    def show_console(self) -> None:
        """From now on tell everyone what the guest prints, unless a command is printing it."""

        def listener(data: bytes) -> None:
            if self.console_in_use:
                self._console_lines.discard()
            else:
                self._console_lines.add(data)

        self.machine.console.listeners.append(listener)

    @contextlib.contextmanager
    def remarks_to(self, out: Callable[[str], None]) -> Iterator[None]:
        """Have `remark` write to `out`: for the command that runs."""
        before, self._remarks = self._remarks, out
        try:
            yield
        finally:
            self._remarks = before

    def remark(self, text: str) -> None:
        """Tell whoever runs the present command something that is not its answer."""
        self._remarks(text)

    def notify(self, text: str) -> None:
        """Tell everyone something that no command asked for; of the guest's console it may be a part of a line."""
        for callback in self._notices:
            callback(text)

    def add_probe(self, probe: Probe) -> int:
        """Number a registered probe, for the commands that list and change it."""
        number, self._next_probe = self._next_probe, self._next_probe + 1
        self.probes[number] = probe
        return number

    def _handler_failed(self, probe: Any, error: BaseException) -> None:
        text = describe_failure(probe, error)
        log.log(logging.INFO if self._notices else logging.ERROR, "%s", text)  # it is never silent
        self.notify(f"{text}\n")

    @property
    def lends_files(self) -> bool:
        """Whether the guest may ask for the files of the debugger that is in control."""
        return self._lends_files if self._debugger_lends is None else self._debugger_lends

    def lend_files(self, lends: bool) -> None:
        """Say so: a debugger for itself, anyone else for all that come."""
        if asker() is Asker.LOCAL:
            self._lends_files = lends
        else:
            self._debugger_lends = lends

    @property
    def controlled(self) -> bool:
        """Whether a debugger is in control of the guest."""
        return self._controlled

    # Running, on the owner's thread.

    def go(self, run: Callable[[], Stop], waits: bool = True) -> Stop:
        """Run the machine for a command. A guest that idles for good goes on waiting until someone interrupts it, if it
        `waits`; a run for a count of instructions would never come to its end.

        Raises CommandError while GDB is in control, or the guest already runs.
        """
        if self._controlled:
            raise CommandError("gdb is in control of the guest: continue or step there, or detach it")
        if self.owner.running:
            raise CommandError("the guest is running already: interrupt it first (Ctrl-C)")
        return self._run_now(run, waits)

    def _run_now(self, run: Callable[[], Stop], waits: bool) -> Stop:
        self._idle.clear()
        try:
            self.kprobes.unwind.go_on()
            self.stop = self.owner.run(functools.partial(self._tracing.run, run), waits)
        finally:
            self._console_lines.flush()
            self._idle.set()
        return self.stop

    def describe(self, stop: Stop) -> str:
        """Why and where the machine stopped, in words."""
        where = f"{self.machine.symbols.describe(stop.address)} ({stop.address:#x})"
        return f"{stop.text or stop.reason.value} at {where}"

    # The stub's target (armprobe.stub.Target).

    @property
    def system_registers(self) -> tuple[str, ...]:
        """EL1's system registers that can be read by name."""
        return tuple(SYSTEM_REGISTERS)

    @property
    def exec_file(self) -> ExecFile | None:
        """The guest's file with debug information, else an ELF with its symbols; None if there are none."""
        if (dwarf := self.machine.guest.dwarf) is not None:
            return ExecFile(str(dwarf.absolute()), functools.partial(self._call, host_files.open_regular, dwarf))
        if not self._call(len, self.machine.symbols):
            return None
        name = re.sub(r"[^\w.+-]", "_", Path(self.name).name.removesuffix(".elf"), flags=re.ASCII)
        return ExecFile(f"/armprobe/{name}.elf", lambda: io.BytesIO(self._call(self._symbol_file.read)))

    def attach(self, client: Client) -> StopEvent:
        """Give control to a debugger, the guest stopped."""
        if not self._control.acquire(blocking=False):
            raise TargetError(_EBUSY, "another debugger is in control of this machine: detach it first")
        self._debugger = client
        self._was_running = self.owner.running
        self._controlled = True
        self.owner.interrupt()
        self._idle.wait()
        self.notify("gdb attached\n")
        return self._event(self.stop)

    def detach(self) -> None:
        """Take control back; the debugger's breakpoints go, and a guest that ran before runs again."""
        self.owner.interrupt()
        self._idle.wait()
        self._call(self._breaks.debugger_left)
        self._call(self._let_go)  # not in the middle of a command of the debugger's
        self.notify("gdb detached\n")
        if self._was_running:
            self._start(functools.partial(self._tracing.run, self.machine.run), lambda _: None)

    def _let_go(self) -> None:
        self._controlled, self._debugger, self._debugger_lends = False, None, None
        self._control.release()

    def kill(self) -> None:
        """Put the guest back to its start, with no probes."""
        self.owner.interrupt()
        self._idle.wait()
        self._call(self._breaks.remove_left)
        self._call(self._put_back)

    def restart(self) -> StopEvent:
        """The guest as it was when it was loaded, stopped; probes stay, as the debugger's breakpoints do."""
        self.owner.interrupt()
        self._idle.wait()
        self._call(self._reset)
        return self._event(self.stop)

    def _put_back(self) -> None:
        """The guest as it was when it was loaded, with no probes. On the owner's thread."""
        for probe in self.kprobes.list():
            self.kprobes.unregister(probe)
        self.probes.clear()
        self._reset()

    def _reset(self) -> None:
        self.machine.reset()
        self.stop = Stop(StopReason.RESET, self.machine.registers.pc, "put back to its start")

    def read_registers(self, names: Sequence[str]) -> list[int]:
        """Registers by GDB's names; x30 as it would be without kretprobes."""

        def read() -> list[int]:
            values = self.machine.registers.read(names)
            if "x30" in names:
                values[names.index("x30")] = self.kprobes.unwind.x30
            return values

        return self._call(read)

    @property
    def changes(self) -> Changes:
        """How often the guest's state was changed, for a debugger to compare with what it has seen."""
        return Changes(self.machine.core.changes, self.machine.bus.changes)

    def write_register(self, name: str, value: int) -> None:
        """One register by GDB's name."""
        if name == "x30":
            self._call(setattr, self.kprobes.unwind, name, value)
        else:
            self._call(self.machine.registers.__setitem__, name, value)

    def read_memory(self, address: int, length: int) -> bytes:
        """Guest virtual memory as it would be without probes: their breakpoints and their trampoline are not shown.

        gdb takes a BRK of its own for one that the program has, and goes on after it instead of executing it; and it
        unwinds the stack by the return addresses there.
        """

        def read() -> bytes:
            data = self.machine.memory.read_available(address, length)
            return self.kprobes.unwind.unwound(address, self.kprobes.unpatched(address, data))

        return self._call(read)

    def memory_region(self, address: int) -> Region:
        """What the guest has at a virtual address, its page tables being as they are."""
        return self._call(self.machine.memory.region, address)

    @property
    def memory_size(self) -> int:
        """Bytes of RAM."""
        return self.machine.ram.size

    def mapped_memory(self) -> Sequence[Region]:
        """RAM and devices by virtual address."""
        return self._call(self.machine.memory.mapped)[0]

    def untranslated_memory(self) -> Sequence[Region]:
        """RAM, devices and gaps by physical address; none once the guest's MMU is on."""
        return self._call(self.machine.memory.untranslated)

    def write_memory(self, address: int, data: bytes) -> None:
        """Guest virtual memory, text included, as `read_memory` shows it."""
        self._call(self.kprobes.unwind.write, address, data)

    def insert(
        self, kind: BreakKind, address: int, length: int, decide: Decide | None = None, persistent: bool = False
    ) -> None:
        """A breakpoint or watchpoint of the debugger's, in place of one that a debugger before it has left."""
        self._call(self._breaks.insert, (kind, address, length), decide, persistent)

    def remove(self, kind: BreakKind, address: int, length: int) -> None:
        """Undo `insert`; removing what is not there does nothing."""
        self._call(self._breaks.remove, (kind, address, length))

    def trace(
        self, address: int, hit: Callable[[Scene], int], stepped: Callable[[Scene], None], steps: bool
    ) -> Callable[[], None]:
        """A tracepoint of the debugger's."""
        remove = self._call(self._tracing.add, address, hit, stepped, steps)
        return lambda: self._call(remove)

    def show(self, text: str) -> None:
        """Text of a debugger that has gone."""
        self.notify(text)

    def resume(self, step: bool, range: tuple[int, int] | None, done: Callable[[StopEvent], None]) -> None:
        """Set the guest going and return."""
        tracing, self._stepping, self._range = self._tracing, step, range
        self._over_watched = step and self._changes_watched()
        if not step:
            self._start(functools.partial(tracing.run, self._run_on), done)
        elif range is None:
            self._start(tracing.step, done, brief=True)
        else:
            self._start(functools.partial(self.machine.step_out_of, *range, tracing.step), done)

    def answer(self, result: int, errno: int, interrupted: bool, done: Callable[[StopEvent], None]) -> None:
        """What the debugger's files gave the guest; the instruction that asked is then over."""
        semihosting = self.machine.semihosting
        if semihosting is None:
            raise TargetError(_EINVAL, "a Linux guest asks for no files")
        call, pc = self._call(semihosting.answer, result, errno), self.machine.registers.pc
        stepped = self._stepping and not (self._range and self._range[0] <= pc < self._range[1])
        if interrupted:
            self.stop = Stop(StopReason.INTERRUPTED, pc)
        elif call is not None:
            self.stop = Stop(StopReason.HOST_CALL, pc, detail=call)
        elif stepped:
            self.stop = Stop(StopReason.INSTRUCTIONS, pc)
        elif self._stepping and self._call(self._breaks.stop_here):
            self.stop = Stop(StopReason.BREAKPOINT, pc)
        else:
            self.resume(self._stepping, self._range, done)
            return
        done(self._event(self.stop))

    def _run_on(self) -> Stop:
        """Run, unless there is a breakpoint of the debugger's right here: it takes out those that it does not want to
        hit again, and steps over them, before it goes on."""
        if self._breaks.stop_here():
            return Stop(StopReason.BREAKPOINT, self.machine.registers.pc)
        return self.machine.run()

    def _start(self, run: Callable[[], Stop], done: Callable[[StopEvent], None], brief: bool = False) -> None:
        self._idle.clear()
        semihosting = self.machine.semihosting

        def go_on() -> Stop:
            self.kprobes.unwind.go_on()
            if semihosting is None:
                return run()
            semihosting.files = self.lends_files and self._controlled
            try:
                return run()
            finally:
                semihosting.files = False

        def ended(future: Future[Stop]) -> None:
            error = future.exception()
            if error is None:
                self.stop = future.result()
                event = self._event(self.stop)
            else:
                event = StopEvent(_SIGTRAP, "error", text=str(error))
            self._idle.set()
            done(event)

        self.owner.resume(go_on, ended, brief)

    def command(self, client: Client, line: str, out: Callable[[str], None]) -> bool:
        """A command typed at the debugger, which may have gone, and another one come, before its turn comes."""

        def work() -> None:
            if client is not self._debugger:
                raise CommandError("the debugger has let go of the guest")
            self.shell.execute_for(Asker.TRUSTED if client.trusted else Asker.OTHER, line, out)

        try:
            self.owner.call(work)
        except CommandError as error:
            out(f"{error}\n")
            return False
        return True

    def place(self, word: str) -> Place | None:
        """Where a probe goes that is set on `word`."""
        return self._call(self.shell.place, word)

    def command_table(self) -> str:
        """The commands, for the gdb-side proxy."""
        return self.shell.table()

    def _call(self, function: Callable[..., T], *args: Any) -> T:
        """With nobody else using the machine, and refusals as the stub knows them."""
        try:
            return self.owner.call_briefly(function, *args)
        except MachineError as error:
            raise TargetError(_EFAULT, str(error)) from error

    def _changes_watched(self) -> bool:
        """Whether the access about to be made is one that a debugger tells of once it has stepped over it."""
        hit = self.stop.detail
        return isinstance(hit, WatchHit) and hit.value != hit.before

    def _event(self, stop: Stop) -> StopEvent:
        return stop_event(stop, self.machine, self._breaks, self._stepping and not self._over_watched)
