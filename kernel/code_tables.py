# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's tables about its own code: where probes are forbidden, faults expected and branches patched."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from armprobe.kernel.code_references import addresses_formed
from armprobe.kernel.guest_call import call_uninterrupted
from armprobe.kernel.text import Text
from armprobe.machine import Machine, MachineError
from armprobe.machine.core.instruction_words import NOP

_HEAD_WITHIN: Final = 0x100  # bytes from an address that the code forms within which the head of the list is
_JUMP_ENTRY: Final = 16  # bytes: s32 code, s32 target, s64 key, each relative to itself (include/linux/jump_label.h)
# An exception table entry: s32 insn, s32 fixup, each relative to itself; since v5.17 also s16 type, s16 data (commit
# d6e2cc564775).
_EXCEPTION_ENTRIES: Final = (8, 12)
_B: Final = 0b000101  # bits 31 to 26
_LIST_LIMIT: Final = 100_000
_MODULE_STATE_GOING: Final = 2  # enum module_state, include/linux/module.h; the first field of struct module


class Area(NamedTuple):
    """Addresses that must not be probed, from `start` to `end`, which is not included, and their name."""

    start: int
    end: int
    name: str

    def covers(self, other: Area) -> bool:
        """Whether all of `other` is in it."""
        return self.start <= other.start and other.end <= self.end


class CodeTables:
    """The tables of one machine's guest; an absent table is empty."""

    def __init__(self, machine: Machine, text: Text) -> None:
        self._machine = machine
        self._symbols = machine.symbols
        self._text = text
        self._list: tuple[int, bytes, list[Area]] | None = None  # the address and content of its head, and its areas
        self._cache: dict[str, frozenset[int]] = {}

    @property
    def makes_blacklist(self) -> bool:
        """Whether the kernel makes a list of the areas without probes, and may free the tables that it is made from."""
        return any(self._symbols.in_kernel(name) for name in ("kprobe_blacklist", "within_kprobe_blacklist"))

    def kprobe_blacklist(self) -> list[Area] | None:
        """The kernel's own list of that name; None if it has none, and before init_kprobes() has filled it.

        The same list object is returned until the list in the guest changes at its ends, as it does when modules come
        and go.
        """
        if self._list is not None and self._read(self._list[0], 16) == self._list[1]:
            return self._list[2]
        named = self._symbols.get("kprobe_blacklist")
        heads = [named.address] if named is not None else []
        for variable in self._formed("within_kprobe_blacklist"):
            heads += range(variable, variable + _HEAD_WITHIN, 8)
        for head in heads:
            areas = self._walk(head)
            if areas:
                self._list = head, self._read(head, 16), areas
                return areas
        return None

    def nokprobe_functions(self) -> list[Area]:
        """The functions marked NOKPROBE_SYMBOL. The linker collects them in a table, which Linux frees at boot."""
        area = self._text.area("__start_kprobe_blacklist", "__stop_kprobe_blacklist")
        if area is None:
            return []
        try:
            data = self._text.read(area[0], area[1] - area[0])
        except MachineError:
            return []
        areas = []
        for (address,) in struct.iter_unpack("<Q", data[: len(data) & ~7]):
            found = self._symbols.at(address)
            if found is not None:
                areas.append(Area(address, address + max(found[0].size, 4), found[0].name))
        return areas

    def areas(self, names: Iterable[tuple[str, str]]) -> list[Area]:
        """The areas between pairs of linker symbols, without those that the guest lacks and empty ones."""
        return [
            Area(*found, start.removeprefix("__").removesuffix("_start"))
            for start, end in names
            if (found := self._text.area(start, end)) is not None and found[0] < found[1]
        ]

    def is_leaving(self, address: int) -> bool:
        """Whether `address` is in the text of a module that is being unloaded."""
        module = self._ask("__module_text_address", address)
        try:
            return bool(module) and self._machine.memory.u32(module) == _MODULE_STATE_GOING
        except MachineError:
            return False

    def may_fault(self, address: int) -> bool:
        """Whether the instruction at `address` has an entry in the exception table."""
        if self._symbols.module_at(address):
            return bool(self._ask("search_exception_tables", address))
        symbols = "__start___ex_table", "__stop___ex_table"
        return address in self._relative(*symbols, _EXCEPTION_ENTRIES, "search_exception_tables")

    def is_jump_label(self, address: int) -> bool:
        """Whether the instruction at `address` is a branch that the kernel turns on and off by patching."""
        if self._symbols.module_at(address):
            word = self._text.read_u32(address)
            may_be = word == NOP or word >> 26 == _B  # the guest searches all of its entries, which takes long
            return may_be and bool(self._ask("jump_label_text_reserved", address, address) & 0xFFFF_FFFF)
        symbols = "__start___jump_table", "__stop___jump_table"
        return address in self._relative(*symbols, (_JUMP_ENTRY,), "jump_label_text_reserved")

    def jump_labels(self) -> dict[int, list[tuple[int, int]]]:
        """The kernel's own jump labels, by the address of the static key: see `jump_label`."""
        symbols = "__start___jump_table", "__stop___jump_table"
        area = self._text.area(*symbols) or self._used_by("jump_label_text_reserved")
        found: dict[int, list[tuple[int, int]]] = {}
        if area is not None:
            data = self._text.read(area[0], area[1] - area[0])
            for at in range(0, len(data) - _JUMP_ENTRY + 1, _JUMP_ENTRY):
                code, target, key = _jump_label(data, at, area[0] + at)
                found.setdefault(key, []).append((code, target))
        return found

    def jump_label(self, address: int) -> tuple[int, int, int]:
        """The entry of a table of jump labels: the address of the branch, where it leads to, and that of its key."""
        return _jump_label(self._text.read(address, _JUMP_ENTRY), 0, address)

    def _ask(self, function: str, *arguments: int) -> int:
        """The result of a function of the guest's; 0 if it cannot be called.

        The tables of a module are in a struct whose layout differs from build to build, so the guest is asked. These
        functions read the tables and take no locks. With interrupts masked they are not preempted either.
        """
        try:
            return call_uninterrupted(self._machine, function, *arguments)
        except MachineError:
            return 0

    def _relative(self, start: str, end: str, sizes: Sequence[int], user: str) -> frozenset[int]:
        """The addresses in a table, in each entry as a distance from its first word; sorting a table keeps them.

        The size of an entry is the one of `sizes` with which most of the addresses are in the text.
        """
        if start not in self._cache:
            area = self._text.area(start, end) or self._used_by(user)
            if area is None:
                return frozenset()
            try:
                data = self._text.read(area[0], area[1] - area[0])
            except MachineError:
                return frozenset()
            tables = [
                frozenset(area[0] + at + struct.unpack_from("<i", data, at)[0] for at in range(0, len(data) - 3, size))
                for size in sizes
            ]
            self._cache[start] = tables[0] if len(tables) == 1 else max(tables, key=self._share_in_text)
        return self._cache[start]

    def _share_in_text(self, addresses: frozenset[int]) -> float:
        return sum(map(self._text.contains, addresses)) / max(len(addresses), 1)

    def _used_by(self, function: str) -> tuple[int, int] | None:
        """The table whose start and end `function` forms first."""
        formed = self._formed(function)[:2]
        return (min(formed), max(formed)) if len(set(formed)) == 2 else None

    def _formed(self, function: str) -> list[int]:
        symbol = self._symbols.get(function)
        try:
            return [] if symbol is None else addresses_formed(self._text.read_u32, symbol)
        except MachineError:
            return []

    def _read(self, address: int, size: int) -> bytes:
        """Memory; nothing where the guest maps none."""
        try:
            return self._machine.memory.read(address, size)
        except MachineError:
            return b""

    def _walk(self, head: int) -> list[Area] | None:
        """The entries {list_head; start; end} of the list at `head`; None if there is no list of such there."""
        areas: list[Area] = []
        memory = self._machine.memory
        try:
            before, entry = head, memory.u64(head)
            while entry != head:
                following, previous, start, end = struct.unpack("<4Q", memory.read(entry, 32))
                if previous != before or not start < end or not self._text.contains(start) or len(areas) > _LIST_LIMIT:
                    return None
                areas.append(Area(start, end, self._symbols.describe(start)))
                before, entry = entry, following
        except MachineError:
            return None
        return areas


def _jump_label(data: bytes, at: int, address: int) -> tuple[int, int, int]:
    code, target, key = struct.unpack_from("<iiq", data, at)
    mask = (1 << 64) - 1
    return address + code & mask, address + 4 + target & mask, address + 8 + (key & ~3) & mask  # 3: flags
