# SPDX-License-Identifier: GPL-2.0-or-later
"""Dispatch of exceptions: to the claims for their kind first, then to the guest's own vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from armprobe.machine.stop import Stop, StopReason

from .context import Context
from .exceptions import IL, Class, Raised, enter
from .pstate import DAIF
from .sysregs import SYSTEM_REGISTERS

if TYPE_CHECKING:
    from .core import Core

Claim = Callable[["Core"], bool]
FaultClaim = Callable[["Core", Raised, int, int], bool]
Resume = Callable[["Core"], None]
_ID_AA64MMFR1: Final = SYSTEM_REGISTERS["id_aa64mmfr1_el1"]
_HVC: Final = int(Raised.HVC)  # a constant, for speed: it is compared at each exception
_UNDEFINED: Final = Class.UNKNOWN << 26 | IL
_STEP: Final = Class.STEP << 26 | IL | 0x22  # and ISV, EX (Arm ARM, D19.2.37, "software step")
_STEP_BITS: Final = (0, 1 << 24, 1 << 6, 1 << 24 | 1 << 6)
_VECTORS: Final = range(0, 0x800, 0x80)  # from VBAR_EL1, whose lowest bits a debugger may have changed
# What the C core does after `_raised` (`enum after` of core.h); _LOOK: end the run if that was asked for
_LOOK, _END, _GO_ON = 0, 1, 2
MANY: Final = 1000  # exceptions in a row; a guest that takes more does little else
_WFI: Final = Class.WFX << 26 | IL | 0x1E << 20  # CV, COND always, TI 0: Arm ARM, ESR_EL1, ISS of a trapped WF*


class Dispatcher:
    """Owns the exception hook of one core, and the request to stop that a claim may make."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._claims: dict[int, list[Claim]] = {}  # by syndrome: exception class and immediate
        self._faults: list[FaultClaim] = []
        self._fetches: list[FaultClaim] = []
        self.pan = bool(core.system(_ID_AA64MMFR1) >> 20 & 15)
        self.stop: Stop | None = None
        self.resume: Resume | None = None
        self.handler_daif = 0  # PSTATE.DAIF of the handler of the exception being handled; a guest call may change it
        self.hypercall = False  # the exception being handled is a hypercall, which masks nothing
        self.delivered = False  # the slice ended with an exception that the guest takes: it is at its vector
        self.passed = 0  # exceptions that the guest has taken since `interrupting` was set
        self._refresh = False
        self._uncounted = -1  # the syndrome of BRKs that do not count
        self._native = core.native
        self._state = core.native.state
        self._slot_left: Callable[[int, int], None] = _ignore
        self._handler_left: Callable[[int], None] = _ignore
        self._native.connect(self._raised, self.pan)

    @property
    def end_slice(self) -> bool:
        """The scheduler has something to do: the slice ends at the next exception."""
        return self._state.ends

    @end_slice.setter
    def end_slice(self, ends: bool) -> None:
        self._state.ends = ends

    @property
    def interrupting(self) -> bool:
        """A stop is wanted soon, but not at the vector of an exception."""
        return self._state.interrupting

    @interrupting.setter
    def interrupting(self, wanted: bool) -> None:
        self._state.interrupting = wanted

    def claim_brk(self, immediate: int, claim: Claim, counts: bool = True) -> None:
        """Offer BRK #immediate to `claim` first. The core's PC is the BRK's address; True means handled.

        With `counts` False, for one immediate only, a BRK that is handled stands in front of an instruction, and is
        none of the guest's.
        """
        syndrome = Class.BRK << 26 | IL | immediate
        self._claims.setdefault(syndrome, []).append(claim)
        if not counts:
            self._uncounted = syndrome
            self._native.do_not_count(syndrome)

    def claim_hvc(self, immediate: int, claim: Claim) -> None:
        """Offer HVC #immediate to `claim`. The core's PC is the instruction after the HVC; True means handled."""
        self._claims.setdefault(Class.HVC << 26 | IL | immediate, []).append(claim)

    def claim_step(self, claim: Claim) -> None:
        """Offer software step exceptions at EL1 to `claim`. The core's PC is the instruction to be executed next."""
        for bits in _STEP_BITS:
            self._claims.setdefault(_STEP | bits, []).append(claim)

    def claim_wfi(self, claim: Claim) -> None:
        """Offer each WFI that does not complete at once to `claim`. The core's PC is the WFI's address."""
        self._claims.setdefault(_WFI, []).append(claim)

    def claim_fault(self, claim: FaultClaim) -> None:
        """Offer aborts and undefined instructions at EL1 to `claim`: (core, kind, syndrome, fault address)."""
        self._faults.append(claim)
        self._native.claim_faults()

    def claim_fetch(self, claim: FaultClaim) -> None:
        """Offer prefetch aborts to `claim`, those at EL0 too: (core, kind, syndrome, fault address)."""
        self._fetches.append(claim)

    def request_stop(self, stop: Stop, resume: Resume | None = None) -> None:
        """End the run after the current exception is handled.

        `resume` is given the core before the next run begins; it may ask again for the run after.
        """
        self.leave_handler()
        self.stop, self.resume = stop, resume or self.resume

    def claim_slots(self, left: Callable[[int, int], None]) -> None:
        """Have `left` called when something comes before the end of an instruction that C executes in a slot.

        It is given the address of the `NativeSlot`, and PSTATE.DAIF from before the instruction. The BRK behind the
        instruction is offered to its claim then.
        """
        self._slot_left = left

    def claim_handlers(self, left: Callable[[int], None]) -> None:
        """Have `left` called when something asks about the hit whose handler C has called, with the `Action`'s address.

        Without that, Python knows nothing of such a hit.
        """
        self._handler_left = left

    def execute_in_slot(self, slot: int) -> None:
        """After this exception, have C execute the instruction of the `NativeSlot` at that address. For claims.

        The guest goes on behind it, and Python is not told.
        """
        self._state.slot = slot

    def leave_slot(self) -> None:
        """Have Python see to the end of the instruction that is being executed in a slot, if there is one."""
        state = self._state
        if slot := state.slot_left or state.slot_running:
            state.slot_running = state.slot_left = 0
            self._slot_left(slot, state.slot_daif)

    def leave_handler(self) -> None:
        """Have Python see to the hit whose handler C has called, if one is running."""
        state = self._state
        if action := state.handler:
            state.handler = 0
            self._handler_left(action)

    def leave_hit(self) -> None:
        """Have Python see to the hit that C handles, if there is one: `leave_slot` and `leave_handler`."""
        self.leave_slot()
        self.leave_handler()

    def deliver(self, syndrome: int, fault_address: int = 0) -> None:
        """Make the context enter EL1's vector for a synchronous exception. Outside a claim, `commit` it afterwards."""
        context = self._core.context
        vector = context.system(context.layout.vbar_el1)
        if syndrome >> 26 in (Class.PREFETCH_ABORT, Class.PC_ALIGNMENT) and context.pc - vector in _VECTORS:
            self.request_stop(Stop(StopReason.LOCKUP, context.pc))
        elif enter(context, syndrome, fault_address, self.pan):
            self._refresh = True

    def forget_flags(self) -> None:
        """Have the engine recompute its cached flags of PSTATE and the system registers at the exception's end."""
        self._refresh = True

    def take_interrupt(self, context: Context, fiq: bool = False) -> None:
        """Make the core enter EL1's vector for an interrupt. The context is loaded."""
        if enter(context, None, pan=self.pan, fiq=fiq):
            self._refresh = True
        self.commit()

    def commit(self) -> None:
        """Store the context, and have the engine recompute its cached flags if they have changed."""
        self._core.context.store()
        if self._refresh:
            self._refresh = False
            self._core.refresh()

    def _raised(self, number: int, syndrome: int) -> int:
        """Handle an exception: called by the C core, which has loaded the context and stores it."""
        core = self._core
        if self._state.slot_left:
            self.leave_slot()
        # A hypercall leaves the guest's PSTATE alone; an exception to EL1 masks everything (Arm ARM, D1.3.1).
        if number == _HVC:
            self.hypercall, self.handler_daif = True, core.context.daif
        else:
            self.hypercall, self.handler_daif = False, DAIF
        delivered = False
        try:
            for claim in self._claims.get(syndrome, ()):
                if claim(core):
                    break
            else:
                delivered = self._guest_takes(core.context, number, syndrome)
        except BaseException as error:  # the caller is the engine; `Core.run` raises the error when the run ends
            core.fail(error)
            return _LOOK
        if not delivered:
            return self.after_claim()
        self._refresh_now()
        if self.stop is None and not self.end_slice and not (self.interrupting and not self._may_defer_stop(delivered)):
            return _GO_ON
        self.delivered = True
        return _END

    def after_claim(self) -> int:
        """What C does after an exception that was handled: `enum after`."""
        self._refresh_now()
        return _LOOK if self.stop is None else _END

    def _refresh_now(self) -> None:
        core = self._core
        if self._refresh:
            self._refresh = False
            core.context.store()
            core.refresh()
            core.context.load()  # a copy holds the flags, too, and is stored again

    def _may_defer_stop(self, delivered: bool) -> bool:
        """Whether to put off a wanted stop: after an exception that the guest takes, unless too many come in a row."""
        self.passed += delivered
        return delivered and self.passed < MANY

    @property
    def ends_soon(self) -> bool:
        """Whether the slice should end at the next instruction, for hooks that can end it."""
        return self.end_slice or self.interrupting

    def _guest_takes(self, context: Context, number: int, syndrome: int) -> bool:
        """Handle an exception that no claim for its syndrome has taken. Returns whether the guest gets it."""
        fault_address = context.fault_address
        if syndrome == self._uncounted:
            self._core.machine.clock.count_instruction()
        if number == Raised.HVC:  # there is no EL2: the instruction is undefined
            context.pc -= 4
            syndrome = _UNDEFINED
        elif syndrome >> 26 == Class.SYSTEM and self._core.register_access.trapped(context, syndrome):
            return False
        elif context.pc & 3:  # undefined to Unicorn; it cannot have been executed and raised another
            self.deliver(Class.PC_ALIGNMENT << 26 | IL, context.pc)
            return True
        claims: list[FaultClaim] = []
        if number == Raised.PREFETCH_ABORT:
            claims += self._fetches
        if context.el == 1 and number in (Raised.UNDEFINED, Raised.PREFETCH_ABORT, Raised.DATA_ABORT):
            claims += self._faults
        for claim in claims:
            if claim(self._core, Raised(number), syndrome, fault_address):
                return False
        self.deliver(syndrome, fault_address)
        return True


def _ignore(*_: int) -> None:
    """Nobody executes instructions in slots, or has handlers called by C."""
