# SPDX-License-Identifier: GPL-2.0-or-later
"""gdb's gcore and `info proc mappings`: a core file that another gdb opens."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from armprobe.commands import GdbSession, Session
from armprobe.machine import board
from tests.gdb.oracle import DEMO, registers
from tests.waiting import PATIENCE

MEMORY = 16 << 20
STACK = 0x200  # bytes from sp up that are compared


@pytest.fixture
def small(gdb_path: str, gdbinit: Path) -> Iterator[GdbSession]:
    with Session("demo", memory=MEMORY) as session, GdbSession(session, gdb=gdb_path, gdbinit=gdbinit) as gdb:
        yield gdb


def opened(gdb_path: str, core: Path, *commands: str) -> str:
    """What a new gdb says that is given the program and the core."""
    asked = [part for command in commands for part in ("-ex", command)]
    done = subprocess.run(
        [gdb_path, "-nx", "-q", "-batch", str(DEMO), str(core), *asked],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert not re.search("warning|truncated|Cannot access|unavailable", done.stdout + done.stderr), done
    return done.stdout


def test_a_core_of_the_demo_kernel(small: GdbSession, gdb_path: str, tmp_path: Path) -> None:
    small.execute("tbreak fib")
    small.execute("continue")
    asked = ("backtrace", "info registers x0 x19 x30 sp pc cpsr", "print workload", "x/4i $pc", f"x/{STACK // 8}gx $sp")
    live = [small.execute(command) for command in asked]
    core = tmp_path / "core"
    assert small.execute(f"gcore {core}") == f"Saved corefile {core}\n"
    assert core.stat().st_size < 2 * MEMORY
    said = opened(gdb_path, core, *asked)
    assert live[0].startswith("#0  fib (")
    assert "start_kernel" in live[0]
    assert said.endswith("".join(live))


def test_a_core_before_the_mmu_is_on(small: GdbSession, gdb_path: str, tmp_path: Path) -> None:
    """RAM, at its physical addresses."""
    core = tmp_path / "core"
    assert small.execute(f"gcore {core}") == f"Saved corefile {core}\n"
    assert MEMORY < core.stat().st_size < 2 * MEMORY
    asked = ("output/x $pc", f"x/8xb {board.RAM_BASE + 0x80000:#x}", f"x/2gx {board.RAM_BASE + MEMORY - 16:#x}")
    live = [small.execute(command) for command in asked]
    assert opened(gdb_path, core, *asked).endswith("".join(live))
    assert registers(small)["pc"] == board.RAM_BASE + 0x80000


def test_what_is_mapped(small: GdbSession) -> None:
    """As the segments of the program have it, and devices by name."""
    small.execute("tbreak workload_round")
    small.execute("continue")
    found = {
        int(start, 16): (int(end, 16), access, name)
        for start, end, access, name in re.findall(
            r"^ *0x(\w+) +0x(\w+) +0x\w+ +0x0 +(\S+)p +\[(.*)\] *$", small.execute("info proc mappings"), re.MULTILINE
        )
    }
    with DEMO.open("rb") as file:
        segments = [segment.header for segment in ELFFile(file).iter_segments() if segment["p_type"] == "PT_LOAD"]
    assert len(segments) == 4
    for segment in segments:
        end, access, name = found[segment.p_vaddr]
        assert end >= segment.p_vaddr + segment.p_memsz
        flags = ((4, "r"), (2, "w"), (1, "x"))  # PF_R, PF_W, PF_X
        assert access == "".join(letter if segment.p_flags & flag else "-" for flag, letter in flags)
        assert name == "RAM"
    assert {"pl011", "gic"} <= {name for _, _, name in found.values()}
