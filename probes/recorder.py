# SPDX-License-Identifier: GPL-2.0-or-later
"""Keeps the last hits of one machine, and the failures of handlers."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from armprobe.machine import Machine

from .pt_regs import PtRegs, StackRegs
from .record import Hit, Stage, Task

if TYPE_CHECKING:
    from .jprobe import Jprobe
    from .kprobe import Kprobe
    from .kretprobe import Kretprobe, KretprobeInstance

    Probe: TypeAlias = Kprobe | Kretprobe | Jprobe

log = logging.getLogger("armprobe.probes")

KEPT: Final = 1000  # hits
_GENERAL_BYTES: Final = 33 * 8


class HandlerError(NamedTuple):
    """A handler of `probe` raised `error` at `stage`."""

    probe: Probe
    stage: Stage
    error: Exception


class Recorder:
    """`hits`: the last `KEPT` stages; `errors`: the first failure of each probe; `stop`: the hit to stop for.

    `stopped_for` is the hit that the machine last stopped for.
    """

    def __init__(self, machine: Machine) -> None:
        self._clock = machine.clock
        self._words = machine.cpu.frame.x
        self.hits: deque[Hit] = deque(maxlen=KEPT)
        self.errors: list[HandlerError] = []
        self.stop: Hit | None = None
        self.stopped_for: Hit | None = None
        self.on_hit: Callable[[Hit], object] | None = None
        self.on_error: Callable[[Probe, Exception], object] | None = None
        self.task: Callable[[], Task | None] | None = None

    def live(self, probe: Probe, stage: Stage, regs: PtRegs) -> None:
        """A stage whose registers are the CPU's, before its handlers run."""
        if probe.condition is None or self._selected(probe, stage, regs):
            self._keep(probe, stage, probe.hits, self._words.tobytes(), regs.pstate, None)

    def returned(self, probe: Kretprobe, instance: KretprobeInstance, regs: PtRegs) -> None:
        """The stage `return`, whose registers are on the guest's stack or the CPU's."""
        if probe.condition is None or self._selected(probe, Stage.RETURN, regs):
            general = regs.memory[:_GENERAL_BYTES] if isinstance(regs, StackRegs) else self._words.tobytes()
            self._keep(probe, Stage.RETURN, instance.number, bytes(general), regs.pstate, instance.ret_addr)

    def forget_after(self, instructions: int) -> None:
        """The machine has gone back: drop what is not yet to happen."""
        kept = [hit for hit in self.hits if hit.instructions <= instructions]
        self.hits.clear()
        self.hits.extend(kept)

    def take_stop(self) -> Hit | None:
        """The hit for which the machine is to stop, once."""
        hit, self.stop = self.stop, None
        self.stopped_for = hit
        return hit

    def failed(self, probe: Probe, stage: Stage, error: Exception) -> None:
        """A handler raised. It is kept and told once a probe, to the log if nobody asked for it; the guest goes on."""
        if any(known.probe is probe for known in self.errors):
            return
        self.errors.append(HandlerError(probe, stage, error))
        if self.on_error is not None:
            self.on_error(probe, error)
        else:
            log.error("a handler of the %s on %s raised; the guest goes on", probe.kind, probe.name, exc_info=error)

    def _selected(self, probe: Probe, stage: Stage, regs: PtRegs) -> bool:
        assert probe.condition is not None
        try:
            return bool(probe.condition(stage, regs))
        except Exception as error:
            self.failed(probe, stage, error)
            return False

    def _keep(self, probe: Probe, stage: Stage, number: int, general: bytes, pstate: int, caller: int | None) -> None:
        clock = self._clock
        executed = clock.executed
        task = self.task() if self.task is not None else None
        hit = Hit(probe, stage, number, executed, executed + clock.idle, general, pstate, caller, task)
        if probe.record:
            self.hits.append(hit)
            if self.on_hit is not None:
                try:
                    self.on_hit(hit)
                except Exception as error:
                    self.failed(probe, stage, error)
        if stage in probe.stop and self.stop is None:
            self.stop = hit


class Recorded:
    """What a registry lets its user see of its recorder."""

    _recorder: Recorder

    @property
    def hits(self) -> deque[Hit]:
        """The last 1000 stages of hits, oldest first."""
        return self._recorder.hits

    @property
    def errors(self) -> list[HandlerError]:
        """The first failure of each probe whose handler raised."""
        return self._recorder.errors

    @property
    def on_hit(self) -> Callable[[Hit], object] | None:
        """Called with each hit as it is recorded, before its handlers."""
        return self._recorder.on_hit

    @on_hit.setter
    def on_hit(self, function: Callable[[Hit], object] | None) -> None:
        self._recorder.on_hit = function

    @property
    def on_error(self) -> Callable[[Probe, Exception], object] | None:
        """Called with a probe and what its handler raised, once a probe."""
        return self._recorder.on_error

    @on_error.setter
    def on_error(self, function: Callable[[Probe, Exception], object] | None) -> None:
        self._recorder.on_error = function

    @property
    def task(self) -> Callable[[], Task | None] | None:
        """Called at each recorded hit to say which task of the guest it is."""
        return self._recorder.task

    @task.setter
    def task(self, function: Callable[[], Task | None] | None) -> None:
        self._recorder.task = function
