# SPDX-License-Identifier: GPL-2.0-or-later
"""What happens when a breakpoint of ours is hit: the state machine of arch/arm64/kernel/probes/kprobes.c.

    0 -> HIT_ACTIVE -> pre-handlers -> HIT_SS -> slot or simulation -> HIT_SSDONE -> post-handlers -> 0

A probe hit while another is being handled is a re-entry: it is counted as missed and stepped over without its
handlers. There is one CPU, so what the kernel keeps per CPU is kept once. What differs between kernels is in
`HitRules`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from armprobe.machine import Core, Machine, MachineError, Stop, StopReason
from armprobe.machine.core.context import DAIF, Context
from armprobe.machine.core.deferred_signals import calls_users_code
from armprobe.machine.core.dispatch import Resume
from armprobe.machine.core.exceptions import IL, Class, Raised
from armprobe.machine.core.hypercalls import SIMULATED_INSTRUCTION
from armprobe.machine.core.instruction_words import hvc
from armprobe.machine.state import Order

from .eras.hit_rules import HitRules, Status
from .hit_trace import Moments
from .kprobe import Kprobe
from .listeners import GuestBreakpoints, HitListener, Redirection, ReturnAddresses
from .page_faults import is_page_fault
from .pt_regs import LiveRegs
from .record import Stage
from .recorder import Recorder
from .site import Site
from .stepping import KPROBES_BRK_IMM, KPROBES_BRK_SS_IMM, KPROBES_BRK_WORD
from .unexpected_steps import UnexpectedSteps

_TRANSLATION_FAULT = 0x07  # DFSC: level 3
_UNSEEN: Final = """its instruction raised an exception in the slot that kprobes are not told of: the hit has no end, \
and probes are missed until reset_current_kprobe()"""
_ACTIVE, _SS, _REENTER, _SSDONE = Status.HIT_ACTIVE, Status.HIT_SS, Status.REENTER, Status.HIT_SSDONE

Flight = dict[str, Any]  # JSON


class Running(NamedTuple):
    """The kernel's `kprobe_ctlblk`, or the part of it that a re-entry saves."""

    site: Site | None
    status: Status
    saved_daif: int


class Engine:
    """Handles the hits of one machine. `sites` is the table of breakpoints, which the registry fills."""

    STATE = ("flight",)

    def __init__(
        self, machine: Machine, rules: HitRules, name: str, sites: Mapping[int, Site], recorder: Recorder
    ) -> None:
        self._machine = machine
        self._rules = rules
        self._name = name  # of the era
        self.sites = sites
        self.internal: dict[int, Site] = {}  # breakpoints in the trampoline, which nobody registered there
        self._recorder = recorder
        self._context = machine.core.context
        self._words = self._context.x
        self.regs = LiveRegs(self._context)
        self.site: Site | None = None  # current_kprobe
        self.status = Status.NONE
        self._saved_daif = 0
        self._previous: list[Running] = []
        self._instance: Kprobe | None = None  # whose handler is running
        self._flight: Flight | None = None  # what the state that the machine was put into has of it
        self._step_awaited = 0  # where the PC will be at the software step exception that ends a slot
        self.moments = Moments(machine, sites, self.internal)
        self._unexpected = UnexpectedSteps(machine, self.moments)
        machine.claim_brk(KPROBES_BRK_IMM, self._breakpoint)
        machine.claim_brk(KPROBES_BRK_SS_IMM, self._slot_done)
        machine.claim_step(self._single_step)
        machine.claim_fault(self._fault)
        machine.claim_hvc(SIMULATED_INSTRUCTION, self._placeholder_reached)
        self._placeholder = 0
        machine.state.join("hits", self, Order.PROBES)
        machine.calls.on_begin.append(self._call_begins)

    def connect(
        self, listener: HitListener, returns: ReturnAddresses, redirection: Redirection, guest: GuestBreakpoints
    ) -> None:
        """Give the engine the parts that it works with at a hit. To be called once, before there are breakpoints."""
        self._listener, self._returns = listener, returns
        self._redirection, self._guest = redirection, guest

    @property
    def flight(self) -> Flight:
        """What of the hits is kept with the machine's state: at a stop and in a handler, which end with it, none."""
        awaited, placeholder = self._step_awaited, self._placeholder
        ends = self._machine.core.dispatcher.resume is not None or self._machine.core.held
        hits = [] if ends else self._hits
        kept = [[hit.site.addr, hit.site.slot, hit.status, hit.saved_daif] for hit in hits if hit.site is not None]
        mirrored = ends and self.site is not None and bool(self.site.offset)
        return {"hits": kept, "step_awaited": awaited, "placeholder": placeholder, "mirrored": mirrored}

    @flight.setter
    def flight(self, flight: Flight) -> None:
        self._flight = flight

    def steps(self, site: Site) -> bool:
        """Whether the instruction of `site` is being executed out of line, and its end awaited."""
        return any(hit.site is site and hit.status in (_SS, _REENTER) for hit in self._hits)

    @property
    def busy(self) -> set[Site]:
        """The sites that are being handled."""
        return {hit.site for hit in self._hits if hit.site is not None}

    @property
    def _hits(self) -> list[Running]:
        """The hits being handled, outermost first."""
        return [*self._previous, Running(self.site, self.status, self._saved_daif)]

    def _call_begins(self, _: Core) -> Callable[[], None]:
        """A guest function is called: what undoes the hits that it does not come to the end of."""
        hits, instance, recorded = self._hits, self._instance, self._recorder.stopping
        waiting = self._step_awaited, self._unexpected.count

        def abandon() -> None:
            *self._previous, (self.site, self.status, self._saved_daif) = hits
            self._instance, self._recorder.stopping = instance, recorded
            self._step_awaited, self._unexpected.count = waiting
            if self.site is None:
                self._listener.hit_over()

        return abandon

    # BRK #4

    @calls_users_code
    def _breakpoint(self, core: Core) -> bool:
        context, address = core.context, self._words[32]
        site = self.sites.get(address) or self.internal.get(address)
        if site is None or not site.armed:
            return self._breaks_for_running(context) or self._removed(address)
        if self.moments.observer is not None:
            self.note(f"BRK #4 at {self.moments.where(address)}")
        if self.site is not None:
            return self._reenter(site, context)
        self.site, self.status = site, _ACTIVE
        if site.offset:
            self._words[32] = address - site.offset
        skip = False
        try:
            for probe in site.active:
                if probe.flags and probe.disabled:  # by a handler before it
                    continue
                probe.hits += 1
                if probe.record or probe.stop or probe.condition:
                    self._recorder.live(probe, Stage.PRE, self.regs)
                handler = probe.pre_handler
                if handler is not None:
                    self._instance = probe
                    try:
                        skip = bool(handler(probe, self.regs))
                    except Exception as error:
                        self._recorder.failed(probe, Stage.PRE, error)
                    if skip:
                        break
        except BaseException:  # the run ends, and the instruction is hit afresh by the next
            self.reset()
            raise
        if self._recorder.stop is not None:
            self._stop_before(site, skip)
        elif skip:
            self._skipped(site)
        else:
            self._step(site, context, _SS)
        return True

    def _skipped(self, site: Site) -> None:
        """A pre-handler has set the PC itself."""
        self._redirect(site)
        if self._rules.skip_ends_hit:
            self.over()

    def _breaks_for_running(self, context: Context) -> bool:
        """A BRK #4 without a probe, for the probe that is being handled: the return of a jprobe.

        It may have been unregistered since; and who it was is not part of the machine's state.
        """
        site = self.site
        if site is None:
            return False
        for probe in (self._instance, *site.active):
            if probe is not None and probe.break_handler is not None and probe.break_handler(probe, self.regs):
                self._step(site, context, _SS)
                return True
        return False

    def _removed(self, address: int) -> bool:
        """A BRK #4 without a probe. If it is not in the text any more, execute what is there now."""
        try:
            if self._machine.memory.read_u32(address) == KPROBES_BRK_WORD:
                return False
        except MachineError:
            return False
        self._machine.core.forget([address])
        return True

    def _reenter(self, site: Site, context: Context) -> bool:
        if self.status not in self._rules.recovers_from:
            name = site.probes[0].name if site.probes else "the trampoline"
            reason = (
                f"{self._rules.unrecoverable}: {name} was hit while the instruction of another probe was being "
                f"executed out of line; {self._name} stops with BUG() here, resuming steps over it"
            )
            self._machine.request_stop(
                Stop(StopReason.PROBE, site.addr, reason), lambda core: self._step_reentered(site, core.context)
            )
            return True
        for probe in site.probes:
            probe.nmissed += 1
        self._step_reentered(site, context)
        return True

    def _step_reentered(self, site: Site, context: Context) -> None:
        if context.pc == site.addr:
            self._push()
            self.site = site
            self._step(site, context, _REENTER)

    def _push(self) -> None:
        self._previous.append(Running(self.site, self.status, self._saved_daif))

    def pop(self) -> None:
        """Go back to the hit that the present one is a re-entry into."""
        self.site, self.status, self._saved_daif = self._previous.pop()

    # The instruction itself (setup_singlestep)

    def _step(self, site: Site, context: Context, status: Status) -> None:
        self.status = status
        stepping = site.stepping
        if site.slot and stepping.post:
            self._saved_daif = stepping.start(context, site, status == _REENTER)
            self._step_awaited = site.slot + 4
            if self.moments.observer is not None:
                self.moments.tell(f"ERET to {self.moments.where(site.slot)}", status, returning=True)
        elif site.slot:
            self._words[32] = site.slot
            self._unfollowed()
        elif site.simulator is not None:
            try:
                site.simulator(site.original, site.addr - site.offset, self.regs, self._machine.memory.read)
            except MachineError:
                # Its literal cannot be read: what executing it would raise. The probe is hit again if that is
                # repaired.
                self._cancel(context, site)
                self._machine.core.dispatcher.deliver(Class.DATA_ABORT << 26 | IL | _TRANSLATION_FAULT, site.addr)
            else:
                self._stepped(site)
        else:
            self._guest.execute(context, site)

    def _unfollowed(self) -> None:
        """The slot ends in a branch: nothing will tell when it is done."""
        if self.status == _REENTER:
            self.pop()
        else:
            self.over()

    # BRK #6, or a software step exception

    def _slot_done(self, core: Core) -> bool:
        context, site = core.context, self.site
        if site is None or not site.slot or self._words[32] != site.slot + 4 or self.status not in (_SS, _REENTER):
            return self._guest.executed(context)
        self._executed(site, context)
        return True

    def _single_step(self, core: Core) -> bool:
        context, address, site = core.context, self._words[32], self.site
        if site is None or address != self._step_awaited:
            return self._unexpected.taken(core, address, self.status)
        self._step_awaited = self._unexpected.count = 0
        self.note("step exception, awaited")
        self._executed(site, context)
        return True

    def _executed(self, site: Site, context: Context) -> None:
        site.stepping.finish(context, self._saved_daif, self.status == _REENTER)
        self._words[32] = site.addr - site.offset + 4
        self._stepped(site)

    def note(self, what: str) -> None:
        """Tell the observer what happens now."""
        self.moments.tell(what, self.status)

    def _stepped(self, site: Site) -> None:
        """post_kprobe_handler: the instruction has been executed and the registers are as it left them."""
        if self.status == _REENTER:
            self._redirect(site)
            self.pop()
        else:
            self.post(site)

    def _redirect(self, site: Site) -> None:
        """The PC is where handlers are told that it is: put it back."""
        if site.offset:
            self._words[32] = self._redirection.redirect_pc(self._words[32])

    @calls_users_code
    def post(self, site: Site, then: Callable[[Context], None] | None = None) -> None:
        """Run the post-handlers, which ends the hit; `then` gets the context, unless its PC is moved at a stop."""
        self.site, self.status = site, _SSDONE
        try:
            for probe in site.active:
                if probe.flags and probe.disabled:
                    continue
                handler = probe.post_handler
                self._instance = probe
                if (probe.record or probe.stop) and probe.hits:
                    self._recorder.live(probe, Stage.POST, self.regs)
                if handler is not None:
                    try:
                        handler(probe, self.regs, 0)
                    except Exception as error:
                        self._recorder.failed(probe, Stage.POST, error)
        except BaseException as error:  # the run ends with it, and the hit is over
            self._machine.core.fail(error)
        if self._recorder.stop is None:
            if site.offset:
                self._redirect(site)
            self.over()
            if then is not None:
                then(self._context)
            return
        address = self._words[32]

        def resume(core: Core) -> None:
            self.over()  # only now: what is hit at the stop, by a debugger's call, is missed
            if then is not None and core.context.pc == address:
                then(core.context)
            self._redirect(site)

        self.stop_for_hit(address, resume)

    # Stops

    def stop_for_hit(self, address: int, resume: Resume) -> None:
        """Stop the machine, as if at `address`, for the hit that asks for it; see `Machine.request_stop`."""
        hit, text = self._recorder.take_stop()
        self._machine.request_stop(Stop(StopReason.PROBE, address, text, hit), resume)

    def _stop_before(self, site: Site, skip: bool) -> None:
        """Stop between the pre-handlers and the instruction, with the registers of the interrupted code."""
        # Of a call that has come to the trampoline x30 is not given back, nor forgotten who called.
        take_return_address = (lambda same_caller: None) if site.offset else self._returns.show_return_address()
        words, redirected = self._words, self._words[32]
        if skip and redirected in self._machine.scratch:  # to the code that calls a jprobe's entry
            words[32] = site.addr
        address, sp, caller = words[32], words[31], words[30]
        ended = self.site is None  # by the pre-handler, which is the trampoline's
        if ended:
            self.site, self.status = site, _ACTIVE

        def resume(core: Core) -> None:
            if skip:
                if words[32] == address:
                    words[32] = redirected
                take_return_address(False)
                self.over() if ended else self._skipped(site)
            elif words[32] == address:
                go_on(core.context)
            else:
                self._redirect(site)
                self.over()
                if words[30] != caller:
                    self._machine.core.dispatcher.resume = called

        def called(core: Core) -> None:
            """A debugger that calls a function moves PC and x30, and puts all registers back after it."""
            if (words[32], words[31]) == (address, sp) and self.site is None and site.armed:
                self.site = site
                go_on(core.context)
            else:
                self._machine.core.dispatcher.resume = called

        def go_on(context: Context) -> None:
            take_return_address(False)
            if site.simulator is None:
                self._step(site, context, _SS)
            else:
                self._step_onto_placeholder(context)

        self.stop_for_hit(address, resume)

    # The guest executes nothing for a simulated instruction. A run or step of the machine that starts with one would
    # therefore execute the instruction after it too: an HVC, the placeholder, is executed in its place.

    def _step_onto_placeholder(self, context: Context) -> None:
        if not self._placeholder:
            self._placeholder = self._machine.scratch.allocate(4)
            self._machine.scratch.write(self._placeholder, hvc(SIMULATED_INSTRUCTION).to_bytes(4, "little"))
        self.status, self._saved_daif = _SS, context.daif
        context.daif |= DAIF
        context.pc = self._placeholder

    def _placeholder_reached(self, core: Core) -> bool:
        context, site = core.context, self.site
        if site is None or context.pc != self._placeholder + 4:
            return False
        context.pc, context.daif = site.addr, self._saved_daif
        self._step(site, context, _SS)
        return True

    # Faults and failures

    @calls_users_code
    def _fault(self, core: Core, raised: Raised, syndrome: int, fault_address: int) -> bool:
        """kprobe_fault_handler: the guest sees a page fault in the slot at the address of the instruction probed."""
        context, site = core.context, self.site
        if self.moments.observer is not None and self._machine.core.software_step.enabled(context):
            self.note(f"{raised.name.replace('_', ' ').lower()}: exception at {self.moments.where(context.pc)}")
        if site is None:
            self._fault_in_unfollowed_slot(context)
        elif not is_page_fault(syndrome, fault_address, self._rules.level_3_is_page_fault):
            if site.slot and context.pc == site.slot:
                site.warn(_UNSEEN)
        elif site.slot and context.pc == site.slot and self.status in (_SS, _REENTER):
            self._cancel(context, site)
        elif self._rules.fault_handlers and self.status in (_ACTIVE, _SSDONE):
            for probe in site.probes:
                probe.nmissed += 1
            running = self._instance
            if running is not None and running.fault_handler is not None:
                try:
                    return bool(running.fault_handler(running, self.regs, syndrome))
                except Exception as error:
                    self._recorder.failed(running, Stage.PRE if self.status == _ACTIVE else Stage.POST, error)
        return False

    def _fault_in_unfollowed_slot(self, context: Context) -> None:
        for site in self.sites.values() if context.pc in self._machine.scratch else ():
            if site.slot == context.pc:
                context.pc = site.addr

    def _cancel(self, context: Context, site: Site) -> None:
        context.pc = site.addr
        reentered = self.status == _REENTER
        if site.slot:
            restores = self._rules.fault_restores_daif and not reentered
            site.stepping.cancel(context, self._saved_daif, reentered, restores)
        if reentered:
            self.pop()
        else:
            self.over()

    def over(self) -> None:
        """The hit is over."""
        self.site, self.status, self._instance = None, Status.NONE, None
        self._listener.hit_over()

    def reset(self) -> None:
        """Forget any hit that was being handled."""
        self._previous.clear()
        self._unexpected.count = 0
        self.over()

    def restored_slots(self) -> set[int]:
        """The slots in which something is being executed in the state that the machine was put into."""
        return set() if self._flight is None else {slot for _, slot, _, _ in self._flight["hits"]}

    def restore(self, find: Callable[[int, int], Site]) -> None:
        """Take up the hits of the state that the machine was put into; `find` gives the site of an address and slot."""
        self._recorder.stop = None
        self.reset()
        flight, self._flight = self._flight, None
        assert flight is not None
        self._placeholder, self._step_awaited = flight["placeholder"], flight["step_awaited"]
        for address, slot, status, daif in flight["hits"]:
            if self.site is not None:
                self._push()
            self.site, self.status, self._saved_daif = find(address, slot), Status(status), daif
        if flight["mirrored"]:
            self._words[32] = self._redirection.redirect_pc(self._words[32])
            self._context.store()

    def enter_return_handler(self, site: Site, ends_hit: bool) -> None:
        """From now until `leave_return_handler` probes are missed, as they are in the kernel's return handlers.

        With `ends_hit` a hit that is being handled is over.
        """
        if ends_hit:
            self.site, self.status = None, Status.NONE
        self._push()
        self.site, self.status = site, _ACTIVE

    def leave_return_handler(self) -> None:
        """Undo `enter_return_handler`."""
        self.pop()
