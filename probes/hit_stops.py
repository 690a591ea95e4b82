# SPDX-License-Identifier: GPL-2.0-or-later
"""Stops the machine for a hit, and resumes the hit afterwards."""

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
        """Stop the machine, as if at `address`, for the hit that asked for it. See `Core.request_stop`."""
        hit, text = self._recorder.take_stop()
        core.request_stop(Stop(StopReason.PROBE, address, text, hit), resume)

    def stop_before(self, block: ControlBlock, site: Site, skip: bool) -> None:
        """Stop between the pre-handlers and the instruction, with the registers of the interrupted code."""
        engine, core = self._engine, block.core
        words = core.context.x
        # A call that has reached the trampoline keeps x30, and its caller is not forgotten.
        take_return_address = (lambda same_caller: None) if site.offset else engine.returns.show_return_address(core)
        redirected = words[32]
        if skip and redirected in self._machine.scratch:  # to the code that calls a jprobe's entry
            words[32] = site.addr
        address, sp, caller = words[32], words[31], words[30]
        ended = block.site is None  # by the trampoline's pre-handler
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
            """Resume the hit after a debugger's call, which moves PC and x30 and restores all registers afterwards."""
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

    # The guest executes nothing for a simulated instruction. A run or step that starts with one would therefore also
    # execute the instruction after it. The guest executes a placeholder, an HVC, in its place.

    def _step_onto_placeholder(self, block: ControlBlock) -> None:
        if not self.placeholder:
            self.placeholder = self._machine.scratch.allocate(4)
            self._machine.scratch.write_code(self.placeholder, hvc(SIMULATED_INSTRUCTION).to_bytes(4, "little"))
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
