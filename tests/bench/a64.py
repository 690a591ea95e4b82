# SPDX-License-Identifier: GPL-2.0-or-later
"""The few instructions that are measured with (encodings: Arm ARM, C6.2)."""

import struct

NOP = 0xD503201F
SUBS_X0 = 0xF1000400  # subs x0, x0, #1
RET = 0xD65F03C0


def b_ne(instructions: int) -> int:
    """A branch taken while the last SUBS did not give zero, `instructions` from here."""
    return 0x54000001 | (instructions & 0x7FFFF) << 5


def code(*words: int) -> bytes:
    """The instructions as they are in memory."""
    return struct.pack(f"<{len(words)}I", *words)


TIGHT = code(SUBS_X0, b_ne(-1), RET)
"""f(n): n times two instructions, n > 0."""

CALLS = code(
    0xA9BE7BFD,  # stp x29, x30, [sp, #-32]!
    0xA90153F3,  # stp x19, x20, [sp, #16]
    0xAA0003F3,  # mov x19, x0
    0xAA0103F4,  # mov x20, x1
    0xD2800000,  # mov x0, #0
    0xD63F0280,  # blr x20
    0xF1000673,  # subs x19, x19, #1
    b_ne(-3),
    0xA94153F3,  # ldp x19, x20, [sp, #16]
    0xA8C27BFD,  # ldp x29, x30, [sp], #32
    RET,
)
"""f(n, function): calls function(0) n times, n > 0."""
