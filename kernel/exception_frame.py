# SPDX-License-Identifier: GPL-2.0-or-later
"""The registers that the kernel saves on the stack when it takes an exception: struct pt_regs (asm/ptrace.h)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final, NamedTuple

from armprobe.machine import MachineError

PT_REGS_SIZE: Final = 0x150
"""Bytes of a struct pt_regs, v6.1 (BTF)."""

_STACKFRAME: Final = 0x130  # byte offset of stackframe[2], v6.1 (BTF)
# Where in pt_regs the frame record of an exception is, and the size of pt_regs. Since v6.13 the record is preceded by
# its kind (commit c2c6b27b5aa1); v6.18 took two words from the end (commit ee776d68ba47).
_LAYOUTS: Final = (
    (_STACKFRAME, PT_REGS_SIZE),
    (_STACKFRAME - 8, PT_REGS_SIZE),
    (_STACKFRAME - 8, PT_REGS_SIZE - 16),
)
_MARKED: Final = _STACKFRAME - 8  # that of a record with a kind
_FRAME_META_TYPE_PT_REGS: Final = 2  # asm/stacktrace/frame.h
_SAVED: Final = struct.Struct("<34Q")  # x0 to x30, sp, pc, pstate
_MODE: Final = 0x1F
_EL0T, _EL1H = 0, 5


class Registers(NamedTuple):
    """The registers that unwinding a stack begins with. `pstate` has the layout of SPSR_EL1."""

    x29: int
    x30: int
    sp: int
    pc: int
    pstate: int

    @property
    def el0(self) -> bool:
        """Whether they are the registers of a task at EL0 rather than of the kernel."""
        return not self.pstate & 0xF


def marked(read: Callable[[int, int], bytes | None], record: int) -> tuple[int, int] | None:
    """x29 and PC at an exception, if the frame record at `record`, whose words are 0, says that it is of one.

    The kernel's own unwinder goes by its kind since v6.13. `read` is as for `interrupted`, but gives None for an error.
    """
    base = record - _MARKED
    kind, saved = read(record + 16, 8), read(base, _SAVED.size)
    if saved is None or kind is None or int.from_bytes(kind, "little") != _FRAME_META_TYPE_PT_REGS:
        return None
    words = _SAVED.unpack(saved)
    return words[29], words[32]


def interrupted(
    read: Callable[[int, int], bytes],
    is_code: Callable[[int, bool], bool],
    record: int,
    contents: tuple[int, int],
    sp: int,
) -> Registers | None:
    """The registers saved at an exception, if the frame record at `record` is the one in their struct pt_regs.

    `contents` are the two words of the record. `read` reads virtual memory (address, size); `is_code` says whether an
    address can be that of code of the task (True) or of the kernel. A struct pt_regs lies directly below the stack
    pointer of the interrupted kernel code, or at the very end of the task's stack. What lies below the present stack
    pointer, `sp`, is left over.
    """
    for offset, size in _LAYOUTS:
        base = record - offset
        if base < sp <= record:
            continue
        try:
            saved = _SAVED.unpack(read(base, _SAVED.size))
        except MachineError:
            continue
        registers = Registers(*saved[29:])
        fits = contents in ((0, 0), (registers.x29, registers.pc))
        if not fits or registers.pc % 4:
            continue
        mode = registers.pstate & _MODE
        if mode == _EL1H and registers.sp == base + size and is_code(registers.pc, False):
            return registers
        if mode == _EL0T and contents == (0, 0) and is_code(registers.pc, True):
            return registers
    return None
