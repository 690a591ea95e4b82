# SPDX-License-Identifier: GPL-2.0-or-later
"""The machine: one CPU, its memory and devices, and the loop that runs them in slices."""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import unicorn

from . import board, snapshot
from .breakpoints import Breakpoints, Watchpoints
from .bus import Bus, new_memory
from .clock import Clock
from .conditional import ConditionalBreakpoints
from .console import Console
from .counter_access import CounterAccess, find_sites
from .cpu import DEFAULT_MODEL, Cpu
from .devices import GenericTimer, Gic, GicCpuInterface, Pl011
from .devices.gic import SPURIOUS
from .dispatch import Claim, Dispatcher, FaultClaim, Resume
from .errors import CallNotReturned, MachineError
from .exceptions import EXTERNAL_ABORT, FAR_NOT_VALID, IL, IRQ, WRITE_NOT_READ, Class, Raised, enter
from .frame import DAIF, EL1H, PSTATE_I, Frame
from .loaders import LoadedGuest
from .memory import Memory
from .mmu import TranslationRegisters
from .psci import Psci
from .registers import Registers
from .scratch import Scratch
from .snapshot import Snapshot
from .software_step import SoftwareStep
from .stop import Stop, StopReason
from .symbols import Symbols

SLICE: Final = 500_000  # instructions: how long a run goes on before it looks up, some 10 milliseconds
CALL_RETURN: Final = 0x6361  # the HVC at which a called function returns
_WFI: Final = 0xD503_207F
_CALL_LIMIT: Final = 200_000_000  # instructions
_BUS_ERRORS: Final = {
    unicorn.UC_ERR_READ_UNMAPPED: 0,
    unicorn.UC_ERR_WRITE_UNMAPPED: WRITE_NOT_READ,
    unicorn.UC_ERR_READ_PROT: 0,
    unicorn.UC_ERR_WRITE_PROT: WRITE_NOT_READ,
}


class Machine:
    """An ARMv8-A machine with a guest in it. Made by `machine.load`.

    Only one thread may use it at a time (see `Owner` for sharing it).
    """

    def __init__(self, guest: LoadedGuest, cpu: str = DEFAULT_MODEL, resumed: tuple[mmap.mmap, ...] = ()) -> None:
        self.guest = guest
        self.cpu = Cpu(cpu)
        self.clock = Clock(self.cpu)
        self._translation = Frame(self.cpu.engine, self.cpu.layout)  # the shared one may be ahead of the CPU
        self.bus = Bus(self.cpu.engine)
        self.ram = self.bus.add_ram("ram", board.RAM_BASE, resumed[0] if resumed else new_memory(guest.memory))
        self.memory = Memory(self.bus, self.cpu, self.translation_registers)
        self.registers = Registers(self.cpu)
        self.symbols: Symbols = guest.symbols
        self.dispatcher = Dispatcher(self.cpu)
        self.breakpoints = Breakpoints(self.cpu)
        self.conditional_breakpoints = ConditionalBreakpoints(self.cpu)
        self.watchpoints = Watchpoints(self.cpu, self.memory, lambda hit: None)
        self.scratch = Scratch(self, resumed[1] if resumed else None)
        self.software_step = SoftwareStep(self)
        self.between_slices: Callable[[], None] = lambda: None
        self.on_restore: list[Callable[[], None]] = []
        self.before_save: list[Callable[[], None]] = []  # each may raise MachineError to refuse
        self._intercepts: dict[int, list[Callable[[Machine], None]]] = {}
        self._interrupt_requested = False
        self._depth = 0
        self._finishing = False  # the run under way began with code of the machine's own, see Dispatcher.request_stop
        self._blocks: dict[int, int] = {}
        self._last_stop: Stop | None = None
        self.return_address: int | None = None
        self._add_devices()
        if not resumed:
            self._load_segments()
            self._enter()
        self.initial = snapshot.take(self, memories=False)  # what `reset` goes back to

    def _add_devices(self) -> None:
        self.gic = Gic()
        self.bus.attach(self.gic, board.GIC_DIST, board.GIC_SIZE)
        self.bus.attach(GicCpuInterface(self.gic), board.GIC_CPU, board.GIC_SIZE)
        self.timers = {  # by CRm of their registers
            3: self._timer("virtual-timer", board.VIRTUAL_TIMER_INTID),
            2: self._timer("physical-timer", board.PHYSICAL_TIMER_INTID),
        }
        self.console = Console()
        self.uart = Pl011(lambda on: self.gic.set_line(board.UART_INTID, on), self.console.transmitted)
        self.console.receive = self.uart.receive
        self.bus.attach(self.uart, board.UART, board.UART_SIZE)
        self.bus.after_access = self._after_device_access
        self.counter_access = CounterAccess(self.cpu, self.clock, self.timers)
        self.psci = Psci(self.request_stop)
        self.claim_hvc(0, self.psci.call)
        self.claim_hvc(CALL_RETURN, self._call_returned)
        self.claim_fault(self._cannot_fetch)
        self.dispatcher.claim_trapped_wfi(self._breakpoint_at_el0)

    def _timer(self, name: str, intid: int) -> GenericTimer:
        return GenericTimer(name, lambda: self.clock.now, lambda asserted: self.gic.set_line(intid, asserted))

    def _load_segments(self) -> None:
        for segment in self.guest.segments:
            self.bus.write(segment.address, segment.data)

    def _enter(self) -> None:
        """Put the CPU at the guest's entry: EL1h, DAIF set, MMU off, x0 = device tree."""
        for segment in self.guest.segments:
            if segment.virtual is not None:  # linked code, which also runs at its physical address until the MMU is on
                for base in {segment.address, segment.virtual}:
                    self.counter_access.watch(find_sites(segment.data, base))
        frame = self.cpu.frame
        frame.load()
        frame.x[0], frame.pc, frame.pstate = self.guest.x0, self.guest.entry, DAIF | EL1H
        frame.store()
        self.cpu.refresh()

    # What is inside, for those who extend it.

    def translation_registers(self) -> TranslationRegisters:
        """The registers that decide translations, as they are now."""
        frame, layout = self._translation, self.cpu.layout
        frame.load()
        return TranslationRegisters(
            frame.system(layout.sctlr_el1),
            frame.system(layout.tcr_el1),
            frame.system(layout.ttbr0_el1),
            frame.system(layout.ttbr1_el1),
        )

    def claim_brk(self, immediate: int, claim: Claim) -> None:
        """See `Dispatcher.claim_brk`."""
        self.dispatcher.claim_brk(immediate, claim)

    def claim_hvc(self, immediate: int, claim: Claim) -> None:
        """See `Dispatcher.claim_hvc`."""
        self.dispatcher.claim_hvc(immediate, claim)

    def claim_step(self, claim: Claim) -> None:
        """See `Dispatcher.claim_step`."""
        self.dispatcher.claim_step(claim)

    def claim_fault(self, claim: FaultClaim) -> None:
        """See `Dispatcher.claim_fault`."""
        self.dispatcher.claim_fault(claim)

    def deliver(self, frame: Frame, syndrome: int, fault_address: int = 0) -> None:
        """See `Dispatcher.deliver`."""
        self.dispatcher.deliver(frame, syndrome, fault_address)

    def request_stop(self, stop: Stop, resume: Resume | None = None) -> None:
        """See `Dispatcher.request_stop`."""
        self.dispatcher.request_stop(stop, resume)

    def intercept(self, address: int, function: Callable[[Machine], None]) -> None:
        """Call `function` whenever execution reaches `address`, between two instructions and unseen by the guest."""
        self._intercepts.setdefault(address, []).append(function)
        self.breakpoints.add(address)

    def unintercept(self, address: int, function: Callable[[Machine], None]) -> None:
        """Undo an `intercept`."""
        functions = self._intercepts[address]
        functions.remove(function)
        if not functions:
            del self._intercepts[address]
        self.breakpoints.remove(address)

    def _after_device_access(self) -> None:
        """A device may have raised an interrupt, or the guest may have enabled one: look at once."""
        if self.clock.running and self.gic.pending_interrupt() != SPURIOUS:
            self.cpu.limit(0)

    # Running.

    @property
    def instructions(self) -> int:
        """Instructions executed since reset."""
        return self.clock.executed

    @property
    def kind(self) -> str:
        """What the guest is: "linux" or "elf"."""
        return self.guest.kind

    def interrupt(self) -> None:
        """Ask a run to end soon, with the reason INTERRUPTED. May be called from any thread."""
        self._interrupt_requested = True

    def forget_interrupt(self) -> None:
        """Take back an `interrupt` that came too late for the run it was meant for."""
        self._interrupt_requested = False

    def run(self, until: int | str | None = None, instructions: int | None = None) -> Stop:
        """Run the guest until something stops it: an address or symbol to reach, a count of instructions, or what the
        guest, a breakpoint or a probe does.

        Raises MachineError for an unknown symbol, and when the guest has ended for good.
        """
        target = self.address(until) if until is not None else None
        with self._stopping_at(target):
            return self._run(target, instructions, interrupts=True)

    def step_out_of(self, start: int, end: int) -> Stop:
        """Step until the PC is outside start <= pc < end, or something else stops the machine."""
        while True:
            stop = self.step()
            if stop.reason is not StopReason.INSTRUCTIONS or not start <= stop.address < end:
                return stop
            if self.breakpoints.count(stop.address):
                return Stop(StopReason.BREAKPOINT, stop.address)

    def step(self, count: int = 1) -> Stop:
        """Execute `count` instructions, taking no interrupts. What a probe does out of line counts as the instruction
        it stands for."""
        stop = Stop(StopReason.INSTRUCTIONS, self.registers.pc)
        for _ in range(count):
            stop = self._step()
            if self._finishing and stop.reason is StopReason.INSTRUCTIONS:
                stop = self._step()
            if stop.reason is not StopReason.INSTRUCTIONS:
                break
        return stop

    def _step(self) -> Stop:
        """One instruction, and on to the end of what is executed out of line."""
        stop = self._run(None, 1, interrupts=False)
        finishing = self._finishing
        while stop.reason is StopReason.INSTRUCTIONS and stop.address in self.scratch:
            stop = self._run(None, 1, interrupts=False)
        self._finishing = finishing
        return stop

    def address(self, where: int | str) -> int:
        """An address as it is, or a symbol's. Raises MachineError for an unknown symbol."""
        return where if isinstance(where, int) else self.symbols[where].address

    def call(self, target: int | str, *arguments: int) -> int:
        """Call a guest function with up to eight integers or pointers (AAPCS64) on the current kernel stack.

        Returns x0. All registers are as before afterwards. From EL0, and from the handler of an exception other than a
        hypercall, the call is made at EL1 with all exceptions masked, as they are there (Arm ARM, D1.3.1).
        Raises CallNotReturned when the function does not return, MachineError when more than eight arguments are given.
        """
        address = self.address(target)
        if len(arguments) > 8:
            raise MachineError("a guest function can be called with at most eight arguments")
        if self.return_address is None:
            self.return_address = self.scratch.allocate(4)
            self.scratch.write(self.return_address, (0xD4000002 | CALL_RETURN << 5).to_bytes(4, "little"))
        frame, dispatcher = self.cpu.frame, self.dispatcher
        held, self.cpu.held = self.cpu.held, False
        if not held:
            frame.load()
        elif self.clock.running:  # the engine's counter is about to be used by another run
            self.clock.instructions = self.clock.executed
            self.clock.running = False
        saved, level = frame.save(), frame.el
        outer = dispatcher.stop, dispatcher.resume, dispatcher.hypercall, self._interrupt_requested
        masked = dispatcher.handler_daif
        dispatcher.stop = dispatcher.resume = None
        try:
            if held:
                frame.daif = masked
            if level == 0:
                frame.sp, frame.pstate = frame.system(self.cpu.layout.sp_el1), DAIF | EL1H
                frame.set_system(self.cpu.layout.sp_el0, frame.x[31])
            frame.sp &= ~15
            for i, argument in enumerate(arguments):
                frame.x[i] = argument & (1 << 64) - 1
            frame.x[30], frame.pc = self.return_address, address
            frame.store()
            if level == 0:
                self.cpu.refresh()
            stop = self._run(None, _CALL_LIMIT, interrupts=True)
            frame.load()
            result = frame.x[0]
            if held and stop.reason is StopReason.RETURNED:
                masked = frame.daif  # a function may return with another mask than it was called with
        finally:
            frame.restore(saved)
            frame.store()
            if level == 0:
                self.cpu.refresh()
            dispatcher.stop, dispatcher.resume, dispatcher.hypercall, self._interrupt_requested = outer
            dispatcher.handler_daif = masked
            self.cpu.held = dispatcher.end_slice = held
        if stop.reason is not StopReason.RETURNED:
            raise CallNotReturned(self.symbols.describe(address), stop)
        return result

    def _call_returned(self, frame: Frame) -> bool:
        if self.return_address is None or frame.pc != self.return_address + 4:
            return False
        self.request_stop(Stop(StopReason.RETURNED, frame.pc))
        return True

    def _cannot_fetch(self, frame: Frame, raised: Raised, syndrome: int, fault_address: int) -> bool:
        """A breakpoint where no instruction can be fetched, which the engine does not see.

        gdb has a function that it calls return to the program's entry point and waits there (GDB manual, "Calling");
        once the MMU is on, a kernel's entry point is often no address any more.
        """
        pc = frame.pc
        breakpoints = self.breakpoints.count(pc) - len(self._intercepts.get(pc, ()))
        if raised is not Raised.PREFETCH_ABORT or breakpoints <= 0 or pc == self.breakpoints.stepping_over:
            return False
        self.request_stop(Stop(StopReason.BREAKPOINT, pc))
        return True

    def _breakpoint_at_el0(self, frame: Frame) -> bool:
        """The engine makes a breakpoint a WFI, which EL1 may trap at EL0; only then it moves the PC back by one."""
        pc = frame.pc + 4
        if pc not in self.breakpoints:
            return False
        with contextlib.suppress(MachineError):
            if self.memory.read_u32(frame.pc) == _WFI:
                return False
        frame.pc, self.dispatcher.end_slice = pc, True
        return True

    @contextlib.contextmanager
    def _stopping_at(self, target: int | None) -> Iterator[None]:
        if target is None:
            yield
            return
        self.breakpoints.add(target)
        try:
            yield
        finally:
            self.breakpoints.remove(target)

    def _run(self, until: int | None, budget: int | None, interrupts: bool) -> Stop:
        if self._last_stop is not None and self._last_stop.reason.final:
            raise MachineError(f"{self._last_stop.reason.value}: restore a snapshot or load the guest again to go on")
        self._depth += 1
        try:
            if self._depth == 1:
                self.clock.start_pacing()
            stop = self._slices(until, budget, interrupts)
        finally:
            self._depth -= 1
        if stop.reason is not StopReason.RETURNED:
            self._last_stop = stop
        return stop

    def _slices(self, until: int | None, budget: int | None, interrupts: bool) -> Stop:
        frame, clock, dispatcher = self.cpu.frame, self.clock, self.dispatcher
        end = None if budget is None else clock.executed + budget
        outermost = self._depth == 1
        frame.load()
        self._finishing = False
        if dispatcher.resume is not None:
            resume, dispatcher.resume, dispatcher.stop = dispatcher.resume, None, None
            self._finishing = bool(resume(frame))
            frame.store()
        start_at: int | None = frame.pc  # a breakpoint where the run starts does not stop it
        conditional = self.conditional_breakpoints
        conditional.skip = start_at
        while True:
            if dispatcher.stop is not None:
                stop, dispatcher.stop = dispatcher.stop, None
                return stop
            if outermost:
                self.console.deliver()
                self.between_slices()
                if self._interrupt_requested:
                    self._interrupt_requested = False
                    frame.load()
                    return Stop(StopReason.INTERRUPTED, frame.pc)
            if end is not None and clock.executed >= end:
                return Stop(StopReason.INSTRUCTIONS, self.registers.pc)
            for timer in self.timers.values():
                timer.update()
            frame.load()
            length = SLICE if end is None else min(SLICE, end - clock.executed)
            if self.gic.pending_interrupt() != SPURIOUS:
                if interrupts and not frame.daif & PSTATE_I:
                    changed = enter(frame, IRQ, None, pan=dispatcher.pan)
                    frame.store()
                    if changed:
                        self.cpu.refresh()
                    start_at = conditional.skip = None
                elif interrupts:
                    length = min(length, self._to_end_of_block(frame.pc))
            deadlines = [t.deadline - clock.now for t in self.timers.values() if t.deadline is not None]
            length = min([length, *(d for d in deadlines if d > 0)])
            pc = frame.pc
            if pc in self.breakpoints:
                if pc != start_at:
                    stopped = self._arrived(pc, until)
                    if stopped is not None:
                        return stopped
                    frame.load()
                    start_at = frame.pc
                    if frame.pc != pc or dispatcher.stop is not None:
                        continue
                executed, error = self._execute(lambda pc=pc: self.breakpoints.step_over(pc))  # type: ignore[misc]
            else:
                executed, error = self._execute(lambda pc=pc, length=length: self.cpu.run(pc, length))  # type: ignore[misc]
            if executed:
                start_at = conditional.skip = None
            if error is not None:
                self._bus_error(error)
                continue
            if (arrived := conditional.take_hit()) is not None:
                clock.instructions -= 1  # it was counted, and not executed
                return Stop(StopReason.BREAKPOINT, arrived)
            if self.watchpoints and (hit := self.watchpoints.take_hit()) is not None:
                clock.instructions -= 1  # it will be executed again
                frame.load()
                return Stop(StopReason.WATCHPOINT, frame.pc, str(hit), hit)
            waits = self.cpu.ended_early and dispatcher.stop is None and not dispatcher.end_slice
            if waits and self.registers.pc not in self.breakpoints and self.gic.pending_interrupt() == SPURIOUS:
                idle = self._wait(outermost)
                if idle is not None:
                    return idle
            elif clock.paced and (ahead := clock.ahead()) > 0.001:
                self.console.wait(min(ahead, 0.05))

    def _to_end_of_block(self, pc: int) -> int:
        """How many instructions to the next that may unmask interrupts, itself included.

        A pending interrupt is taken at once when PSTATE.I is cleared, however briefly (`msr daifclr, #2; isb; msr
        daifset, #2` in an idle loop). Whatever does that, and every branch, is encoded in the group "branches,
        exception generating and system instructions" (Arm ARM, C4.1).
        """
        length = self._blocks.get(pc)
        if length is None:
            try:
                code = self.memory.read(pc, min(256, 4096 - pc % 4096))
            except MachineError:
                return 1
            words = (int.from_bytes(code[at : at + 4], "little") for at in range(0, len(code), 4))
            length = next((i for i, word in enumerate(words, 1) if word >> 26 & 7 == 5), len(code) // 4)
            if len(self._blocks) > 10_000:
                self._blocks.clear()
            self._blocks[pc] = length
        return length

    def _execute(self, run: Callable[[], tuple[int, unicorn.UcError | None]]) -> tuple[int, unicorn.UcError | None]:
        clock = self.clock
        clock.running = True
        self.dispatcher.end_slice = False
        try:
            executed, error = run()
        finally:
            counted, clock.running = clock.running, False
        if counted:
            clock.instructions += executed
        return executed, error

    def _arrived(self, pc: int, until: int | None) -> Stop | None:
        for function in list(self._intercepts.get(pc, ())):
            function(self)
        if pc == until:
            return Stop(StopReason.UNTIL, pc)
        intercepts = len(self._intercepts.get(pc, ()))
        if pc in self.breakpoints and self.breakpoints.count(pc) > intercepts:
            return Stop(StopReason.BREAKPOINT, pc)
        return None

    def _wait(self, outermost: bool) -> Stop | None:
        """WFI with nothing pending: time jumps to the next timer, or the run ends when there is none."""
        clock = self.clock
        deadlines = [timer.deadline for timer in self.timers.values() if timer.deadline is not None]
        if not deadlines:
            return Stop(StopReason.IDLE, self.registers.pc)
        clock.skip_to(min(deadlines))
        ahead = clock.ahead()
        if ahead > 0:
            self.console.wait(min(ahead, 0.05))
        return None

    def _bus_error(self, error: unicorn.UcError) -> None:
        """An access where there is neither memory nor a device: a synchronous external abort (Arm ARM, D1.3.4)."""
        frame = self.cpu.frame
        frame.load()
        lower = frame.el == 0
        if error.errno == unicorn.UC_ERR_FETCH_UNMAPPED:
            kind, write = (Class.PREFETCH_ABORT_LOWER if lower else Class.PREFETCH_ABORT), 0
        elif error.errno in _BUS_ERRORS:
            kind, write = (Class.DATA_ABORT_LOWER if lower else Class.DATA_ABORT), _BUS_ERRORS[error.errno]
        else:
            raise MachineError(f"Unicorn cannot go on at {frame.pc:#x}: {error}") from error
        self.deliver(frame, kind << 26 | IL | FAR_NOT_VALID | write | EXTERNAL_ABORT)
        frame.store()

    # States to come back to.

    def snapshot(self) -> Snapshot:
        """The whole state, to `restore` later."""
        return snapshot.take(self)

    def restore(self, state: Snapshot) -> None:
        """Make the machine what it was when `state` was taken from it."""
        snapshot.put_back(self, state)

    def save(self, path: str | Path, key: str = "") -> None:
        """Write the state to a file that `machine.load` accepts; `key` is for `snapshot.read_key`.

        Raises MachineError when it cannot be written.
        """
        snapshot.save(self, Path(path), key)

    def reset(self) -> None:
        """The guest as it was when it was loaded. Raises MachineError if its snapshot file has become unreadable."""
        for ram in self.bus.rams:
            # Anonymous memory reads as zeros afterwards, and a private mapping of a snapshot as its file (madvise(2)).
            ram.pages.madvise(mmap.MADV_DONTNEED)
        self._load_segments()
        snapshot.put_back(self, self.initial)

    @property
    def ended(self) -> bool:
        """Whether the guest has ended for good: powered off, reset or locked up."""
        return self._last_stop is not None and self._last_stop.reason.final

    def forget_stop(self) -> None:
        """The guest was replaced: what it last stopped for no longer matters."""
        self._last_stop = None
        self.dispatcher.stop = self.dispatcher.resume = None
