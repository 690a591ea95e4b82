# SPDX-License-Identifier: GPL-2.0-or-later
"""Handles exceptions during a hit, in a slot or in a handler.

Linux asks kprobes about the exceptions that reach its do_page_fault() (arch/arm64/mm/fault.c, fault_info). Kprobes do
not see other aborts or undefined instructions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from armprobe.machine import Machine
from armprobe.machine.core.context import Context
from armprobe.machine.core.core import Core
from armprobe.machine.core.deferred_signals import calls_users_code
from armprobe.machine.core.exceptions import Class, Raised

from .eras.hit_rules import HitRules, Status
from .record import Stage
from .recorder import Recorder

if TYPE_CHECKING:
    from .engine import Engine

_UNSEEN: Final = (
    "its instruction raised an exception in the slot that kprobes are not told of: the hit has no end, and probes are "
    "missed until reset_current_kprobe()"
)

_CLASSES: Final = (Class.DATA_ABORT, Class.PREFETCH_ABORT)
_TRANSLATION: Final = range(0x04, 0x08)  # fault status codes, levels 0 to 3 (Arm ARM, ESR_EL1, ISS of a data abort)
_LEVEL_3: Final = 0x07
_ACCESS_FLAG: Final = range(0x09, 0x0C)  # levels 1 to 3
_PERMISSION: Final = range(0x0D, 0x10)
_TASK_SIZE: Final = 1 << 48
_UNTAGGED: Final = (1 << 56) - 1


def is_page_fault(syndrome: int, address: int, level_3: bool) -> bool:
    """Whether Linux treats an exception at EL1 with that ESR_EL1 and FAR_EL1 as a page fault.

    A translation fault in the kernel's half of the addresses is not one (do_translation_fault). With `level_3`, one at
    level 3 is a page fault there, too.
    """
    if syndrome >> 26 not in _CLASSES:
        return False
    status = syndrome & 0x3F
    if status in _TRANSLATION:
        return address & _UNTAGGED < _TASK_SIZE or (level_3 and status == _LEVEL_3)
    return status in _ACCESS_FLAG or status in _PERMISSION


class SlotFaults:
    """Claims the exceptions of one machine's guest that happen while `engine` handles a hit."""

    def __init__(self, machine: Machine, engine: Engine, rules: HitRules, recorder: Recorder) -> None:
        self._machine, self._engine, self._rules, self._recorder = machine, engine, rules, recorder
        self._input = machine.input
        machine.claim_fault(self._fault)

    @calls_users_code
    def _fault(self, core: Core, raised: Raised, syndrome: int, fault_address: int) -> bool:
        """kprobe_fault_handler: the guest sees a page fault in the slot at the address of the instruction probed."""
        engine, context = self._engine, core.context
        block = engine.blocks[core]
        site = block.site
        if engine.moments.observer is not None and core.software_step.enabled(context):
            name = raised.name.replace("_", " ").lower()
            engine.note(core, f"{name}: exception at {engine.moments.where(context.pc)}")
        if site is None:
            self._in_unfollowed_slot(context)
        elif not is_page_fault(syndrome, fault_address, self._rules.level_3_is_page_fault):
            if site.slot and context.pc == site.slot:
                site.warn(_UNSEEN)
        elif site.slot and context.pc == site.slot and block.status in (Status.HIT_SS, Status.REENTER):
            engine.cancel(block, site)
        elif self._rules.fault_handlers and block.status in (Status.HIT_ACTIVE, Status.HIT_SSDONE):
            for probe in site.probes:
                probe.counts.nmissed += 1
            running = block.instance
            if running is not None and (handler := running.fault_handler) is not None:
                try:
                    if self._input.listeners:
                        return bool(self._input.call(handler, running, block.regs, syndrome))
                    return bool(handler(running, block.regs, syndrome))
                except Exception as error:
                    stage = Stage.PRE if block.status is Status.HIT_ACTIVE else Stage.POST
                    self._recorder.failures.add(running, stage, error)
        return False

    def _in_unfollowed_slot(self, context: Context) -> None:
        """Handle a fault in a slot that ends in a branch: the hit is over. The guest sees it at the probed address."""
        for site in self._engine.sites.values() if context.pc in self._machine.scratch else ():
            if site.slot == context.pc:
                context.pc = site.addr
