# SPDX-License-Identifier: GPL-2.0-or-later
"""The kretprobe trampoline: guest code that a probed function returns to instead of its caller. Three designs:

    direct  saves the registers as a struct pt_regs on the stack, calls the handler, restores them and returns: the
            patch of 2015, and Linux from v4.8 to v6.8 (arch/arm64/kernel/probes/kprobes_trampoline.S)
    kprobe  NOPs with a kprobe on the first: the series of patches for v4.8 before that one
    brk     BRK #7: from v6.9 on (commit 253751233b19)

`direct` differs from the kernel's code in one word: an HVC replaces `bl trampoline_probe_handler`, because the handler
is outside the guest. HVC does not change EL1 state: PSTATE, ELR_EL1 and SPSR_EL1 are as after a `bl`, and there is no
debug exception.
"""

from __future__ import annotations

import struct
from typing import Final

from armprobe.machine.core.hypercalls import KRETPROBE_TRAMPOLINE
from armprobe.machine.core.instruction_words import NOP, RET, brk, hvc

from .eras.hit_rules import TrampolineFrame
from .stepping import KRETPROBES_BRK_IMM

DIRECT, KPROBE, BRK = "direct", "kprobe", "brk"
TRAMPOLINES: Final = (DIRECT, KPROBE, BRK)

_SP, _LR, _ZERO = 31, 30, 31
HVC: Final = hvc(KRETPROBE_TRAMPOLINE)  # the word
_LR_AT, _PC_AT, _PSTATE_AT, _RECORD_AT = 0xF0, 0x100, 0x108, 0xE8  # bytes: in struct pt_regs of every kernel


def _stp(first: int, second: int, offset: int) -> int:
    return 0xA900_0000 | offset // 8 << 15 | second << 10 | _SP << 5 | first


def _ldp(first: int, second: int, offset: int) -> int:
    return 0xA940_0000 | offset // 8 << 15 | second << 10 | _SP << 5 | first


def _add_to_sp(target: int, immediate: int) -> int:
    return 0x9100_0000 | immediate << 10 | _SP << 5 | target


def _direct(frame: TrampolineFrame) -> tuple[int, ...]:
    pc = _ZERO if frame.pc == "xzr" else int(frame.pc[1:])
    return (
        0xD100_03FF | frame.size << 10,  # sub sp, sp, #size
        *(_stp(i, i + 1, 8 * i) for i in range(0, 30, 2)),
        _add_to_sp(0, frame.size),
        _stp(_LR, 0, _LR_AT),  # x30, and sp as it was
        0xD53B4200,  # mrs x0, nzcv
        0xD53B4221,  # mrs x1, daif
        0xAA010000,  # orr x0, x0, x1
        0xD5384241,  # mrs x1, CurrentEL
        0xAA010000,  # orr x0, x0, x1
        0xD5384201,  # mrs x1, SPSel
        0xAA010000,  # orr x0, x0, x1
        _stp(pc, 0, _PC_AT),  # pc, and pstate
        *([_add_to_sp(29, _RECORD_AT)] if frame.record else []),  # x29 and x30 in it are a frame record
        _add_to_sp(0, 0),  # mov x0, sp
        HVC,
        0xAA0003FE,  # mov x30, x0
        0xF940_03E0 | _PSTATE_AT // 8 << 10,  # ldr x0, [sp, #pstate]
        0x92640C00,  # and x0, x0, #0xf0000000
        0xD51B4200,  # msr nzcv, x0
        *(_ldp(i, i + 1, 8 * i) for i in range(0, 30, 2)),
        _add_to_sp(_SP, frame.size),
        RET,
    )


def words(name: str, frame: TrampolineFrame) -> tuple[int, ...]:
    """The instructions of the trampoline of that name, one of `TRAMPOLINES`."""
    if name == DIRECT:
        return _direct(frame)
    return (NOP, NOP) if name == KPROBE else (brk(KRETPROBES_BRK_IMM),)


def code(name: str, frame: TrampolineFrame) -> bytes:
    """The same instructions as bytes in memory."""
    instructions = words(name, frame)
    return struct.pack(f"<{len(instructions)}I", *instructions)


def record_offset(frame: TrampolineFrame) -> int:
    """The offset in bytes of the frame record that `direct` makes in its frame; 0 if it makes none."""
    return _RECORD_AT if frame.record else 0


def after_hvc(frame: TrampolineFrame) -> int:
    """The offset in bytes at which `direct` goes on after its hypercall."""
    return 4 * (_direct(frame).index(HVC) + 1)
