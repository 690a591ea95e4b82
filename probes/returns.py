# SPDX-License-Identifier: GPL-2.0-or-later
"""Kretprobes at work: a function's return address is taken at its entry, and given back when it has returned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from armprobe.machine import Machine, Stop, StopReason
from armprobe.machine.frame import Frame

from . import trampoline
from .decode import decode
from .engine import Engine
from .instances import Instances
from .journal import JOURNAL_SIZE, Journal
from .kprobe import Kprobe, PreHandler
from .kretprobe import Kretprobe, KretprobeInstance
from .pt_regs import NZCV, PT_REGS_SIZE, PtRegs, StackRegs
from .record import Stage
from .recorder import Recorder
from .site import Site

_NOP: Final = 0xD503_201F
_JOURNAL_AT: Final = -(-len(trampoline.CODE) // 8) * 8  # bytes from the trampoline
_SIZE: Final = _JOURNAL_AT + JOURNAL_SIZE


class Returns:
    """The trampoline of one machine and the instances outstanding."""

    def __init__(self, machine: Machine, engine: Engine, recorder: Recorder) -> None:
        self._machine = machine
        self._engine = engine
        self._recorder = recorder
        self._words = machine.cpu.frame.x
        self._journal = Journal(machine)
        self.instances = Instances(self._journal)
        self.trampoline = 0  # its address, 0 while there is none
        self._places: list[int] = []  # where it has ever been, as snapshots may have it there
        self._site = Site(0, _NOP, _NOP, decode(_NOP))  # current_kprobe while return handlers run
        machine.claim_hvc(trampoline.HVC_IMM, self._returned)
        engine.return_address_shown = self._show_return_address

    def install(self) -> None:
        """Put the trampoline into guest memory, if it is not there. Raises MachineError when there is no room."""
        if not self.trampoline:
            place = self._machine.scratch.allocate(_SIZE)
            self._machine.scratch.write(place, trampoline.CODE)
            self._journal.begin(place + _JOURNAL_AT)
            self._places.append(place)
            self.trampoline = place

    def restore(self) -> None:
        """The machine's memory is another, in which the trampoline may be or not."""
        scratch = self._machine.scratch
        self.trampoline = 0
        for place in self._places:
            if self._journal.fits(place + _JOURNAL_AT):
                assert scratch.base is not None
                offset = place - scratch.base
                if scratch.ram.data[offset : offset + len(trampoline.CODE)] == trampoline.CODE:
                    self.trampoline = place
        self.instances.restore(self.trampoline + _JOURNAL_AT if self.trampoline else None)

    def entry_handler(self, rp: Kretprobe) -> PreHandler:
        """The pre-handler of the kprobe at the function's entry (pre_handler_kretprobe)."""

        def entered(kprobe: Kprobe, regs: PtRegs) -> int:
            if not rp.free:
                rp.nmissed += 1
                return 0
            instance = rp.free.pop()
            rp.hits += 1
            instance.number = rp.hits
            general = regs.regs
            instance.ret_addr, instance.fp = general[30], general[29]
            if rp.record or rp.stop:
                self._recorder.live(rp, Stage.ENTRY, regs)
            if rp.entry_handler is not None:
                recycle = False
                try:
                    recycle = bool(rp.entry_handler(instance, regs))
                except Exception as error:
                    self._engine.recover()
                    self._recorder.failed(rp, Stage.ENTRY, error)
                except BaseException:
                    rp.free.append(instance)
                    raise
                if recycle:
                    rp.free.append(instance)
                    return 0
                instance.ret_addr, instance.fp = general[30], general[29]
            instance.sp, instance.following = regs.sp, instance.ret_addr
            general[30] = self.trampoline
            self.instances.link(instance)
            return 0

        return entered

    def _show_return_address(self) -> Callable[[bool], None]:
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

    # HVC in the trampoline: trampoline_probe_handler

    def _returned(self, frame: Frame) -> bool:
        if frame.pc != self.trampoline + trampoline.AFTER_HVC:
            return False
        base = self._words[31]
        chain = self.instances.unlink(base + PT_REGS_SIZE, self.trampoline)
        if not chain:
            self._lost(frame, base + PT_REGS_SIZE)
            return True
        addresses = [instance.ret_addr for instance in chain]
        correct, following = addresses[-1], chain[-1].following
        pieces = self._pieces(base)
        regs = StackRegs(b"".join(self._machine.bus.read(physical, length) for physical, length in pieces))
        regs.pc = correct
        self._engine.enter_return_handler(self._site)
        try:
            for instance in chain:
                instance.ret_addr = correct
                if instance.rp is not None:
                    self._handle(instance, instance.rp, regs)
        except BaseException:
            self._engine.leave_return_handler()
            for instance, address in zip(reversed(chain), reversed(addresses), strict=True):
                instance.ret_addr = address
                self.instances.link(instance)
            frame.pc -= 4  # the HVC is executed again
            frame.store()
            raise
        for instance in chain:
            if instance.rp is not None:
                instance.rp.free.append(instance)
        if self._recorder.stop is not None:
            self._stop(frame, base, regs, following)
            return True
        self._engine.leave_return_handler()
        self._write(pieces, regs.memory)
        self._words[0] = following
        return True

    def _handle(self, instance: KretprobeInstance, rp: Kretprobe, regs: StackRegs) -> None:
        if rp.record or rp.stop:
            self._recorder.returned(rp, instance.number, regs)
        if rp.handler is not None:
            try:
                rp.handler(instance, regs)
            except Exception as error:
                self._engine.recover()
                self._recorder.failed(rp, Stage.RETURN, error)

    def _stop(self, frame: Frame, base: int, regs: StackRegs, following: int) -> None:
        """Stop as if in the caller: a debugger sees what pt_regs has. Going on puts the trampoline back."""
        address = regs.pc
        after = frame.pc
        words = self._words
        words[0:31] = memoryview(regs.memory)[:248].cast("Q")
        frame.sp, frame.pc = base + PT_REGS_SIZE, address
        frame.pstate = frame.pstate & ~NZCV | regs.pstate & NZCV

        def resume(frame: Frame) -> None:
            self._engine.leave_return_handler()
            if frame.pc != address:
                return  # whoever moved the PC has left the trampoline
            for i in range(30):
                regs.regs[i] = words[i]
            regs.pstate = regs.pstate & ~NZCV | frame.pstate & NZCV
            self._write(
                self._pieces(base), regs.memory
            )  # whatever ran meanwhile may have used the stack below the caller's
            words[0], frame.sp, frame.pc = following, base, after

        hit = self._recorder.take_stop()
        self._machine.request_stop(Stop(StopReason.PROBE, address, str(hit), hit), resume)

    def _lost(self, frame: Frame, sp: int) -> None:
        frame.pc -= 4
        reason = (
            "Kretprobe fails to find correct return address: a function returned through the trampoline with stack "
            f"pointer {sp:#x}, and none was entered with it. It does not keep to AAPCS64, or its stack was switched; "
            "set the PC and x30 to go on"
        )
        self._machine.request_stop(Stop(StopReason.PROBE, frame.pc, reason))

    # The guest's stack. Not by Memory.write: that drops translated code, and there is none here.

    def _pieces(self, address: int) -> list[tuple[int, int]]:
        """The physical addresses and lengths of a pt_regs at virtual `address`."""
        pieces, size = [], PT_REGS_SIZE
        while size:
            mapping = self._machine.memory.translate(address)
            length = min(size, mapping.remaining)
            pieces.append((mapping.physical, length))
            address, size = address + length, size - length
        return pieces

    def _write(self, pieces: list[tuple[int, int]], data: bytearray) -> None:
        done = 0
        for physical, length in pieces:
            self._machine.bus.write(physical, bytes(data[done : done + length]))
            done += length
