# SPDX-License-Identifier: GPL-2.0-or-later
"""Optimised probes: C records and counts the hits of probes whose action is data, without a breakpoint in the text.

The kernel calls a probe optimised that is hit without an exception (optimize_kprobe in kernel/kprobes.c; arm64 has
none). As there, a probe is armed with a breakpoint first, and optimised a little later: when the guest is about to run.
A site is optimised if all that the probes on it do is recorded: no handler, no stop, and no condition or note that C
cannot evaluate. A probe may also have a stop, or conditional handlers, if C can evaluate its condition: it keeps its
breakpoint, and C leaves it the hits at which the condition is true. Of a probe that is alone at its site, C calls the
pre-handler itself: that keeps its breakpoint, too. Otherwise all of it is ordinary. So are all probes
whose instructions are not stepped by BRK #6: the guest sees the state of the CPU's single step.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from armprobe.expressions import program
from armprobe.expressions.native import compile_memory, compile_note
from armprobe.machine import Machine
from armprobe.machine.core.pstate import DAIF, NZCV
from armprobe.machine.native import program as native
from armprobe.machine.native.histogram import chained
from armprobe.machine.native.places import Action, Places

from .aggregation import Aggregation, Special
from .called_handlers import CalledHandler, CalledPreHandler
from .data_action import compiles, deciding_program, has_handlers, is_called, is_left
from .kprobe import OPTIMIZED, Kprobe
from .kretprobe import Kretprobe
from .native_counts import CallCounts, KprobeCounts, own_counts
from .native_hits import native_hit
from .probe import ObservingFunction, Probe
from .record import Stage
from .recording import ALL_REGISTERS
from .site import Site
from .tracepoint import Tracepoint
from .trampoline import BRK, DIRECT

if TYPE_CHECKING:
    from .arming import Arming
    from .engine import Engine
    from .eras import Era
    from .kretprobe_engine import KretprobeEngine
    from .recorder import Recorder

HOOKS: Final = 30
"""The number of addresses up to which hooks are faster than breakpoints."""
_UPPER_HALF: Final = 1 << 55
_IN_FRAME: Final = NZCV | DAIF | 0xD
"""The bits of PSTATE in pt_regs at a return by `direct`: NZCV, DAIF, CurrentEL and SPSel."""


class Optimizer:
    """Optimises the sites of one machine.

    With `enabled` false, all probes are ordinary (the kernel's /proc/sys/debug/kprobes-optimization).
    """

    def __init__(
        self, machine: Machine, engine: Engine, recorder: Recorder, sites: Mapping[int, Site], capacity: int
    ) -> None:
        self._machine, self._engine, self._recorder, self._sites = machine, engine, recorder, sites
        self.places = Places(machine.core, capacity)
        self._shared = self.places.recorder
        self._due: dict[Site, None] = {}  # in order, as the first ones get hooks
        self._probes: dict[int, Kprobe] = {}  # by the number of their action
        self._optimized: dict[int, Site] = {}  # by address
        self._followed: set[Kretprobe] = set()
        self._conditions: dict[int, native.Program] = {}  # by the number of their action
        self._notes: dict[int, tuple[program.Note, native.Note, object]] = {}
        self._memory: dict[int, tuple[native.Note, object]] = {}
        self._aggregated: dict[int, Aggregation] = {}
        self._observed: dict[int, ObservingFunction] = {}
        self._handlers: dict[int, CalledHandler] = {}
        self.review_events: Callable[[], None] = lambda: None
        self._left: set[Site] = set()  # sites with programs that had no value
        self._runs = self._numbers = 0
        self._memory_replaced = False
        self._enabled = True
        self.busy = False
        machine.scheduler.before_slice.append(self._before_slice)

    def connect(self, arming: Arming, kretprobes: KretprobeEngine, era: Era, stepping: str) -> None:
        """Give the optimizer what arms sites and handles returns. Call this once, before there are probes."""
        self._arming, self._kretprobes = arming, kretprobes
        kretprobes.collect, self._engine.adopt = self.collect, self.adopt
        self._machine.state.completing += (self.collect, self._machine.core.dispatcher.leave_hit)
        self._machine.core.dispatcher.claim_handlers(self._handler_left)
        rules, shared = era.hits, self._shared
        self._steps_unseen = stepping == "brk"
        # A kretprobe's instances may be in the guest's memory, and the frame may have what is left over in a register.
        direct = kretprobes.kind == DIRECT
        self._follows = kretprobes.kind in (DIRECT, BRK) and not rules.frees_instances and rules.frame.pc == "xzr"
        shared.registers_size = len(self._machine.core.context.content())
        shared.frame = rules.frame.size if direct else 0
        shared.kept = _IN_FRAME if direct else 0xFFFF_FFFF
        shared.sets_pc, shared.sets_x30 = rules.sets_return_pc or not direct, direct
        self.places.leave_to(self.collect, self._undecided)

    @property
    def enabled(self) -> bool:
        """Whether probes are optimised."""
        return self._enabled

    @enabled.setter
    def enabled(self, enabled: bool) -> None:
        self._enabled = enabled
        self.review_all()

    def review_all(self) -> None:
        """What hits of all probes do may have changed."""
        for site in list(self._sites.values()):
            self.review(site)
        self.review_events()

    def hide(self, address: int) -> None:
        """There is a breakpoint at `address`, which conditions do not see."""
        self.places.reader.hide(address)

    def _hide_all(self) -> None:
        self.places.reader.start = self.places.reader.end = 0
        for site in self._sites.values():
            if site.armed and not site.hooked:
                self.hide(site.addr)

    def review(self, site: Site) -> None:
        """A site was armed or disarmed, or what a hit of it does may have changed: optimise it later, or stop that."""
        if site.optimized:
            if self._suits(site) and not (site.hooked and self._leaves(site)):
                self._put(site)
                return
            self.stop(site)
        if site not in self._left and self._suits(site):
            self._due[site] = None

    def changed(self, site: Site) -> None:
        """A probe on `site` is not the same any more."""
        self._left.discard(site)
        self.review(site)

    def stop(self, site: Site) -> None:
        """Make an optimised site an ordinary one. If it is still armed, it gets its breakpoint back."""
        if not site.optimized:
            return
        hooked = site.hooked
        self._leave(site)
        if hooked and site.armed:
            site.armed = False
            self._arming.rearm(site)

    def release(self, probe: Kprobe) -> None:
        """`probe` is about to leave its site."""
        if isinstance(probe.counts, KprobeCounts):
            self.drain()
            self._ordinary(probe)

    def _leave(self, site: Site) -> None:
        self._machine.core.dispatcher.leave_hit()
        self.drain()
        self.places.remove(site.addr)
        del self._optimized[site.addr]
        site.optimized = site.hooked = False
        for probe in site.probes:
            self._ordinary(probe)

    def does_event(self, probe: Tracepoint) -> bool:
        """Whether C can do all that is done at an event with `probe`."""
        return (
            self._enabled
            and self._recorder.on_hit is None
            and self._recorder.finds_task_itself
            and not (has_handlers(probe) or probe.stop)
            and compiles(probe)
        )

    def begin_event(self, probe: Tracepoint, room: int) -> Action:
        """The action of `probe`, with `room` for the event's record: from now on C counts."""
        self._find_task()
        self._numbers += 1
        self._probes[self._numbers] = probe.kp
        counts = probe.counts
        action = Action(id=self._numbers, hits=counts.hits, missed=counts.nmissed, met=counts.met, event=True)
        probe.counts = KprobeCounts(action)
        probe.flags |= OPTIMIZED
        action.enabled, action.records_first = not probe.disabled, probe.records(Stage.PRE)
        self._compile(probe, action)
        self._aggregate(probe, action)
        self.drain()
        self.places.make_notes(action.note_size + room)
        return action

    def end_event(self, probe: Tracepoint) -> None:
        """Undo a `begin_event`."""
        self.drain()
        self._forget_action(probe)

    def adopt(self, slot: int) -> Site | None:
        """Go on in Python with the hit whose instruction is being executed in the `NativeSlot` at that address.

        Returns its site, or None if it was no hit of C's.
        """
        if (site := self._optimized.get(self.places.of_slot(slot))) is not None:
            for probe in site.active:
                probe.selected = _action(probe).selected
            self.busy = self._shared.busy = True
        return site

    def collect(self) -> None:
        """Make instances of all calls that C follows."""
        if not self._shared.outstanding:
            return
        for pair, entry in self.places.take_pairs():
            probe = self._probes[Action.from_address(pair.action).id]
            rp = probe.owner
            assert isinstance(rp, Kretprobe)
            memory = self._memory.get(Action.from_address(pair.action).id)
            held = None if entry is None else native_hit(probe, entry, "", None if memory is None else memory[0])
            self._kretprobes.follow(pair, rp, held)
        for rp in self._followed:
            action = _action(rp.kp)
            action.outstanding, action.capacity = 0, len(rp.free)

    def drain(self) -> None:
        """Make hits of what C has recorded since the last call."""
        self.places.settle()
        for record in self.places.take():
            probe = self._probes[record.action]
            note = self._notes.get(record.action)
            line = note[0].line_of(*note[1].decoded(record.note_data)) if record.note and note is not None else ""
            memory = self._memory.get(record.action)
            hit = native_hit(probe, record, line, None if memory is None else memory[0])
            if isinstance(probe.owner, Tracepoint):
                hit = hit._replace(data=probe.owner.made(record.memory_data))
            self._recorder.hits.append(hit)

    def _undecided(self, address: int) -> None:
        """A program has no value in C. The hit is an ordinary one's, and so are the next, until another run begins."""
        site = self._sites[address]
        self._left.add(site)
        self.stop(site)
        core = self._machine.core
        core.native.stop_before()

    @property
    def pending(self) -> bool:
        """Whether there is something to drain."""
        return self.places.pending

    def forget(self) -> None:
        """The machine was put into another state, in which no site is optimised."""
        self.places.forget()
        self._memory_replaced = True  # with what was the trampoline's
        for site in self._sites.values():
            if site.optimized:
                self._leave(site)
        self._memory_replaced = False

    def hit_over(self) -> None:
        """No hit is being handled."""
        self.busy = self._shared.busy = False

    def _before_slice(self) -> None:
        self.places.at_rest()
        self._shared.compares = bool(self._machine.input.listeners)
        if self._left and self._machine.core.changes != self._runs:
            self._due |= dict.fromkeys(self._left)
            self._left.clear()
        self._runs = self._machine.core.changes
        if self._due:
            self.begin_due()
        busy = self._engine.blocks[self._machine.core].site is not None
        if busy is not self.busy:
            self.busy = self._shared.busy = busy

    def begin_due(self) -> None:
        """Optimise what is due, while the guest is not running."""
        if self._due:
            due, self._due = self._due, {}
            for site in due:
                if self._sites.get(site.addr) is site and not site.optimized and self._suits(site):
                    self._begin(site)
            self._hide_all()

    def _begin(self, site: Site) -> None:
        if site in self._engine.busy:
            self._due[site] = None
            return
        if self.places.hooks + 2 <= HOOKS and not self._leaves(site):
            if not self._arming.lift(site):
                return
            site.hooked = True
        elif site.simulator is None and not (site.slot and site.stepping.post):
            return  # the slot ends in a branch
        site.optimized = True
        self._optimized[site.addr] = site
        self._put(site)

    def _put(self, site: Site) -> None:
        self._find_task()
        actions = []
        for probe in site.probes:
            if not isinstance(probe.counts, KprobeCounts):
                self._numbers += 1
                self._probes[self._numbers] = probe
                counts = probe.counts
                action = Action(id=self._numbers, hits=counts.hits, missed=counts.nmissed, met=counts.met)
                probe.counts = KprobeCounts(action)
                if isinstance(probe.owner, Kretprobe):
                    self._follow(probe.owner, action)
            action = _action(probe)
            action.leaves = is_left(probe.owner)
            self._call(site, probe, action)
            probe.flags = probe.flags & ~OPTIMIZED | (0 if action.leaves or is_called(probe.owner) else OPTIMIZED)
            action.enabled = not probe.disabled
            first, second = probe.owner.stages
            action.records_first, action.records_second = probe.owner.records(first), probe.owner.records(second)
            self._compile(probe.owner, action)
            self._aggregate(probe.owner, action)
            if isinstance(probe.owner, Kretprobe):
                action.capacity = len(probe.owner.free)
            elif site.slot and not site.stepping.post:
                action.records_second = False
            actions.append(action)
        if site.hooked:
            self.places.put(site.addr, site.original, site.simulator is not None, actions)
        else:
            self.places.put_breakpoint(site.addr, site.original, site.native_slot, actions)

    def _call(self, site: Site, probe: Kprobe, action: Action) -> None:
        """Give the action the probe's handler, if C calls that."""
        action.handler = action.handler_ended = 0
        action.conditional = probe.conditional_handlers
        if not is_called(owner := probe.owner):
            return
        called, core = self._handlers.get(action.id), self._machine.core
        function: Callable[..., object] | None = owner.handler if isinstance(owner, Kretprobe) else probe.pre_handler
        assert function is not None
        if called is None or called.handler is not function:
            core.dispatcher.leave_handler()
            self.places.retire(called)
            if isinstance(owner, Kretprobe):
                called = self._kretprobes.called(owner, function, self._shared)
            else:
                called = CalledPreHandler(core, self._engine, site, probe, function)
            self._handlers[action.id] = called
        action.handler, action.handler_ended = called.native.address, called.native.ended

    def _handler_left(self, action: int) -> None:
        """Something asks about the hit whose handler C has called."""
        self._handlers[Action.from_address(action).id].left()

    def _find_task(self) -> None:
        """Have the tasks of hits recorded, if the kernel says where their names are."""
        kernel, shared = self._machine.kernel, self._shared
        wanted = self._recorder.task is not None and kernel is not None and kernel.tasks is not None
        offsets = kernel.tasks.offsets if wanted and kernel is not None and kernel.tasks is not None else None
        shared.reads_task = offsets is not None
        if offsets is not None:
            shared.comm, shared.pid = offsets

    def _compile(self, owner: Probe, action: Action) -> None:
        """Give the action the probe's condition and note."""
        condition, note = owner.condition, owner.note
        action.decides_second = isinstance(owner, Kretprobe) and owner.condition_at is Stage.RETURN
        action.notes_second = isinstance(owner, Kretprobe)
        action.condition = action.note = action.note_size = action.memory_size = 0
        if condition is not None:
            compiled = self._conditions[action.id] = deciding_program(condition)
            action.condition = compiled.address
        observer, action.histograms = owner.observer, 0
        if isinstance(observer, ObservingFunction):
            self._observed[action.id] = observer
            action.condition, action.histograms = observer.condition.address, chained(observer.triggers)
            action.decides_second = isinstance(owner, Kretprobe)
        if isinstance(note, program.Note) and not action.leaves:
            values = compile_note(note)
            data = ctypes.create_string_buffer(max(values.size, 1))
            self._notes[action.id] = note, values, data
            action.note, action.note_data, action.note_size = values.address, ctypes.addressof(data), values.size
        recording = owner.recording
        action.registers, action.memory = ALL_REGISTERS, 0
        if recording is not None:
            action.registers = recording.mask
            if recording.fields:
                memory = compile_memory(recording.fields.values())
                room = ctypes.create_string_buffer(memory.size)
                self._memory[action.id] = memory, room
                action.memory, action.memory_second = memory.address, recording.at is Stage.RETURN
                action.memory_data, action.memory_size = ctypes.addressof(room), memory.size
        if action.note or action.memory:
            self.drain()
            self.places.make_notes(action.note_size + action.memory_size)

    def _aggregate(self, owner: Probe, action: Action) -> None:
        """Give the action the probe's table."""
        aggregate, action.aggregate = owner.aggregate, 0
        if aggregate is None or action.leaves:
            return
        table, kernel = aggregate.table.structure, self._machine.kernel
        offsets = kernel.tasks.offsets if kernel is not None and kernel.tasks is not None else None
        table.by_task = aggregate.key is Special.COMM and offsets is not None  # otherwise the name is empty
        table.comm = 0 if offsets is None else offsets[0]
        table.key, table.value = (0 if each is None else each.address for each in aggregate.programs)
        table.text = 0 if aggregate.text is None else aggregate.text.address
        self._aggregated[action.id] = aggregate
        action.aggregate = aggregate.table.address

    def _follow(self, rp: Kretprobe, action: Action) -> None:
        counts = rp.counts
        action.follows, action.calls, action.refused = True, counts.hits, counts.nmissed
        action.leaked, action.met = counts.leaked, counts.met
        rp.counts = CallCounts(action)
        if not self._followed:
            self._shared.trampoline = self._kretprobes.trampoline
            self._kretprobes.prepare(self._shared)
            self._kretprobes.return_to_c(True)
        self._followed.add(rp)
        self.places.make_room(sum(each.maxactive for each in self._followed) + 1)

    def _ordinary(self, probe: Kprobe) -> None:
        counts = probe.counts
        if not isinstance(counts, KprobeCounts):
            return
        rp = probe.owner
        if isinstance(rp, Kretprobe):
            self.collect()
            rp.counts = own_counts(rp.counts)
            self._followed.discard(rp)
            if not self._followed and not self._memory_replaced:
                self._kretprobes.return_to_c(False)
        self._forget_action(probe)

    def _forget_action(self, probe: Probe) -> None:
        """Have Python count again."""
        self._machine.core.dispatcher.leave_handler()
        counts = probe.counts
        assert isinstance(counts, KprobeCounts)
        probe.counts = own_counts(counts)
        probe.flags &= ~OPTIMIZED
        number = counts.action.id
        del self._probes[number]
        self._conditions.pop(number, None)
        self._notes.pop(number, None)
        self._memory.pop(number, None)
        self._aggregated.pop(number, None)
        self._observed.pop(number, None)
        self.places.retire(self._handlers.pop(number, None))

    def _suits(self, site: Site) -> bool:
        recorder, memory = self._recorder, self._machine.memory
        return (
            self._enabled
            and self._steps_unseen
            and site.armed
            and not site.is_guests
            and site.mirror is None
            and bool(site.active)
            and recorder.on_hit is None
            and recorder.finds_task_itself
            and self._engine.moments.observer is None
            and all(map(self._is_data, site.active))
            # At a lower address there may be other code in another address space.
            and (bool(site.addr & _UPPER_HALF) or not memory.translating)
        )

    def _is_data(self, probe: Kprobe) -> bool:
        """Whether all that a hit of `probe` does can be done in C, or C can tell which hits do nothing."""
        owner = probe.owner
        if isinstance(owner, Kretprobe):
            if not self._follows or self._kretprobes.mirrored or not self._kretprobes.trampoline:
                return False
        elif owner is not probe:
            return False
        if owner.observer is not None and (owner.condition is not None or owner.aggregate is not None):
            return False
        in_python = not (is_left(owner) or is_called(owner)) and (has_handlers(owner) or owner.stop)
        return not in_python and compiles(owner)

    def _leaves(self, site: Site) -> bool:
        """Whether Python is called at some hits of an optimised site."""
        return any(is_left(probe.owner) or is_called(probe.owner) for probe in site.active)


def _action(probe: Kprobe) -> Action:
    assert isinstance(probe.counts, KprobeCounts)
    return probe.counts.action
