# SPDX-License-Identifier: GPL-2.0-or-later
"""struct pt_regs in gdb, of the guest and of hits, against the registers that gdb itself knows."""

import re

import pytest

from armprobe.clients import GdbError
from armprobe.commands import GdbSession

# gdb's names for the flags of cpsr that are set (its features/aarch64-core.xml), and the kernel's letters for them.
FLAGS = {"N": "n", "Z": "z", "C": "c", "V": "v"}


def symbolic(gdb: GdbSession, expression: str) -> str:
    """An address as gdb itself shows it: 0xffff800000083c50 <kmalloc>."""
    return gdb.execute(f"output (void *) ({expression})").removeprefix("(void *) ")


def members(shown: str) -> dict[str, str]:
    return dict(re.findall(r"(\w+) = ([^,{}]+)", shown))


def test_the_guest_s(gdb: GdbSession) -> None:
    """entry.S stores it where an interrupt is taken: ELR_EL1 and SPSR_EL1 (Arm ARM D1.3.1) have pc and pstate."""
    gdb.execute("break gic_handle_irq")
    gdb.continue_to_stop()
    shown = members(gdb.execute("print *regs"))
    assert shown["pc"] == symbolic(gdb, "$ELR_EL1")
    assert shown["lr"] == symbolic(gdb, "regs->regs[30]")
    assert int(shown["pstate"].split()[0], 16) == gdb.register("SPSR_EL1")
    assert [int(shown[f"x{n}"], 16) for n in (0, 29)] == [int(gdb.execute(f"output regs->regs[{n}]")) for n in (0, 29)]
    assert shown["syscallno"] == gdb.execute("output regs->syscallno")


def test_of_a_hit(gdb: GdbSession) -> None:
    gdb.execute("kprobe kmalloc stop=pre")
    gdb.continue_to_stop()
    shown = members(gdb.execute("print $_pt_regs()"))
    assert (shown["pc"], shown["lr"]) == (symbolic(gdb, "$pc"), symbolic(gdb, "$x30"))
    assert int(shown["sp"], 16) == gdb.register("sp")
    assert [int(shown[f"x{n}"], 16) for n in range(30)] == [gdb.register(f"x{n}") for n in range(30)]
    cpsr, flags, _, level = re.fullmatch(r"(\w+) \((\w+) (\w+) (\w+)\)", shown["pstate"]).groups()  # type: ignore[union-attr]
    assert int(cpsr, 16) == gdb.register("cpsr")
    named = re.findall(r"[\w=]+", gdb.execute("output $cpsr"))
    assert flags == "".join(flag if flag in named else letter for flag, letter in FLAGS.items())
    assert level == f"EL{dict(each.split('=') for each in named if '=' in each)['EL']}h"
    assert int(gdb.execute('output $_pt_regs("kmalloc", "pre").regs[0]')) == gdb.register("x0")
    with pytest.raises(GdbError, match="there is no probe 'nosuch'"):
        gdb.execute('print $_pt_regs("nosuch")')
    with pytest.raises(GdbError, match="stage="):
        gdb.execute('print $_pt_regs(1, "nosuch")')
