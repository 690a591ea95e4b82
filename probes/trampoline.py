# SPDX-License-Identifier: GPL-2.0-or-later
"""`__kretprobe_trampoline`: what a probed function returns to instead of its caller, as guest code.

It is v6.1's (arch/arm64/kernel/probes/kprobes_trampoline.S) but for one word: where the kernel has `bl
trampoline_probe_handler` it has an HVC, because the handler is outside the guest. HVC leaves all EL1 state alone:
PSTATE, ELR_EL1 and SPSR_EL1 are what a `bl` would leave, and no debug exception is involved.
"""

from __future__ import annotations

import struct
from typing import Final

HVC_IMM: Final = 0x6B70  # any that PSCI and the guest's own hypercalls do not use

_CODE: Final = (
    0xD10543FF,  # sub sp, sp, #0x150
    0xA90007E0,  # stp x0, x1, [sp, #0x00]
    0xA9010FE2,  # stp x2, x3, [sp, #0x10]
    0xA90217E4,  # stp x4, x5, [sp, #0x20]
    0xA9031FE6,  # stp x6, x7, [sp, #0x30]
    0xA90427E8,  # stp x8, x9, [sp, #0x40]
    0xA9052FEA,  # stp x10, x11, [sp, #0x50]
    0xA90637EC,  # stp x12, x13, [sp, #0x60]
    0xA9073FEE,  # stp x14, x15, [sp, #0x70]
    0xA90847F0,  # stp x16, x17, [sp, #0x80]
    0xA9094FF2,  # stp x18, x19, [sp, #0x90]
    0xA90A57F4,  # stp x20, x21, [sp, #0xa0]
    0xA90B5FF6,  # stp x22, x23, [sp, #0xb0]
    0xA90C67F8,  # stp x24, x25, [sp, #0xc0]
    0xA90D6FFA,  # stp x26, x27, [sp, #0xd0]
    0xA90E77FC,  # stp x28, x29, [sp, #0xe0]
    0x910543E0,  # add x0, sp, #0x150
    0xA90F03FE,  # stp x30, x0, [sp, #0xf0]
    0xD53B4200,  # mrs x0, nzcv
    0xD53B4221,  # mrs x1, daif
    0xAA010000,  # orr x0, x0, x1
    0xD5384241,  # mrs x1, CurrentEL
    0xAA010000,  # orr x0, x0, x1
    0xD5384201,  # mrs x1, SPSel
    0xAA010000,  # orr x0, x0, x1
    0xA91003FF,  # stp xzr, x0, [sp, #0x100]
    0x9103A3FD,  # add x29, sp, #0xe8
    0x910003E0,  # mov x0, sp
    0xD40D6E02,  # hvc #0x6b70
    0xAA0003FE,  # mov x30, x0
    0xF94087E0,  # ldr x0, [sp, #0x108]
    0x92640C00,  # and x0, x0, #0xf0000000
    0xD51B4200,  # msr nzcv, x0
    0xA94007E0,  # ldp x0, x1, [sp, #0x00]
    0xA9410FE2,  # ldp x2, x3, [sp, #0x10]
    0xA94217E4,  # ldp x4, x5, [sp, #0x20]
    0xA9431FE6,  # ldp x6, x7, [sp, #0x30]
    0xA94427E8,  # ldp x8, x9, [sp, #0x40]
    0xA9452FEA,  # ldp x10, x11, [sp, #0x50]
    0xA94637EC,  # ldp x12, x13, [sp, #0x60]
    0xA9473FEE,  # ldp x14, x15, [sp, #0x70]
    0xA94847F0,  # ldp x16, x17, [sp, #0x80]
    0xA9494FF2,  # ldp x18, x19, [sp, #0x90]
    0xA94A57F4,  # ldp x20, x21, [sp, #0xa0]
    0xA94B5FF6,  # ldp x22, x23, [sp, #0xb0]
    0xA94C67F8,  # ldp x24, x25, [sp, #0xc0]
    0xA94D6FFA,  # ldp x26, x27, [sp, #0xd0]
    0xA94E77FC,  # ldp x28, x29, [sp, #0xe0]
    0x910543FF,  # add sp, sp, #0x150
    0xD65F03C0,  # ret
)

CODE: Final = struct.pack(f"<{len(_CODE)}I", *_CODE)
AFTER_HVC: Final = 4 * (_CODE.index(0xD400_0002 | HVC_IMM << 5) + 1)  # bytes from its start
