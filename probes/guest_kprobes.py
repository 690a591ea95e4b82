# SPDX-License-Identifier: GPL-2.0-or-later
"""The kprobes that a Linux guest has registered itself, found in its kprobe_table."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from armprobe.kernel.code_references import addresses_formed
from armprobe.kernel.text import Text
from armprobe.machine import Machine, MachineError

from .stepping import KPROBES_BRK_WORD

_BUCKETS: Final = 64  # of kprobe_table, 1 << KPROBE_HASH_BITS
_CHAIN_LIMIT: Final = 10_000
ADDR_OFFSET: Final = 0x28  # bytes to struct kprobe's addr: after the hash chain, a list and nmissed in every version


class GuestKprobe(NamedTuple):
    """A kprobe of the guest: the instruction under it, and its slot (0 if the guest simulates the instruction)."""

    opcode: int
    slot: int


class GuestKprobes:
    """Finds the kprobes of one machine's guest."""

    def __init__(self, machine: Machine, text: Text) -> None:
        self._machine = machine
        self._text = text
        self._members: tuple[int, int] | None = None  # bytes to a struct kprobe's opcode and slot, once looked up

    def find(self, address: int) -> GuestKprobe | None:
        """The guest's kprobe at `address`, from its kprobe_table.

        None if the guest has no kprobe there, no such table, or no type information for it.
        """
        memory = self._machine.memory
        try:
            lookup = self._machine.symbols.get("get_kprobe")
            tables = [] if lookup is None else addresses_formed(self._text.read_u32, lookup)
            if len(tables) != 1:
                return None
            opcode, slot = self._offsets()
            for (node,) in struct.iter_unpack("<Q", memory.read(tables[0], 8 * _BUCKETS)):
                for _ in range(_CHAIN_LIMIT):
                    if not node:
                        break
                    if memory.u64(node + ADDR_OFFSET) == address:
                        return GuestKprobe(memory.u32(node + opcode), memory.u64(node + slot))
                    node = memory.u64(node)
        except MachineError:
            return None
        return None

    def _offsets(self) -> tuple[int, int]:
        """Offsets of opcode and slot in struct kprobe. Raises MachineError if the guest has no type information."""
        if self._members is None:
            kernel = self._machine.kernel
            if kernel is None:
                raise MachineError("the guest is no kernel")
            types = kernel.types
            try:
                slot = types["arch_specific_insn"].offset("xol_insn")
            except MachineError:
                slot = types["arch_probe_insn"].offset("insn")  # of ainsn.api, its first member: up to v6.12
            self._members = types["kprobe"].offset("opcode"), types["kprobe"].offset("ainsn") + slot
        return self._members

    def original(self, address: int, word: int) -> int:
        """The instruction at `address`, where the text has `word`. That may be a breakpoint of the guest."""
        guest = self.find(address) if word == KPROBES_BRK_WORD else None
        return word if guest is None else guest.opcode
