# SPDX-License-Identifier: GPL-2.0-or-later
"""The memory and registers of a Linux guest as an ELF core of the whole system, as QEMU's dump-guest-memory makes it.

All of RAM is in it, by physical addresses and by those of the kernel's linear map, and two notes: the CPU's registers,
and VMCOREINFO, by which its readers find the kernel's data and page tables (Documentation/admin-guide/kdump/kdump.rst).
drgn and crash are such readers.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, BinaryIO, Final

from armprobe.machine.errors import MachineError
from armprobe.machine.memory.dirty_pages import filled

from .vmcoreinfo import vmcoreinfo, vmcoreinfo_text

if TYPE_CHECKING:
    from .kernel import Linux

_HEADER: Final = struct.Struct("<16sHHIQQQIHHHHHH")  # Elf64_Ehdr (include/uapi/linux/elf.h)
_SEGMENT: Final = struct.Struct("<IIQQQQQQ")  # Elf64_Phdr
_NOTE: Final = struct.Struct("<III")  # Elf64_Nhdr
_STATUS: Final = struct.Struct("<32xi76x34Q8x")  # struct elf_prstatus (include/linux/elfcore.h): pr_pid, pr_reg
_IDENT: Final = b"\x7fELF\x02\x01\x01"  # 64 bits, little-endian, version 1
_CORE, _AARCH64, _LOAD, _NOTES, _PRSTATUS, _ALL = 4, 183, 1, 4, 1, 7  # e_type, e_machine, p_type twice, n_type, p_flags
_PID: Final = 1  # one more than the CPU's number, in notes that the kernel has not made itself
_PAGE: Final = 4096
_CHUNK: Final = 64 << 10
_ADDRESSES: Final = (1 << 64) - 1


def write_vmcore(kernel: Linux, file: BinaryIO) -> int:
    """Write the core to `file`, which is empty, leaving out zeros as holes; its size in bytes.

    Raises MachineError if the guest has no VMCOREINFO (yet).
    """
    machine, ram = kernel.machine, kernel.machine.ram
    registers = machine.registers
    values = *registers.x, registers.sp, registers.pc, registers.pstate
    notes = _note("CORE", _PRSTATUS, _STATUS.pack(_PID, *values))
    notes += _note("VMCOREINFO", 0, vmcoreinfo_text(machine))
    start = _HEADER.size + 2 * _SEGMENT.size
    data = -(-(start + len(notes)) // _PAGE) * _PAGE
    file.write(
        _HEADER.pack(_IDENT, _CORE, _AARCH64, 1, 0, _HEADER.size, 0, 0, _HEADER.size, _SEGMENT.size, 2, 0, 0, 0)
        + _SEGMENT.pack(_NOTES, 0, start, 0, 0, len(notes), len(notes), 0)
        + _SEGMENT.pack(_LOAD, _ALL, data, _linear(kernel, ram.base), ram.base, ram.size, ram.size, 0)
        + notes
    )
    for at in filled(ram.pages, _CHUNK):
        piece = ram.data[at : at + _CHUNK]
        if any(piece):
            file.seek(data + at)
            file.write(piece)
    file.truncate(data + ram.size)
    return data + ram.size


def _note(name: str, kind: int, content: bytes) -> bytes:
    """A note, whose name and content are aligned to 4 bytes."""
    text = name.encode() + b"\0"
    padded = (part.ljust(-(-len(part) // 4) * 4, b"\0") for part in (text, content))
    return _NOTE.pack(len(text), len(content), kind) + b"".join(padded)


def _linear(kernel: Linux, physical: int) -> int:
    """The address in the kernel's linear map, which begins at PAGE_OFFSET (arch/arm64/include/asm/memory.h)."""
    lines = vmcoreinfo(kernel.machine)
    try:
        bits, start = int(lines["NUMBER(VA_BITS)"]), int(lines["NUMBER(PHYS_OFFSET)"], 16)
    except (KeyError, ValueError):
        raise MachineError("the guest's VMCOREINFO does not say where its linear map is") from None
    if not 36 <= bits <= 52:
        raise MachineError(f"the guest's VMCOREINFO has addresses of {bits} bits, which no kernel has")
    return physical - start - (1 << bits) & _ADDRESSES
