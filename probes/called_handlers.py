# SPDX-License-Identifier: GPL-2.0-or-later
"""Handlers that C calls, without a claim and its dispatch: the fast way of `Engine._breakpoint`, and of returns.

Most handlers only look at the registers they are given. Then Python learns no more of the hit: C ends it. Something
that depends on the hit asks for it with `Dispatcher.leave_handler`, such as a call of a guest function. Only then the
kernel's state of the hit is set, and only then the handler is in the history.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from armprobe.machine.core.core import Core
from armprobe.machine.core.deferred_signals import calls_users_code
from armprobe.machine.core.pstate import DAIF, PSTATE_I
from armprobe.machine.input import History
from armprobe.machine.native import places

from .engine import Engine
from .eras.hit_rules import HitRules, Status
from .kprobe import Kprobe
from .kretprobe import Kretprobe, KretprobeInstance
from .probe import Probe
from .pt_regs import PtRegs
from .record import Stage
from .saved_frame import KeptFrame
from .site import Site

# enum handled, places.h: C goes on with the hit, or after the return, where the run may end; the call has yet to return
_ON, _HANDLED, _END, _KILLED = range(4)


class CalledHandler:
    """A handler of `owner` that C calls with `argument` and `regs`. `native` is what C has of it."""

    stage = Stage.PRE
    skips = True  # whether its result says that the instruction is skipped

    def __init__(
        self, core: Core, engine: Engine, owner: Probe, handler: Callable[..., object], argument: object, regs: PtRegs
    ) -> None:
        self._core, self._engine, self._owner = core, engine, owner
        self.handler, self._argument, self._regs = handler, argument, regs
        self._block, self._gate = engine.blocks[core], core.machine.input
        self._size = len(regs.content())
        self._replays = False  # the hit is in the past
        self._history: History | None = None  # which has the beginning of the handler
        self._result: object = None
        self._error: BaseException | None = None
        self.native = places.NativeHandler(self._hit(), self._ended)

    def _hit(self) -> Callable[[], bool]:
        handler, argument, regs, skips = self.handler, self._argument, self._regs, self.skips
        gate, listeners = self._gate, self._gate.listeners

        @calls_users_code
        def hit() -> bool:
            try:
                if listeners and (history := gate.history) is not None and not history.live:
                    self._replays = True
                    self._result = history.replay_handler(handler, regs)
                    return True
                result = handler(argument, regs)
                if not (skips and result):
                    return False
                self._result = result
            except BaseException as error:
                self._error = error
            return True

        return hit

    def left(self) -> None:
        """Something asks about the hit while the handler runs."""
        if self._gate.listeners and not self._replays and (history := self._gate.history) is not None:
            history.begun.append((self.handler, self._argument, self._core.native.state.handler_idle))
            self._history = history
        self._begin()

    def _begin(self) -> None:
        """Set what there is to know of the hit."""
        raise NotImplementedError

    def _end(self, skip: bool, error: BaseException | None) -> int:
        """Go on after the handler. `error` is an exception that ends the run. The result is one of `enum handled`."""
        raise NotImplementedError

    @calls_users_code
    def _ended(self, before: int) -> int:
        """The handler has done more than look. `before` is the address of the registers before it, if not 0."""
        self._core.dispatcher.leave_handler()
        result, self._result = self._result, None
        failure, self._error = self._error, None
        try:
            if not self._replays:
                self._announce(before, result)
            if isinstance(failure, Exception):
                self._engine.recorder.failures.add(self._owner, self.stage, failure)
                failure = None
        except BaseException as error:
            failure = error
        self._replays, self._history = False, None
        return self._end(bool(result), failure)

    def _announce(self, before: int, result: object) -> None:
        """Announce what the handler has done: see `InputGate.call`."""
        if before:
            content = ctypes.string_at(before, self._size)
            if self._regs.content() != content:
                self._gate.changed(self._regs, content)
        if (history := self._history) is not None:
            if result or not history.begun:
                history.handler_ends(result)
            else:
                history.begun.pop()


class CalledPreHandler(CalledHandler):
    """The pre-handler of the only probe at `site`."""

    def __init__(self, core: Core, engine: Engine, site: Site, probe: Kprobe, handler: Callable[..., object]) -> None:
        self._site, self._probe = site, probe
        super().__init__(core, engine, probe, handler, probe, engine.blocks[core].regs)

    def _begin(self) -> None:
        block, dispatcher = self._block, self._core.dispatcher
        block.site, block.status, block.instance = self._site, Status.HIT_ACTIVE, self._probe
        dispatcher.hypercall, dispatcher.handler_daif = False, DAIF

    def _end(self, skip: bool, error: BaseException | None) -> int:
        engine, block, site, dispatcher = self._engine, self._block, self._site, self._core.dispatcher
        if error is None:
            stops = dispatcher.stop is not None or engine.recorder.stop is not None
            if not (skip or stops or not site.optimized or engine.listener.awaits_end):
                block.site, block.status, block.instance = None, Status.NONE, None
                return _ON
            try:
                engine.handled(block, site, skip)
                return 1 + dispatcher.after_claim()
            except BaseException as raised:
                error = raised
        engine.reset(block)  # the run ends, and the next one hits the instruction again
        self._core.fail(error)
        return _HANDLED


class RunningHandlers:
    """The return handlers that one core runs. `site` is its current_kprobe meanwhile.

    `returning` is the registers passed to them and the return address, None while none run. `frame` has those that C
    passes, None if they are the CPU's.
    """

    def __init__(self, site: Site) -> None:
        self.site = site
        self.returning: tuple[PtRegs, int] | None = None
        self.frame: KeptFrame | None = None


class _OfPair:
    """An attribute of the call that returns."""

    def __init__(self, field: str) -> None:
        self._field = field

    def __get__(self, instance: ReturningInstance, kind: object) -> Any:
        return getattr(instance.pair, self._field)

    def __set__(self, instance: ReturningInstance, value: int | None) -> None:
        setattr(instance.pair, self._field, value or 0)


class _FramePointer:
    def __get__(self, instance: ReturningInstance, kind: object) -> Any:
        return instance.rules.frame_pointer(instance.pair.fp, instance.pair.sp)

    def __set__(self, instance: ReturningInstance, value: int) -> None:
        instance.pair.fp = value


class ReturningInstance(KretprobeInstance):
    """The call whose return handler C calls: a view of what C has of it. There is no other one meanwhile."""

    __slots__ = ("pair", "rules")
    ret_addr: Any = _OfPair("ret")
    following: Any = _OfPair("ret")
    sp: Any = _OfPair("sp")
    fp: Any = _FramePointer()
    task: Any = _OfPair("task")
    number: Any = _OfPair("number")
    entered: Any = _OfPair("entered")
    executed: Any = _OfPair("executed")

    def __init__(self, rp: Kretprobe, pair: places.Pair, rules: HitRules) -> None:
        self.pair, self.rules = places.Pair(), rules
        super().__init__(rp)
        self.pair = pair


class CalledReturnHandler(CalledHandler):
    """The return handler of `rp`: the fast way of `KretprobeEngine._handle`."""

    stage = Stage.RETURN
    skips = False

    def __init__(
        self,
        core: Core,
        engine: Engine,
        running: RunningHandlers,
        rules: HitRules,
        rp: Kretprobe,
        handler: Callable[..., object],
        pair: places.Pair,
    ) -> None:
        self._running, self._rules, self._rp, self._pair = running, rules, rp, pair
        regs: PtRegs = engine.blocks[core].regs if running.frame is None else running.frame.regs
        super().__init__(core, engine, rp, handler, ReturningInstance(rp, pair, rules), regs)

    def _begin(self) -> None:
        block, dispatcher, running = self._block, self._core.dispatcher, self._running
        running.site.probes = [self._rp.kp]
        running.returning = self._regs, self._pair.ret
        block.site, block.status = running.site, Status.HIT_ACTIVE
        dispatcher.hypercall = running.frame is not None
        dispatcher.handler_daif = self._core.context.daif if dispatcher.hypercall else DAIF
        if self._rules.masks_returns:
            dispatcher.handler_daif |= PSTATE_I

    def _end(self, skip: bool, error: BaseException | None) -> int:
        block, running = self._block, self._running
        running.returning = None
        if running.frame is not None and running.frame.stored:
            running.frame.store()
            running.frame.stored = False
        block.site, block.status = None, Status.NONE
        if error is not None:  # the run ends, and the next one returns from the call again
            self._core.fail(error)
            return _KILLED
        return _HANDLED if self._core.dispatcher.stop is None else _END
