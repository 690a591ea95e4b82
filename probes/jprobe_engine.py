# SPDX-License-Identifier: GPL-2.0-or-later
"""Jprobes at work: setjmp_pre_handler, jprobe_return and longjmp_break_handler (arch/arm64/kernel/probes/kprobes.c)."""

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


class JprobeEngine:
    """Handles the jprobes of one machine."""

    STATE = ("state",)

    def __init__(self, machine: Machine, recorder: Recorder) -> None:
        self._machine = machine
        self._recorder = recorder
        self._words = machine.core.context.x
        self._code = 0  # address of the HVC that calls the entry; the BRK behind it is jprobe_return_break
        self._known: list[Jprobe] = []
        self._running: Jprobe | None = None
        self._saved: tuple[bytes, int] = (b"", 0)  # jprobe_saved_regs: x0 to x30, sp and pc, and pstate
        machine.claim_hvc(JPROBE_ENTRY, self._enter)
        machine.state.join("jprobes", self, Order.PROBES)
        machine.calls.on_begin.append(self._call_begins)

    def _call_begins(self, _: Core) -> Callable[[], None]:
        running, saved = self._running, self._saved

        def abandon() -> None:
            self._running, self._saved = running, saved

        return abandon

    def install(self) -> None:
        """Put the code that calls entries into guest memory, if it is not there. Raises MachineError without room."""
        if not self._code:
            self._code = self._machine.scratch.allocate(_SIZE)
            code = struct.pack("<2I", hvc(JPROBE_ENTRY), KPROBES_BRK_WORD)
            self._machine.scratch.write(self._code, code)

    def prepare(self, probe: Jprobe) -> None:
        """Make `probe.kp` do its work."""

        def set_jump(kprobe: Kprobe, regs: PtRegs) -> int:
            probe.hits += 1
            if probe.record or probe.stop or probe.condition:
                self._recorder.live(probe, Stage.ENTRY, regs)
            self._saved = self._words.tobytes(), regs.pstate
            self._running = probe
            regs.pc = self._code
            return 1

        if probe not in self._known:
            self._known.append(probe)
        probe.kp.pre_handler = set_jump
        probe.kp.break_handler = self._long_jump

    @property
    def state(self) -> list[Any]:
        """What is kept with the machine's state: where the code is, and the entry that is about to be called."""
        running = -1 if self._running is None else self._known.index(self._running)
        return [self._code, running, self._saved[0].hex(), self._saved[1]]

    @state.setter
    def state(self, state: list[Any]) -> None:
        self._code, running, general, pstate = state
        self._running = None if running < 0 else self._known[running]
        self._saved = bytes.fromhex(general), pstate

    @calls_users_code
    def _enter(self, core: Core) -> bool:
        context = core.context
        if not self._code or context.pc != self._code + 4:
            return False
        probe = self._running
        if probe is not None and probe.entry is not None:
            try:
                probe.entry(*self._words[: _arity(probe.entry)])
            except Exception as error:
                self._recorder.failed(probe, Stage.ENTRY, error)
        context.sp = struct.unpack_from("<Q", self._saved[0], 31 * 8)[0]  # jprobe_return: `mov sp, ...`, and the BRK
        return True

    def _long_jump(self, kprobe: Kprobe, regs: PtRegs) -> int:
        if regs.pc != self._code + 4 or self._running is None:
            return 0
        general, pstate = self._saved
        if regs.sp != struct.unpack_from("<Q", general, 31 * 8)[0]:
            reason = f"current sp {regs.sp:#x} does not match saved sp: the kernel stops with BUG() here"
            self._machine.request_stop(Stop(StopReason.PROBE, regs.pc, reason))
        self._words[:] = memoryview(general).cast("Q")
        regs.pstate = pstate
        self._running = None
        return 1


def _arity(entry: Entry) -> int:
    """How many arguments `entry` takes, of those that are in registers."""
    parameters = inspect.signature(entry).parameters.values()
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        return _IN_REGISTERS
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return min(_IN_REGISTERS, sum(parameter.kind in kinds for parameter in parameters))
