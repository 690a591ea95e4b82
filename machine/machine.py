# SPDX-License-Identifier: GPL-2.0-or-later
"""The machine: cores, memory, devices, and the operations on them."""

from __future__ import annotations

import contextlib
import itertools
import mmap
import warnings
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from armprobe import wiring
from armprobe.machine.core.call import Calls
from armprobe.machine.core.core import DEFAULT_MODEL, Core
from armprobe.machine.core.dispatch import Claim, FaultClaim, Resume
from armprobe.machine.core.hypercalls import PSCI
from armprobe.machine.core.pstate import DAIF, EL1H
from armprobe.machine.core.register_access import find_sites
from armprobe.machine.devices.console import Console
from armprobe.machine.loaders.snapshot import Snapshot
from armprobe.machine.memory.bus import Backing, Bus, new_memory
from armprobe.machine.memory.scratch import Scratch
from armprobe.machine.time.checkpoint import Checkpoints
from armprobe.machine.time.clock import Clock
from armprobe.machine.time.timeline import HISTORY_MEMORY, Timeline

from . import board
from .core.run_loop import Run
from .devices import Devices, Flash, Gic, Pl011, Pl031
from .errors import MachineError
from .input import InputGate, InputKind
from .loaders import LoadedGuest, snapshot, snapshot_file
from .psci import Psci
from .scheduler import Scheduler
from .semihosting import Semihosting
from .state import StateRegistry
from .stop import Stop, StopReason
from .symbols import Symbols

if TYPE_CHECKING:
    from .devices import VirtioBlock


class Machine:
    """An ARMv8-A machine with a guest in it. Made by `machine.load`. `history` is the memory for its history, in bytes.

    `registers`, `memory` and the breakpoints are those of the first core. Only one thread may use it at a time (see
    `Owner` for sharing it).
    """

    def __init__(
        self,
        guest: LoadedGuest,
        cpu: str = DEFAULT_MODEL,
        resumed: tuple[Backing, ...] = (),
        history: int = HISTORY_MEMORY,
    ) -> None:
        self.guest = guest
        self.disk: VirtioBlock | None = None
        self.state = StateRegistry()
        self.clock = Clock(self.state)
        self.input = InputGate(self.clock)
        self.bus = Bus()
        self.ram = self.bus.add_ram("ram", board.RAM_BASE, resumed[0] if resumed else new_memory(guest.memory))
        self.scratch = Scratch(self, resumed[1] if resumed else None)
        self._add_devices()
        self.cores = [Core(self, 0, cpu)]
        self.core = self.cores[0]
        self.input.entering = self.core.dispatcher.leave_handler
        self.registers, self.memory = self.core.registers, self.core.memory
        self.breakpoints, self.watchpoints = self.core.breakpoints, self.core.watchpoints
        self.conditional_breakpoints = self.core.conditional_breakpoints
        self.scheduler = Scheduler(self)
        self.calls = Calls(self)
        self.claim_hvc(PSCI, Psci().call)
        self.semihosting = None if guest.is_linux else Semihosting(self)  # Linux does not use it
        if not resumed:
            self._load_segments()
            self._enter()
        self.state.begin()
        self.timeline = Timeline(self, bool(history), history)

    def _add_devices(self) -> None:
        self.gic = Gic(self.state)
        self.devices = Devices(self)
        self.devices.place(self.gic, board.GIC_DIST)
        self.devices.place(self.gic.interfaces[0], board.GIC_CPU)
        self.console = Console()
        assert board.UART.intid is not None
        self.uart = Pl011(self.state, self.gic, board.UART.intid, self._transmitted)
        self.console.connect(self, self.uart, self._typed)
        self.devices.place(self.uart, board.UART)
        self.devices.place(Pl031(), board.RTC)
        self.devices.place(Flash(), board.FLASH)

    def add_disk(self, path: str | Path) -> None:
        """Give the machine a disk, with the file at `path` as its first content, which is never written.

        Raises MachineError for a file that is no disk image, and as `Devices.add` does.
        """
        from armprobe.machine.memory.disk_image import DiskImage

        from .devices import VirtioBlock

        self.disk = VirtioBlock(DiskImage(path))
        self.devices.add(self.disk)

    def _transmitted(self) -> None:
        """Give the console what the guest has sent. Called by the UART."""
        if self.clock.running is not None:
            self.clock.running.native.return_to_python()  # a listener may type
        try:
            self.console.drain()
        except BaseException as error:  # of a listener
            if self.clock.running is None:
                raise  # through the write to the UART
            self.clock.running.fail_after_access(error)

    def _typed(self, data: bytes) -> None:
        self.uart.receive(data)
        self.input.entered(InputKind.CONSOLE, "", data)

    def _load_segments(self) -> None:
        for segment in self.guest.segments:
            self.bus.write(segment.address, segment.data)

    def _enter(self) -> None:
        """Put the CPU at the guest's entry: EL1h, DAIF set, MMU off, x0 = device tree."""
        self._find_register_accesses()
        context = self.core.context
        context.load()
        context.x[0], context.pc, context.pstate = self.guest.x0, self.guest.entry, DAIF | EL1H
        context.store()
        self.core.refresh()

    def _find_register_accesses(self) -> None:
        """Hook them all at once: each that is found while the guest runs costs a translation of all code."""
        for segment in self.guest.segments:
            if segment.virtual is not None:  # linked code also runs at its physical address until the MMU is on
                for base in {segment.address, segment.virtual}:
                    self.core.register_access.watch(find_sites(segment.data, base))

    # For code that extends the machine.

    def claim_brk(self, immediate: int, claim: Claim, counts: bool = True) -> None:
        """See `Dispatcher.claim_brk`."""
        self.core.dispatcher.claim_brk(immediate, claim, counts)

    def claim_hvc(self, immediate: int, claim: Claim) -> None:
        """See `Dispatcher.claim_hvc`."""
        self.core.dispatcher.claim_hvc(immediate, claim)

    def claim_step(self, claim: Claim) -> None:
        """See `Dispatcher.claim_step`."""
        self.core.dispatcher.claim_step(claim)

    def claim_fault(self, claim: FaultClaim) -> None:
        """See `Dispatcher.claim_fault`."""
        self.core.dispatcher.claim_fault(claim)

    def request_stop(self, stop: Stop, resume: Resume | None = None) -> None:
        """See `Dispatcher.request_stop`."""
        self.core.request_stop(stop, resume)

    def intercept(self, address: int, function: Callable[[Machine], None]) -> None:
        """Call `function` whenever execution reaches `address`, between two instructions and unseen by the guest."""
        self.core.run_loop.intercept(address, function)

    def unintercept(self, address: int, function: Callable[[Machine], None]) -> None:
        """Undo an `intercept`."""
        self.core.run_loop.unintercept(address, function)

    # Running.

    @property
    def instructions(self) -> int:
        """The guest's own instructions since reset; see `Clock.executed`."""
        return self.clock.executed

    @cached_property
    def kernel(self) -> wiring.Kernel | None:
        """The guest's kernel, or None if the guest is no kernel."""
        return wiring.kernel_of(self)

    @property
    def kprobes(self) -> wiring.Kprobes:
        """The probes of this machine. They have the rules of its guest's kernel unless a `Kprobes` was made before."""
        return wiring.kprobes_of(self)

    @cached_property
    def symbols(self) -> Symbols:
        """The guest's symbols, including those of the modules that its kernel has loaded."""
        symbols = self.guest.symbols
        if self.kernel is not None and self.kernel.modules is not None:
            symbols.modules = self.kernel.modules
        return symbols

    def interrupt(self) -> None:
        """Ask a run to end soon, with the reason INTERRUPTED. May be called from any thread."""
        self.scheduler.interrupt()

    def skip_to(self, count: int) -> None:
        """Let guest time pass, without executing anything, until the generic timer's count (62.5 MHz) is `count`."""
        self.clock.skip_to(count)
        self.input.entered(InputKind.TIME, "", count)

    def look_up(self) -> None:
        """End the slice under way soon, to do work between slices. May be called from any thread."""
        self.core.dispatcher.end_slice = True

    def forget_interrupt(self) -> None:
        """Take back an `interrupt` that came too late for the run it was meant for."""
        self.scheduler.interrupt_requested = False

    def run(self, until: int | str | None = None, instructions: int | None = None, after: Run | None = None) -> Stop:
        """Run the guest until it reaches the address or symbol `until`, has executed `instructions`, or is stopped by
        itself, a breakpoint or a probe.

        A breakpoint at the PC does not stop it, unless this is the next part of the run `after`. Raises MachineError
        for an unknown symbol, when the guest has ended for good, and in a handler.
        """
        self.refuse_in_handler()
        self.core.changes += 1
        if until is None:
            return self.scheduler.run(None, instructions, interrupts=True, run=after)
        target = self.address(until)
        self.breakpoints.add(target)
        try:
            return self.scheduler.run(target, instructions, interrupts=True, run=after)
        finally:
            self.breakpoints.remove(target)

    def step_out_of(
        self, start: int, end: int, step: Callable[[], Stop] | None = None, most: int | None = None
    ) -> Stop:
        """Step by `step` until the PC is outside start <= pc < end, or something else stops the machine.

        After `most` steps the reason is UNFINISHED, and the next call goes on.
        """
        for _ in itertools.count() if most is None else range(most):
            stop = (step or self.step)()
            if stop.reason is not StopReason.INSTRUCTIONS or not start <= stop.address < end:
                return stop
            if self.breakpoints.count(stop.address) or self.conditional_breakpoints.decides(stop.address):
                return Stop(StopReason.BREAKPOINT, stop.address)
        return Stop(StopReason.UNFINISHED, self.registers.pc)

    def step(self, count: int = 1) -> Stop:
        """Execute `count` instructions, taking no interrupts. Code that a probe executes out of line counts as the one
        instruction it replaces, and a trampoline as none: a step in it goes on to the caller. Raises MachineError as
        `run` does."""
        self.refuse_in_handler()
        self.core.changes += 1
        taken, context = self.scheduler.take(), self.core.context
        try:
            stop = None
            for _ in range(count):
                context.load()
                extra = self.scratch.is_extra(context.pc)
                stop = self.scheduler.run(None, 0 if extra else 1, interrupts=False)
                if stop.reason is not StopReason.INSTRUCTIONS:
                    break
            return stop or Stop(StopReason.INSTRUCTIONS, self.registers.pc)
        finally:
            if taken:
                self.scheduler.give_back()

    def refuse_in_handler(self) -> None:
        """Raise MachineError in the handler of an exception, which must end with the machine in the same state."""
        self.core.refuse_other_threads()
        if self.core.native.state.handling:
            raise MachineError(
                "the guest is running, and this is a handler of what it does: call guest functions here; run, step, "
                "restore and reset the machine when it has stopped"
            )

    def address(self, where: int | str) -> int:
        """An address unchanged, or the address of a symbol. Raises MachineError for an unknown symbol.

        If several symbols have the name, it takes the first and gives a UserWarning.
        """
        if isinstance(where, int):
            return where
        symbol = self.symbols[where]
        if not self.symbols.is_own(where) and (ambiguity := self.symbols.ambiguity(where)):
            warnings.warn(ambiguity, stacklevel=3)  # at the caller of run() or call()
        return symbol.address

    @property
    def return_address(self) -> int | None:
        """The return address of functions that `call` calls; None before the first call."""
        return self.calls.return_address

    def call(self, target: int | str, *arguments: int) -> int:
        """Call a guest function with up to eight integers or pointers (AAPCS64) on the current kernel stack.

        Returns x0 and restores the registers of the interrupted code: x0 to x30, SP, PC, PSTATE, those of exceptions,
        and the vector registers, except at EL1 of Linux, which manages those. Others, such as TTBR0_EL1, stay as the
        function left them, because another task may have run while it slept. From EL0, and from the handler of an
        exception other than a hypercall, the call is made at EL1 with all exceptions masked, as they are there (Arm
        ARM, D1.3.1). Raises CallNotReturned when the function does not return, and MachineError when there is no code
        at `target` or there are more than eight arguments. In the past (`timeline.go`), a call leaves no trace: the
        guest is as before afterwards.
        """
        with self.timeline.diversion() if self.timeline.looking_back else contextlib.nullcontext():
            return self.calls.call(self.address(target), arguments)

    # States.

    @contextlib.contextmanager
    def unnoticed(self) -> Iterator[None]:
        """A context after which what changed in the guest does not count, if its registers are what they were."""
        core, bus, state = self.core, self.bus, self.state

        def registers() -> tuple[list[int], int, bytes]:
            context = core.load()
            return list(context.x), context.pstate, context.vector_bytes()

        before, counts = registers(), (core.changes, bus.changes, state.restorations)
        yield
        if registers() == before:
            core.changes, bus.changes, state.restorations = counts

    def snapshot(self) -> Snapshot:
        """The whole state, to `restore` later."""
        return snapshot.take(self)

    def restore(self, state: Snapshot) -> None:
        """Put the machine back to `state`, a snapshot taken from it. Raises MachineError in a handler."""
        self.refuse_in_handler()
        snapshot.put_back(self, state)
        self.timeline.begin(lambda: snapshot.put_back(self, state))
        self.input.entered(InputKind.STATE, "restore")

    def save(self, path: str | Path, key: str = "", *, force: bool = False, history: bool = False) -> None:
        """Write the state to a file that `machine.load` accepts; `key` is for `snapshot.read_key`.

        With `history`, the file holds the machine's history too, so that who loads it can go back. It replaces an
        existing snapshot, and any other file only with `force`. Raises MachineError when the file cannot be written,
        and when there is no history.
        """
        snapshot_file.save(self, path, key, force=force, history=history)

    def resume(self, path: str | Path) -> None:
        """Put the machine into the state in a file that `save` has written, of the same guest, with the history there.

        Raises MachineError if the file is of another guest, or damaged, and in a handler.
        """
        self.refuse_in_handler()
        saved, history = snapshot_file.put_back(self, path)
        if self.timeline.enabled:
            state = self.snapshot()
            self.timeline.begin(lambda: snapshot.put_back(self, state))
        if history is not None:
            snapshot_file.adopt_history(self, saved, history)
        self.input.entered(InputKind.STATE, "load")

    def reset(self) -> None:
        """Put the guest back to the state in which it was loaded.

        Raises MachineError if its snapshot file has become unreadable, and in a handler.
        """
        self.refuse_in_handler()
        self.console.discard_input()
        self.put_back_first()
        self.timeline.begin(self.put_back_first)
        self.input.entered(InputKind.STATE, "reset")

    def put_back_first(self) -> None:
        """Put the state in which the guest was loaded in place. For the machine itself: `reset` does more."""
        if "checkpoints" in vars(self):
            self.checkpoints.unload()
        else:
            for ram in self.bus.rams:
                # Anonymous memory then reads as zeros, and a private mapping of a snapshot as its file (madvise(2)).
                ram.pages.madvise(mmap.MADV_DONTNEED)
            if self.disk is not None:
                self.disk.image.unload()
        self._load_segments()
        for core in self.cores:
            core.forget_all()
        self.state.reset()

    @cached_property
    def checkpoints(self) -> Checkpoints:
        """The checkpoints of this machine. From the first use on, memory is followed."""
        return Checkpoints(self)

    @property
    def ended(self) -> bool:
        """Whether the guest has ended for good: powered off, reset, exited or locked up."""
        return self.scheduler.ended
