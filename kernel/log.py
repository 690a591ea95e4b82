# SPDX-License-Identifier: GPL-2.0-or-later
"""The log of a Linux guest, read from its memory as the command `dmesg` shows it.

Since v5.10 it is a ring of descriptors and a ring of texts (kernel/printk/printk_ringbuffer.h). They are read as the
kernel's scripts/gdb/linux/dmesg.py does, but only the records that the guest's own dmesg has: the finalized ones.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from armprobe.machine.errors import MachineError

from .vmcoreinfo import vmcoreinfo

if TYPE_CHECKING:
    from armprobe.machine import Machine

    from .types import Types

_MOST_BITS: Final = 25  # of the size of the text ring: LOG_BUF_LEN_MAX is 2 GB, CONFIG_LOG_BUF_SHIFT at most 25
_MOST_DESCRIPTORS: Final = 20  # bits of their number: one for each 32 bytes of text (PRB_AVGBITS)
_MOST_STRUCT: Final = 4096
_STATE_SHIFT: Final = 62  # DESC_FLAGS_SHIFT
_ID_MASK: Final = (1 << _STATE_SHIFT) - 1
_FINALIZED: Final = 2  # desc_finalized. A record that is only committed may still be extended (LOG_CONT)
_U64: Final = struct.Struct("<Q")


class LogRecord(NamedTuple):
    """A message of the kernel. `nanoseconds` is its time since boot. `level` is 0 (emergency) to 7 (debug)."""

    sequence: int
    nanoseconds: int
    level: int
    facility: int
    text: str

    @property
    def lines(self) -> list[str]:
        """The lines as `dmesg` prints them: "[    0.000000] Booting Linux"."""
        seconds, rest = divmod(self.nanoseconds, 1_000_000_000)
        return [f"[{seconds:5}.{rest // 1000:06}] {line}" for line in self.text.split("\n")]


def read_log(machine: Machine, types: Types) -> list[LogRecord]:
    """The records, oldest first. Raises MachineError, saying why, if they cannot be read."""
    if "printk_ringbuffer" not in types:
        raise MachineError("this kernel keeps its log in another form than v5.10 and later: type dmesg at its console")
    named = machine.symbols.in_kernel("prb")
    pointer = named.address if named is not None else int(vmcoreinfo(machine).get("SYMBOL(prb)", "0"), 16)
    try:
        return _Ring(machine, types, machine.memory.u64(pointer)).records()
    except MachineError as error:
        raise MachineError(f"the guest's log cannot be read: {error}") from None


class _Ring:
    """The struct printk_ringbuffer at `address`, and copies of its three arrays."""

    def __init__(self, machine: Machine, types: Types, address: int) -> None:
        memory = machine.memory
        ring, descriptors, texts = types["printk_ringbuffer"], types["prb_desc_ring"], types["prb_data_ring"]
        first, second = address + ring.offset("desc_ring"), address + ring.offset("text_data_ring")
        count_bits = memory.u32(first + descriptors.offset("count_bits"))
        size_bits = memory.u32(second + texts.offset("size_bits"))
        if not 0 < count_bits <= _MOST_DESCRIPTORS or not 0 < size_bits <= _MOST_BITS:
            raise MachineError(f"it is said to have 2^{count_bits} records and 2^{size_bits} bytes")
        self.count, self.size = 1 << count_bits, 1 << size_bits
        self.head = memory.u64(first + descriptors.offset("head_id"))
        self.tail = memory.u64(first + descriptors.offset("tail_id"))
        self.descriptor, self.info = types["prb_desc"], types["printk_info"]
        if not 24 <= self.descriptor.size <= _MOST_STRUCT or not 16 <= self.info.size <= _MOST_STRUCT:
            raise MachineError("this kernel's type information describes records that cannot be right")
        self.descriptors = memory.read(
            memory.u64(first + descriptors.offset("descs")), self.count * self.descriptor.size
        )
        self.infos = memory.read(memory.u64(first + descriptors.offset("infos")), self.count * self.info.size)
        self.texts = memory.read(memory.u64(second + texts.offset("data")), self.size)
        self._state = self.descriptor.offset("state_var")
        self._block = self.descriptor.offset("text_blk_lpos")

    def records(self) -> list[LogRecord]:
        """The records, from the oldest on."""
        found: list[LogRecord] = []
        for step in range(self.count):
            number = self.tail + step & _ID_MASK
            record = self._record(number)
            if record is not None:
                found.append(record)
            if number == self.head & _ID_MASK:
                break
        return found

    def _record(self, number: int) -> LogRecord | None:
        """The record with that id; None if it is being written or has been overwritten."""
        at = number % self.count * self.descriptor.size
        (state,) = _U64.unpack_from(self.descriptors, at + self._state)
        if state >> _STATE_SHIFT != _FINALIZED or state & _ID_MASK != number:
            return None
        begin, following = struct.unpack_from("<2Q", self.descriptors, at + self._block)
        info, member = number % self.count * self.info.size, self.info.offset
        sequence, nanoseconds = (_U64.unpack_from(self.infos, info + member(name))[0] for name in ("seq", "ts_nsec"))
        (length,) = struct.unpack_from("<H", self.infos, info + member("text_len"))
        bits = self.info.members["level"]
        level = self.infos[info + bits.offset] >> bits.bit_offset % 8 & 7
        text = b""
        if not begin & 1:  # an odd position is a record without text (NO_LPOS, FAILED_LPOS)
            start, end = begin % self.size, following % self.size
            if begin // self.size != following // self.size and end:
                start = 0  # a text that does not fit before the end of the ring is at its start
            end = end or self.size
            text = self.texts[start + 8 : min(start + 8 + length, end)]
        facility = self.infos[info + member("facility")]
        return LogRecord(sequence, nanoseconds, level, facility, text.decode("utf-8", "replace"))
