# SPDX-License-Identifier: GPL-2.0-or-later
"""The registers as GDB sees them: one table, from which target.xml, the `g` packet and register numbers all follow.

GDB manual, "AArch64 Features" (which registers, their order and sizes) and "Target Description Format".
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

CORE = "org.gnu.gdb.aarch64.core"
FPU = "org.gnu.gdb.aarch64.fpu"
SYSTEM = "org.armprobe.aarch64.system"  # a name of our own: GDB shows any feature, and standardizes none for these

PC = 32
"""The number of pc."""
EXPEDITED = ("x29", "sp", "pc", "cpsr", "x0", "x30")  # with these GDB unwinds one frame and needs no `g` for a stepi


@dataclass(frozen=True)
class Register:
    """One register: `bits` wide, of a type that target.xml defines or GDB predefines."""

    name: str
    bits: int
    feature: str
    type: str
    group: str = ""

    @property
    def size(self) -> int:
        """Bytes it takes in a packet."""
        return self.bits // 8


GENERAL = (
    *(Register(f"x{n}", 64, CORE, "int") for n in range(31)),
    Register("sp", 64, CORE, "data_ptr"),
    Register("pc", 64, CORE, "code_ptr"),
    Register("cpsr", 32, CORE, "cpsr_flags"),
    *(Register(f"v{n}", 128, FPU, "aarch64v") for n in range(32)),
    Register("fpsr", 32, FPU, "int", "float"),
    Register("fpcr", 32, FPU, "int", "float"),
)
"""What `g` holds, in its order."""


class RegisterTable:
    """`GENERAL` and after it a machine's system registers; a register's number is its place."""

    def __init__(self, system_registers: Iterable[tuple[str, int]]) -> None:
        system = (Register(name, bits, SYSTEM, f"uint{bits}", "system") for name, bits in system_registers)
        self.registers = (*GENERAL, *system)
        numbers = {register.name: number for number, register in enumerate(self.registers)}
        self.expedited = [(numbers[name], self.registers[numbers[name]]) for name in EXPEDITED]

    @cached_property
    def target_xml(self) -> str:
        """The target description, whole: LLDB follows no xi:include."""
        features = "".join(self._feature(name, types) for name, types in _TYPES.items())
        return (
            '<?xml version="1.0"?>\n<!DOCTYPE target SYSTEM "gdb-target.dtd">\n'
            f'<target version="1.0">\n<architecture>aarch64</architecture>\n{features}</target>\n'
        )

    def _feature(self, feature: str, types: str) -> str:
        members = [(number, r) for number, r in enumerate(self.registers) if r.feature == feature]
        if not members:
            return ""
        lines = "".join(f"{_element(number, register)}\n" for number, register in members)
        return f'<feature name="{feature}">\n{types}{lines}</feature>\n'


def _element(number: int, register: Register) -> str:
    group = f' group="{register.group}"' if register.group else ""
    # Outside `g`; saving these around a call of a guest function would undo what the call did to the machine.
    saved = ' save-restore="no"' if register.feature == SYSTEM else ""
    shape = f'bitsize="{register.bits}" type="{register.type}"'
    return f'<reg name="{register.name}" {shape} regnum="{number}"{group}{saved}/>'


def pack(registers: Sequence[Register], values: Sequence[int]) -> bytes:
    """The values as a packet holds them: each little-endian, one after the other."""
    return b"".join(value.to_bytes(register.size, "little") for register, value in zip(registers, values, strict=True))


# Arm ARM, C5.2.18 (SPSR_EL1): the fields for AArch64 state as (name, lowest bit, highest bit).
_CPSR_FIELDS = (
    *(("SP", 0, 0), ("EL", 2, 3), ("nRW", 4, 4), ("F", 6, 6), ("I", 7, 7), ("A", 8, 8), ("D", 9, 9), ("BTYPE", 10, 11)),
    *(("SSBS", 12, 12), ("IL", 20, 20), ("SS", 21, 21), ("PAN", 22, 22), ("UAO", 23, 23), ("DIT", 24, 24)),
    *(("TCO", 25, 25), ("V", 28, 28), ("C", 29, 29), ("Z", 30, 30), ("N", 31, 31)),
)

# A vector register as GDB's users know it, $v0.d.u[1]: by the name of the lane, the types of its readings.
_LANES = {
    "d": (64, {"f": "ieee_double", "u": "uint64", "s": "int64"}),
    "s": (32, {"f": "ieee_single", "u": "uint32", "s": "int32"}),
    "h": (16, {"f": "ieee_half", "u": "uint16", "s": "int16"}),
    "b": (8, {"u": "uint8", "s": "int8"}),
    "q": (128, {"u": "uint128", "s": "int128"}),
}


def _cpsr_type() -> str:
    fields = "".join(f'<field name="{name}" start="{low}" end="{high}"/>\n' for name, low, high in _CPSR_FIELDS)
    return f'<flags id="cpsr_flags" size="4">\n{fields}</flags>\n'


def _vector_type() -> str:
    vectors, unions, whole = "", "", ""
    for lane, (bits, readings) in _LANES.items():
        fields = ""
        for reading, element in readings.items():
            vectors += f'<vector id="v{lane}{reading}" type="{element}" count="{128 // bits}"/>\n'
            fields += f'<field name="{reading}" type="v{lane}{reading}"/>\n'
        unions += f'<union id="v{lane}">\n{fields}</union>\n'
        whole += f'<field name="{lane}" type="v{lane}"/>\n'
    return f'{vectors}{unions}<union id="aarch64v">\n{whole}</union>\n'


_TYPES = {CORE: _cpsr_type(), FPU: _vector_type(), SYSTEM: ""}  # the features, and the types each defines for itself
