# SPDX-License-Identifier: GPL-2.0-or-later
"""Handles hits of our breakpoints: the state machine of arch/arm64/kernel/probes/kprobes.c.

    0 -> HIT_ACTIVE -> pre-handlers -> HIT_SS -> slot or simulation -> HIT_SSDONE -> post-handlers -> 0

A probe hit while another is being handled is a re-entry: it is counted as missed and stepped over without running its
handlers. A `ControlBlock` for each core holds the kernel's per-CPU state. `HitRules` holds the differences between
kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from armprobe.machine import Machine, MachineError, Stop, StopReason
from armprobe.machine.core.context import Context
from armprobe.machine.core.core import Core
from armprobe.machine.core.deferred_signals import calls_users_code
from armprobe.machine.core.exceptions import IL, Class
from armprobe.machine.state import Order

from .control_block import ControlBlock, Running
from .eras.hit_rules import HitRules, Status
from .exception_moments import Moments
from .hit_stops import HitStops
from .listeners import GuestBreakpoints, HitListener, Redirection, ReturnAddresses
from .record import Stage
from .recorder import Recorder
from .site import Site
from .slot_faults import SlotFaults
from .stepping import KPROBES_BRK_IMM, KPROBES_BRK_SS_IMM, KPROBES_BRK_WORD
from .unexpected_steps import UnexpectedSteps

_TRANSLATION_FAULT = 0x07  # DFSC: level 3
_ACTIVE, _SS, _REENTER, _SSDONE = Status.HIT_ACTIVE, Status.HIT_SS, Status.REENTER, Status.HIT_SSDONE

HitsInProgress = dict[str, Any]  # JSON


class Engine:
    """Handles the hits of one machine. `sites` is the table of breakpoints, which the registry fills."""

    STATE = ("hits_in_progress",)

    def __init__(
        self, machine: Machine, rules: HitRules, name: str, sites: Mapping[int, Site], recorder: Recorder
    ) -> None:
        self._machine = machine
        self._input, self._input_listeners = machine.input, machine.input.listeners
        self._rules = rules
        self._name = name  # of the era
        self.sites = sites
        self.internal: dict[int, Site] = {}  # breakpoints in the trampoline, which no user registered
        self.recorder = recorder
        self.blocks = {core: ControlBlock(core) for core in machine.cores}
        self._in_progress: HitsInProgress | None = None  # those of the state the machine was put into
        self.moments = Moments(machine, sites, self.internal)
        self._unexpected = UnexpectedSteps(self.moments)
        self.stops = HitStops(machine, self, recorder)
        machine.claim_brk(KPROBES_BRK_IMM, self._breakpoint, counts=False)
        machine.claim_brk(KPROBES_BRK_SS_IMM, self._slot_done)
        machine.claim_step(self._single_step)
        for core, block in self.blocks.items():
            core.dispatcher.claim_slots(partial(self._slot_left, block))
        SlotFaults(machine, self, rules, recorder)
        machine.state.join("hits", self, Order.PROBES)
        self.adopt: Callable[[int], Site | None] = lambda slot: None  # see Optimizer.adopt
        machine.calls.on_begin.append(self._call_begins)

    def connect(
        self, listener: HitListener, returns: ReturnAddresses, redirection: Redirection, guest: GuestBreakpoints
    ) -> None:
        """Give the engine the parts that it works with at a hit. Call this once, before there are breakpoints."""
        self.listener, self.returns = listener, returns
        self._redirection, self._guest = redirection, guest

    @property
    def hits_in_progress(self) -> HitsInProgress:
        """The hits kept with the machine's state. None at a stop or in a handler: these end with the state."""
        core = self._machine.core
        core.dispatcher.leave_hit()
        block = self.blocks[core]
        ends = core.dispatcher.resume is not None or core.held
        hits = [] if ends else block.hits
        kept = [[hit.site.addr, hit.site.slot, hit.status, hit.saved_daif] for hit in hits if hit.site is not None]
        mirrored = ends and block.site is not None and bool(block.site.offset)
        placeholder = self.stops.placeholder
        return {"hits": kept, "step_awaited": block.step_awaited, "placeholder": placeholder, "mirrored": mirrored}

    @hits_in_progress.setter
    def hits_in_progress(self, hits_in_progress: HitsInProgress) -> None:
        self._in_progress = hits_in_progress

    def steps(self, site: Site) -> bool:
        """Whether the instruction of `site` is being executed out of line and its end will be noticed."""
        return any(hit.site is site and hit.status in (_SS, _REENTER) for hit in self._hits())

    @property
    def busy(self) -> set[Site]:
        """The sites that are being handled."""
        return {hit.site for hit in self._hits() if hit.site is not None}

    def _hits(self) -> Iterator[Running]:
        for core, block in self.blocks.items():
            core.dispatcher.leave_hit()
            yield from block.hits

    def _call_begins(self, core: Core) -> Callable[[], None]:
        """Called when a guest function is called. The result undoes the hits that the function leaves unfinished."""
        block = self.blocks[core]
        hits, instance, recorded = block.hits, block.instance, self.recorder.stopping
        waiting = block.step_awaited, block.unexpected_steps

        def abandon() -> None:
            *block.previous, (block.site, block.status, block.saved_daif) = hits
            block.instance, self.recorder.stopping = instance, recorded
            block.step_awaited, block.unexpected_steps = waiting
            if block.site is None:
                self.listener.hit_over()

        return abandon

    # BRK #4

    @calls_users_code
    def _breakpoint(self, core: Core) -> bool:
        block = self.blocks[core]
        words = block.words
        address = words[32]
        site = self.sites.get(address) or self.internal.get(address)
        if site is None or not site.armed:
            return self._breaks_for_running(block) or self._removed(core, address)
        if self.moments.observer is not None:
            self.note(core, f"BRK #4 at {self.moments.where(address)}")
        if block.site is not None:
            return self._reenter(block, site)
        block.site, block.status = site, _ACTIVE
        if site.offset:
            words[32] = address - site.offset
        skip, regs = False, block.regs
        try:
            for probe in site.active:
                if probe.flags and probe.disabled:  # by a handler before it
                    continue
                probe.counts.hits += 1
                if probe.record or probe.stop or probe.condition or probe.aggregate:
                    self.recorder.live(probe, Stage.PRE, regs)
                handler = probe.pre_handler
                if handler is not None and (probe.selected or not probe.conditional_handlers):
                    block.instance = probe
                    try:
                        if self._input_listeners and not probe.internal:
                            skip = bool(self._input.call(handler, probe, regs))
                        else:
                            skip = bool(handler(probe, regs))
                    except Exception as error:
                        self.recorder.failures.add(probe, Stage.PRE, error)
                    if skip:
                        break
        except BaseException:  # the run ends, and the next one hits the instruction again
            self.reset(block)
            raise
        self.handled(block, site, skip)
        return True

    def handled(self, block: ControlBlock, site: Site, skip: bool) -> None:
        """The pre-handlers have run: have the instruction executed, unless it is skipped, or stop before it."""
        if self.recorder.stop is not None:
            self.stops.stop_before(block, site, skip)
        elif skip:
            self.skipped(block, site)
        elif (
            site.slot
            and (slot := site.unseen) is not None
            and not (site.offset or site.followed or self.listener.awaits_end)
            and self.moments.observer is None
        ):
            block.site, block.status, block.instance, block.unseen = None, Status.NONE, None, site
            block.core.dispatcher.execute_in_slot(slot)
        else:
            self.step(block, site, _SS)

    def _slot_left(self, block: ControlBlock, slot: int, daif: int) -> None:
        """Something comes before the end of an instruction that C executes in a slot: the hit is not over yet."""
        site = self.adopt(slot) or block.unseen
        assert site is not None
        block.site, block.status, block.saved_daif = site, _SS, daif
        block.step_awaited = site.slot + 4

    def skipped(self, block: ControlBlock, site: Site) -> None:
        """A pre-handler has set the PC itself, so the instruction is skipped."""
        self.redirect(block, site)
        if self._rules.skip_ends_hit:
            self.over(block)

    def _breaks_for_running(self, block: ControlBlock) -> bool:
        """Handle a BRK #4 without a probe for the probe that is being handled: the return of a jprobe.

        The jprobe may have been unregistered since, and the machine's state does not say which probe it was.
        """
        site = block.site
        if site is None:
            return False
        for probe in (block.instance, *site.active):
            if probe is not None and probe.break_handler is not None and probe.break_handler(probe, block.regs):
                self.step(block, site, _SS)
                return True
        return False

    def _removed(self, core: Core, address: int) -> bool:
        """Handle a BRK #4 without a probe. If the text no longer has it, execute the current instruction."""
        try:
            if self._machine.memory.u32(address) == KPROBES_BRK_WORD:
                return False
        except MachineError:
            return False
        core.forget([address])
        return True

    def _reenter(self, block: ControlBlock, site: Site) -> bool:
        if block.status not in self._rules.recovers_from:
            name = site.probes[0].name if site.probes else "the trampoline"
            reason = (
                f"{self._rules.unrecoverable}: {name} was hit while the instruction of another probe was being "
                f"executed out of line; {self._name} stops with BUG() here, resuming steps over it"
            )
            stop = Stop(StopReason.PROBE, site.addr, reason)
            block.core.request_stop(stop, lambda core: self._step_reentered(block, site))
            return True
        for probe in site.probes:
            probe.counts.nmissed += 1
        self._step_reentered(block, site)
        return True

    def _step_reentered(self, block: ControlBlock, site: Site) -> None:
        if block.core.context.pc == site.addr:
            block.push()
            block.site = site
            self.step(block, site, _REENTER)

    # The instruction itself (setup_singlestep)

    def step(self, block: ControlBlock, site: Site, status: Status) -> None:
        """Execute the instruction of `site`: in its slot, by its simulator, or by the guest."""
        block.status = status
        core, stepping, slot = block.core, site.stepping, site.slot
        if slot and stepping.post:
            block.saved_daif = stepping.start(core, site, status is _REENTER)
            block.step_awaited = slot + 4
            if self.moments.observer is not None:
                self.moments.tell(core, f"ERET to {self.moments.where(slot)}", status, returning=True)
        elif slot:
            block.words[32] = slot
            self._unfollowed(block)
        elif site.simulator is not None:
            if not self._machine.scratch.is_extra(site.addr):
                self._machine.clock.count_instruction()
            try:
                site.simulator(site.original, site.addr - site.offset, block.regs, self._machine.memory.read)
            except MachineError:
                # The literal cannot be read, so executing the instruction raises the exception. The probe is hit again
                # if the guest repairs that.
                self.cancel(block, site)
                core.dispatcher.deliver(Class.DATA_ABORT << 26 | IL | _TRANSLATION_FAULT, site.addr)
            else:
                self._stepped(block, site)
        else:
            self._guest.execute(block, site)

    def _unfollowed(self, block: ControlBlock) -> None:
        """The slot ends in a branch, so its end is not noticed. The hit is over now."""
        if block.status is _REENTER:
            block.pop()
        else:
            self.over(block)

    # BRK #6, or a software step exception

    def _slot_done(self, core: Core) -> bool:
        block = self.blocks[core]
        site = block.site
        if site is None or not site.slot or block.words[32] != site.slot + 4 or block.status not in (_SS, _REENTER):
            return self._guest.executed(block)
        self._executed(block, site)
        return True

    def _single_step(self, core: Core) -> bool:
        block = self.blocks[core]
        site, address = block.site, block.words[32]
        if site is None or address != block.step_awaited:
            return self._unexpected.taken(block, address)
        block.step_awaited = block.unexpected_steps = 0
        if self.moments.observer is not None:
            self.note(core, "step exception, awaited")
        self._executed(block, site)
        return True

    def _executed(self, block: ControlBlock, site: Site) -> None:
        site.stepping.finish(block.core, block.saved_daif, block.status is _REENTER)
        block.words[32] = site.addr - site.offset + 4
        self._stepped(block, site)

    def note(self, core: Core, what: str) -> None:
        """Tell the observer about the present moment."""
        if self.moments.observer is not None:
            self.moments.tell(core, what, self.blocks[core].status)

    def _stepped(self, block: ControlBlock, site: Site) -> None:
        """post_kprobe_handler: the instruction has been executed, and the registers hold its results."""
        if block.status is _REENTER:
            self.redirect(block, site)
            block.pop()
        else:
            self.post(block, site)

    def redirect(self, block: ControlBlock, site: Site) -> None:
        """Move the PC from the guest's trampoline, where handlers see it, to the copy that is executed."""
        if site.offset:
            words = block.words
            words[32] = self._redirection.redirect_pc(words[32])

    @calls_users_code
    def post(self, block: ControlBlock, site: Site, then: Callable[[Context], None] | None = None) -> None:
        """Run the post-handlers, which end the hit. `then` gets the context, unless its PC is moved at a stop."""
        core = block.core
        block.site, block.status = site, _SSDONE
        try:
            for probe in site.active:
                if probe.flags and probe.disabled:
                    continue
                handler = probe.post_handler
                block.instance = probe
                if (probe.record or probe.stop) and probe.counts.hits:
                    self.recorder.live(probe, Stage.POST, block.regs)
                if handler is not None and (probe.selected or not probe.conditional_handlers):
                    try:
                        if self._input_listeners:
                            self._input.call(handler, probe, block.regs, 0)
                        else:
                            handler(probe, block.regs, 0)
                    except Exception as error:
                        self.recorder.failures.add(probe, Stage.POST, error)
        except BaseException as error:  # the run ends with it, and the hit is over
            core.fail(error)
        if self.recorder.stop is None:
            if site.offset:
                self.redirect(block, site)
            self.over(block)
            if then is not None:
                then(core.context)
            return
        address = block.words[32]

        def resume(core: Core) -> None:
            self.over(block)  # only now: a hit during the stop, in a function that a debugger calls, is missed
            if then is not None and core.context.pc == address:
                then(core.context)
            self.redirect(block, site)

        self.stops.stop(core, address, resume)

    # Faults and failures

    def cancel(self, block: ControlBlock, site: Site) -> None:
        """The instruction of `site` faulted. The guest sees the fault at the probed address, and the hit is over."""
        core = block.core
        core.context.pc = site.addr
        reentered = block.status is _REENTER
        if site.slot:
            restores = self._rules.fault_restores_daif and not reentered
            site.stepping.cancel(core, block.saved_daif, reentered, restores)
        if reentered:
            block.pop()
        else:
            self.over(block)

    def over(self, block: ControlBlock) -> None:
        """The hit is over."""
        block.site, block.status, block.instance = None, Status.NONE, None
        self.listener.hit_over()

    def reset(self, block: ControlBlock) -> None:
        """Forget any hit that was being handled."""
        block.previous.clear()
        block.unexpected_steps = 0
        self.over(block)

    def restored_slots(self) -> set[int]:
        """The slots in which instructions are being executed, in the state that the machine was put into."""
        return set() if self._in_progress is None else {slot for _, slot, _, _ in self._in_progress["hits"]}

    def restore(self, find: Callable[[int, int], Site]) -> None:
        """Resume the hits of the state that the machine was put into. `find` gives the site of an address and slot."""
        core = self._machine.core
        block, context = self.blocks[core], core.context
        self.recorder.stop = None
        self.reset(block)
        hits_in_progress, self._in_progress = self._in_progress, None
        assert hits_in_progress is not None
        self.stops.placeholder, block.step_awaited = hits_in_progress["placeholder"], hits_in_progress["step_awaited"]
        for address, slot, status, daif in hits_in_progress["hits"]:
            if block.site is not None:
                block.push()
            block.site, block.status, block.saved_daif = find(address, slot), Status(status), daif
        if hits_in_progress["mirrored"]:
            context.x[32] = self._redirection.redirect_pc(context.x[32])
            context.store()

    def enter_return_handler(self, core: Core, site: Site, ends_hit: bool) -> None:
        """Make all probes missed until `leave_return_handler`, as they are in the kernel's return handlers.

        With `ends_hit`, a hit that is being handled is over.
        """
        block = self.blocks[core]
        if ends_hit:
            block.site, block.status = None, Status.NONE
        block.push()
        block.site, block.status = site, _ACTIVE

    def leave_return_handler(self, core: Core) -> None:
        """Undo `enter_return_handler`."""
        self.blocks[core].pop()
