# SPDX-License-Identifier: GPL-2.0-or-later
"""Handles jprobes: setjmp_pre_handler, jprobe_return and longjmp_break_handler (arch/arm64/kernel/probes/kprobes.c)."""

from __future__ import annotations

import inspect
import struct
from collections.abc import Callable
from typing import Any, Final

from armprobe.machine import Machine, Stop, StopReason
from armprobe.machine.core.core import Core
from armprobe.machine.core.deferred_signals import calls_users_code
from armprobe.machine.core.hypercalls import JPROBE_ENTRY
from armprobe.machine.core.instruction_words import hvc
from armprobe.machine.state import Order

from .jprobe import Entry, Jprobe
from .kprobe import Kprobe
from .pt_regs import PtRegs
from .record import Stage
from .recorder import Recorder
from .stepping import KPROBES_BRK_WORD

_SIZE: Final = 8  # bytes: the HVC, and jprobe_return_break
_IN_REGISTERS: Final = 8  # arguments (AAPCS64)


class RunningJprobe:
    """The jprobe whose entry one core calls (jprobe_ctlblk), and the registers of the interrupted code."""

    def __init__(self) -> None:
        self.probe: Jprobe | None = None
        self.saved: tuple[bytes, int] = (b"", 0)  # jprobe_saved_regs: x0 to x30, sp and pc, and pstate

    @property
    def sp(self) -> int:
        """The saved stack pointer."""
        return int(struct.unpack_from("<Q", self.saved[0], 31 * 8)[0])


class JprobeEngine:
    """Handles the jprobes of one machine."""

    STATE = ("state",)

    def __init__(self, machine: Machine, recorder: Recorder) -> None:
        self._machine = machine
        self._recorder = recorder
        self._code = 0  # address of the HVC that calls the entry; the BRK after it is jprobe_return_break
        self._known: list[Jprobe] = []
        self._running = {core: RunningJprobe() for core in machine.cores}
        machine.claim_hvc(JPROBE_ENTRY, self._enter)
        machine.state.join("jprobes", self, Order.PROBES)
        machine.calls.on_begin.append(self._call_begins)

    def _call_begins(self, core: Core) -> Callable[[], None]:
        running = self._running[core]
        probe, saved = running.probe, running.saved

        def abandon() -> None:
            running.probe, running.saved = probe, saved

        return abandon

    def install(self) -> None:
        """Put the code that calls entries into guest memory, if missing. Raises MachineError if there is no room."""
        if not self._code:
            self._code = self._machine.scratch.allocate(_SIZE)
            code = struct.pack("<2I", hvc(JPROBE_ENTRY), KPROBES_BRK_WORD)
            self._machine.scratch.write_code(self._code, code)

    def prepare(self, probe: Jprobe) -> None:
        """Set up `probe.kp` to do the jprobe's work."""

        def set_jump(kprobe: Kprobe, regs: PtRegs) -> int:
            probe.counts.hits += 1
            if probe.record or probe.stop or probe.condition:
                self._recorder.live(probe, Stage.ENTRY, regs)
            running = self._running[self._machine.core]
            running.probe, running.saved = probe, (regs.general(), regs.pstate)
            regs.pc = self._code
            return 1

        if probe not in self._known:
            self._known.append(probe)
        probe.kp.pre_handler = set_jump
        probe.kp.break_handler = self._long_jump

    @property
    def state(self) -> list[Any]:
        """The part kept with the machine's state: the address of the code, and the entry that is about to be called."""
        running = self._running[self._machine.core]
        index = -1 if running.probe is None else self._known.index(running.probe)
        return [self._code, index, running.saved[0].hex(), running.saved[1]]

    @state.setter
    def state(self, state: list[Any]) -> None:
        running = self._running[self._machine.core]
        self._code, index, general, pstate = state
        running.probe = None if index < 0 else self._known[index]
        running.saved = bytes.fromhex(general), pstate

    @calls_users_code
    def _enter(self, core: Core) -> bool:
        context = core.context
        if not self._code or context.pc != self._code + 4:
            return False
        running = self._running[core]
        probe = running.probe
        if probe is not None and probe.entry is not None:
            try:
                probe.entry(*context.x[: _arity(probe.entry)])
            except Exception as error:
                self._recorder.failures.add(probe, Stage.ENTRY, error)
        context.sp = running.sp  # jprobe_return: `mov sp, ...`, and the BRK
        return True

    def _long_jump(self, kprobe: Kprobe, regs: PtRegs) -> int:
        core = self._machine.core
        running = self._running[core]
        if regs.pc != self._code + 4 or running.probe is None:
            return 0
        if regs.sp != running.sp:
            reason = f"current sp {regs.sp:#x} does not match saved sp: the kernel stops with BUG() here"
            core.request_stop(Stop(StopReason.PROBE, regs.pc, reason))
        general, regs.pstate = running.saved
        core.context.x[:] = memoryview(general).cast("Q")
        running.probe = None
        return 1


def _arity(entry: Entry) -> int:
    """The number of arguments that `entry` takes from registers."""
    parameters = inspect.signature(entry).parameters.values()
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        return _IN_REGISTERS
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return min(_IN_REGISTERS, sum(parameter.kind in kinds for parameter in parameters))
