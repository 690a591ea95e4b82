# SPDX-License-Identifier: GPL-2.0-or-later
"""Stops of the machine for a hit, and how the hit goes on after one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from armprobe.machine import Machine, Stop, StopReason
from armprobe.machine.core.core import Core
from armprobe.machine.core.dispatch import Resume
from armprobe.machine.core.hypercalls import SIMULATED_INSTRUCTION
from armprobe.machine.core.instruction_words import hvc
from armprobe.machine.core.pstate import DAIF

from .control_block import ControlBlock
from .eras.hit_rules import Status
from .recorder import Recorder
from .site import Site

if TYPE_CHECKING:
    from .engine import Engine


class HitStops:
    """Stops one machine for the hits of `engine`."""

    def __init__(self, machine: Machine, engine: Engine, recorder: Recorder) -> None:
        self._machine = machine
        self._engine = engine
        self._recorder = recorder
        self.placeholder = 0  # its address, 0 while there is none
        machine.claim_hvc(SIMULATED_INSTRUCTION, self._placeholder_reached)

    def stop(self, core: Core, address: int, resume: Resume) -> None:
        """Stop the machine, as if at `address`, for the hit that asks for it; see `Core.request_stop`."""
        hit, text = self._recorder.take_stop()
        core.request_stop(Stop(StopReason.PROBE, address, text, hit), resume)

    def stop_before(self, block: ControlBlock, site: Site, skip: bool) -> None:
        """Stop between the pre-handlers and the instruction, with the registers of the interrupted code."""
        engine, core = self._engine, block.core
        words = core.context.x
        # A call that has come to the trampoline keeps x30 as it is, and its caller is not forgotten.
        take_return_address = (lambda same_caller: None) if site.offset else engine.returns.show_return_address(core)
        redirected = words[32]
        if skip and redirected in self._machine.scratch:  # to the code that calls a jprobe's entry
            words[32] = site.addr
        address, sp, caller = words[32], words[31], words[30]
        ended = block.site is None  # by the pre-handler, which is the trampoline's
        if ended:
            block.site, block.status = site, Status.HIT_ACTIVE

        def resume(core: Core) -> None:
            if skip:
                if words[32] == address:
                    words[32] = redirected
                take_return_address(False)
                engine.over(block) if ended else engine.skipped(block, site)
            elif words[32] == address:
                go_on()
            else:
                engine.redirect(block, site)
                engine.over(block)
                if words[30] != caller:
                    core.dispatcher.resume = called

        def called(core: Core) -> None:
            """A debugger that calls a function moves PC and x30, and puts all registers back after it."""
            if (words[32], words[31]) == (address, sp) and block.site is None and site.armed:
                block.site = site
                go_on()
            else:
                core.dispatcher.resume = called

        def go_on() -> None:
            take_return_address(False)
            if site.simulator is None:
                engine.step(block, site, Status.HIT_SS)
            else:
                self._step_onto_placeholder(block)

        self.stop(core, address, resume)

    # The guest executes nothing for a simulated instruction. A run or step of the machine that starts with one would
    # therefore execute the instruction after it too: an HVC, the placeholder, is executed in its place.

    def _step_onto_placeholder(self, block: ControlBlock) -> None:
        if not self.placeholder:
            self.placeholder = self._machine.scratch.allocate(4)
            self._machine.scratch.write(self.placeholder, hvc(SIMULATED_INSTRUCTION).to_bytes(4, "little"))
        context = block.core.context
        block.status, block.saved_daif = Status.HIT_SS, context.daif
        context.daif |= DAIF
        context.pc = self.placeholder

    def _placeholder_reached(self, core: Core) -> bool:
        block, context = self._engine.blocks[core], core.context
        site = block.site
        if site is None or context.pc != self.placeholder + 4:
            return False
        context.pc, context.daif = site.addr, block.saved_daif
        self._engine.step(block, site, Status.HIT_SS)
        return True
