# SPDX-License-Identifier: GPL-2.0-or-later
"""The machine's own memory, at kernel addresses that the guest does not use.

Its physical pages lie outside the RAM that the guest may use. When the guest's MMU is on, an unused entry of the
top-level table that TTBR1_EL1 points to maps them, through tables stored in those pages themselves. No kernel allocates
from a region it has no entry for.

A kernel may walk all of its tables (Linux does at the end of its boot, in ptdump_check_wx()). So the entry is in the
guest's memory only while the engine reads it: see `own_show` in native/own_code.c.
"""

from __future__ import annotations

import ctypes
import enum
import re
from typing import TYPE_CHECKING, Any, Final

from armprobe.machine.board import SCRATCH_BASE as BASE
from armprobe.machine.board import SCRATCH_SIZE as SIZE  # one level 2 block
from armprobe.machine.errors import MachineError
from armprobe.machine.field_checks import U64, Check, integer, misfit, optional, row, several
from armprobe.machine.state import Entry, Order, Values

from .bus import Backing, new_memory
from .mmu import PAGE, SCTLR_M, table_root

if TYPE_CHECKING:
    from armprobe.machine.machine import Machine

_TABLES: Final = 2 * PAGE
_MOST_PIECES: Final = SIZE // 4  # of adopted code, in a file
_VALID_TABLE, _VALID_BLOCK = 3, 1
_ATTRIBUTES: Final = 0x71C  # AttrIndx, SH, AF: copied from the guest's own mapping of its code
_READ_ONLY: Final = 1 << 7
_NOT_EXECUTABLE_AT_EL0: Final = 1 << 54
_ROLE: Final = re.compile(rb"[^\0]")
_NOTHING: Final = (ctypes.c_uint8 * 0)()


class Role(enum.IntEnum):
    """What a word in the machine's own memory is; `enum role` of native/core.h."""

    NONE = 0  # data, or code that counts as the guest's
    STANDS = 1  # an instruction that is executed in place of one of the guest's, and counts as that
    EXTRA = 2  # an instruction that the guest has not: it does not count


class Scratch:
    """Allocates pieces of the machine's own memory, at virtual addresses while the guest's MMU is on."""

    def __init__(self, machine: Machine, pages: Backing | None = None) -> None:
        self._machine = machine
        self.ram = machine.bus.add_ram("scratch", BASE, pages or new_memory(SIZE))
        self.base: int | None = None  # address of the first page, once there is one
        self._entry = 0, 0  # offset in the table that TTBR1_EL1 points to, and descriptor; 0 while the MMU is off
        self._next = _TABLES
        self._end = SIZE  # of what `allocate` gives out; what is reserved is behind it
        self._index: int | None = None  # of the entry in the top-level table that was chosen first
        self._free: dict[int, list[int]] = {}
        self._adopted: set[int] = set()
        self._roles = (ctypes.c_uint8 * (SIZE // 4))()  # a `Role` per word
        machine.state.add("scratch", Entry(Order.MEMORY, self._save, self._restore, _misfit))

    def __contains__(self, address: int) -> bool:
        return self._offset(address) is not None or address & ~3 in self._adopted

    def adopt(self, address: int, size: int) -> None:
        """Treat `size` bytes of the guest's own memory as code that is executed out of line.

        The even words of each piece stand for instructions of the guest's.
        """
        self._adopted.update(range(address, address + size, 4))
        self._tell()

    def physical(self, address: int) -> int | None:
        """The physical address of virtual `address` in the machine's own memory; None outside it."""
        offset = self._offset(address)
        return None if offset is None else BASE + offset

    def _offset(self, address: int) -> int | None:
        offset = None if self.base is None else address - self.base
        return offset if offset is not None and 0 <= offset < SIZE else None

    def is_extra(self, address: int) -> bool:
        """Whether the instruction at `address` is one that the guest has not."""
        base = self.base
        return base is not None and 0 <= address - base < SIZE and self._roles[(address - base) // 4] == Role.EXTRA

    def write_code(self, address: int, code: bytes, *roles: Role) -> None:
        """Write instructions that the guest executes beside its own. `roles` are those of the first ones."""
        assert self.base is not None
        first, words = (address - self.base) // 4, len(code) // 4
        self._roles[first : first + words] = [*roles, *[Role.EXTRA] * (words - len(roles))]
        self.write(address, code)

    def _tell(self) -> None:
        """Tell the cores where the machine's own code is."""
        for core in self._machine.cores:
            core.native.use_own(
                self.base or 0,
                self._roles if self.base is not None else _NOTHING,
                sorted(self._adopted),
                self._entry,
            )

    def reserve(self, size: int) -> int:
        """Set `size` bytes aside for code whose address the guest keeps, on its stacks for example.

        Their place is no part of the state, so that they are at the same address again when the machine has gone back
        to before there was the code. Returns the offset, for `reserved`.
        """
        self._end = (self._end - size) & ~7
        return self._end

    def reserved(self, offset: int) -> int:
        """The address of what was reserved. Raises MachineError when the guest's tables leave no place to map it."""
        return self._mapped() + offset

    def _mapped(self) -> int:
        if self.base is None:
            self.base = self._map()
            self._tell()
        return self.base

    def allocate(self, size: int, align: int = 8) -> int:
        """The address of `size` bytes, readable and executable by EL1 and writable only by the machine.

        Raises MachineError when none are left or the guest's tables leave no place to map them.
        """
        base = self._mapped()
        freed = self._free.get(size)
        if freed:
            freed.sort(reverse=True)  # reuse the lowest free piece, as the kernel does with its slots
            return freed.pop()
        start = -(-self._next // align) * align
        if start + size > self._end:
            raise MachineError(f"the {SIZE >> 20} MiB for out-of-line code are used up: remove some probes")
        self._next = start + size
        return base + start

    def free(self, address: int, size: int) -> None:
        """Free a piece that `allocate(size)` returned."""
        offset = self._offset(address)
        if offset is not None:
            first, words = offset // 4, -(-size // 4)
            self._roles[first : first + words] = [0] * words
        self._free.setdefault(size, []).append(address)

    def write(self, address: int, data: bytes) -> None:
        """Write `data` at `address`, in a piece that `allocate` returned."""
        assert self.base is not None
        offset = address - self.base
        self.ram.data[offset : offset + len(data)] = data
        self._machine.core.forget_physical(BASE + offset, len(data))

    def enter(self, address: int, data: bytes) -> None:
        """Have `data` in a piece again that `allocate` returned for it before the machine went back."""
        base = self._mapped()
        if not base <= address <= base + self._end - len(data):
            raise MachineError(f"{address:#x} is not in the machine's own memory: its history is damaged")
        self._next = max(self._next, -(-(address - base + len(data)) // 8) * 8)
        for places in self._free.values():
            if address in places:
                places.remove(address)
        self.write(address, data)

    def _map(self) -> int:
        machine = self._machine
        registers = machine.core.translation_registers()
        if not registers.sctlr & SCTLR_M:
            return BASE
        try:
            root, level, bits = table_root(registers, upper=True)
            # As the guest maps its vectors, or the code that it executes before it has any: executable normal memory.
            code = machine.registers["vbar_el1"] or machine.registers["pc"]
            descriptor = machine.memory.translate(code).descriptor
        except (ValueError, MachineError) as error:
            raise MachineError(f"the guest's kernel address space cannot be extended yet: {error}") from None
        shift = 12 + 9 * (3 - level)
        entries = 1 << bits - shift
        used = [bool(machine.bus.read_u64(root + i * 8)) for i in range(entries)]
        # The entry furthest from any in use: kernels grow regions from their present ends.
        distance = {
            i: min((abs(i - j) for j in range(entries) if used[j]), default=entries)
            for i in range(entries)
            if not used[i]
        }
        if not distance:
            raise MachineError("the guest's top-level kernel page table has no unused entry to map code out of line")
        if self._index not in distance:
            self._index = max(distance, key=lambda i: distance[i])
        index = self._index
        # Top-level entry -> (level 1 table ->) level 2 table -> the block; entry 0 of each table is used.
        tables = [BASE + i * PAGE for i in range(2 - level)]
        attributes = descriptor & _ATTRIBUTES | _READ_ONLY | _NOT_EXECUTABLE_AT_EL0
        for table, target in zip(tables, [*tables[1:], None], strict=True):
            value = BASE | attributes | _VALID_BLOCK if target is None else target | _VALID_TABLE
            offset = table - BASE
            self.ram.data[offset : offset + 8] = value.to_bytes(8, "little")
        self._entry = index * 8, tables[0] | _VALID_TABLE
        return (1 << 64) - (1 << bits) + (index << shift)

    def _save(self) -> Values:
        return {
            "base": self.base,
            "entry": list(self._entry),
            "next": self._next,
            "free": {str(size): list(places) for size, places in self._free.items()},
            "adopted": sorted(self._adopted),
            "roles": self._some_roles(0, self._next // 4) + self._some_roles(self._end // 4, SIZE // 4),
        }

    def _some_roles(self, first: int, end: int) -> list[list[int]]:
        """The words from `first` to `end` that have a role, and those."""
        roles = memoryview(self._roles)[first:end].tobytes()
        return [[first + found.start(), found[0][0]] for found in _ROLE.finditer(roles)]

    def _restore(self, saved: Values) -> None:
        self.base, self._next, self._adopted = saved["base"], saved["next"], set(saved["adopted"])
        self._entry = saved["entry"][0], saved["entry"][1]
        if self._entry[1]:
            self._index = self._entry[0] // 8
        self._free = {int(size): list(places) for size, places in saved["free"].items()}
        ctypes.memset(self._roles, Role.NONE, self._end // 4)  # what is reserved keeps its roles
        for word, role in saved["roles"]:
            self._roles[word] = role
        self._tell()


def _misfit(saved: Any) -> str:
    """The first field that is not valid in a file. `free` holds the addresses of pieces by their size, in decimal."""
    fields: dict[str, Check] = {
        "base": optional(integer(U64 - SIZE)),
        "entry": row(integer(PAGE), integer(U64)),
        "next": integer(SIZE + 1),
        "free": lambda free: isinstance(free, dict) and all(size.isdecimal() and len(size) <= 7 for size in free),
        "adopted": several(integer(U64), _MOST_PIECES),
        "roles": several(row(integer(SIZE // 4), integer(len(Role))), SIZE // 4),
    }
    if wrong := misfit(saved, fields):
        return wrong
    base = saved["base"] or 0
    within = all(
        isinstance(places, list) and all(type(at) is int and base <= at <= base + SIZE - int(size) for at in places)
        for size, places in saved["free"].items()
    )
    return "" if within else "free"
