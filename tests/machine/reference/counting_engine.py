# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs a core by Unicorn's own count of instructions, and handles all exceptions and accesses to devices in Python.

It takes the place of the C core. Unicorn calls a function before each instruction, so nothing depends on blocks.
"""

import contextlib
import ctypes
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

import pytest
import unicorn
from unicorn import arm64_const as reg

from armprobe.machine.core import core as core_module
from armprobe.machine.core import native_engine
from armprobe.machine.core.core import Core
from armprobe.machine.core.dispatch import _END, _LOOK
from armprobe.machine.core.engine import engine_handle, new_engine
from armprobe.machine.core.instruction_words import NOP, brk
from armprobe.machine.core.native_engine import MASKS, NativeEngine, RegisterAccess
from armprobe.machine.core.sysregs import Encoding
from armprobe.machine.devices.gic import Signal
from armprobe.machine.devices.timer import GenericTimer
from armprobe.machine.memory.bus import Device
from armprobe.machine.native.code_hook import CodeHook

_BASE = 0x4000_0000


class _Check(CodeHook):
    """Does nothing: it is there because it makes the engine look for a request to stop before the instruction."""

    def __init__(self, engine: unicorn.Uc, address: int) -> None:
        self._engine = engine
        self._added = engine.hook_add(unicorn.UC_HOOK_CODE, lambda *_: None, None, address, address)

    def remove(self) -> None:
        self._engine.hook_del(self._added)


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the machines that are loaded from now on run by this count."""
    monkeypatch.setattr(core_module, "NativeEngine", CountingEngine)


@cache
def _counter() -> int:
    """The offset in an engine's structure of {size_t emu_counter; size_t emu_count}, after ten NOPs and a BRK."""
    engine, limit, found = new_engine("cortex-a57"), 0x3039, []

    def raised(*_: object) -> None:
        with open("/proc/self/mem", "rb", buffering=0) as memory:
            found.append(os.pread(memory.fileno(), 0x4000, engine_handle(engine)).find(struct.pack("<QQ", 11, limit)))
        engine.emu_stop()

    engine.mem_map(_BASE, 0x1000)
    engine.mem_write(_BASE, struct.pack("<11I", *[NOP] * 10, brk(1)))
    engine.hook_add(unicorn.UC_HOOK_INTR, raised)
    engine.emu_start(_BASE, 0, count=limit)
    (offset,) = found
    assert offset > 0
    return offset


class CountingEngine(NativeEngine):
    """Has the C core's structure, but none of its hooks on blocks, exceptions, devices and registers."""

    def __init__(self, core: Core) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(native_engine, "_START", lambda _: 0)
            super().__init__(core)
        self._engine = core.engine
        address = engine_handle(core.engine) + _counter()
        self._counter = ctypes.c_size_t.from_address(address)  # the instructions that this run has executed
        self._limit = ctypes.c_size_t.from_address(address + 8)
        self._base = 0  # the count of the guest's instructions at the beginning of the engine's run
        self._end = 0  # the count at which `run` ends
        self._mask: int | None = None  # the bit of PSTATE that masks the interrupt signalled
        self._following = True
        self._begin = self._executed = 0

    def connect(self, raised: Callable[[int, int], int], pan: bool) -> None:
        context = self._core.context

        def called(engine: unicorn.Uc, number: int, _: object) -> None:
            context.load()
            self.state.handling = True
            then = raised(number, context.syndrome)
            self.state.handling = False
            context.store()
            if then == _END or (then == _LOOK and self._core.dispatcher.ends_soon):
                engine.emu_stop()

        self._engine.hook_add(unicorn.UC_HOOK_INTR, called)

    # Running.

    def run(self, pc: int, count: int) -> int:
        outer = self._begin, self._base, self._end, self._counter.value, self._limit.value
        self._begin = self._base = self._core.machine.clock.instructions
        self._end = self._base + count
        try:
            status = self._pieces(pc)
        finally:
            self.state.ended, self._executed = self._base, self._base - self._begin
            self._begin, base, self._end, counter, limit = outer
            self._base = base + self._executed
            self._counter.value, self._limit.value = counter, max(counter, limit - self._executed)
        return status

    def _pieces(self, pc: int) -> int:
        """Run to `_end`, one instruction at a time while an interrupt is signalled."""
        context, status = self._core.context, 0
        while not status and self._base < self._end:
            piece = 1 if self._mask is not None else self._end - self._base
            try:
                self._engine.emu_start(pc, 0, count=piece)
            except unicorn.UcError as error:
                status = error.errno
            executed = self._in_engine
            self._base += executed
            self._counter.value = 0
            context.load()
            pc = context.pc
            if executed != piece or self._attention() or (self._mask is not None and not context.daif & self._mask):
                break
        return status

    def _attention(self) -> bool:
        core = self._core
        stops = core.dispatcher.stop is not None or core._failure is not None or core.dispatcher.ends_soon
        return stops or core.run_loop.waiting or core.access_stop.pending or core.context.pc in core.breakpoints

    @property
    def _in_engine(self) -> int:
        # A run that uses up its count notices that one instruction later.
        return min(self._counter.value, self._limit.value)

    @property
    def now(self) -> int:
        return self._base + self._in_engine

    @property
    def executed(self) -> int:
        return self._executed if self._core.machine.clock.running is None else self.now - self._begin

    def update_timers(self, now: int) -> None:
        for timer in self._core.timers.values():
            timer.update(now)

    def limit(self, count: int) -> None:
        self._end = min(self._end, self.now + count)
        self._limit.value = min(self._limit.value, self._counter.value + count)

    def stop_before(self) -> None:
        self._limit.value = self._counter.value - 1  # the instruction was counted and will not be executed
        self._engine.emu_stop()

    def signal(self, signal: Signal) -> None:
        self._mask = None if signal is Signal.NONE else MASKS[signal]
        if self._mask is not None:
            self._limit.value = min(self._limit.value, self._counter.value)

    # Following the guest.

    def search(self, found: Callable[[int, int], bool]) -> None:
        def translated(engine: unicorn.Uc, block: Any, *_: object) -> None:
            if self._following and found(block.pc, block.size):
                engine.emu_stop()  # takes effect before the block is executed

        self._engine.hook_add(unicorn.UC_HOOK_EDGE_GENERATED, translated)

    @contextlib.contextmanager
    def unfollowed(self) -> Iterator[None]:
        self._following = False
        yield
        self._following = True

    def check(self, address: int) -> CodeHook:
        return _Check(self._engine, address)

    def serve_registers(self, timers: Sequence[GenericTimer], read: RegisterAccess, write: RegisterAccess) -> None:
        self._read, self._write = read, write

    def hook_register(self, address: int, instruction: int) -> None:
        access = self._read if instruction == reg.UC_ARM64_INS_MRS else self._write

        def accesses(_: unicorn.Uc, register: int, which: Any, __: object) -> int:
            self._core.context.load()
            if self._core.context.el == 0:
                return 0
            done = access(register, Encoding(which.op0, which.op1, which.crn, which.crm, which.op2))
            self._accessed()
            return int(done)

        self._engine.hook_add(unicorn.UC_HOOK_INSN, accesses, None, address, address, instruction)

    def attach(self, device: Device, base: int, size: int) -> None:
        core = self._core

        def read(_: unicorn.Uc, offset: int, width: int, __: object) -> int:
            value = 0
            try:
                value = device.read(offset, width) & ((1 << width * 8) - 1)
                self._accessed()
            except BaseException as error:  # the caller is the engine; `Core.run` raises the error when the run ends
                core.fail_after_access(error)
            return value

        def write(_: unicorn.Uc, offset: int, width: int, value: int, __: object) -> None:
            try:
                device.write(offset, width, value)
                self._accessed()
            except BaseException as error:
                core.fail_after_access(error)

        self._engine.mmio_map(base, size, read, None, write, None)

    def _accessed(self) -> None:
        """End the run if a device has raised an interrupt, or the guest has enabled one."""
        machine = self._core.machine
        if machine.clock.running:
            self.signal(machine.gic.signal())
            if self._core.dispatcher.ends_soon:
                self.limit(0)
