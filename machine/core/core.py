# SPDX-License-Identifier: GPL-2.0-or-later
"""A core: a Unicorn engine run in counted slices, its registers, and all parts that act on one CPU alone.

Only a count of instructions or one of the core's own hooks ends a run. Stopping the engine from another thread can make
a load run twice, because Unicorn checks for the request between a load's effect and its end.
"""

from __future__ import annotations

import contextlib
import ctypes
import threading
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

import unicorn
from unicorn import arm64_const as reg

from armprobe.machine import board
from armprobe.machine.devices.pmu import Pmu
from armprobe.machine.devices.timer import GenericTimer
from armprobe.machine.errors import MachineError
from armprobe.machine.memory.memory import Memory
from armprobe.machine.memory.mmu import SCTLR_M, TranslationRegisters
from armprobe.machine.native import pages as native_pages
from armprobe.machine.native.pages import PAGE, Pages
from armprobe.machine.native.program import Reader
from armprobe.machine.stop import Stop, WatchHit
from armprobe.machine.time.counter_access import CounterAccess

from .access_stop import AccessStop
from .breakpoints import Breakpoints
from .calibration import calibrate
from .conditional_breakpoints import ConditionalBreakpoints
from .context import Context
from .cpu_state import CoreState
from .dispatch import Dispatcher, Resume
from .engine import LIBRARY, engine_handle, new_engine, read_system_register, write_system_register
from .guest_debug import GuestDebug
from .guest_watchpoints import GuestWatchHit, GuestWatchpoints
from .instruction_cache import InstructionCache
from .native_engine import NativeEngine
from .pstate import DAIF, EL1H
from .register_access import RegisterAccess
from .registers import Registers
from .run_loop import RunLoop
from .software_step import SoftwareStep
from .sysregs import SYSTEM_REGISTERS, Encoding
from .watchpoints import Watchpoints

if TYPE_CHECKING:
    from armprobe.machine.machine import Machine

ANOTHER_THREAD: Final = (
    "another thread runs this machine: one thread may use it at a time. Wait for that one, or share the machine by an "
    "Owner or a Session, which do such work between two slices"
)
DEFAULT_MODEL: Final = "cortex-a57"
_LAST: Final = (1 << 64) - 1
_UPPER_HALF: Final = 1 << 55
_SCTLR: Final = SYSTEM_REGISTERS["sctlr_el1"]
# The binding has no wrappers for these.
_VMEM_READ: Final = ctypes.PYFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t
)(("uc_vmem_read", LIBRARY))
_VMEM_TRANSLATE: Final = ctypes.PYFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_int, ctypes.c_void_p
)(("uc_vmem_translate", LIBRARY))


class Core:
    """One AArch64 CPU of `machine`, with EL1 and EL0. `context` is the shared copy of its registers."""

    def __init__(self, machine: Machine, index: int, model: str = DEFAULT_MODEL) -> None:
        self.machine = machine
        self.name = f"core{index}"  # in snapshots
        self.layout = calibrate(model)
        self.model = model
        self.engine = new_engine(model)
        self.engine.ctl_exits_enabled(True)
        self._handle = engine_handle(self.engine)
        self._physical = ctypes.c_uint64()
        self._physical_at = ctypes.addressof(self._physical)
        self._failure: BaseException | None = None
        self.context = Context(self.engine, self.layout)
        self.native = NativeEngine(self)
        self.reader = Reader(self.native.address)  # for the C core's programs
        self.running = False
        self.runs = 0  # how often `run` has been called
        self._forgotten: set[int] = set()  # physical pages; see `forget_soon`
        self._all_forgotten = False  # likewise, all memory
        self._generations = 0  # of translated code that were begun, besides the first
        self._aside = False  # whether the first is not executed
        self.thread = 0  # the thread that runs the machine, 0 for none
        self.changes = 0  # the number of runs, and of writes to its registers from outside
        self.context.load()
        self.context.pstate = DAIF | EL1H
        self.context.store()
        self.refresh()
        self._translation = Context(self.engine, self.layout)  # `context` may be ahead of the engine
        machine.bus.connect(self)
        self.memory = Memory(machine.bus, self)
        self.registers = Registers(self)
        machine.state.add(self.name, CoreState(self).entry)
        self.dispatcher = Dispatcher(self)
        self.breakpoints = Breakpoints(self)
        self.conditional_breakpoints = ConditionalBreakpoints(self)
        self.access_stop: AccessStop[WatchHit | GuestWatchHit] = AccessStop(self)
        self.watchpoints = Watchpoints(self)
        self.software_step = SoftwareStep(self)
        self.run_loop = RunLoop(self)
        self.timers = {  # by CRm of their registers
            3: self._timer(f"{self.name}.virtual-timer", board.VIRTUAL_TIMER_INTID),
            2: self._timer(f"{self.name}.physical-timer", board.PHYSICAL_TIMER_INTID),
        }
        self.counter_access = CounterAccess(self)
        self.guest_debug = GuestDebug(self, GuestWatchpoints(self))
        self.pmu = Pmu(
            f"{self.name}.pmu",
            machine.state,
            lambda: machine.clock.executed,
            lambda on: machine.gic.set_line(board.PMU_INTID, on),
            self.end_slice,
        )
        self.register_access = RegisterAccess(
            self, (self.counter_access, self.guest_debug, self.pmu, InstructionCache(self))
        )

    def _timer(self, name: str, intid: int) -> GenericTimer:
        machine = self.machine
        return GenericTimer(name, machine.state, lambda: machine.clock.now, machine.gic, intid)

    def run(self, pc: int, count: int) -> unicorn.UcError | None:
        """Execute up to `count` instructions from `pc`. Returns the bus error that ended the run early, if any.

        Raises what a device or a handler raised; `executed` is valid then, too.
        """
        self.runs += 1
        outer, self.running = self.running, True
        try:
            status = self.native.run(pc, count)
        finally:
            self.running = outer
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        return unicorn.UcError(status) if status else None

    @property
    def held(self) -> bool:
        """Whether Python handles an exception, where the context is ahead of the engine."""
        return self.native.state.handling

    @held.setter
    def held(self, held: bool) -> None:
        self.native.state.handling = held

    @property
    def executed(self) -> int:
        """Instructions executed by the present run, including the current one, or by the last run."""
        return self.native.executed

    def limit(self, count: int) -> None:
        """Let the run under way go on for `count` instructions at most. Only for hooks."""
        self.native.limit(count)

    def end_slice(self) -> None:
        """End the slice before the next instruction. For hooks of instructions and of devices."""
        self.dispatcher.end_slice = True
        self.limit(0)

    def request_stop(self, stop: Stop, resume: Resume | None = None) -> None:
        """See `Dispatcher.request_stop`."""
        self.dispatcher.request_stop(stop, resume)

    def fail(self, error: BaseException) -> None:
        """End the run under way with `error`, which `run` raises. For callbacks of the engine."""
        self._failure = self._failure or error
        self.engine.emu_stop()

    def fail_after_access(self, error: BaseException) -> None:
        """Like `fail`, for a device's callback: completes the instruction, which the next run would execute again."""
        self._failure = self._failure or error
        self.limit(0)

    def refuse_other_threads(self) -> None:
        """Raise MachineError on another thread than the one that runs the machine: the engine would crash.

        Call this before using the engine, except in its callbacks.
        """
        if self.thread and self.thread != threading.get_ident():
            raise MachineError(ANOTHER_THREAD)

    def load(self) -> Context:
        """The context, up to date."""
        if self.thread and self.thread != threading.get_ident():
            raise MachineError(ANOTHER_THREAD)
        if not self.native.state.handling:
            self.context.load()
        return self.context

    def store(self) -> None:
        """Store the context in the engine; inside an exception hook, the end of the hook does that."""
        self.refuse_other_threads()
        if not self.held:
            self.context.store()

    def refresh(self) -> None:
        """Make the engine notice a changed exception level or MMU setting."""
        self.native.refresh()

    def system(self, encoding: Encoding) -> int:
        """Read a system register from the engine."""
        self.refuse_other_threads()
        return read_system_register(self.engine, encoding)

    def set_system(self, encoding: Encoding, value: int) -> None:
        """Write a system register of the engine."""
        self.refuse_other_threads()
        write_system_register(self.engine, encoding, value)

    def translation_registers(self) -> TranslationRegisters:
        """The registers that decide translations, as they are now."""
        context, layout = self._translation, self.layout
        context.load()
        return TranslationRegisters(
            context.system(layout.sctlr_el1),
            context.system(layout.tcr_el1),
            context.system(layout.ttbr0_el1),
            context.system(layout.ttbr1_el1),
        )

    @property
    def translating(self) -> bool:
        """Whether the guest's MMU is on."""
        context = self._translation
        context.load()
        return bool(context.system(self.layout.sctlr_el1) & SCTLR_M)

    def read_virtual(self, address: int, size: int) -> bytes | None:
        """Memory as the CPU itself would read it now, through its own translations; None where it would fault.

        Takes a microsecond instead of ten. Works inside hooks, except hooks on memory (see AccessStop).
        """
        buffer = ctypes.create_string_buffer(size)
        failed = _VMEM_READ(self._handle, address, unicorn.UC_PROT_READ, buffer, size)
        return None if failed else buffer.raw

    def physical(self, address: int, access: int = unicorn.UC_PROT_READ) -> int | None:
        """The physical address of what the CPU itself would read at virtual `address` now; None where it would fault.

        `access` is Unicorn's, UC_PROT_EXEC to fetch an instruction. It takes half a microsecond, also inside hooks; a
        walk of the guest's tables (`mmu.translate`) takes ten.
        """
        failed = _VMEM_TRANSLATE(self._handle, address, access, self._physical_at)
        return None if failed else self._physical.value

    def vector(self, number: int) -> int:
        """The 128 bits of v`number`."""
        self.refuse_other_threads()
        return int(self.engine.reg_read(reg.UC_ARM64_REG_V0 + number))

    def set_vector(self, number: int, value: int) -> None:
        """Set the 128 bits of v`number`."""
        self.refuse_other_threads()
        self.engine.reg_write(reg.UC_ARM64_REG_V0 + number, value)

    def forget(self, addresses: Iterable[int]) -> None:
        """Drop the translated code of the instructions at these virtual addresses, in all address spaces."""
        self.refuse_other_threads()
        translating = self.translating
        for address in addresses:
            if address < 0:
                continue
            if translating and not address & _UPPER_HALF:  # it may be another program's code, too
                self.forget_all()
                return
            if self.physical(address, unicorn.UC_PROT_EXEC) is not None:
                self.native.forget(address & ~3, min(address + 4, _LAST))
                continue
            # The engine translates the address as the CPU would now: where that could not execute it, such as the
            # kernel's at EL0, nothing would be dropped.
            try:
                self.forget_physical(self.memory.translate(address).physical, 4)
            except (MachineError, unicorn.UcError):  # nothing is mapped there, or no memory is where it is mapped
                self.forget_all()
                return

    def forget_physical(self, address: int, size: int) -> None:
        """Drop the code translated from physical memory. Takes some 20 us, and drops cached address translations."""
        with self._untranslated():
            self.native.forget(address & ~3, address + size)

    def forget_pages(self, base: int, pages: Pages) -> None:
        """The same for pages of the memory at physical address `base`."""
        with self._untranslated():
            native_pages.forget(self.native.address, base, pages)

    @contextlib.contextmanager
    def _untranslated(self) -> Iterator[None]:
        """A context with the MMU off, for the engine translates the address of code to drop."""
        self.refuse_other_threads()
        sctlr = read_system_register(self.engine, _SCTLR)
        write_system_register(self.engine, _SCTLR, sctlr & ~SCTLR_M)
        try:
            yield
        finally:
            write_system_register(self.engine, _SCTLR, sctlr)

    def forget_all(self) -> None:
        """Drop all translated code."""
        self.refuse_other_threads()
        self.engine.ctl_flush_tb()

    def set_code_aside(self) -> None:
        """Execute no code translated so far, until `take_code_up`. What the guest changes is dropped there, too."""
        self.refuse_other_threads()
        if self.running or self.layout.generation is None:  # blocks that are linked do not ask for the generation
            self.forget_all()
        else:
            self._aside = True
            self._begin_generation()

    def _begin_generation(self) -> None:
        self._generations += 1
        self.native.use_generation(self._generations)

    def renew_code(self) -> None:
        """Execute no code translated so far, and drop it, except what was set aside."""
        if self._aside:
            self._begin_generation()
        else:
            self.forget_all()

    def take_code_up(self) -> None:
        """Undo `set_code_aside`: execute none of the code translated since."""
        self.refuse_other_threads()
        if self.running or not self._aside:
            self.forget_all()
        if self._aside:
            self._aside = False
            self.native.use_generation(0)

    def forget_soon(self, address: int, size: int) -> None:
        """Like `forget_physical`; in a device's callback at the end of the instruction that accesses the device."""
        if self.machine.clock.running is self:
            self._forgotten.update(range(address // PAGE, (address + size - 1) // PAGE + 1))
            self.end_slice()
        else:
            self.forget_physical(address, size)

    def forget_all_soon(self) -> None:
        """Like `forget_all`, at the end of the instruction that is being executed."""
        self._all_forgotten = True
        self.end_slice()

    def forget_due(self) -> None:
        """Do what `forget_soon` and `forget_all_soon` have put off. Called between two slices."""
        if self._all_forgotten:
            self._all_forgotten = False
            self.forget_all()
        if self._forgotten:
            pages, self._forgotten = native_pages.pages_of(sorted(self._forgotten)), set()
            self.forget_pages(0, pages)

    def forget_addresses(self) -> None:
        """Drop all cached address translations."""
        self.refuse_other_threads()
        self.engine.ctl(unicorn.UC_CTL_TLB_FLUSH, unicorn.UC_CTL_IO_WRITE)  # the binding has no name for it

    def forget_translations(self) -> None:
        """Drop all cached address translations and all translated code."""
        self.forget_addresses()
        self.engine.ctl_flush_tb()
