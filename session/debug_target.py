# SPDX-License-Identifier: GPL-2.0-or-later
"""A session's machine as a debugger drives it: a target of the stub (`armprobe.stub.Target`)."""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Callable, Sequence
from errno import EBUSY, EFAULT, EINVAL
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from armprobe.machine import MachineError, Stop, StopReason, WatchHit, host_files
from armprobe.machine.core.sysregs import SYSTEM_REGISTERS
from armprobe.machine.memory.regions import Region
from armprobe.machine.native.program import Program
from armprobe.stub import (
    BreakKind,
    Changes,
    Client,
    Decide,
    ExecFile,
    GuestView,
    LibrariesChanged,
    Library,
    Place,
    Signalled,
    StopEvent,
    TargetError,
    Thread,
    WatchKind,
)

from .authority import Asker, asker
from .console_text import ConsoleLines
from .debugger_breakpoints import DebuggerBreakpoints
from .debugger_libraries import DebuggerLibraries
from .debugger_run import DebuggerRun
from .debugger_threads import DebuggerThreads
from .stop_event import stop_event
from .symbol_cache import SymbolFile
from .symbol_file import SymbolSources

if TYPE_CHECKING:
    from .session import Session

T = TypeVar("T")


class DebugTarget:
    """The machine of `session`, given `guest`, for one debugger at a time. Any thread may call its methods."""

    def __init__(self, session: Session, guest: str) -> None:
        self._session = session
        self._machine = session.machine
        self._kprobes = session.kprobes
        self._owner = session.owner
        self._tracepoints = session.tracepoints
        self.breakpoints = DebuggerBreakpoints(session.machine, session.guest_view)
        self.controlled = False
        """Whether a debugger is in control."""
        self._symbol_file = SymbolFile(
            session.machine,
            lambda: self._call(SymbolSources.of, self._machine, self._read_code),
            self._without_types,
        )
        stem = re.sub(r"[^\w.+-]", "_", Path(guest).name.removesuffix(".elf"), flags=re.ASCII)
        name = f"/armprobe/{stem}.elf"
        self._symbols = ExecFile(name, self._symbol_file.open, lambda: self._symbol_file.path)
        self._dwarf: ExecFile | None = None
        if (dwarf := session.machine.guest.dwarf) is not None:
            path = str(dwarf.resolve())
            name = path if path.isprintable() else name  # a name that is not UTF-8 cannot be sent
            self._dwarf = ExecFile(name, functools.partial(self._call, host_files.open_regular, dwarf))
        self._console_lines = ConsoleLines(self.remark)
        self._resumed = False  # whether the guest runs for the debugger, which listens then
        self._libraries = DebuggerLibraries(session.machine, self._without_types)
        self._threads = DebuggerThreads(session.machine)
        self._control = threading.Lock()  # held while a debugger is in control
        self._debugger: Client | None = None  # the debugger in control
        self._was_running = False  # whether the guest ran when the debugger came
        self._stepping = False
        self._over_watched = False  # whether the last step was over an access that a watchpoint had stopped before
        self._range: tuple[int, int] | None = None  # the range of the last step
        # Whether the guest may ask for a debugger's files: set at the prompt for all debuggers, and by the debugger
        # itself.
        self._lends_files = False
        self._debugger_lends: bool | None = None

    @property
    def lends_files(self) -> bool:
        """Whether the guest may ask for the files of the debugger that is in control."""
        return self._lends_files if self._debugger_lends is None else self._debugger_lends

    def lend_files(self, lends: bool) -> None:
        """Allow or forbid that. A debugger sets it for itself, any other caller for all future debuggers."""
        if asker() is Asker.LOCAL:
            self._lends_files = lends
        else:
            self._debugger_lends = lends

    @property
    def system_registers(self) -> tuple[str, ...]:
        """The names of EL1's readable system registers."""
        return tuple(SYSTEM_REGISTERS)

    def exec_file(self) -> ExecFile | None:
        """The guest's file with debug information, or an ELF with its symbols. None if there are none."""
        if self._dwarf is not None:
            return self._dwarf
        return self._symbols if self._call(len, self._machine.symbols) else None

    def _without_types(self, reason: str) -> None:
        self._session.notify(f"the debugger gets symbols without types: {reason}\n")

    def _read_code(self, address: int, length: int) -> bytes:
        return self._kprobes.unpatched(address, self._machine.memory.read_available(address, length))

    @property
    def has_libraries(self) -> bool:
        """Whether the guest can load modules."""
        return self._libraries.possible

    def libraries(self) -> Sequence[Library]:
        """The loaded modules."""
        return self._call(self._libraries.read)

    def file_of_library(self, name: str) -> Callable[[], BinaryIO] | None:
        """Gives an ELF with the symbols of a loaded module."""
        return functools.partial(self._call, self._libraries.file, name) if self._libraries.knows(name) else None

    @property
    def has_threads(self) -> bool:
        """Whether debuggers see the guest's tasks as threads."""
        return self._threads.possible

    def see_tasks(self, wanted: bool) -> None:
        """Whether debuggers are to see the guest's tasks, if it has any, as threads."""
        self._threads.want(wanted)

    def running_thread(self) -> int:
        """The number of the task that the CPU executes."""
        return self._call(self._threads.running)

    def threads(self) -> Sequence[Thread]:
        """The guest's tasks."""
        return self._call(self._threads.all)

    def read_thread_registers(self, thread: int, names: Sequence[str]) -> list[int | None]:
        """Registers of a task that does not run."""
        return self._call(self._threads.registers, thread, names)

    def attach(self, client: Client) -> StopEvent:
        """Stop the guest and give control to a debugger."""
        if not self._control.acquire(blocking=False):
            raise TargetError(EBUSY, "another debugger is in control of this machine: detach it first")
        self._debugger = client
        self._was_running = self._owner.running
        self.controlled = True
        self._owner.interrupt()
        self._session.idle.wait()
        self._session.notify("gdb attached\n")
        return self._event(self._session.stop)

    def detach(self) -> None:
        """End the debugger's control. Removes its breakpoints, and resumes a guest that ran when it came."""
        self._owner.interrupt()
        self._session.idle.wait()
        self._call(self.breakpoints.debugger_left)
        self._call(self._let_go)  # not in the middle of a command of this debugger
        self._session.notify("gdb detached\n")
        if self._was_running:
            self._start(functools.partial(self._tracepoints.run, self._machine.run), lambda _: None)

    def _let_go(self) -> None:
        self._libraries.forget()
        self.controlled, self._debugger, self._debugger_lends = False, None, None
        self._control.release()

    def kill(self) -> None:
        """Put the guest back to its start, with no probes."""
        self._owner.interrupt()
        self._session.idle.wait()
        self._call(self.breakpoints.remove_left)
        self._call(self._put_back)

    def restart(self) -> StopEvent:
        """Put the guest back to its start, stopped. Probes and the debugger's breakpoints stay."""
        self._owner.interrupt()
        self._session.idle.wait()
        self._call(self._reset)
        return self._event(self._session.stop)

    def _put_back(self) -> None:
        """Put the guest back to its start, with no probes, events or breakpoints. For the owner's thread."""
        events = self._kprobes.events
        events.remove_all()
        of_kernel = {each.probe for each in events.kernel_probes}  # which stay, as the events do
        self._kprobes.unregister_kprobes([probe for probe in self._kprobes.list() if probe not in of_kernel])
        self._session.probes.clear()
        for point in list(self._session.breakpoints.values()):
            self._session.breakpoints.delete(point)
        for watched in self._session.function_watches.values():
            watched.close()
        self._session.function_watches.clear()
        self._reset()

    def _reset(self) -> None:
        self._machine.reset()
        self._session.stop = Stop(StopReason.RESET, self._machine.registers.pc, "put back to its start")

    def read_registers(self, names: Sequence[str]) -> list[int]:
        """Registers by GDB's names. x30 is as it would be without kretprobes."""

        return self._call(self._shown_registers, names)

    def _shown_registers(self, names: Sequence[str]) -> list[int]:
        values = self._machine.registers.read(names)
        if "x30" in names:
            at = names.index("x30")
            values[at] = self._kprobes.unwind.shown(values[at])
        return values

    @property
    def changes(self) -> Changes:
        """How often the guest was run or changed. A debugger compares this with the count that it knows."""
        machine = self._machine
        return Changes(machine.core.changes, machine.bus.changes, machine.state.restorations)

    def write_register(self, name: str, value: int) -> None:
        """Write one register, by GDB's name."""
        if name == "x30":
            self._call(setattr, self._kprobes.unwind, name, value)
        else:
            self._call(self._machine.registers.__setitem__, name, value)

    def read_memory(self, address: int, length: int) -> bytes:
        """Guest virtual memory as it would be without probes: their breakpoints and their trampoline are hidden.

        gdb would take a breakpoint of ours for a BRK of the program, and go on after it instead of executing the
        instruction. It also unwinds the stack by the return addresses in memory.
        """

        return self._call(self._shown_memory, address, length)

    def _shown_memory(self, address: int, length: int) -> bytes:
        data = self._machine.memory.read_available(address, length)
        return self._kprobes.unwind.with_callers(address, self._kprobes.unpatched(address, data))

    def memory_region(self, address: int) -> Region:
        """The mapping of a virtual address in the guest's current page tables."""
        return self._call(self._machine.memory.region, address)

    @property
    def memory_size(self) -> int:
        """Bytes of RAM."""
        return self._machine.ram.size

    def mapped_memory(self) -> Sequence[Region]:
        """RAM and devices by virtual address."""
        return self._call(self._machine.memory.mapped)[0]

    def untranslated_memory(self) -> Sequence[Region]:
        """RAM, devices and gaps by physical address. Empty once the guest's MMU is on."""
        return self._call(self._machine.memory.untranslated)

    def write_memory(self, address: int, data: bytes) -> None:
        """Write guest virtual memory, text included, as `read_memory` shows it."""
        self._call(self._kprobes.unwind.write, address, data)

    def insert_breakpoint(self, kind: BreakKind, address: int, length: int) -> None:
        """Insert a breakpoint. It replaces one that an earlier debugger has left."""
        self._call(self.breakpoints.insert, (kind, address, length))

    def insert_conditional_breakpoint(
        self, kind: BreakKind, address: int, length: int, decide: Decide, persistent: bool
    ) -> None:
        """Insert a breakpoint that stops if `decide` says so. It replaces one that an earlier debugger has left."""
        self._call(self.breakpoints.insert, (kind, address, length), decide, persistent)

    def remove_breakpoint(self, kind: BreakKind, address: int, length: int) -> None:
        """Remove a breakpoint, if there is one."""
        self._call(self.breakpoints.remove, (kind, address, length))

    def insert_watchpoint(self, kind: WatchKind, address: int, length: int) -> None:
        """Insert a watchpoint."""
        self._call(self.breakpoints.insert, (kind, address, length))

    def remove_watchpoint(self, kind: WatchKind, address: int, length: int) -> None:
        """Remove a watchpoint, if there is one."""
        self._call(self.breakpoints.remove, (kind, address, length))

    def trace(
        self,
        address: int,
        hit: Callable[[GuestView], int],
        stepped: Callable[[GuestView], None],
        steps: bool,
        condition: Program | None,
    ) -> Callable[[], None]:
        """Insert a tracepoint. The result removes it."""
        remove = self._call(self._tracepoints.add, address, hit, stepped, steps, condition)
        return lambda: self._call(remove)

    def show(self, text: str) -> None:
        """Show text for a debugger that has gone."""
        self._session.notify(text)

    def remark(self, text: str) -> None:
        """Show text at the debugger in control or, while a command runs the guest, in addition to its answer."""
        debugger = self._debugger if self._resumed else None
        if debugger is not None and debugger.show is not None:
            debugger.show(text)
        else:
            self._session.remark(text)

    def show_console(self) -> None:
        """From now on show the guest's output at the debugger while the guest runs for it."""

        def listener(data: bytes) -> None:
            if self._resumed:
                self._console_lines.add(data)

        self._machine.console.listen(listener)

    def resume(self, step: bool, range: tuple[int, int] | None, done: Callable[[StopEvent], None]) -> None:
        """Start the guest and return. A debugger that does not know the modules of this state is told first."""
        if self._libraries.stale and self._call(self._libraries.changed_by_restoring):
            done(LibrariesChanged(position=self._machine.instructions))
            return
        self._stepping, self._range = step, range
        self._over_watched = step and self._changes_watched()
        if step and range is None:
            self._start(self._tracepoints.step, done, brief=True)
            return
        run = DebuggerRun(self._machine, self._tracepoints, self.breakpoints)
        self._start(run.run if range is None else functools.partial(run.step_out_of, *range), done, brief=True)

    def resume_backwards(self, step: bool, done: Callable[[StopEvent], None]) -> None:
        """Go back by one instruction, or to the last stop, and return."""
        self._stepping, self._range, self._over_watched = step, None, False
        self._start(self._step_back if step else self._back_to_stop, done)

    def _step_back(self) -> Stop:
        timeline, registers = self._machine.timeline, self._machine.registers
        if timeline.enabled and timeline.position == timeline.start:
            return Stop(StopReason.HISTORY_START, registers.pc)
        timeline.reverse_step()
        return Stop(StopReason.INSTRUCTIONS, registers.pc)

    def _back_to_stop(self) -> Stop:
        stop = self._machine.timeline.reverse_continue()
        if stop.reason is StopReason.WATCHPOINT:
            # gdb steps over the access before it looks at the value: backwards. So it is told after the access.
            self._machine.step()
        return stop

    def answer(self, result: int, errno: int, interrupted: bool, done: Callable[[StopEvent], None]) -> None:
        """Give the guest the result of its file call, which ends the instruction that made it."""
        semihosting = self._machine.semihosting
        if semihosting is None:
            raise TargetError(EINVAL, "a Linux guest asks for no files")
        call, pc = self._call(semihosting.answer, result, errno), self._machine.registers.pc
        stepped = self._stepping and not (self._range and self._range[0] <= pc < self._range[1])
        if interrupted:
            self._session.stop = Stop(StopReason.INTERRUPTED, pc)
        elif call is not None:
            self._session.stop = Stop(StopReason.HOST_CALL, pc, detail=call)
        elif stepped:
            self._session.stop = Stop(StopReason.INSTRUCTIONS, pc)
        elif self._stepping and self._call(self.breakpoints.stop_here):
            self._session.stop = Stop(StopReason.BREAKPOINT, pc)
        else:
            self.resume(self._stepping, self._range, done)
            return
        done(self._event(self._session.stop))

    def _start(self, run: Callable[[], Stop], done: Callable[[StopEvent], None], brief: bool = False) -> None:
        self._session.idle.clear()
        self._resumed = True
        semihosting = self._machine.semihosting

        begun = False

        def go_on() -> Stop:
            nonlocal begun
            if not begun:  # not once more for the next part
                begun = True
                self._kprobes.unwind.before_resume()
            if semihosting is None:
                return run()
            semihosting.files = self.lends_files and self.controlled
            try:
                return run()
            finally:
                semihosting.files = False

        def ended(how: Stop | BaseException) -> None:
            if isinstance(how, Stop):
                if self._session.breakpoints:
                    how = self._owner.call_briefly(self._session.breakpoints.settled, how)
                self._session.stop = how
                event = self._event(how)
            else:
                event = Signalled(position=self._machine.instructions, text=str(how))
            self._session.idle.set()
            if self._session.follower.following:
                self._owner.call_briefly(self._session.follower.look)
            self._console_lines.flush()
            self._resumed = False
            done(event)

        self._owner.resume(go_on, ended, brief)

    def interrupt(self) -> None:
        """Ask the running guest to stop soon, even if a command runs it."""
        self._owner.interrupt()

    def command(self, client: Client, line: str, out: Callable[[str], None]) -> bool:
        """Run a command for a debugger. By then the debugger may have gone, and another one may have come."""

        def work() -> bool:
            if client is not self._debugger:
                out("the debugger has let go of the guest\n")
                return False
            return self._session.shell.execute_for(_asker(client), line, out)

        return self._owner.call(work)

    def command_value(self, client: Client, line: str) -> str:
        """Run a command for a debugger; its answer as a line of JSON."""
        return self._owner.call(self._session.shell.json_for, _asker(client), line)

    def context(self) -> str:
        """What the debugger's user wants to see after each stop."""
        return self._call(self._session.shell.debugger_context)

    def complete(self, line: str) -> list[str]:
        """Candidates for the last word of a command line."""
        return self._session.shell.complete(line)

    def place(self, word: str) -> Place | None:
        """The place that `word` names in a command."""
        return self._call(self._session.shell.place, word)

    @property
    def position(self) -> int:
        """The count of the guest's own instructions."""
        return self._machine.instructions

    def command_table(self) -> str:
        """The commands, for the gdb-side proxy."""
        return self._session.shell.table()

    def _call(self, function: Callable[..., T], *args: Any) -> T:
        """Call `function` while no other thread uses the machine. MachineError becomes TargetError."""
        try:
            return self._owner.call_briefly(function, *args)
        except MachineError as error:
            raise TargetError(EFAULT, str(error)) from error

    def _changes_watched(self) -> bool:
        """Whether the next access changes the watched value. A debugger reports the change after stepping over it."""
        hit = self._session.stop.detail
        return isinstance(hit, WatchHit) and hit.value != hit.before

    def _event(self, stop: Stop) -> StopEvent:
        return stop_event(stop, self._machine, self.breakpoints, self._stepping and not self._over_watched)


def _asker(client: Client) -> Asker:
    return Asker.TRUSTED if client.trusted else Asker.OTHER
