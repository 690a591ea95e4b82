# SPDX-License-Identifier: GPL-2.0-or-later
"""Kretprobes at work: a function's return address is taken at its entry, and given back when it has returned."""

from __future__ import annotations

from collections.abc import Callable

from armprobe.kernel.text import Text
from armprobe.machine import CallNotReturned, Machine, MachineError, Stop, StopReason
from armprobe.machine.core.context import NZCV, PSTATE_I, Context
from armprobe.machine.core.core import Core
from armprobe.machine.core.deferred_signals import calls_users_code
from armprobe.machine.core.hypercalls import KRETPROBE_TRAMPOLINE
from armprobe.machine.core.instruction_words import NOP
from armprobe.machine.state import Order

from . import trampoline
from .decode import decode
from .engine import Engine
from .eras.hit_rules import HitRules
from .errors import ProbeError
from .guest_trampoline import GuestTrampoline
from .instance_memory import InstanceMemory
from .instances import Instances, Pools
from .journal import JOURNAL_SIZE, Journal
from .kprobe import Kprobe, PreHandler
from .kretprobe import Kretprobe, KretprobeInstance
from .pt_regs import PtRegs, SavedRegs, StackRegs
from .record import Stage
from .recorder import Recorder
from .site import Site
from .slots import Slots
from .stepping import KPROBES_BRK, KRETPROBES_BRK_IMM, Stepping


class KretprobeEngine:
    """The trampoline of one machine, `kind` of `TRAMPOLINES`, and the instances outstanding."""

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
        self._kind = kind
        self._slots = slots
        self._context = machine.core.context
        self._words = machine.core.context.x
        self._code = trampoline.code(kind, rules.frame)
        if kind == trampoline.KPROBE:  # the first NOP has a kprobe on it
            self._code = KPROBES_BRK + self._code[4:]
        # In bytes from the trampoline. Where its HVC is there may be a breakpoint, so there is a spare one behind it.
        self._spare_hvc = len(self._code)
        self._journal_at = -(-(self._spare_hvc + 4) // 8) * 8
        self._journal = Journal(machine)
        self.instances = Instances(self._journal)
        self.memory = InstanceMemory(machine, text, rules.frees_instances)
        self.trampoline = 0  # its address, 0 while there is none
        self._restored_pools: Pools = {}  # of the state that the machine was last put into
        self._returning: tuple[PtRegs, int] | None = None  # in a return handler: its registers, the return address
        self._handling = Site(0, NOP, NOP, decode(NOP), stepping)  # current_kprobe while return handlers run
        self._site = Site(0, NOP, NOP, decode(NOP), stepping)  # what the trampoline `kprobe` has on it
        self._site.armed = True
        self.guest_trampoline = GuestTrampoline(machine, text, engine, slots, stepping, self._code)
        self._after_hvc = trampoline.after_hvc(rules.frame)
        if kind == trampoline.DIRECT:
            machine.claim_hvc(KRETPROBE_TRAMPOLINE, self._called)
        elif kind == trampoline.BRK:
            machine.claim_brk(KRETPROBES_BRK_IMM, self._breakpoint)
        else:
            self._site.probes = [Kprobe("kretprobe_trampoline", pre_handler=self._pre_handler, record=False)]
            self._site.refresh()
        self._stopped: list[list[KretprobeInstance]] = []  # of calls that the machine is stopped for at their return
        machine.state.join("kretprobes", self, Order.PROBES)
        machine.calls.on_begin.append(self._call_begins)

    @property
    def pools(self) -> Pools:
        """The guest's memory that unused instances occupy: the address of each, by their kretprobe's serial number."""
        return self.instances.pools()

    @pools.setter
    def pools(self, pools: Pools) -> None:
        self._restored_pools = pools

    @property
    def returning(self) -> SavedRegs | None:
        """In a return handler: the registers of the caller that the function has returned to, its x30 apart."""
        if self._returning is None:
            return None
        regs, address = self._returning
        return SavedRegs((*regs.regs[:30], address, regs.sp, address, regs.pstate))

    def _call_begins(self, core: Core) -> Callable[[], None]:
        """A guest function is called: what gives up the returns that wait for what it does not come to the end of."""
        order, task = self.instances.newest_order, core.context.system(core.context.layout.sp_el0)
        stopped, returning = list(self._stopped), self._returning

        def abandon() -> None:
            self.instances.abandon(order, task)
            for chain in self._stopped:
                if chain not in stopped:
                    for instance in chain:
                        self.instances.release(instance)
            self._stopped, self._returning = stopped, returning

        return abandon

    def install(self) -> None:
        """Put the trampoline into guest memory, if it is not there. Raises MachineError when there is no room."""
        if not self.trampoline:
            place = self._machine.scratch.allocate(self._journal_at + JOURNAL_SIZE)
            self._machine.scratch.write(place, self._code + trampoline.HVC.to_bytes(4, "little"))
            self._journal.begin(place + self._journal_at)
            self.trampoline = place
            self._set_trampoline()
            if self._kind == trampoline.KPROBE:
                self._slots.take(self._site)
            self.guest_trampoline.sync_all()

    def _set_trampoline(self) -> None:
        self._engine.internal.clear()
        if self.trampoline and self._kind == trampoline.KPROBE:
            self._site.addr = self.trampoline
            self._engine.internal[self.trampoline] = self._site
        self.guest_trampoline.put(self.trampoline)

    def restore(self) -> None:
        """The machine's memory is another, in which the trampoline may be or not; slots are to be given out again."""
        self._site.slot = 0
        if self.trampoline:
            self._machine.scratch.write(self.trampoline, self._code)  # without the breakpoints that it had then
        self._set_trampoline()
        self._stopped.clear()
        journal = self.trampoline + self._journal_at if self.trampoline else None
        self.instances.restore(journal, self._restored_pools)

    def add(self, rp: Kretprobe) -> None:
        """`rp` is about to be registered: give it its pool. Raises ProbeError (ENOMEM) when the guest has no memory."""
        self.instances.add(rp)
        try:
            for instance in rp.free:
                self.memory.allocate(instance, rp.data_size)
        except ProbeError:
            self.forget(rp)
            raise

    def forget(self, rp: Kretprobe) -> None:
        """`rp` is no longer registered; the calls outstanding will return without it."""
        unused = rp.free
        self.instances.forget(rp)
        for instance in unused:
            self.memory.free_unused(instance)

    # The function's entry: pre_handler_kretprobe

    def entry_handler(self, rp: Kretprobe) -> PreHandler:
        """The pre-handler of the kprobe at the function's entry."""

        @calls_users_code
        def entered(kprobe: Kprobe, regs: PtRegs) -> int:
            if not rp.free:
                rp.nmissed += 1
                return 0
            instance = rp.free.pop()
            rp.hits += 1
            instance.number = rp.hits
            self._save(instance, regs)
            try:
                if rp.record or rp.stop or rp.condition:
                    self._recorder.entered(rp, instance, regs)
                if rp.entry_handler is not None:
                    recycle = False
                    try:
                        recycle = bool(rp.entry_handler(instance, regs))
                    except Exception as error:
                        self._recorder.failed(rp, Stage.ENTRY, error)
                    if recycle:
                        rp.free.append(instance)
                        return 0
                    self._save(instance, regs)
            except BaseException:
                rp.free.append(instance)
                raise
            instance.sp, instance.following = regs.sp, instance.ret_addr
            instance.task = self._context.system(self._context.layout.sp_el0)
            regs.regs[30] = self.trampoline
            self.instances.link(instance)
            return 0

        return entered

    def _save(self, instance: KretprobeInstance, regs: PtRegs) -> None:
        """arch_prepare_kretprobe, but for x30."""
        instance.ret_addr = regs.regs[30]
        match self._rules.instance_fp:
            case "x29":
                instance.fp = regs.regs[29]
            case "sp":
                instance.fp = regs.sp

    def show_return_address(self) -> Callable[[bool], None]:
        """Give x30 back for a while at the function's entry: to a debugger, or to a kretprobe of the guest's.

        Nothing is taken until the result is called, which then takes whatever x30 has by then. With True the caller
        is still the one it was: what x30 has now is the guest's own trampoline.
        """
        words = self._words
        chain = self.instances.unlink(words[31], self.trampoline) if words[30] == self.trampoline else []
        if not chain:
            return lambda same_caller: None
        caller = words[30] = chain[-1].ret_addr
        for instance in chain:
            if instance.rp is not None:
                instance.rp.free.append(instance)

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
                    self.instances.link(instance)

        return take

    # The function's return, for each design: trampoline_probe_handler, or kretprobe_brk_handler

    def _returned(self, sp: int) -> list[KretprobeInstance]:
        """The instances of the call that comes to the trampoline with that stack pointer; empty if there is none.

        Kernels before v5.10 take the newest of the task; it may have been entered with another stack pointer, where
        kretprobes may be in the midst of a function.
        """
        chain = self.instances.unlink(sp, self.trampoline)
        if not chain and not self._rules.instance_fp:
            chain = self.instances.unlink(self.instances.newest(sp), self.trampoline)
        return chain

    def _called(self, core: Core) -> bool:
        """`direct`: the HVC, with pt_regs on the stack."""
        context = core.context
        came_from = context.pc - 4
        if context.pc == self.trampoline + self._spare_hvc + 4:
            context.pc = self.trampoline + self._after_hvc
        elif context.pc != self.trampoline + self._after_hvc:
            return False
        self._engine.note("kretprobe_trampoline calls the return handlers")
        base, size = self._words[31], self._rules.frame.size
        frame = self._saved_frame(base)
        if frame is None:
            self._stop_without_stack(context, base, came_from)
            return True
        chain = self._returned(base + size)
        if not chain:
            self._lost(context, base + size, came_from)
            return True
        following = chain[-1].following
        pieces, saved = frame
        regs = StackRegs(saved)
        self._handle(chain, regs, lambda: self._again(context, came_from))
        if self._recorder.stop is not None:
            self._stop_in_caller(context, base, regs, chain, following)
            return True
        self._engine.leave_return_handler()
        self._write(pieces, regs.memory)
        self._words[0] = following
        self._recycle(chain)
        return True

    def _breakpoint(self, core: Core) -> bool:
        """`brk`: the trampoline itself is the exception, and pt_regs are the interrupted code's."""
        context = core.context
        if context.pc != self.trampoline:
            return False
        chain = self._returned(self._words[31])
        if not chain:
            self._lost(context, self._words[31], self.trampoline)
            return True
        following = chain[-1].following
        self._handle(chain, self._engine.regs, lambda: self._again(context, self.trampoline))
        self._words[32] = following
        if self._recorder.stop is not None:
            self._stop_at(following, chain)
            return True
        self._engine.leave_return_handler()
        self._recycle(chain)
        return True

    def _pre_handler(self, kprobe: Kprobe, regs: PtRegs) -> int:
        """`kprobe`: the pre-handler of the trampoline's own kprobe."""
        chain = self._returned(regs.sp)
        if not chain:
            self._lost(self._machine.core.context, regs.sp, self.trampoline)
            return 1
        following = chain[-1].following
        self._engine.note("the trampoline's pre-handler runs the return handlers")
        self._handle(chain, regs, lambda: None)
        self._engine.leave_return_handler()
        regs.pc = following
        self._engine.over()  # reset_current_kprobe(), before what follows
        self._recycle(chain)
        return 1  # so that there is neither a step nor a post-handler

    def _handle(self, chain: list[KretprobeInstance], regs: PtRegs, again: Callable[[], None]) -> None:
        """Run the return handlers of a call, newest instance first; `again` undoes the exception if one is killed.

        When they have run, `leave_return_handler` is still to be called.
        """
        ends_hit = self._rules.return_ends_hit and any(
            instance.rp is not None and instance.rp.handler is not None for instance in chain
        )
        self._engine.enter_return_handler(self._handling, ends_hit)
        addresses = [instance.ret_addr for instance in chain]
        correct = addresses[-1]
        if self._rules.sets_return_pc:
            regs.pc = correct
        dispatcher = self._machine.core.dispatcher
        daif = dispatcher.handler_daif
        if self._rules.masks_returns:
            dispatcher.handler_daif |= PSTATE_I
        self._returning = regs, correct
        try:
            for instance in chain:
                instance.ret_addr = correct
                if instance.rp is not None:
                    self._handle_one(instance, instance.rp, regs)
        except BaseException:
            self._engine.leave_return_handler()
            for instance, address in zip(reversed(chain), reversed(addresses), strict=True):
                instance.ret_addr = address
                self.instances.link(instance)
            again()
            raise
        finally:
            self._returning = None
            dispatcher.handler_daif = daif

    @calls_users_code
    def _handle_one(self, instance: KretprobeInstance, rp: Kretprobe, regs: PtRegs) -> None:
        if rp.record or rp.stop or rp.condition:
            self._recorder.returned(rp, instance, regs)
        if rp.handler is not None:
            self._handling.probes = [rp.kp]
            try:
                rp.handler(instance, regs)
            except Exception as error:
                self._recorder.failed(rp, Stage.RETURN, error)

    def _again(self, context: Context, address: int) -> None:
        context.pc = address
        context.store()

    def abandon(self, sp: int) -> None:
        """The call entered with `sp` was left, and not through the trampoline: it is waited for no longer."""
        self._recycle(self.instances.unlink(sp, self.trampoline))

    def _recycle(self, chain: list[KretprobeInstance]) -> None:
        """recycle_rp_inst: back to its pool, or to the guest's memory if its kretprobe is gone."""
        for instance in chain:
            if instance.rp is not None:
                instance.rp.free.append(instance)
            else:
                if instance.memory:
                    self._engine.note("return handling frees the instance: kfree()")
                try:
                    self.memory.free(instance)
                except CallNotReturned as error:
                    self._machine.request_stop(error.stop)
                except BaseException as error:  # of a handler in it: the run ends with it, and the call has returned
                    self._machine.core.fail(error)

    def _stop_at(self, address: int, chain: list[KretprobeInstance]) -> None:
        def resume(core: Core) -> None:
            self._engine.leave_return_handler()
            core.context.store()
            self._resumed(chain)
            core.context.load()

        self._stopped.append(chain)
        self._engine.stop_for_hit(address, resume)

    def _resumed(self, chain: list[KretprobeInstance]) -> None:
        """The guest goes on after a stop at the return of a call."""
        self._stopped.remove(chain)
        self._recycle(chain)

    def _stop_in_caller(
        self, context: Context, base: int, regs: StackRegs, chain: list[KretprobeInstance], following: int
    ) -> None:
        """Stop as if in the caller: a debugger sees what pt_regs has. Going on puts the trampoline back."""
        address, size = chain[-1].ret_addr, self._rules.frame.size
        after = context.pc
        words = self._words
        words[0:31] = memoryview(regs.memory)[:248].cast("Q")
        context.sp, context.pc = base + size, address
        context.pstate = context.pstate & ~NZCV | regs.pstate & NZCV

        def resume(core: Core) -> bool:
            context = core.context
            self._engine.leave_return_handler()
            if context.pc != address:
                self._resumed(chain)
                return False  # whoever moved the PC has left the trampoline
            for i in range(30):
                regs.regs[i] = words[i]
            regs.pstate = regs.pstate & ~NZCV | context.pstate & NZCV
            frame = self._saved_frame(base)
            if frame is None:  # no more: the registers are those of the caller as it is
                words[30] = context.pc = following
                context.store()
                self._resumed(chain)
                context.load()
                return False
            # whatever ran meanwhile may have used the stack below the caller's
            self._write(frame[0], regs.memory)
            words[0], context.sp, context.pc = following, base, after
            context.store()
            self._resumed(chain)
            context.load()
            return True

        self._stopped.append(chain)
        self._engine.stop_for_hit(address, resume)

    def _saved_frame(self, base: int) -> tuple[list[tuple[int, int]], bytes] | None:
        """The pieces of memory that the trampoline's pt_regs at `base` are in, and what is there; None if in none."""
        try:
            pieces = self._machine.memory.pieces(base, self._rules.frame.size)
        except MachineError:
            return None
        saved = []
        for physical, length in pieces:
            ram = self._machine.bus.ram_at(physical)
            if ram is None:
                return None
            saved.append(ram.data[physical - ram.base : physical - ram.base + length])
        return pieces, b"".join(saved)

    def _stop_without_stack(self, context: Context, base: int, address: int) -> None:
        """The stack pointer was changed in the trampoline: no instance is given up, for the call has yet to return."""
        context.pc = address
        reason = (
            f"the trampoline of a kretprobe has stack pointer {base:#x}, where there is no memory for the registers "
            "that it has saved: the kernel's handler faults here; set SP, or the PC and x30, to go on"
        )
        self._machine.request_stop(Stop(StopReason.PROBE, address, reason))

    def _lost(self, context: Context, sp: int, address: int) -> None:
        context.pc = address
        reason = (
            "Kretprobe fails to find correct return address: a function returned through the trampoline with stack "
            f"pointer {sp:#x}, and none was entered with it. It does not keep to AAPCS64, or its stack was switched; "
            "set the PC and x30 to go on"
        )
        self._machine.request_stop(Stop(StopReason.PROBE, context.pc, reason))

    def _write(self, pieces: list[tuple[int, int]], data: bytearray) -> None:
        """To the guest's stack; not by Memory.write: that drops translated code, and there is none here."""
        done = 0
        for physical, length in pieces:
            self._machine.bus.write(physical, bytes(data[done : done + length]))
            done += length
