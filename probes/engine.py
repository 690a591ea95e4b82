# SPDX-License-Identifier: GPL-2.0-or-later
"""What happens when a breakpoint of ours is hit: the state machine of arch/arm64/kernel/probes/kprobes.c.

    0 -> HIT_ACTIVE -> pre-handlers -> HIT_SS -> slot or simulation -> HIT_SSDONE -> post-handlers -> 0

A probe hit while another is being handled is a re-entry: it is counted as missed and stepped over without its
handlers. There is one CPU, so what the kernel keeps per CPU is kept once.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from armprobe.machine import Machine, MachineError, Stop, StopReason
from armprobe.machine.exceptions import IL, Class, Raised
from armprobe.machine.frame import Frame

from .era import Era
from .pt_regs import LiveRegs
from .record import Stage
from .recorder import Recorder
from .site import KPROBES_BRK_IMM, KPROBES_BRK_SS_IMM, KPROBES_BRK_WORD, Site

STONE_IMM: Final = 0x6B73  # any that PSCI, the kretprobe trampoline and the guest's own hypercalls do not use
_TRANSLATION_FAULT = 0x07  # DFSC: level 3


class Status(enum.IntEnum):
    """`kprobe_status` (include/linux/kprobes.h)."""

    NONE = 0
    HIT_ACTIVE = 1
    HIT_SS = 2
    REENTER = 4
    HIT_SSDONE = 8


_ACTIVE, _SS, _REENTER, _SSDONE = Status.HIT_ACTIVE, Status.HIT_SS, Status.REENTER, Status.HIT_SSDONE


class Running(NamedTuple):
    """The kernel's `kprobe_ctlblk`, or the part of it that a re-entry saves."""

    site: Site | None
    status: Status
    saved_daif: int


class Engine:
    """Handles the hits of one machine. `sites` is the table of breakpoints, which the registry fills."""

    def __init__(self, machine: Machine, era: Era, sites: Mapping[int, Site], recorder: Recorder) -> None:
        self._machine = machine
        self._era = era
        self._sites = sites
        self._recorder = recorder
        self._frame = machine.cpu.frame
        self._words = self._frame.x
        self.regs = LiveRegs(self._frame)
        self.site: Site | None = None  # current_kprobe
        self.status = Status.NONE
        self._saved_daif = 0
        self._previous: list[Running] = []
        # What to do with an instruction that has a breakpoint of the guest's, and with a BRK #6 that is not ours.
        self.guest_steps: Callable[[Frame, Site], None] = lambda frame, site: None
        self.guest_stepped: Callable[[Frame], bool] = lambda frame: False
        self.idle: Callable[[], None] = lambda: None  # told when a hit is over
        # Gives x30 back for a stop at a function's entry; the result takes it again.
        self.return_address_shown: Callable[[], Callable[[bool], None]] = lambda: lambda same_caller: None
        machine.claim_brk(KPROBES_BRK_IMM, self._breakpoint)
        machine.claim_brk(KPROBES_BRK_SS_IMM, self._slot_done)
        machine.claim_fault(self._fault)
        machine.claim_hvc(STONE_IMM, self._stone_reached)
        self._stone = 0

    @property
    def busy(self) -> set[Site]:
        """The sites that are being handled."""
        return {site for site in (self.site, *(entry.site for entry in self._previous)) if site is not None}

    # BRK #4

    def _breakpoint(self, frame: Frame) -> bool:
        address = self._words[32]
        site = self._sites.get(address)
        if site is None or not site.armed:
            return self._removed(address)
        if self.site is not None:
            return self._reenter(site, frame)
        self.site, self.status = site, _ACTIVE
        skip = False
        for probe in site.active:
            probe.hits += 1
            if probe.record or probe.stop:
                self._recorder.live(probe, Stage.PRE, self.regs)
            handler = probe.pre_handler
            if handler is not None:
                try:
                    skip = bool(handler(probe, self.regs))
                except Exception as error:
                    self.recover()
                    self._recorder.failed(probe, Stage.PRE, error)
                except BaseException:
                    self.reset()
                    raise
                if skip:
                    break
        if self._recorder.stop is not None:
            self._stop_before(site, skip)
        elif skip:
            self.over()
        else:
            self._step(site, frame, _SS)
        return True

    def _removed(self, address: int) -> bool:
        """A BRK #4 without a probe. If it is not in the text any more, execute what is there now."""
        try:
            if self._machine.memory.read_u32(address) == KPROBES_BRK_WORD:
                return False
        except MachineError:
            return False
        self._machine.cpu.forget([address])
        return True

    def _reenter(self, site: Site, frame: Frame) -> bool:
        for probe in site.probes:
            probe.nmissed += 1
        if self.status in (_SS, _REENTER):
            reason = (
                f"Failed to recover from reentered kprobes: {site.probes[0].name} was hit while the instruction of "
                "another probe was being executed out of line; v6.1 stops with BUG() here, resuming steps over it"
            )
            self._machine.request_stop(
                Stop(StopReason.PROBE, site.addr, reason), lambda frame: self._resume_reentered(site, frame)
            )
            return True
        self._push()
        self.site = site
        self._step(site, frame, _REENTER)
        return True

    def _resume_reentered(self, site: Site, frame: Frame) -> None:
        if frame.pc == site.addr:
            self._push()
            self.site = site
            self._step(site, frame, _REENTER)

    def _push(self) -> None:
        self._previous.append(Running(self.site, self.status, self._saved_daif))

    def pop(self) -> None:
        """Go back to the hit that the present one is a re-entry into."""
        self.site, self.status, self._saved_daif = self._previous.pop()

    # The instruction itself (setup_singlestep)

    def _step(self, site: Site, frame: Frame, status: Status) -> None:
        self.status = status
        if site.slot:
            daif = self._saved_daif = frame.daif
            frame.daif = daif | self._era.slot_daif
            self._words[32] = site.slot
        elif site.simulator is not None:
            try:
                site.simulator(site.original, site.addr, self.regs, self._machine.memory.read)
            except MachineError:
                # Its literal cannot be read: what executing it would raise. The probe is hit again if that is
                # repaired.
                self._cancel(frame, site)
                self._machine.deliver(frame, Class.DATA_ABORT << 26 | IL | _TRANSLATION_FAULT, site.addr)
            else:
                self._stepped(site)
        else:
            self.guest_steps(frame, site)

    # BRK #6

    def _slot_done(self, frame: Frame) -> bool:
        site = self.site
        if site is None or not site.slot or self._words[32] != site.slot + 4 or self.status not in (_SS, _REENTER):
            return self.guest_stepped(frame)
        frame.daif = self._saved_daif
        self._words[32] = site.addr + 4
        self._stepped(site)
        return True

    def _stepped(self, site: Site) -> None:
        """post_kprobe_handler: the instruction has been executed and the registers are as it left them."""
        if self.status == _REENTER:
            self.pop()
        else:
            self.post(site)

    def post(self, site: Site, then: Callable[[Frame], None] | None = None) -> None:
        """Run the post-handlers, which ends the hit; `then` gets the frame, unless its PC is moved at a stop."""
        self.site, self.status = site, _SSDONE
        for probe in site.active:
            handler = probe.post_handler
            if (probe.record or probe.stop) and probe.hits:
                self._recorder.live(probe, Stage.POST, self.regs)
            if handler is not None:
                try:
                    handler(probe, self.regs, 0)
                except Exception as error:
                    self.recover()
                    self._recorder.failed(probe, Stage.POST, error)
                except BaseException:
                    self.reset()
                    raise
        if self._recorder.stop is None:
            self.over()
            if then is not None:
                then(self._frame)
            return
        address = self._words[32]

        def resume(frame: Frame) -> None:
            self.over()  # only now: what is hit at the stop, by a debugger's call, is missed
            if then is not None and frame.pc == address:
                then(frame)

        self._stop(address, resume)

    # Stops

    def _stop(self, address: int, resume: Callable[[Frame], None]) -> None:
        hit = self._recorder.take_stop()
        self._machine.request_stop(Stop(StopReason.PROBE, address, str(hit), hit), resume)

    def _stop_before(self, site: Site, skip: bool) -> None:
        """Stop between the pre-handlers and the instruction, with the registers of the interrupted code."""
        take_return_address = self.return_address_shown()
        words = self._words
        address, sp, caller = words[32], words[31], words[30]

        def resume(frame: Frame) -> None:
            if skip:
                take_return_address(False)
                self.over()
            elif words[32] == address:
                go_on(frame)
            else:
                self.over()
                if words[30] != caller:
                    self._machine.dispatcher.resume = called

        def called(frame: Frame) -> None:
            """A debugger that calls a function moves PC and x30, and puts all registers back after it."""
            if (words[32], words[31]) == (address, sp) and self.site is None and site.armed:
                self.site = site
                go_on(frame)
            else:
                self._machine.dispatcher.resume = called

        def go_on(frame: Frame) -> None:
            take_return_address(False)
            if site.simulator is None:
                self._step(site, frame, _SS)
            else:
                self._step_onto_stone(frame)

        self._stop(address, resume)

    # A simulated instruction takes no instruction of the guest's. When it is to be executed because someone steps or
    # runs the machine, one is needed, or the one that follows would be executed as well: the stepping stone.

    def _step_onto_stone(self, frame: Frame) -> None:
        if not self._stone:
            self._stone = self._machine.scratch.allocate(4)
            self._machine.scratch.write(self._stone, (0xD400_0002 | STONE_IMM << 5).to_bytes(4, "little"))
        self.status, self._saved_daif = _SS, frame.daif
        frame.daif |= self._era.slot_daif
        frame.pc = self._stone

    def _stone_reached(self, frame: Frame) -> bool:
        site = self.site
        if site is None or frame.pc != self._stone + 4:
            return False
        frame.pc, frame.daif = site.addr, self._saved_daif
        self._step(site, frame, _SS)
        return True

    # Faults and failures

    def _fault(self, frame: Frame, raised: Raised, syndrome: int, fault_address: int) -> bool:
        """kprobe_fault_handler: the guest sees a fault in the slot at the address of the instruction probed."""
        site = self.site
        if site is not None and site.slot and frame.pc == site.slot and self.status in (_SS, _REENTER):
            self._cancel(frame, site)
        return False

    def _cancel(self, frame: Frame, site: Site) -> None:
        frame.pc = site.addr
        if site.slot:
            frame.daif = self._saved_daif
        if self.status == _REENTER:
            self.pop()
        else:
            self.over()

    def recover(self) -> None:
        """A handler raised: forget the re-entries of a call it made and that did not come to its end."""
        while self.status in (_SS, _REENTER) and self._previous:
            self.pop()

    def over(self) -> None:
        """The hit is over."""
        self.site, self.status = None, Status.NONE
        self.idle()

    def reset(self) -> None:
        """Forget any hit that was being handled."""
        self._previous.clear()
        self.over()

    def restore(self) -> None:
        """The machine's memory is another."""
        self._stone = 0
        self._recorder.stop = None
        self.reset()

    def enter_return_handler(self, site: Site) -> None:
        """From now until `leave_return_handler` probes are missed, as they are in the kernel's return handlers."""
        self._push()
        self.site, self.status = site, _ACTIVE

    def leave_return_handler(self) -> None:
        """Undo `enter_return_handler`."""
        self.pop()
