# SPDX-License-Identifier: GPL-2.0-or-later
"""Handlers that C calls, without a claim and its dispatch: the fast way of `Engine._breakpoint`, and of returns."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from armprobe.machine.core.core import Core
from armprobe.machine.core.deferred_signals import calls_users_code
from armprobe.machine.core.pstate import DAIF, PSTATE_I

from .eras.hit_rules import HitRules, Status
from .kprobe import Kprobe
from .kretprobe import Kretprobe, KretprobeInstance
from .pt_regs import PtRegs
from .record import Stage
from .saved_frame import KeptFrame
from .site import Site

if TYPE_CHECKING:
    from .engine import Engine

# enum handled, places.h: C goes on with the hit, or after the return, where the run may end; the call has yet to return
_ON, _HANDLED, _END, _KILLED = range(4)
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


class RunningHandlers:
    """The return handlers that one core runs. `site` is its current_kprobe meanwhile.

    `returning` is the registers passed to them and the return address, None while none run. `frame` has those that C
    passes, None if they are the CPU's.
    """

    def __init__(self, site: Site) -> None:
        self.site = site
        self.returning: tuple[PtRegs, int] | None = None
        self.frame: KeptFrame | None = None


def called_at_return(
    core: Core, engine: Engine, running: RunningHandlers, rules: HitRules, rp: Kretprobe
) -> Callable[..., int]:
    """The function that C calls at a return of `rp`: the fast way of `KretprobeEngine._handle`.

    It is given `ret` to `executed` of a `Pair`, and returns one of `enum handled`.
    """
    block, dispatcher, recorder = engine.blocks[core], core.dispatcher, engine.recorder
    site, frame, context, gate = running.site, running.frame, core.context, core.machine.input
    listeners, call = gate.listeners, gate.call
    regs: PtRegs = block.regs if frame is None else frame.regs
    masks, by_x29 = PSTATE_I if rules.masks_returns else 0, rules.instance_fp == "x29"
    instance = KretprobeInstance(rp)  # there is no other call with a handler meanwhile

    @calls_users_code
    def returned(ret: int, sp: int, fp: int, task: int, number: int, entered: int, executed: int) -> int:
        instance.ret_addr = instance.following = ret
        instance.sp, instance.fp, instance.task = sp, fp if by_x29 else sp, task
        instance.number, instance.entered, instance.executed = number, entered, executed
        site.probes = [rp.kp]
        block.site, block.status = site, _ACTIVE
        running.returning = regs, ret
        core.held = True
        dispatcher.hypercall = frame is not None
        dispatcher.handler_daif = (DAIF if frame is None else context.daif) | masks
        handled = _HANDLED
        try:
            handler = rp.handler
            assert handler is not None
            try:
                if listeners:
                    call(handler, instance, regs)
                else:
                    handler(instance, regs)
            except Exception as error:
                recorder.failures.add(rp, Stage.RETURN, error)
            if dispatcher.stop is not None:
                handled = _END
        except BaseException as error:  # the run ends, and the next one returns from the call again
            core.fail(error)
            handled = _KILLED
        running.returning = None
        if frame is not None and frame.stored:
            frame.store()
            frame.stored = False
        block.site, block.status = None, _NONE
        core.held = False
        return handled

    return returned
