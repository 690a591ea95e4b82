# SPDX-License-Identifier: GPL-2.0-or-later
"""The text of a PSTATE. Also loaded into gdb, so standard library only."""


def pstate(value: int) -> str:
    """PSTATE as the kernel prints it: NZCV and DAIF, in capitals where set, then the exception level and stack."""
    nzcv = "".join(letter.upper() if value >> 31 - i & 1 else letter for i, letter in enumerate("nzcv"))
    daif = "".join(letter.upper() if value >> 9 - i & 1 else letter for i, letter in enumerate("daif"))
    return f"{value:08x} ({nzcv} {daif} EL{value >> 2 & 3}{'h' if value & 1 else 't'})"
