# SPDX-License-Identifier: GPL-2.0-or-later
"""Handles hits on instructions that also have a kprobe of the guest.

The guest executes the instruction there. Our hit passes the exception on to it, and our post-handlers run at the end of
the guest's slot.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from armprobe.machine import Machine, MachineError
from armprobe.machine.core.context import Context
from armprobe.machine.core.core import Core
from armprobe.machine.core.exceptions import IL, Class

from .control_block import ControlBlock
from .engine import Engine
from .eras.hit_rules import Status
from .guest_kprobes import GuestKprobes
from .listeners import ReturnAddresses
from .simulation import SIMULATORS
from .site import Site
from .stepping import KPROBES_BRK_IMM, KPROBES_BRK_SS_IMM

_MOV_X9_X30: Final = 0xAA1E03E9


def _leaves_x30_alone(word: int) -> bool:
    """Whether no register field of an instruction is x30, or it is the `mov x9, x30` that ftrace puts there."""
    return word == _MOV_X9_X30 or all(word >> shift & 31 != 30 for shift in (0, 5, 10, 16))


class SharedHits:
    """Shares the hits of one machine with its guest; see `listeners.GuestBreakpoints`."""

    def __init__(self, machine: Machine, engine: Engine, returns: ReturnAddresses, guest: GuestKprobes) -> None:
        self._machine = machine
        self._engine = engine
        self._returns = returns
        self._guest = guest
        # By the address of the guest's BRK #6: the site, its DAIF, and the function that takes x30 for our kretprobes.
        self._awaited: dict[int, tuple[Site, int, Callable[[bool], None] | None]] = {}
        machine.calls.on_begin.append(self._call_begins)

    def _call_begins(self, _: Core) -> Callable[[], None]:
        """Called when a guest function is called. The result forgets the hits that it leaves unfinished."""
        awaited = dict(self._awaited)

        def abandon() -> None:
            self._awaited = awaited

        return abandon

    def restore(self) -> None:
        """The machine's memory was replaced."""
        self._awaited.clear()

    def execute(self, block: ControlBlock, site: Site) -> None:
        """The pre-handlers of `site` are done: deliver its breakpoint to the guest."""
        core, context = block.core, block.core.context
        if block.status is Status.REENTER:
            block.pop()
            _deliver(core, KPROBES_BRK_IMM)
            return
        self._engine.over(block)
        simulator = SIMULATORS.get(site.decoded.simulator)
        if simulator is None:
            guest = self._guest.find(site.addr)
            if guest is not None and guest.slot:
                # A kretprobe of the guest must find the caller in x30, not our trampoline. Ours takes x30 after the
                # instruction, unless the instruction uses x30.
                take = self._returns.show_return_address(core) if _leaves_x30_alone(site.original) else None
                self._awaited[guest.slot + 4] = site, context.daif, take
            _deliver(core, KPROBES_BRK_IMM)
            return
        # The guest simulates it, and its end cannot be noticed. Show our post-handlers the result beforehand, and undo
        # it.
        before = context.save()
        try:
            simulator(site.original, site.addr, block.regs, self._machine.memory.read)
        except MachineError:
            _deliver(core, KPROBES_BRK_IMM)
            return

        def then(context: Context) -> None:
            context.restore(before)
            _deliver(core, KPROBES_BRK_IMM)

        self._engine.post(block, site, then)

    def executed(self, block: ControlBlock) -> bool:
        """Handle the guest's BRK #6: if it ends a hit that is also ours, run our post-handlers first."""
        core, context = block.core, block.core.context
        awaited = self._awaited.pop(context.pc, None)
        if awaited is None:
            return False
        site, daif, take = awaited
        if take is not None:
            take(True)
        end, masked = context.pc, context.daif
        context.pc, context.daif = site.addr + 4, daif

        def then(context: Context) -> None:
            context.pc, context.daif = end, masked
            _deliver(core, KPROBES_BRK_SS_IMM)

        self._engine.post(block, site, then)
        return True


def _deliver(core: Core, immediate: int) -> None:
    if immediate == KPROBES_BRK_IMM:  # an instruction of the guest's, after all
        core.machine.clock.count_instruction()
    core.dispatcher.deliver(Class.BRK << 26 | IL | immediate)
