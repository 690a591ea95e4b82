# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine with its probes, as every front end drives it: its owner thread, commands and notices."""

from __future__ import annotations

import contextlib
import functools
import logging
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from armprobe.guests import linux
from armprobe.kernel.crashes import CrashKind
from armprobe.machine import (
    DEFAULT_MEMORY,
    HISTORY_INTERVAL,
    HISTORY_MEMORY,
    Machine,
    MachineError,
    Owner,
    Stop,
    StopReason,
    load,
)
from armprobe.probes import FunctionCounts, FunctionGraph, Kprobes
from armprobe.probes.guest_view import GuestView
from armprobe.probes.handler_failures import HANDLERS_LOG, describe_failure
from armprobe.wiring import shell_of

from .breakpoints import Breakpoints
from .console_text import ConsoleLines, ConsoleText
from .crash_stops import CrashStops
from .errors import CommandError
from .follower import Follower
from .guest import Guest
from .idle import Idle
from .module_probes import ModuleProbes
from .probe_list import ProbeList
from .snapshots import Snapshots
from .tracepoints import Tracepoints

if TYPE_CHECKING:
    from armprobe.wiring import Shell

    from .debug_target import DebugTarget


log = logging.getLogger(HANDLERS_LOG)
T = TypeVar("T")


class Session:
    """A guest with its probes and commands.

    The guest "linux" is Debian's kernel at its shell, fetched and booted if that was not done before
    (`guests.linux.prepare`); steps that take time are reported on stderr. Any other, `initrd`, `vmlinux`, `cmdline`,
    `append`, `base`, `memory`, `kaslr`, `disk`, `history` and `history_*` are those of `machine.load`, and
    `root` is that of `guests.linux.prepare`. `era`, `stepping` and `trampoline` are those of `probes.Kprobes`. Methods
    may be called from any thread: the owner's thread does all work on the machine. Raises MachineError if the guest
    cannot be loaded, ProbeError for an unknown era, stepping or trampoline.
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
        kaslr: int | None = None,
        base: int | None = None,
        memory: int | str = DEFAULT_MEMORY,
        history: bool = True,
        history_memory: int | str = HISTORY_MEMORY,
        history_interval: int = HISTORY_INTERVAL,
        history_folder: str | Path | None = None,
        disk: str | Path | None = None,
        root: bool = False,
    ) -> None:
        self.name = self._given = str(guest)
        if guest == "linux":
            if base is not None:
                raise MachineError("base is for raw binaries and position-independent ELFs, not for a Linux kernel")
            # The snapshot has its guest already.
            guest = linux.prepare(
                initrd=None if initrd is None else Path(initrd),
                cmdline=cmdline,
                append=append,
                memory=str(memory),
                report=functools.partial(print, file=sys.stderr),
                kaslr=kaslr,
                disk=None if disk is None else Path(disk),
                root=root,
            )
            initrd = cmdline = append = kaslr = None
        self.machine: Machine = load(
            guest,
            initrd=initrd,
            vmlinux=vmlinux,
            cmdline=cmdline,
            append=append,
            base=base,
            memory=memory,
            kaslr=kaslr,
            history=history,
            history_memory=history_memory,
            history_interval=history_interval,
            history_folder=history_folder,
            disk=disk,
        )
        self.kprobes = Kprobes(self.machine, era, stepping, trampoline)
        self.probes = ProbeList()
        self.function_watches: dict[int, FunctionCounts | FunctionGraph] = {}  # by numbers of the same list
        self.module_probes = ModuleProbes(self.machine, self.kprobes, self.probes, self.notify)
        self.snapshots = Snapshots(self.machine)
        begun = "as the snapshot was saved" if self.machine.instructions else "loaded, not yet started"
        self.stop = Stop(StopReason.UNTIL, self.machine.registers.pc, begun)
        self.stub_address = ""
        self.finished = False  # whether quit was requested
        self.console_text = ConsoleText()  # for commands that read the console
        self._console_lines = ConsoleLines(self.notify)  # for output that is shown as it comes
        self.console_in_use = False  # a command shows the console itself
        self._notices: list[Callable[[str], None]] = []
        self._remarks: Callable[[str], None] = self.notify
        self._parts: Callable[[object], None] = lambda part: None
        self.guest_view = GuestView(self.machine, self.kprobes)
        self.breakpoints = Breakpoints(self.machine, self.guest_view)  # by numbers of the same list
        self.tracepoints = Tracepoints(self.machine, self.kprobes, self.guest_view)
        self.idle = Idle()
        self.owner = Owner(self.machine)
        self.guest = Guest(self)  # the system that runs in the machine
        self._debug_target: DebugTarget | None = None
        self._making_target = threading.Lock()
        self.kprobes.on_error = self._handler_failed
        self.machine.timeline.on_branch = self._branch_begun
        self.crash_stops = CrashStops(self.machine)
        self.follower = Follower(self.machine, self.kprobes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the guest and end the owner's thread."""
        self.owner.close()

    # For people: command lines. A line is a string that is split as a shell does, or a list of words.

    @functools.cached_property
    def shell(self) -> Shell:
        """Runs and completes command lines."""
        return shell_of(self)

    def run(self, line: str | Sequence[str]) -> str:
        """Run one command line and return what it prints. Raises CommandError, one clear sentence, when it fails."""
        return self.shell.run(line)

    def ask(self, line: str | Sequence[str]) -> Any:
        """Run one command line and return its value, one of `armprobe.commands.values`. Raises CommandError."""
        return self.shell.ask(line)

    def perform(self, line: str | Sequence[str], show: Callable[[object], None], remark: Callable[[str], None]) -> Any:
        """Like `ask`, but passes the value, or its parts as they come, to `show`, and remarks to `remark`."""
        return self.shell.perform(line, show, remark)

    def execute(self, line: str | Sequence[str], out: Callable[[str], None]) -> None:
        """Like `run`, but passes the output to `out` piece by piece."""
        self.shell.execute(line, out)

    def complete(self, line: str) -> list[str]:
        """Candidates for the last word of `line`."""
        return self.shell.complete(line)

    def complete_like(self, line: str) -> list[str]:
        """Candidates that have the letters of the last word of `line` in their order, the nearest first."""
        return self.shell.complete(line, like=True)

    def interrupt(self) -> None:
        """Stop a running guest, whether it was started by a command, a debugger or a script."""
        self.owner.interrupt()

    def status(self) -> str:
        """The state of the guest in one line, for a prompt's toolbar."""
        state = "running" if self.owner.running else self.owner.call_briefly(self.describe, self.stop)
        return "  ".join(filter(None, (self.name, state, f"gdb: {self.stub_address}" if self.stub_address else "")))

    def on_notice(self, callback: Callable[[str], None]) -> None:
        """Call `callback`, on any thread, with each text that is not the answer to a command."""
        self._notices.append(callback)

    def show_console(self) -> None:
        """From now on send the guest's output to the listeners of `on_notice`, except while a command shows it."""

        def listener(data: bytes) -> None:
            if self.console_in_use:
                self._console_lines.discard()
            else:
                self._console_lines.add(data)

        self.machine.console.listen(listener)

    @contextlib.contextmanager
    def remarks_to(self, out: Callable[[str], None]) -> Iterator[None]:
        """Send remarks to `out` while a command runs."""
        before, self._remarks = self._remarks, out
        try:
            yield
        finally:
            self._remarks = before

    @contextlib.contextmanager
    def parts_to(self, show: Callable[[object], None]) -> Iterator[None]:
        """Give parts of the answer to `show` while a command runs."""
        before, self._parts = self._parts, show
        try:
            yield
        finally:
            self._parts = before

    def show_part(self, part: object) -> None:
        """Show a part of the answer of the running command before it is complete."""
        self._parts(part)

    def remark(self, text: str) -> None:
        """Show a text in addition to the answer of the running command."""
        self._remarks(text)

    def notify(self, text: str) -> None:
        """Show a text to all listeners of `on_notice`. Console output may be only a part of a line."""
        for callback in self._notices:
            callback(text)

    def _branch_begun(self, left: str) -> None:
        timeline = self.machine.timeline
        new = f"{timeline.branch} of the history begins at position {timeline.position:,}"
        self.notify(f"{new}; goto {left} goes back to what came after\n")

    def _handler_failed(self, probe: Any, error: BaseException) -> None:
        text = describe_failure(probe, error)
        log.log(logging.INFO if self._notices else logging.ERROR, "%s", text)  # a failure is never silent
        self.notify(f"{text}\n")

    @property
    def exit_status(self) -> int:
        """The exit status that the guest has ended with, 0 to 255: 0 after a power-off, and if it has not ended.

        1 if its kernel has crashed.
        """
        match self.stop.reason:
            case StopReason.EXIT:
                return self.stop.detail & 0xFF or int(self.stop.detail != 0)
            case StopReason.LOCKUP:
                return 1
            case StopReason.CRASH:
                return int(self.stop.detail.kind is not CrashKind.WARNING)
        return 0

    @property
    def debug_target(self) -> DebugTarget:
        """What debuggers drive. It is made when somebody asks for it."""
        with self._making_target:
            if self._debug_target is None:
                from .debug_target import DebugTarget

                self._debug_target = DebugTarget(self, self._given)
            return self._debug_target

    @property
    def controlled(self) -> bool:
        """Whether a debugger is in control of the guest."""
        return self._debug_target is not None and self._debug_target.controlled

    # Running, on the owner's thread.

    def go(self, run: Callable[[], Stop], waits: bool = True) -> Stop:
        """Run the machine for a command.

        With `waits`, a guest that idles for good waits until it is interrupted. Without it, the run ends, because a run
        for a count of instructions would wait for ever.

        Raises CommandError while GDB is in control, or if the guest already runs.
        """
        if self.controlled:
            raise CommandError("gdb is in control of the guest: continue or step there, or detach it")
        with self.running():
            self.stop = self.owner.run(functools.partial(self.tracepoints.run, run), waits)
            self.stop = self.breakpoints.settled(self.stop)
        return self.stop

    async def next_stop(self) -> Stop:
        """Run the guest until it stops, without blocking the event loop. Cancelling stops the guest.

        Raises CommandError while GDB is in control, or if the guest already runs.
        """
        return await self.owner.call_async(self.go, self.machine.run)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """A context for a command that runs the machine. Raises CommandError if the guest already runs."""
        if self.owner.running:
            raise CommandError("the guest is running already: interrupt it first (Ctrl-C)")
        self.idle.clear()
        try:
            self.kprobes.unwind.before_resume()
            yield
        finally:
            self._console_lines.flush()
            self.idle.set()
            self.follower.look()

    def describe(self, stop: Stop) -> str:
        """A text with the reason and the place of a stop."""
        name = self.machine.symbols.describe(stop.address)
        where = name if name == hex(stop.address) else f"{name} ({stop.address:#x})"
        return f"{stop.text or stop.reason.value} at {where}"
