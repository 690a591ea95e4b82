# SPDX-License-Identifier: GPL-2.0-or-later
"""The state of a core: its registers by name, as stored in a snapshot file.

A copy of the engine's own CPU context would be shorter, but valid for one build of the engine only. These names and
values come from the architecture, so they can be checked, and written to any build.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from armprobe.machine.field_checks import integer, misfit
from armprobe.machine.memory.bus import Ram
from armprobe.machine.state import Entry, Order

from .pstate import DAIF, EL1H
from .registers import Registers
from .sysregs import SYSTEM_REGISTERS, Encoding

if TYPE_CHECKING:
    from .core import Core

_GENERAL: Final = (*(f"x{i}" for i in range(31)), "sp", "pc", "pstate")
_VECTORS: Final = tuple(f"v{i}" for i in range(32))
_BANKED: Final = ("sp_el0", "sp_el1")
_EXCLUSIVE: Final = ("exclusive_address", "exclusive_value", "exclusive_value_high")
"""The local exclusive monitor (Arm ARM, B2.9): the address that LDXR marked, and the values that it read there."""

# Those of SYSTEM_REGISTERS that a guest can change; the rest identify the CPU.
_NAMED: Final = (
    "sctlr_el1", "cpacr_el1", "ttbr0_el1", "ttbr1_el1", "tcr_el1", "spsr_el1", "elr_el1", "esr_el1", "far_el1",
    "par_el1", "mair_el1", "vbar_el1", "contextidr_el1", "tpidr_el0", "tpidrro_el0", "tpidr_el1", "cntkctl_el1",
    "cntfrq_el0", "csselr_el1", "mdscr_el1", "oslsr_el1",
)  # fmt: skip

# Other registers that a guest can change (Arm ARM, D19.3). The machine has its own performance monitors.
_OTHERS: Final = {
    **{f"dbgbvr{number}_el1": Encoding(2, 0, 0, number, 4) for number in range(6)},
    **{f"dbgbcr{number}_el1": Encoding(2, 0, 0, number, 5) for number in range(6)},
    **{f"dbgwvr{number}_el1": Encoding(2, 0, 0, number, 6) for number in range(4)},
    **{f"dbgwcr{number}_el1": Encoding(2, 0, 0, number, 7) for number in range(4)},
}
_MAX_ONLY: Final = {  # of the CPU "max": keys of pointer authentication, and the length of SVE vectors
    **{
        f"{key}key{half}_el1": Encoding(3, 0, 2, crm, op2)
        for crm, first, keys in ((1, 0, ("apia", "apib")), (2, 0, ("apda", "apdb")), (3, 0, ("apga",)))
        for number, key in enumerate(keys)
        for half, op2 in (("lo", first + 2 * number), ("hi", first + 2 * number + 1))
    },
    "zcr_el1": Encoding(3, 0, 1, 2, 0),
}


# An MSR to its control register arms or disarms each.
_DEBUG: Final = tuple(name for name in _OTHERS if name.startswith("dbg"))
_DEBUG_CONTROL: Final = tuple(name for name in _DEBUG if "cr" in name)


def _system_registers(model: str) -> dict[str, Encoding]:
    return {name: SYSTEM_REGISTERS[name] for name in _NAMED} | _OTHERS | (_MAX_ONLY if model == "max" else {})


class CoreState:
    """The registers of one core as part of the state: by name in files, otherwise in the engine's form."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._armed: dict[str, int] = {}  # the guest's breakpoints active in the engine, while a state is restored
        self.entry = Entry(
            Order.CORE,
            self._save,
            self._restore,
            self._misfit,
            file_form=(lambda: read(core), self._restore_named),
            restored=self._restored,
        )

    def _save(self) -> bytes:
        self._core.refuse_other_threads()
        self._core.context.load()
        return self._core.context.save()

    def _restore(self, saved: bytes) -> None:
        core = self._core
        self._armed = breakpoints(core)
        core.context.restore(saved)
        core.context.store()

    def _restore_named(self, values: dict[str, int]) -> None:
        self._armed = breakpoints(self._core)
        write(self._core, values)

    def _misfit(self, values: Any) -> str:
        fields = {name: integer(1 << bits) for name, bits in widths(self._core.model).items()}
        if wrong := misfit(values, fields):
            return wrong
        return "" if values["pstate"] & 0x1F in (0, 4, 5) else "pstate"  # AArch64 at EL0t, EL1t, EL1h

    def _restored(self) -> None:
        """Have the engine drop what it has derived from the previous registers. Who replaces memory drops the code."""
        core = self._core
        core.changes += 1
        core.refresh()
        core.forget_addresses()
        arm_breakpoints(core, core.machine.scratch.ram, self._armed)


def widths(model: str) -> dict[str, int]:
    """The width in bits of each register of the CPU `model` that `read` returns and `write` takes."""
    wide = dict.fromkeys((*_GENERAL, *_BANKED, *_EXCLUSIVE, *_system_registers(model)), 64)
    return wide | dict.fromkeys(_VECTORS, 128) | {"pstate": 32, "fpsr": 32, "fpcr": 32}


def read(core: Core) -> dict[str, int]:
    """The registers of a core by name, those of `widths`."""
    registers, context = Registers(core), core.load()
    values = {name: registers[name] for name in (*_GENERAL, *_BANKED, *_VECTORS, "fpsr", "fpcr")}
    values |= zip(_EXCLUSIVE, context.exclusive, strict=True)
    return values | {name: core.system(encoding) for name, encoding in _system_registers(core.model).items()}


def write(core: Core, values: dict[str, int]) -> None:
    """Write what `read` returned. Each value must fit its width, and PSTATE must be one of AArch64."""
    for name, encoding in _system_registers(core.model).items():
        core.set_system(encoding, values[name])
    registers = Registers(core)
    for name in (*_VECTORS, "fpsr", "fpcr"):
        registers.put(name, values[name])
    context = core.load()
    for number, name in enumerate((*_GENERAL[:31], "sp", "pc")):
        context.x[number] = values[name]
    for name, offset in zip(_BANKED, (context.layout.sp_el0, context.layout.sp_el1), strict=True):
        context.set_system(offset, values[name])
    context.exclusive = (values[_EXCLUSIVE[0]], values[_EXCLUSIVE[1]], values[_EXCLUSIVE[2]])
    context.pstate = values["pstate"]
    core.store()
    core.refresh()


def breakpoints(core: Core) -> dict[str, int]:
    """The registers of the guest's own breakpoints and watchpoints."""
    return {name: core.system(_OTHERS[name]) for name in _DEBUG}


def arm_breakpoints(core: Core, ram: Ram, armed: dict[str, int]) -> None:
    """Make the engine act on the guest's present breakpoints instead of those in `armed`.

    The engine arms a breakpoint only when an MSR is executed. So this executes MSRs at the start of `ram`, and then
    restores that memory and the registers.
    """
    now = breakpoints(core)
    changed = [name for name in _DEBUG_CONTROL if any(now[each] != armed[each] for each in (name, _value_of(name)))]
    if not changed:
        return
    code = b"".join(_msr(_OTHERS[name], number).to_bytes(4, "little") for number, name in enumerate(changed))
    context = core.load()
    registers, memory = context.save(), bytes(ram.data[: len(code)])
    ram.data[: len(code)] = code
    for number, name in enumerate(changed):
        context.x[number] = now[name]
    for offset in (context.layout.sctlr_el1, context.layout.mdscr_el1):  # no MMU, no debug exceptions
        context.set_system(offset, 0)
    context.pc, context.pstate = ram.base, DAIF | EL1H
    _resume(core)
    with core.native.unfollowed():
        core.run(ram.base, len(changed))
    ram.data[: len(code)] = memory
    context.restore(registers)
    _resume(core)


def _resume(core: Core) -> None:
    core.context.store()
    core.refresh()
    core.forget_translations()


def _value_of(control: str) -> str:
    return control.replace("cr", "vr")


def _msr(register: Encoding, source: int) -> int:
    """MSR of x`source` to a system register (Arm ARM, C6.2)."""
    return (
        0xD500_0000 | register.op0 << 19 | register.op1 << 16 | register.crn << 12 | register.crm << 8
        | register.op2 << 5 | source
    )  # fmt: skip
