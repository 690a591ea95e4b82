# SPDX-License-Identifier: GPL-2.0-or-later
"""Pre-handlers that C calls, without a claim and its dispatch: the fast way of `Engine._breakpoint`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from armprobe.machine.core.core import Core
from armprobe.machine.core.deferred_signals import calls_users_code
from armprobe.machine.core.pstate import DAIF

from .eras.hit_rules import Status
from .kprobe import Kprobe
from .record import Stage
from .site import Site

if TYPE_CHECKING:
    from .engine import Engine

_ON: Final = 0  # enum handled, places.h: C goes on with the hit
_ACTIVE, _NONE = Status.HIT_ACTIVE, Status.NONE


def called(core: Core, engine: Engine, site: Site, probe: Kprobe) -> Callable[[], int]:
    """The function that C calls at a hit of `probe`, the only one at `site`. It returns one of `enum handled`."""
    block, dispatcher, recorder, listener = engine.blocks[core], core.dispatcher, engine.recorder, engine.listener
    regs, gate = block.regs, core.machine.input
    listeners, call = gate.listeners, gate.call

    @calls_users_code
    def hit() -> int:
        block.site, block.status, block.instance = site, _ACTIVE, probe
        core.held = True
        dispatcher.hypercall, dispatcher.handler_daif = False, DAIF
        try:
            handler = probe.pre_handler
            assert handler is not None
            try:
                skip = bool(call(handler, probe, regs) if listeners else handler(probe, regs))
            except Exception as error:
                recorder.failures.add(probe, Stage.PRE, error)
                skip = False
            if (
                skip
                or dispatcher.stop is not None
                or recorder.stop is not None
                or not site.optimized
                or listener.awaits_end
            ):
                engine.handled(block, site, skip)
                core.held = False
                return 1 + dispatcher.after_claim()
        except BaseException as error:  # the run ends, and the next one hits the instruction again
            engine.reset(block)
            core.held = False
            core.fail(error)
            return 1
        block.site, block.status, block.instance = None, _NONE, None
        core.held = False
        return _ON

    return hit
