# SPDX-License-Identifier: GPL-2.0-or-later
"""Who gets an exception: first whoever has claimed its kind, then the guest's own vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import unicorn

from .cpu import Cpu
from .exceptions import IL, SYNCHRONOUS, Class, Raised, enter
from .frame import DAIF, Frame
from .stop import Stop, StopReason
from .sysregs import SYSTEM_REGISTERS

Claim = Callable[[Frame], bool]
FaultClaim = Callable[[Frame, Raised, int, int], bool]
Resume = Callable[[Frame], bool | None]
_ID_AA64MMFR1: Final = SYSTEM_REGISTERS["id_aa64mmfr1_el1"]
_UNDEFINED: Final = Class.UNKNOWN << 26 | IL
_STEP: Final = Class.STEP << 26 | IL | 0x22  # and ISV, EX (Arm ARM, D19.2.37, "software step")
_STEP_BITS: Final = (0, 1 << 24, 1 << 6, 1 << 24 | 1 << 6)
_TRAPPED_WFI: Final = Class.WFX << 26 | IL | 1 << 24 | 0b1110 << 20  # CV, COND: always (Arm ARM, D19.2.37)


class Dispatcher:
    """Owns the exception hook of one CPU, and the request to stop that a claimant may make."""

    def __init__(self, cpu: Cpu) -> None:
        self._cpu = cpu
        self._claims: dict[int, list[Claim]] = {}  # by syndrome: exception class and immediate
        self._faults: list[FaultClaim] = []
        self.pan = bool(cpu.system(_ID_AA64MMFR1) >> 20 & 15)
        self.stop: Stop | None = None
        self.resume: Resume | None = None
        self.handler_daif = 0  # PSTATE.DAIF of the handler of the exception being handled; a guest call may change it
        self.hypercall = False  # the exception being handled is one, at which nothing is masked
        self.end_slice = False  # start a new slice: a nested run has used up the engine's counter, or at a breakpoint
        cpu.engine.hook_add(unicorn.UC_HOOK_INTR, self._raised)

    def claim_brk(self, immediate: int, claim: Claim) -> None:
        """Offer BRK #immediate to `claim` first. The frame's PC is the BRK's address; True means handled."""
        self._claims.setdefault(Class.BRK << 26 | IL | immediate, []).append(claim)

    def claim_hvc(self, immediate: int, claim: Claim) -> None:
        """Offer HVC #immediate to `claim`. The frame's PC is the instruction after the HVC; True means handled."""
        self._claims.setdefault(Class.HVC << 26 | IL | immediate, []).append(claim)

    def claim_step(self, claim: Claim) -> None:
        """Offer software step exceptions at EL1 to `claim`. The frame's PC is the instruction to be executed next."""
        for bits in _STEP_BITS:
            self._claims.setdefault(_STEP | bits, []).append(claim)

    def claim_trapped_wfi(self, claim: Claim) -> None:
        """Offer WFI at EL0 where EL1 has it trapped (SCTLR_EL1.nTWI is 0). The frame's PC is the WFI's address."""
        self._claims.setdefault(_TRAPPED_WFI, []).append(claim)

    def claim_fault(self, claim: FaultClaim) -> None:
        """Offer aborts and undefined instructions at EL1 to `claim`: (frame, kind, syndrome, fault address)."""
        self._faults.append(claim)

    def request_stop(self, stop: Stop, resume: Resume | None = None) -> None:
        """End the run after the current exception is handled.

        `resume` is given the frame before the next run begins; it may ask again for the run after that. It returns True
        if code of the machine's own is to run first, which is not part of the guest's next instruction.
        """
        self.stop, self.resume = stop, resume or self.resume

    def deliver(self, frame: Frame, syndrome: int, fault_address: int = 0) -> None:
        """Make the frame enter EL1's vector for a synchronous exception."""
        vector = frame.system(frame.layout.vbar_el1)
        if syndrome >> 26 == Class.PREFETCH_ABORT and frame.pc & ~0x7FF == vector and not frame.pc & 0x7F:
            self.request_stop(Stop(StopReason.LOCKUP, frame.pc))
            return
        if enter(frame, SYNCHRONOUS, syndrome, fault_address, self.pan):
            frame.store()
            self._cpu.refresh()
            frame.load()

    def _raised(self, engine: unicorn.Uc, number: int, _: object) -> None:
        cpu, frame = self._cpu, self._cpu.frame
        engine.context_update(frame.context)
        syndrome = frame.syndrome
        cpu.held = True
        self.hypercall = number == Raised.HVC
        # A hypercall leaves the guest's PSTATE alone; an exception to EL1 masks everything (Arm ARM, D1.3.1).
        self.handler_daif = frame.daif if self.hypercall else DAIF
        try:
            for claim in self._claims.get(syndrome, ()):
                if claim(frame):
                    break
            else:
                self._guest_takes(frame, number, syndrome)
        finally:
            cpu.held = False
        engine.context_restore(frame.context)
        if self.stop is not None or self.end_slice:
            engine.emu_stop()

    def _guest_takes(self, frame: Frame, number: int, syndrome: int) -> None:
        fault_address = frame.fault_address
        if number in (Raised.HVC, Raised.SMC):  # neither EL2 nor EL3 is there: the instruction is undefined
            frame.pc -= 4
            syndrome = _UNDEFINED
        elif frame.el == 1 and number in (Raised.UNDEFINED, Raised.PREFETCH_ABORT, Raised.DATA_ABORT):
            for claim in self._faults:
                if claim(frame, Raised(number), syndrome, fault_address):
                    return
        self.deliver(frame, syndrome, fault_address)
