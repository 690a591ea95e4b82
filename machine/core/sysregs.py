# SPDX-License-Identifier: GPL-2.0-or-later
"""Names and encodings of the AArch64 system registers that can be read and written by name (Arm ARM, chapter D19)."""

from __future__ import annotations

from typing import NamedTuple


class Encoding(NamedTuple):
    """The five fields by which MRS and MSR name a system register."""

    op0: int
    op1: int
    crn: int
    crm: int
    op2: int


def _table(text: str) -> dict[str, Encoding]:
    rows = (line.split() for line in text.strip().splitlines())
    return {name: Encoding(*map(int, fields)) for name, *fields in rows}


#        name              op0 op1 CRn CRm op2
SYSTEM_REGISTERS = _table("""
    sctlr_el1          3 0 1 0 0
    actlr_el1          3 0 1 0 1
    cpacr_el1          3 0 1 0 2
    ttbr0_el1          3 0 2 0 0
    ttbr1_el1          3 0 2 0 1
    tcr_el1            3 0 2 0 2
    spsr_el1           3 0 4 0 0
    elr_el1            3 0 4 0 1
    sp_el0             3 0 4 1 0
    sp_el1             3 4 4 1 0
    afsr0_el1          3 0 5 1 0
    afsr1_el1          3 0 5 1 1
    esr_el1            3 0 5 2 0
    far_el1            3 0 6 0 0
    par_el1            3 0 7 4 0
    mair_el1           3 0 10 2 0
    amair_el1          3 0 10 3 0
    vbar_el1           3 0 12 0 0
    contextidr_el1     3 0 13 0 1
    tpidr_el0          3 3 13 0 2
    tpidrro_el0        3 3 13 0 3
    tpidr_el1          3 0 13 0 4
    cntkctl_el1        3 0 14 1 0
    cntfrq_el0         3 3 14 0 0
    csselr_el1         3 2 0 0 0
    midr_el1           3 0 0 0 0
    mpidr_el1          3 0 0 0 5
    id_aa64pfr0_el1    3 0 0 4 0
    id_aa64dfr0_el1    3 0 0 5 0
    id_aa64isar0_el1   3 0 0 6 0
    id_aa64isar1_el1   3 0 0 6 1
    id_aa64mmfr0_el1   3 0 0 7 0
    id_aa64mmfr1_el1   3 0 0 7 1
    ctr_el0            3 3 0 0 1
    dczid_el0          3 3 0 0 7
    mdscr_el1          2 0 0 2 2
    oslsr_el1          2 0 1 1 4
""")
"""All have 64 bits, though some used only the lower 32 before ARMv8.1 (Arm ARM, D19.2)."""
