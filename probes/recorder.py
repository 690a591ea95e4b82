# SPDX-License-Identifier: GPL-2.0-or-later
"""Records hits: evaluates conditions, copies registers, decides on stops, and keeps the failures of handlers."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from armprobe import wiring
from armprobe.expressions import AgentError, Memory, Value, program
from armprobe.kernel.tasks import Task
from armprobe.machine import Machine, MachineError
from armprobe.machine.core.deferred_signals import calls_users_code
from armprobe.machine.native.aggregate import KEY_SIZE

from .aggregation import Aggregation, Special, name_key, word_key
from .errors import ConditionError, ProbeError
from .guest_view import HitView
from .handler_failures import HandlerError, HandlerFailures
from .hit_values import HitValues
from .pt_regs import PtRegs
from .record import TICK, TRACED_STAGE, Hit, Stage
from .recording import MOST_MEMORY

if TYPE_CHECKING:
    from .kretprobe import Kretprobe, KretprobeInstance
    from .optimizer import Optimizer
    from .probe import Condition, Note, Probe
    from .registration import Kprobes
    from .trace_record import TraceRecord
    from .tracepoint import Tracepoint


MOST_KEPT: Final = 1 << 18
"""The most stages of hits that can be kept, of some 400 bytes each in C, and more in Python."""


class Kept(NamedTuple):
    """The hits that are kept at a moment, and the number of those lost until then."""

    hits: tuple[Hit, ...]
    lost: int


class Recorder:
    """`hits`: the ring of the last stages; `failures`: exceptions of handlers; `stop`: the hit to stop for.

    `stopped_for` is the hit that the machine last stopped for.
    """

    def __init__(self, machine: Machine, kprobes: Kprobes) -> None:
        self._view, self.kprobes = HitView(machine, kprobes), kprobes
        self._machine, self._clock = machine, machine.clock
        self.hits = wiring.hit_ring(kprobes)
        self.failures = HandlerFailures()
        self.values = HitValues(machine)
        self.stop: Hit | None = None
        self._doubt = ""  # why the condition of the next hit cannot be decided
        self._stop_text = ""
        self.stopped_for: Hit | None = None
        self.on_hit: Callable[[Hit], object] | None = None
        self.task: Callable[[], Task | None] | None = None
        self.kernel_task: Callable[[], Task | None] | None = None  # which finds the task that the kernel executes
        self.optimizer: Optimizer | None = None

    @property
    def finds_task_itself(self) -> bool:
        """Whether the task of a hit is the kernel's own, or none is looked for."""
        return self.task is None or self.task == self.kernel_task

    def put_back(self, kept: Kept) -> None:
        """Keep the hits of an earlier moment. What C has recorded since must have been drained."""
        self.hits.clear()
        self.hits.lost = kept.lost
        for hit in kept.hits:
            self.hits.append(hit)
        assert self.optimizer is not None
        self.optimizer.places.lost = 0

    def live(self, probe: Probe, stage: Stage, regs: PtRegs) -> None:
        """Record a stage of a kprobe or jprobe before its handlers run. The registers are the CPU's."""
        if probe.condition is not None:
            if stage is not Stage.POST:
                probe.selected = self._selects(probe, probe.condition, stage, regs)
            if not probe.selected:
                return
        if probe.aggregate is not None and stage is Stage.PRE:
            self._aggregate(probe.aggregate, stage, regs, 0, None)
        self._keep(self._hit(probe, stage, probe.counts.hits, regs, None))

    def event(self, probe: Tracepoint, regs: PtRegs, record: TraceRecord) -> bool:
        """Record an event of the guest's kernel. Returns whether the probe's condition selects it."""
        self._view.record = record.data
        if probe.condition is not None and not self._selects(probe, probe.condition, Stage.PRE, regs):
            return False
        if probe.aggregate is not None:
            within = self.kprobes.unwind.within(regs.pc) if probe.aggregate.key is Special.STACK else ()
            self._aggregate(probe.aggregate, Stage.PRE, regs, 0, None, within)
        self._keep(self._hit(probe, Stage.PRE, probe.counts.hits, regs, None)._replace(data=record))
        return True

    def entered(self, probe: Kretprobe, instance: KretprobeInstance, regs: PtRegs) -> None:
        """Record the stage `entry`. The registers are the CPU's."""
        later = probe.condition is not None and probe.condition_at is Stage.RETURN
        instance.entry = None
        instance.selected = probe.condition is None or later or self._selects(probe, probe.condition, Stage.ENTRY, regs)
        if not instance.selected:
            return
        hit = self._hit(probe, Stage.ENTRY, instance.number, regs, None)
        if later:
            instance.entry = hit
        else:
            self._keep(hit)

    def returned(self, probe: Kretprobe, instance: KretprobeInstance, regs: PtRegs) -> None:
        """Record the stage `return`. The registers are on the guest's stack or in the CPU."""
        selected, entry, entered = instance.selected, instance.entry, instance.entered
        self._view.elapsed = None if entered is None else (self._clock.now - entered) * TICK
        if probe.condition is not None and probe.condition_at is Stage.RETURN:
            selected = self._selects(probe, probe.condition, Stage.RETURN, regs)
        instance.entry = None
        if not selected:
            return
        if probe.aggregate is not None:
            self._aggregate(probe.aggregate, Stage.RETURN, regs, instance.ret_addr, instance)
        if entry is not None:
            self._record(entry)
        self._keep(self._hit(probe, Stage.RETURN, instance.number, regs, instance.ret_addr))

    def take_stop(self) -> tuple[Hit | None, str]:
        """Take the hit that the machine is about to stop for, with a text about it. The next call returns no hit."""
        hit, self.stop = self.stop, None
        self.stopped_for = hit
        return hit, self._stop_text

    @property
    def stopping(self) -> tuple[Hit | None, str, str, Hit | None]:
        """The state about the current or last stop for a hit."""
        return self.stop, self._stop_text, self._doubt, self.stopped_for

    @stopping.setter
    def stopping(self, stopping: tuple[Hit | None, str, str, Hit | None]) -> None:
        self.stop, self._stop_text, self._doubt, self.stopped_for = stopping

    @calls_users_code
    def _selects(self, probe: Probe, condition: Condition, stage: Stage, regs: PtRegs) -> bool:
        """Whether the hit is wanted. If the condition cannot be decided, it is wanted and the machine stops for it."""
        try:
            if isinstance(condition, program.Condition):
                met = condition.holds(self._view.at(stage, regs))
            else:
                met = bool(condition(stage, regs))
        except (AgentError, ConditionError) as error:
            self._doubt = f"; its condition cannot be evaluated: {error}"
            return True
        except Exception as error:
            self.failures.add(probe, stage, error)
            return False
        probe.counts.met += met
        return met

    @calls_users_code
    def _hit(self, probe: Probe, stage: Stage, number: int, regs: PtRegs, caller: int | None) -> Hit:
        clock, general = self._clock, regs.general()
        executed = clock.executed
        task = self.task() if self.task is not None else None
        note = ""
        if probe.note is not None:
            try:
                note = self._noted(probe, probe.note, stage, regs)
            except Exception as error:
                self.failures.add(probe, stage, error)
        ticks, pstate, recording = executed + clock.idle, regs.pstate, probe.recording
        if recording is None:
            return Hit(probe, stage, number, executed, ticks, general, pstate, caller, task, note)
        data = {}
        if stage is recording.at:
            view = self._view.at(stage, regs)
            data = recording.data({name: field.read(view) for name, field in recording.fields.items()})
        general, missing = recording.chosen(general), recording.missing
        return Hit(probe, stage, number, executed, ticks, general, pstate, caller, task, note, data, missing)

    @calls_users_code
    def _aggregate(
        self,
        aggregate: Aggregation,
        stage: Stage,
        regs: PtRegs,
        caller: int,
        call: KretprobeInstance | None,
        within: tuple[int, ...] = (),
    ) -> None:
        """Count a hit, as C does for an optimised probe. `within` is the head of the stack of an event's hit."""
        view, key, value, executed = self._view.at(stage, regs), bytes(KEY_SIZE), 0, 0
        try:
            if aggregate.key is Special.COMM:
                key = name_key(self._comm())
            elif aggregate.key is Special.CALLER:
                key = word_key(caller if stage is Stage.RETURN else view.register("x30"))
            elif aggregate.key is Special.STACK:
                head = within or (caller if stage is Stage.RETURN else view.register("x30"),)
                number = aggregate.table.stack_number(self.kprobes.unwind.records(head, regs.regs[29]))
                if not number:
                    aggregate.table.structure.lost += 1
                    return
                key = word_key(number)
            elif isinstance(aggregate.key, Memory):
                text = aggregate.key.read(view)
                if text is None:
                    raise AgentError("the text cannot be read")
                number = aggregate.table.text_number(text.partition(b"\0")[0])
                if not number:
                    aggregate.table.structure.lost += 1
                    return
                key = word_key(number)
            elif isinstance(aggregate.key, Value):
                key = word_key(aggregate.key.value(view))
            if isinstance(aggregate.value, Value):
                value = aggregate.value.value(view)
            elif aggregate.value is Special.ELAPSED:
                if call is None or call.entered is None:
                    raise AgentError("the time of the entry is not known")
                value = (self._clock.now - call.entered) * TICK
                executed = self._clock.executed - call.executed
        except (AgentError, MachineError):
            aggregate.failed += 1
        else:
            aggregate.table.add(key, value, executed)

    def _comm(self) -> bytes:
        """The name of the guest's task; empty if it is not known."""
        machine = self._machine
        kernel, context = machine.kernel, machine.core.context
        offsets = kernel.tasks.offsets if kernel is not None and kernel.tasks is not None else None
        if offsets is None:
            return b""
        return machine.core.read_virtual(context.system(context.layout.sp_el0) + offsets[0], KEY_SIZE) or b""

    def _noted(self, probe: Probe, note: Note, stage: Stage, regs: PtRegs) -> str:
        if not isinstance(note, program.Note):
            return note(stage, regs)
        return note.line(self._view.at(stage, regs)) if stage is TRACED_STAGE[probe.kind] else ""

    def _keep(self, hit: Hit) -> None:
        self._record(hit)
        if (hit.stage in hit.probe.stop or self._doubt) and self.stop is None:
            self.stop, self._stop_text = hit, f"{hit}{self._doubt}"
        self._doubt = ""

    @calls_users_code
    def _record(self, hit: Hit) -> None:
        probe = hit.probe
        if probe.record and probe.records(hit.stage):
            if self.optimizer is not None and self.optimizer.pending:
                self.optimizer.drain()
            if probe.observer is not None:
                try:
                    observed = probe.observer(hit)
                except Exception as error:
                    self.failures.add(probe, hit.stage, error)
                    return
                if observed is None:
                    return
                hit = observed
            self.hits.append(hit)
            if self.on_hit is not None and not self._machine.timeline.going:
                try:
                    self.on_hit(hit)
                except Exception as error:
                    self.failures.add(probe, hit.stage, error)


class Recorded:
    """The parts of the recorder that a registry shows to its user."""

    _recorder: Recorder
    _optimizer: Optimizer

    @property
    def _largest(self) -> int:
        """The most bytes of memory that a registered probe records of a hit."""
        raise NotImplementedError

    @property
    def hits(self) -> wiring.HitRing:
        """The last stages of hits, oldest first, as many as `kept`. See `armprobe.traces.HitRing`."""
        self._optimizer.drain()
        return self._recorder.hits

    @property
    def stopped_for(self) -> Hit | None:
        """The hit that the machine last stopped for."""
        return self._recorder.stopped_for

    @property
    def kept(self) -> int:
        """The number of stages that `hits` keeps, 1000 at first. Setting it keeps the last ones that fit.

        Raises ProbeError (EINVAL) for a number that is not from 1 to 262144.
        """
        return self._recorder.hits.maxlen or 0

    @kept.setter
    def kept(self, stages: int) -> None:
        if not isinstance(stages, int) or not 1 <= stages <= MOST_KEPT:
            raise ProbeError(errno.EINVAL, f"{stages!r} stages of hits cannot be kept: give a number up to {MOST_KEPT}")
        if stages * self._largest > MOST_MEMORY:
            reason = f"{stages} stages of hits cannot be kept: a probe records {self._largest} bytes of memory of each"
            raise ProbeError(errno.ENOMEM, reason)
        old = self.hits
        self._optimizer.places.keep(stages)
        self._recorder.hits = ring = wiring.hit_ring(self._recorder.kprobes, stages)
        ring.lost = old.lost
        for hit in old:
            ring.append(hit)

    def hit_values(self, hit: Hit) -> dict[str, str] | None:
        """The arguments of a recorded call, or its result, as texts by name. See `HitValues.of`."""
        return self._recorder.values.of(hit)

    @property
    def lost(self) -> int:
        """The number of stages that had to leave `hits`, because it was full."""
        return self.hits.lost + self._optimizer.places.lost

    @property
    def errors(self) -> list[HandlerError]:
        """The first failure of each probe whose handler raised."""
        return self._recorder.failures.errors

    @property
    def on_hit(self) -> Callable[[Hit], object] | None:
        """Called with each hit as it is recorded, before its handlers."""
        return self._recorder.on_hit

    @on_hit.setter
    def on_hit(self, function: Callable[[Hit], object] | None) -> None:
        self._recorder.on_hit = function
        self._optimizer.review_all()

    @property
    def on_error(self) -> Callable[[Probe, Exception], object] | None:
        """Called with a probe and its handler's exception, once for each probe."""
        return self._recorder.failures.on_error

    @on_error.setter
    def on_error(self, function: Callable[[Probe, Exception], object] | None) -> None:
        self._recorder.failures.on_error = function

    @property
    def task(self) -> Callable[[], Task | None] | None:
        """Called at each recorded hit to find the guest's current task."""
        return self._recorder.task

    @task.setter
    def task(self, function: Callable[[], Task | None] | None) -> None:
        self._recorder.task = function
        self._optimizer.review_all()
