# SPDX-License-Identifier: GPL-2.0-or-later
"""The registers as GDB sees them: one table, from which target.xml, the `g` packet and register numbers all follow.

GDB manual, "AArch64 Features" (which registers, their order and sizes) and "Target Description Format".
"""

from binascii import hexlify
from collections.abc import Sequence
from functools import cache, cached_property
from struct import Struct

from armprobe.machine.lazy_dataclass import lazy_dataclass

from .register_types import FIELDS, VECTORS, flags

CORE = "org.gnu.gdb.aarch64.core"
FPU = "org.gnu.gdb.aarch64.fpu"
SYSTEM = "org.armprobe.aarch64.system"  # a name of our own: GDB shows any feature, and standardizes none for these
QEMU = "org.armprobe.aarch64.qemu"  # the same registers under QEMU's names

ALIASES = {
    "SP_EL0": "sp_el0",
    "SP_EL1": "sp_el1",
    "ELR_EL1": "elr_el1",
    "SPSR_EL1": "spsr_el1",
    "ESR_EL1": "esr_el1",
    "FAR_EL1": "far_el1",
    "SCTLR": "sctlr_el1",
    "SCTLR_EL1": "sctlr_el1",
    "TCR_EL1": "tcr_el1",
    "TTBR0_EL1": "ttbr0_el1",
    "TTBR1_EL1": "ttbr1_el1",
    "MAIR_EL1": "mair_el1",
    "VBAR": "vbar_el1",
    "VBAR_EL1": "vbar_el1",
    "TPIDR_EL0": "tpidr_el0",
    "TPIDR_EL1": "tpidr_el1",
    "ID_AA64MMFR0_EL1": "id_aa64mmfr0_el1",
    "ID_AA64MMFR1_EL1": "id_aa64mmfr1_el1",
}
"""QEMU's names of system registers that scripts written for QEMU read, and the register that each one is.

Linux's scripts/gdb read SP_EL0 (linux/cpus.py), GEF and pwndbg the registers of translation and TPIDR_EL0, other
scripts in public repositories the rest. Some have SCTLR_EL1 and VBAR_EL1 where QEMU 7.2 has SCTLR and VBAR.
"""

PC = 32
"""The number of pc."""
EXPEDITED = ("x29", "sp", "pc", "cpsr", "x0", "x30")  # with these GDB unwinds one frame and needs no `g` for a stepi


@lazy_dataclass
class Register:
    """One register: `bits` wide, of a type that target.xml defines or GDB predefines."""

    name: str
    bits: int
    feature: str
    type: str
    group: str = ""
    alias_of: str = ""

    @cached_property
    def source(self) -> str:
        """The name by which the target knows it."""
        return self.alias_of or self.name

    @cached_property
    def size(self) -> int:
        """Bytes it takes in a packet."""
        return self.bits // 8


GENERAL = (
    *(Register(f"x{n}", 64, CORE, "int") for n in range(31)),
    Register("sp", 64, CORE, "data_ptr"),
    Register("pc", 64, CORE, "code_ptr"),
    Register("cpsr", 32, CORE, "cpsr"),
    *(Register(f"v{n}", 128, FPU, "aarch64v") for n in range(32)),
    Register("fpsr", 32, FPU, "fpsr", "float"),
    Register("fpcr", 32, FPU, "fpcr", "float"),
)
"""What `g` holds, in its order."""


class RegisterTable:
    """`GENERAL`, a machine's system registers and their aliases; a register's number is its place.

    GDB would take one number under two names; LLDB 23 crashes when it reads such a register.
    """

    def __init__(self, system_registers: Sequence[str]) -> None:
        system = (
            Register(name, 64, SYSTEM, name if name in FIELDS else "uint64", "system") for name in system_registers
        )
        aliases = (
            Register(alias, 64, QEMU, "uint64", "qemu", name)
            for alias, name in ALIASES.items()
            if name in system_registers
        )
        self.registers = (*GENERAL, *system, *aliases)
        self.sources = tuple(register.source for register in self.registers)
        """By number, the name by which the target knows each."""
        numbers = {register.name: number for number, register in enumerate(self.registers)}
        sizes = [self.registers[numbers[name]].size for name in EXPEDITED]
        self._packed = Struct("<" + "".join("Q" if size == 8 else "I" for size in sizes))
        self._digits = Struct("".join(f"{2 * size}s" for size in sizes))
        self._pairs = b"".join(b"%x:%%b;" % numbers[name] for name in EXPEDITED)

    def expedited(self, values: Sequence[int]) -> bytes:
        """The registers `EXPEDITED` as a stop reply holds them. At every step: `pack` takes three times as long."""
        return self._pairs % self._digits.unpack(hexlify(self._packed.pack(*values)))

    @cached_property
    def target_xml(self) -> str:
        """The target description, whole: LLDB follows no xi:include. Registers have their numbers by their order."""
        features = "".join(map(self._feature, (CORE, FPU, SYSTEM, QEMU)))
        return (
            '<?xml version="1.0"?>\n<!DOCTYPE target SYSTEM "gdb-target.dtd">\n'
            f'<target version="1.0">\n<architecture>aarch64</architecture>\n{features}</target>\n'
        )

    def _feature(self, feature: str) -> str:
        members = [register for register in self.registers if register.feature == feature]
        if not members:
            return ""
        types = VECTORS if feature == FPU else ""
        types += "".join(flags(r.name, r.size) for r in members if r.type == r.name)
        lines = "".join(f"{_element(register)}\n" for register in members)
        return f'<feature name="{feature}">\n{types}{lines}</feature>\n'


@cache
def register_table(system_registers: tuple[str, ...]) -> RegisterTable:
    """The table for these system registers, made once: a client waits for its target description when it attaches."""
    return RegisterTable(system_registers)


def _element(register: Register) -> str:
    group = f' group="{register.group}"' if register.group else ""
    # Outside `g`; saving these around a call of a guest function would undo what the call did to the machine.
    saved = ' save-restore="no"' if register.feature in (SYSTEM, QEMU) else ""
    shape = f'bitsize="{register.bits}" type="{register.type}"'
    return f'<reg name="{register.name}" {shape}{group}{saved}/>'


def pack(registers: Sequence[Register], values: Sequence[int]) -> bytes:
    """The values as a packet holds them, each little-endian. Bits beyond a register's width are dropped."""
    return b"".join(
        [
            (value & (1 << register.bits) - 1).to_bytes(register.size, "little")
            for register, value in zip(registers, values, strict=True)
        ]
    )
