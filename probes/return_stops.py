# SPDX-License-Identifier: GPL-2.0-or-later
"""Stops the machine at the return of a call that a kretprobe waits for, and resumes the call afterwards."""

from __future__ import annotations

from collections.abc import Callable

from armprobe.machine import Machine, Stop, StopReason
from armprobe.machine.core.core import Core
from armprobe.machine.core.pstate import NZCV

from .engine import Engine
from .kretprobe import KretprobeInstance
from .pt_regs import StackRegs
from .saved_frame import SavedFrame


class ReturnStops:
    """Stops one machine at the returns of calls. `recycle` gives a call's instances back to their pools.

    `stopped` holds the instances of the calls that the machine is stopped for.
    """

    def __init__(
        self,
        machine: Machine,
        engine: Engine,
        frame: SavedFrame,
        recycle: Callable[[Core, list[KretprobeInstance]], None],
    ) -> None:
        self._machine = machine
        self._engine = engine
        self._frame = frame
        self._recycle = recycle
        self.stopped: list[list[KretprobeInstance]] = []

    def stop_at(self, core: Core, address: int, chain: list[KretprobeInstance]) -> None:
        """Stop at the address that the function returns to, with unchanged registers."""

        def resume(core: Core) -> None:
            self._engine.leave_return_handler(core)
            core.context.store()
            self._resumed(core, chain)
            core.context.load()

        self.stopped.append(chain)
        self._engine.stops.stop(core, address, resume)

    def stop_in_caller(
        self, core: Core, base: int, regs: StackRegs, chain: list[KretprobeInstance], following: int
    ) -> None:
        """Stop as if in the caller, with the registers in pt_regs at `base`. Going on restores the trampoline's."""
        address, size = chain[-1].ret_addr, self._frame.size
        regs = StackRegs(bytearray(regs.memory))
        context, words = core.context, core.context.x
        after = context.pc
        words[0:31] = memoryview(regs.memory)[:248].cast("Q")
        context.sp, context.pc = base + size, address
        context.pstate = context.pstate & ~NZCV | regs.pstate & NZCV

        def resume(core: Core) -> None:
            self._engine.leave_return_handler(core)
            if context.pc != address:
                self._resumed(core, chain)
                return  # the PC was moved, so the guest has left the trampoline
            for i in range(30):
                regs.regs[i] = words[i]
            regs.pstate = regs.pstate & ~NZCV | context.pstate & NZCV
            saved = self._frame.read(base)
            if saved is None:  # the stack is gone: go on in the caller with the registers as they are
                words[30] = context.pc = following
                context.store()
                self._resumed(core, chain)
                context.load()
                return
            # Code that ran meanwhile may have used the stack below the caller's.
            self._frame.put(saved, regs)
            words[0], context.sp, context.pc = following, base, after
            context.store()
            self._resumed(core, chain)
            context.load()

        self.stopped.append(chain)
        self._engine.stops.stop(core, address, resume)

    def _resumed(self, core: Core, chain: list[KretprobeInstance]) -> None:
        """The guest goes on after a stop at the return of a call."""
        self.stopped.remove(chain)
        self._recycle(core, chain)

    def stop_without_frame(self, core: Core, base: int, address: int) -> None:
        """Stop: the trampoline's stack pointer was changed. All instances are kept, as the call has yet to return."""
        core.context.pc = address
        reason = (
            f"the trampoline of a kretprobe has stack pointer {base:#x}, where there is no memory for the registers "
            "that it has saved: the kernel's handler faults here; set SP, or the PC and x30, to go on"
        )
        core.request_stop(Stop(StopReason.PROBE, address, reason))

    def stop_without_call(self, core: Core, sp: int, address: int) -> None:
        """Stop: no known call returns with stack pointer `sp`."""
        core.context.pc = address
        reason = (
            "Kretprobe fails to find correct return address: a function returned through the trampoline with stack "
            f"pointer {sp:#x}, and none was entered with it. It does not keep to AAPCS64, or its stack was switched; "
            "set the PC and x30 to go on"
        )
        core.request_stop(Stop(StopReason.PROBE, address, reason))
