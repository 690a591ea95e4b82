# SPDX-License-Identifier: GPL-2.0-or-later
"""Handles kretprobes: takes a function's return address at its entry and gives it back after the return."""

from __future__ import annotations

import struct
from collections.abc import Callable

from armprobe.kernel.text import Text
from armprobe.machine import CallNotReturned, Machine
from armprobe.machine.core.core import Core
from armprobe.machine.core.deferred_signals import calls_users_code
from armprobe.machine.core.hypercalls import KRETPROBE_TRAMPOLINE
from armprobe.machine.core.instruction_words import NOP, RET, brk
from armprobe.machine.core.pstate import PSTATE_I
from armprobe.machine.native import places
from armprobe.machine.state import Order

from . import trampoline
from .called_handlers import CalledReturnHandler, RunningHandlers
from .decoder import decode
from .engine import Engine
from .eras.hit_rules import HitRules
from .errors import ProbeError
from .guest_trampoline import GuestTrampoline
from .instance_memory import InstanceMemory
from .instances import Instances, Pools
from .journal import JOURNAL_SIZE, Journal
from .kprobe import Kprobe, PreHandler
from .kretprobe import Kretprobe, KretprobeInstance, ReturnHandler
from .pt_regs import PtRegs, SavedRegs
from .record import Hit, Stage
from .recorder import Recorder
from .return_stops import ReturnStops
from .saved_frame import KeptFrame, SavedFrame
from .site import Site
from .slots import Slots
from .stepping import KPROBES_BRK, KRETPROBES_BRK_IMM, Stepping


class KretprobeEngine:
    """The trampoline of one machine, `kind` of `TRAMPOLINES`, and the outstanding instances.

    The trampoline is always at the same address: functions keep it on the guest's stacks, so that these are the same
    when the guest goes through its history again, where there may be a trampoline from the beginning.
    """

    STATE = ("trampoline", "pools")

    def __init__(
        self,
        machine: Machine,
        engine: Engine,
        recorder: Recorder,
        rules: HitRules,
        kind: str,
        slots: Slots,
        text: Text,
        stepping: Stepping,
    ) -> None:
        self._machine = machine
        self._engine = engine
        self._recorder = recorder
        self._rules = rules
        self.kind = kind
        self._slots = slots
        self._code = trampoline.code(kind, rules.frame)
        if kind == trampoline.KPROBE:  # the first NOP has a kprobe on it
            self._code = KPROBES_BRK + self._code[4:]
        # Offsets in bytes from the trampoline. A breakpoint may replace its HVC, so there is a spare HVC after it. So
        # may a RET its first instruction, and there is a spare BRK.
        self._spare_hvc = len(self._code)
        self._spare_brk = self._spare_hvc + 4
        self._journal_at = -(-(self._spare_brk + 4) // 8) * 8
        self._place = machine.scratch.reserve(self._journal_at + JOURNAL_SIZE)
        self._journal = Journal(machine)
        self._instances = Instances(self._journal)
        self.collect: Callable[[], None] = lambda: None
        """Makes instances of the calls that C follows."""
        self.memory = InstanceMemory(machine, text, rules.frees_instances)
        self.trampoline = 0  # its address, 0 while there is none
        self._restored_pools: Pools = {}  # of the state that the machine was last put into
        self._running = {core: RunningHandlers(Site(0, NOP, NOP, decode(NOP), stepping)) for core in machine.cores}
        self._site = Site(0, NOP, NOP, decode(NOP), stepping)  # the site of the trampoline `kprobe`
        self._site.armed = True
        self.guest_trampoline = GuestTrampoline(machine, text, engine, slots, stepping, self._code)
        self._after_hvc = trampoline.after_hvc(rules.frame)
        if kind == trampoline.DIRECT:
            machine.claim_hvc(KRETPROBE_TRAMPOLINE, self._called)
        elif kind == trampoline.BRK:
            machine.claim_brk(KRETPROBES_BRK_IMM, self._breakpoint)
        else:
            probe = Kprobe("kretprobe_trampoline", pre_handler=self._pre_handler, record=False)
            probe.internal = True
            self._site.probes = [probe]
            self._site.refresh()
        self._frame = SavedFrame(machine, rules.frame.size)
        self._stops = ReturnStops(machine, engine, self._frame, self._recycle)
        machine.state.join("kretprobes", self, Order.PROBES)
        machine.calls.on_begin.append(self._call_begins)

    @property
    def instances(self) -> Instances:
        """The outstanding instances, also of calls that C has followed so far."""
        self.collect()
        return self._instances

    @property
    def pools(self) -> Pools:
        """The guest memory of unused instances: their addresses, by the serial number of their kretprobe."""
        return self._instances.pools()

    @pools.setter
    def pools(self, pools: Pools) -> None:
        self._restored_pools = pools

    @property
    def returning(self) -> SavedRegs | None:
        """The caller's registers while a return handler runs, with the return address as x30. None otherwise."""
        self._machine.core.dispatcher.leave_handler()
        returning = self._running[self._machine.core].returning
        if returning is None:
            return None
        regs, address = returning
        return SavedRegs((*regs.regs[:30], address, regs.sp, address, regs.pstate))

    def _call_begins(self, core: Core) -> Callable[[], None]:
        """Called when a guest function is called. The result gives up the calls and stops that it leaves unfinished."""
        order, task = self.instances.newest_order, core.context.system(core.context.layout.sp_el0)
        running, stops = self._running[core], self._stops
        stopped, returning = list(stops.stopped), running.returning
        if returning is not None and running.frame is not None and returning[0] is running.frame.regs:
            running.frame.store()

        def abandon() -> None:
            self.instances.abandon(order, task)
            for chain in stops.stopped:
                if chain not in stopped:
                    for instance in chain:
                        self._instances.release(instance)
            stops.stopped, running.returning = stopped, returning

        return abandon

    def install(self) -> None:
        """Put the trampoline into guest memory, if it is missing. Raises MachineError if there is no room."""
        if not self.trampoline:
            place = self._machine.scratch.reserved(self._place)
            spare = struct.pack("<2I", trampoline.HVC, brk(KRETPROBES_BRK_IMM))
            self._machine.scratch.write_code(place, self._code + spare)
            self._journal.begin(place + self._journal_at)
            self.trampoline = place
            self._set_trampoline()
            if self.kind == trampoline.KPROBE:
                self._slots.take(self._site)
            self.guest_trampoline.sync_all()

    @property
    def mirrored(self) -> bool:
        """Whether there are breakpoints of ours in the trampoline."""
        return any(site.armed for site in self._engine.internal.values())

    def return_to_c(self, wanted: bool) -> None:
        """Have the first instruction of the trampoline be RET, before which C sees to the call, or no longer.

        C has a call that it does not follow go on to the spare BRK #7. It executes the first instruction of `direct`
        there (core_brk), and the next one follows.
        """
        if self.kind == trampoline.DIRECT and not self.mirrored:
            self._machine.scratch.write(self.trampoline, RET.to_bytes(4, "little") if wanted else self._code[:4])
            self._keep_stack(wanted)

    def _keep_stack(self, after_first: bool) -> None:
        """Leave no trace of the frame of `direct` below the guest's stack pointer; the other designs have none.

        With `after_first`, it is used from the trampoline's second instruction on.
        """
        size = self._frame.size if self.trampoline and self.kind == trampoline.DIRECT else 0
        entry, lowered = self.trampoline + 4 * after_first, size * after_first
        self._machine.core.native.keep_stack(entry, size, lowered)
        self._machine.core.native.return_at(self.trampoline if after_first else 0)

    def follow(self, pair: places.Pair, rp: Kretprobe, entry: Hit | None) -> None:
        """Go on with a call that C has followed so far."""
        instance = rp.free.pop() if not pair.leaked else KretprobeInstance(None)
        instance.leaked = pair.leaked
        instance.sp, instance.ret_addr, instance.following = pair.sp, pair.ret, pair.ret
        instance.fp = self._rules.frame_pointer(pair.fp, pair.sp)
        instance.number, instance.task, instance.entered = pair.number, pair.task, pair.entered
        instance.executed = pair.executed
        instance.entry, instance.selected = entry, pair.selected
        self._instances.link(instance)

    def prepare(self, recorder: places.Recorder) -> None:
        """Tell C how `direct` calls return handlers."""
        recorder.spare = self.trampoline + self._spare_brk if self.kind == trampoline.DIRECT else places.NEVER
        recorder.frame_pc = self.trampoline + self._after_hvc
        recorder.frame_record = trampoline.record_offset(self._rules.frame)

    def called(self, rp: Kretprobe, handler: ReturnHandler, recorder: places.Recorder) -> CalledReturnHandler:
        """The `handler` of `rp`, which C calls."""
        core = self._machine.core
        running = self._running[core]
        if self.kind == trampoline.DIRECT and running.frame is None:
            running.frame = KeptFrame(self._machine, recorder)
        return CalledReturnHandler(core, self._engine, running, self._rules, rp, handler, recorder.returning)

    def _set_trampoline(self) -> None:
        self._engine.internal.clear()
        if self.trampoline and self.kind == trampoline.KPROBE:
            self._site.addr = self.trampoline
            self._engine.internal[self.trampoline] = self._site
        self.guest_trampoline.put(self.trampoline)
        for core in self._machine.cores:
            core.reader.trampolines[0] = self.trampoline
        self._keep_stack(False)

    def restore(self) -> None:
        """The machine's memory was replaced. It may have the trampoline or not, and slots are given out again."""
        self._site.slot = 0
        if self.trampoline:
            self._machine.scratch.write(self.trampoline, self._code)  # without the breakpoints of that state
        self._set_trampoline()
        self._stops.stopped.clear()
        journal = self.trampoline + self._journal_at if self.trampoline else None
        self._instances.restore(journal, self._restored_pools)

    def add(self, rp: Kretprobe) -> None:
        """Give `rp`, about to be registered, its pool. Raises ProbeError (ENOMEM) if the guest has no memory."""
        self._instances.add(rp)
        try:
            for instance in rp.free:
                self.memory.allocate(instance, rp.data_size)
        except ProbeError:
            self.forget(rp)
            raise

    def forget(self, rp: Kretprobe) -> None:
        """`rp` is no longer registered. Its outstanding calls return without it."""
        unused = rp.free
        self._instances.forget(rp)
        for instance in unused:
            self.memory.free_unused(instance)

    # The function's entry: pre_handler_kretprobe

    def entry_handler(self, rp: Kretprobe) -> PreHandler:
        """The pre-handler of the kprobe at the function's entry."""
        inputs, context = self._machine.input, self._machine.core.context
        registers, sp_el0 = context.doubles, context.layout.sp_el0 // 8

        @calls_users_code
        def entered(kprobe: Kprobe, regs: PtRegs) -> int:
            if kprobe.site is not None and kprobe.site.optimized:
                self.collect()  # C has left this call to Python
            if not rp.free:
                rp.counts.nmissed += 1
                return 0
            instance = rp.free.pop()
            rp.counts.hits += 1
            instance.number, instance.entered = rp.counts.hits, self._machine.clock.now
            instance.executed = self._machine.clock.executed
            self._save(instance, regs)
            try:
                if rp.record or rp.stop or rp.condition or rp.aggregate:
                    self._recorder.entered(rp, instance, regs)
                if rp.entry_handler is not None:
                    recycle = False
                    try:
                        if inputs.listeners:
                            recycle = bool(inputs.call(rp.entry_handler, instance, regs))
                        else:
                            recycle = bool(rp.entry_handler(instance, regs))
                    except Exception as error:
                        self._recorder.failures.add(rp, Stage.ENTRY, error)
                    if recycle:
                        rp.give_back(instance)
                        return 0
                    self._save(instance, regs)
            except BaseException:
                rp.give_back(instance)
                raise
            if instance.ret_addr == self.trampoline:
                self.collect()  # a part of the same call may be followed by C
            instance.sp, instance.following = regs.sp, instance.ret_addr
            instance.task = registers[sp_el0]
            regs.regs[30] = self.trampoline
            self._instances.link(instance)
            if kprobe.site is not None and kprobe.site.optimized:
                rp.review()
            return 0

        return entered

    def _save(self, instance: KretprobeInstance, regs: PtRegs) -> None:
        """arch_prepare_kretprobe, except for x30."""
        instance.ret_addr = regs.regs[30]
        instance.fp = self._rules.frame_pointer(regs.regs[29], regs.sp)

    def show_return_address(self, core: Core) -> Callable[[bool], None]:
        """See `listeners.ReturnAddresses`."""
        words = core.context.x
        chain = self.instances.unlink(words[31], self.trampoline) if words[30] == self.trampoline else []
        if not chain:
            return lambda same_caller: None
        caller = words[30] = chain[-1].ret_addr
        for instance in chain:
            if instance.rp is not None:
                instance.rp.give_back(instance)

        def take(same_caller: bool) -> None:
            known = caller
            for instance in reversed(chain):
                rp = instance.rp
                if rp is None or instance in rp.free:  # otherwise it was unregistered meanwhile
                    if rp is not None:
                        rp.free.remove(instance)
                    instance.following, instance.sp = words[30], words[31]
                    instance.ret_addr = known if same_caller else words[30]
                    known = words[30] = self.trampoline
                    self._instances.link(instance)

        return take

    # The function's return, for each design: trampoline_probe_handler, or kretprobe_brk_handler

    def _returned(self, sp: int) -> list[KretprobeInstance]:
        """Remove and return the instances of the call that reaches the trampoline with `sp`. May be empty.

        Kernels before v5.10 take the task's newest instance. Its call may have been entered with another stack pointer
        if its kretprobe is in the middle of a function.
        """
        chain = self._instances.unlink(sp, self.trampoline)
        if not chain and not self._rules.instance_fp:
            chain = self._instances.unlink(self._instances.newest(sp), self.trampoline)
        return chain

    def _called(self, core: Core) -> bool:
        """`direct`: the HVC, with pt_regs on the stack."""
        context = core.context
        words = context.x
        came_from, base = words[32] - 4, words[31]
        place = came_from + 4 - self.trampoline
        if place == self._spare_hvc + 4:
            words[32] = self.trampoline + self._after_hvc
        elif place != self._after_hvc:
            return False
        if self._engine.moments.observer is not None:
            self._engine.note(core, "kretprobe_trampoline calls the return handlers")
        saved = self._frame.read(base)
        if saved is None:
            self._stops.stop_without_frame(core, base, came_from)
            return True
        chain = self._returned(base + self._frame.size)
        if not chain:
            self._stops.stop_without_call(core, base + self._frame.size, came_from)
            return True
        following = chain[-1].following
        pieces, regs = saved
        self._handle(core, chain, regs, came_from)
        if self._recorder.stop is not None:
            self._stops.stop_in_caller(core, base, regs, chain, following)
            return True
        self._engine.leave_return_handler(core)
        if pieces:
            self._frame.write(pieces, regs)
        words[0] = following
        self._recycle(core, chain)
        return True

    def _breakpoint(self, core: Core) -> bool:
        """`brk`: the trampoline itself raises the exception, and pt_regs are the interrupted code's."""
        words = core.context.x
        if words[32] != self.trampoline:
            return False
        chain = self._returned(words[31])
        if not chain:
            self._stops.stop_without_call(core, words[31], self.trampoline)
            return True
        following = chain[-1].following
        self._handle(core, chain, self._engine.blocks[core].regs, self.trampoline)
        words[32] = following
        if self._recorder.stop is not None:
            self._stops.stop_at(core, following, chain)
            return True
        self._engine.leave_return_handler(core)
        self._recycle(core, chain)
        return True

    def _pre_handler(self, kprobe: Kprobe, regs: PtRegs) -> int:
        """`kprobe`: the pre-handler of the trampoline's own kprobe."""
        core = self._machine.core
        chain = self._returned(regs.sp)
        if not chain:
            self._stops.stop_without_call(core, regs.sp, self.trampoline)
            return 1
        following = chain[-1].following
        self._engine.note(core, "the trampoline's pre-handler runs the return handlers")
        self._handle(core, chain, regs, None)
        self._engine.leave_return_handler(core)
        regs.pc = following
        self._engine.over(self._engine.blocks[core])  # reset_current_kprobe(), before what follows
        self._recycle(core, chain)
        return 1  # no step, no post-handler

    def _handle(self, core: Core, chain: list[KretprobeInstance], regs: PtRegs, again: int | None) -> None:
        """Run the return handlers of a call, newest instance first. The caller calls `leave_return_handler` afterwards.

        If a handler is killed, the exception is undone. `again` is the PC at which it is raised again, None if the
        engine does that.
        """
        ends_hit = self._rules.return_ends_hit and any(
            instance.rp is not None and instance.rp.handler is not None for instance in chain
        )
        running = self._running[core]
        self._engine.enter_return_handler(core, running.site, ends_hit)
        addresses = [instance.ret_addr for instance in chain]
        correct = addresses[-1]
        if self._rules.sets_return_pc:
            regs.pc = correct
        dispatcher = core.dispatcher
        daif = dispatcher.handler_daif
        if self._rules.masks_returns:
            dispatcher.handler_daif |= PSTATE_I
        running.returning = regs, correct
        try:
            for instance in chain:
                instance.ret_addr = correct
                if instance.rp is not None:
                    self._handle_one(running.site, instance, instance.rp, regs)
        except BaseException:
            self._engine.leave_return_handler(core)
            for instance, address in zip(reversed(chain), reversed(addresses), strict=True):
                instance.ret_addr = address
                self._instances.link(instance)
            if again is not None:
                core.context.pc = again
                core.context.store()
            raise
        finally:
            running.returning = None
            dispatcher.handler_daif = daif

    @calls_users_code
    def _handle_one(self, site: Site, instance: KretprobeInstance, rp: Kretprobe, regs: PtRegs) -> None:
        if rp.record or rp.stop or rp.condition or rp.aggregate:
            self._recorder.returned(rp, instance, regs)
        if rp.handler is not None:
            site.probes = [rp.kp]
            try:
                inputs = self._machine.input
                if inputs.listeners:
                    inputs.call(rp.handler, instance, regs)
                else:
                    rp.handler(instance, regs)
            except Exception as error:
                self._recorder.failures.add(rp, Stage.RETURN, error)

    def abandon(self, sp: int) -> None:
        """The call entered with `sp` was left without the trampoline. Stop waiting for it."""
        self._recycle(self._machine.core, self.instances.unlink(sp, self.trampoline))

    def _recycle(self, core: Core, chain: list[KretprobeInstance]) -> None:
        """recycle_rp_inst: put instances back into their pools. If their kretprobe is gone, free their guest memory."""
        for instance in chain:
            if instance.rp is not None:
                instance.rp.give_back(instance)
            else:
                if instance.memory:
                    self._engine.note(core, "return handling frees the instance: kfree()")
                try:
                    self.memory.free(instance)
                except CallNotReturned as error:
                    core.request_stop(error.stop)
                except BaseException as error:  # an exception of a handler in it ends the run; the call has returned
                    core.fail(error)
