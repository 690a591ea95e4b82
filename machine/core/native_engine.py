# SPDX-License-Identifier: GPL-2.0-or-later
"""The C core of one CPU: it runs the engine and counts the instructions (machine/native/core.c)."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import unicorn
from unicorn import arm64_const as reg

from armprobe.machine.devices.gic import Signal
from armprobe.machine.devices.native_device import NativeDevice
from armprobe.machine.memory.mmu import PAGE
from armprobe.machine.native.binding import LIBRARY, function
from armprobe.machine.native.code_hook import CodeHook
from armprobe.machine.native.structures import WALKS, NativeCore, NativeWalk, NativeWindow, Site

from .deferred_signals import calls_users_code
from .engine import LIBRARY as UNICORN
from .engine import engine_handle
from .pstate import PSTATE_F, PSTATE_I
from .sysregs import Encoding

if TYPE_CHECKING:
    from armprobe.machine.devices.timer import GenericTimer
    from armprobe.machine.memory.bus import Device

    from .core import Core

RegisterAccess = Callable[[int, Encoding], bool]
MASKS: Final = 0, PSTATE_I, PSTATE_F
"""PSTATE's bit that masks each of the GIC's signals."""
# Other threads run during a run, so it does not keep the interpreter's lock.
_RUN: Final = ctypes.CDLL(LIBRARY._name).armprobe_run
_RUN.argtypes = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64
_CORE: Final = ctypes.c_void_p
_START: Final = function("armprobe_start", ctypes.c_int, _CORE)
_EXECUTED: Final = function("armprobe_executed", ctypes.c_uint64, _CORE)
_UPDATE_TIMERS: Final = function("armprobe_update_timers", None, _CORE, ctypes.c_uint64)
_LIMIT: Final = function("armprobe_limit", None, _CORE, ctypes.c_uint64)
_IS_ASIDE: Final = function("armprobe_is_aside", ctypes.c_bool, _CORE, ctypes.c_uint64, ctypes.c_uint64)
_REFRESH: Final = function("armprobe_refresh", None, _CORE)
_STOP_BEFORE: Final = function("armprobe_stop_before", None, _CORE)
_FORGET: Final = function("armprobe_forget", ctypes.c_int, _CORE, ctypes.c_uint64, ctypes.c_uint64)
_SET_EXITS: Final = function("armprobe_set_exits", None, _CORE)
_USE_GENERATION: Final = function("armprobe_use_generation", None, _CORE, ctypes.c_uint64)
_HOOK_REGISTER: Final = function("armprobe_hook_register", ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
_ATTACH: Final = function("armprobe_attach", ctypes.c_int, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64)
_FUNCTIONS: Final = (
    "emu_start", "emu_stop", "ctl", "hook_add", "mmio_map", "reg_read", "reg_write", "context_save",
    "context_restore", "vmem_read", "vmem_write", "mem_read", "mem_write",
)  # fmt: skip
_NEVER: Final = (1 << 64) - 1  # TIMER_NEVER
_REBUILD: Final = "arm_rebuild_hflags_aarch64"  # not part of Unicorn's API, but in its library for Linux

_Raised: Final = ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_uint32, ctypes.c_uint32)
_Found: Final = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_uint64, ctypes.c_uint64)
_AccessRegister: Final = ctypes.CFUNCTYPE(
    ctypes.c_uint32, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p
)
_Read: Final = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32)
_Write: Final = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_uint64)


class NativeEngine:
    """Runs the engine of one core."""

    def __init__(self, core: Core) -> None:
        self._core = core
        engine, context = core.engine, core.context
        self._kept: list[object] = []  # what C has pointers to
        state = NativeCore()
        self.state, self._at = state, ctypes.addressof(state)
        state.uc, state.registers, state.copy = engine_handle(engine), context.address, context.copy
        for name, *_ in state.layout._fields_:
            setattr(state.layout, name, getattr(core.layout, name))
        state.ret = _NEVER
        for name in _FUNCTIONS:
            setattr(state, name, _address(getattr(UNICORN, f"uc_{name}")))
        state.interface, state.idle = core.machine.gic.interfaces[0].at, core.machine.clock.idle_at
        state.xzr, state.cp_reg = reg.UC_ARM64_REG_XZR, reg.UC_ARM64_REG_CP_REG
        unused = state.refreshed  # TPIDR_EL2, as there is no EL2
        unused.op0, unused.op1, unused.crn, unused.crm, unused.op2 = 3, 4, 13, 0, 2
        if not context.copy and hasattr(UNICORN, _REBUILD):
            state.rebuild, state.cpu = _address(getattr(UNICORN, _REBUILD)), context.address + core.layout.start
        if core.layout.generation is not None:
            state.generation = context.address + core.layout.generation
        self._check(_START(self._at))

    @property
    def address(self) -> int:
        """Of `struct core`."""
        return self._at

    def has_ram(self, base: int, at: int, size: int) -> None:
        """Find `size` bytes of the guest's physical memory from `base` on at that address: the first that are given."""
        if not self.state.ram_size:
            self._translated = (ctypes.c_uint8 * -(-size // PAGE))()
            self.state.translated = ctypes.addressof(self._translated)
            self._walks = (NativeWalk * WALKS)()
            self.state.walks = ctypes.addressof(self._walks)
            self.state.ram_base, self.state.ram, self.state.ram_size = base, at, size

    def record(self, recorder: int) -> None:
        """Let the recorder at that address (places.h) answer its breakpoints."""
        self.state.recorder = recorder

    def connect(self, raised: Callable[[int, int], int], pan: bool) -> None:
        """Call `raised` with number and syndrome of each exception that the guest does not simply take.

        It must not raise. Its results are those of `Dispatcher._raised`.
        """
        self.state.raised = self._callback(_Raised(raised))
        self.state.pan = pan

    def _callback(self, callback: Any) -> int:
        self._kept.append(callback)
        return _address(callback)

    @staticmethod
    def _check(status: int) -> None:
        if status:
            raise unicorn.UcError(status)

    # Running.

    def run(self, pc: int, count: int) -> int:
        """Execute up to `count` instructions. Returns Unicorn's error number, 0 for none; raises what a hook raised."""
        engine = self._core.engine
        engine._hook_exception = None
        status = int(_RUN(self._at, self._core.machine.clock.instructions, pc, count))
        self.state.slice = 0
        if self.state.slot_left:
            self._core.dispatcher.leave_slot()
        if engine._hook_exception is not None:
            error, engine._hook_exception = engine._hook_exception, None
            raise error
        return status

    def go_on(self, length: int, end: int | None, deadline: int | None) -> None:
        """Let the next run, and no other, go on with further slices of `length` instructions, to the count `end`.

        It does between them what the scheduler and the run loop would do, as long as Python is not called. `deadline`
        is the generic timer's count at which a device in Python acts next.
        """
        state = self.state
        state.slice = length
        state.end, state.deadline = _NEVER if end is None else end, _NEVER if deadline is None else deadline

    def return_to_python(self) -> None:
        """In a hook: let Python begin the slice after this one, as something may have changed."""
        self.state.called = True

    @property
    def now(self) -> int:
        """The guest's instructions since reset, including the current one in a hook."""
        return int(_EXECUTED(self._at))

    @property
    def executed(self) -> int:
        """The instructions of the run under way, or of the last one."""
        state = self.state
        if self._core.machine.clock.running is None:
            return int(state.executed)
        return int(_EXECUTED(self._at)) - state.begin

    def update_timers(self, now: int) -> None:
        """Between two slices: drive the timers' interrupt lines to their states at the generic timer's count `now`."""
        _UPDATE_TIMERS(self._at, now)

    def limit(self, count: int) -> None:
        """See `Core.limit`."""
        _LIMIT(self._at, count)

    # The machine's own code.

    def use_own(
        self, base: int, roles: ctypes.Array[ctypes.c_uint8], borrowed: list[int], entry: tuple[int, int] = (0, 0)
    ) -> None:
        """Do not count the machine's own code in its memory at `base`, and in the `borrowed` words of the guest's text.

        `roles` has a `Role` per word of that memory. `borrowed` is in ascending order and alternates between
        instructions that stand for one of the guest's, and others. `entry` maps that memory: the offset in bytes in the
        table that TTBR1_EL1 points to, and the descriptor, 0 if none is needed.
        """
        state = self.state
        words = (ctypes.c_uint64 * len(borrowed))(*borrowed)
        self._roles, self._borrowed = roles, words  # C has pointers to them
        state.own, state.own_size, state.roles = base, 4 * len(roles), ctypes.addressof(roles)
        state.borrowed, state.borrowed_count = ctypes.addressof(words), len(words)
        self._look()
        state.own_offset, state.own_descriptor = entry
        state.framed = False

    def watch_functions(self, functions: int) -> None:
        """Watch the set of functions at that address, and those that follow it; 0 for none."""
        self.state.functions = functions
        self._look()

    def _look(self) -> None:
        """Look at blocks of the machine's own code. Where that, or what is watched, may be anywhere: at all blocks."""
        state = self.state
        if state.functions or state.borrowed_count:
            state.looked, state.looked_size = 0, _NEVER
        else:
            state.looked, state.looked_size = state.own, state.own_size

    def keep_stack(self, entry: int, size: int, lowered: int) -> None:
        """Restore the `size` bytes below the stack pointer after each execution of the machine's own code at `entry`,
        where that is lower by `lowered` bytes already.

        They stay changed if the guest has executed instructions meanwhile, in a call of a function. `size` is 512 at
        most, and 0 for none.
        """
        state = self.state
        state.frame_entry, state.frame_size, state.frame_lowered = entry, size, lowered

    def return_at(self, address: int) -> None:
        """Have calls that C follows return to the RET at `address`; 0 for nowhere."""
        self.state.ret = address or _NEVER

    def do_not_count(self, syndrome: int) -> None:
        """Do not count breakpoints with this syndrome. If the guest takes one, that is an instruction to count."""
        self.state.uncounted = syndrome

    def count_instruction(self) -> None:
        """In the handler of an exception: count an instruction that has been executed in another way."""
        self.state.base += 1

    def is_aside(self, pc: int, executed: int) -> bool:
        """Whether no run ends at `pc` for its length: the machine's own code, before too much of it was executed.

        `executed` is the clock's count.
        """
        return bool(_IS_ASIDE(self._at, executed, pc))

    def stop_before(self) -> None:
        """In a hook of an instruction that is not to be executed: end the run before it."""
        _STOP_BEFORE(self._at)

    def refresh(self) -> None:
        """See `Core.refresh`."""
        _REFRESH(self._at)

    def use_generation(self, generation: int) -> None:
        """Between two runs: execute only code that is translated, or was, while this was the generation. 0 at first."""
        _USE_GENERATION(self._at, generation)

    def signal(self, signal: Signal) -> None:
        """Before a run: the GIC's signal. The run ends as soon as PSTATE does not mask it."""
        state = self.state
        state.irq, state.mask = signal is not Signal.NONE, MASKS[signal]

    def set_exits(self, addresses: list[int]) -> None:
        """Have translated blocks end at these addresses."""
        exits = (ctypes.c_uint64 * len(addresses))(*addresses)
        self._exits = exits
        self.state.exits, self.state.exit_count = ctypes.addressof(exits), len(addresses)
        _SET_EXITS(self._at)

    def forget(self, address: int, end: int) -> None:
        """Drop the code translated from the instructions from a virtual address, that can be executed now, to `end`."""
        if status := _FORGET(self._at, address, end):
            raise unicorn.UcError(status)

    def claim_faults(self) -> None:
        """Pass faults at EL1 to Python."""
        self.state.faults_claimed = True

    # Following the guest.

    def search(self, found: Callable[[int, int], bool]) -> None:
        """Call `found` with address and size of each new block with an instruction to follow, once it is translated.

        The block is executed only if that returns False. It must not raise.
        """

        self.state.found = self._callback(_Found(found))
        self.state.following = True

    @contextlib.contextmanager
    def unfollowed(self) -> Iterator[None]:
        """A context for a run of code outside the guest, whose accesses the CPU itself does, and of a given length."""
        state = self.state
        own_size, state.own_size, state.following = state.own_size, 0, False
        try:
            yield
        finally:
            state.own_size, state.following = own_size, True

    def watch(self, watching: bool) -> None:
        """Follow the instructions that need a `check` behind them to end a run."""
        self.state.watching = watching

    def check(self, address: int) -> CodeHook:
        """Have the engine look for a request to stop before an instruction, until the result is removed."""
        return CodeHook(self._at, "armprobe_on_check", 0, address)

    def tell_zeroing(self, address: int) -> CodeHook:
        """Have the engine tell memory hooks of each execution of the DC ZVA at `address`, until the result is removed.

        They are told of the byte that it addresses.
        """
        return CodeHook(self._at, "armprobe_on_zeroing", self._at, address)

    def serve_registers(self, timers: Sequence[GenericTimer], read: RegisterAccess, write: RegisterAccess) -> None:
        """Have MRS and MSR of hooked instructions at EL1 done: of counters and `timers` in C, of others by Python.

        `read` and `write` get Unicorn's number of the general register, and the encoding. They return whether they did
        the access, and must not raise.
        """
        self._kept += timers
        self.state.timers[:] = [timer.at for timer in timers]

        def calls(access: RegisterAccess) -> int:
            def called(_: int, general: int, which: int, __: int) -> int:
                crn, crm, op0, op1, op2 = (ctypes.c_uint32 * 5).from_address(which)
                return access(general, Encoding(op0, op1, crn, crm, op2))

            return self._callback(_AccessRegister(called))

        self.state.read_register, self.state.write_register = calls(read), calls(write)

    def hook_register(self, address: int, instruction: int) -> None:
        """Hook the instruction at `address`: `instruction` is the engine's number of MRS, MSR or SYS."""
        site = Site(self._at, address)
        self._kept.append(site)
        self._check(_HOOK_REGISTER(ctypes.addressof(site), instruction))

    def attach(self, device: Device, base: int, size: int) -> None:
        """Give the CPU a device's registers.

        Accesses to a device in Python take place at the exact count of instructions, unless it says that it is not
        `timed`.
        """
        if isinstance(device, NativeDevice):
            functions = device.native_read, device.native_write
            window = NativeWindow(self._at, device.at, *map(_address, functions), False)
            self._kept.append(device)
        else:
            read, write = self._accesses(device)
            timed = getattr(device, "timed", True)
            window = NativeWindow(self._at, 0, self._callback(_Read(read)), self._callback(_Write(write)), timed)
        self._kept.append(window)
        self._check(_ATTACH(ctypes.addressof(window), base, size))

    def _accesses(self, device: Device) -> tuple[Callable[..., int], Callable[..., None]]:
        """The functions that read and write the registers of a device in Python, for C. They do not raise."""
        core = self._core

        @calls_users_code
        def read(_: int, offset: int, width: int) -> int:
            try:
                return device.read(offset, width) & ((1 << width * 8) - 1)
            except BaseException as error:  # the caller is the engine; `Core.run` raises the error when the run ends
                core.fail_after_access(error)
                return 0

        @calls_users_code
        def write(_: int, offset: int, width: int, value: int) -> None:
            try:
                device.write(offset, width, value)
            except BaseException as error:
                core.fail_after_access(error)

        return read, write


def _address(function: Any) -> int:
    return int(ctypes.cast(function, ctypes.c_void_p).value or 0)
