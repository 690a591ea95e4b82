# SPDX-License-Identifier: GPL-2.0-or-later
"""Registers and memory of the demo kernel as gdb has them."""

import re

import pytest

from armprobe.commands import GdbError, GdbSession, Session
from armprobe.machine.core.sysregs import SYSTEM_REGISTERS
from armprobe.stub.aarch64 import ALIASES
from tests.gdb.oracle import Demo, Reference

pytestmark = pytest.mark.sample(of="files")


@pytest.fixture
def running(gdb: GdbSession) -> GdbSession:
    """A gdb at the beginning of the first string_round."""
    gdb.execute("tbreak *string_round")
    gdb.continue_to_stop()
    return gdb


def test_cpsr(running: GdbSession) -> None:
    """EL1h; interrupts are open in the workload, and gdb's flag names are the architecture's."""
    cpsr = running.register("cpsr")
    assert cpsr & 0x1F == 0b00101
    assert cpsr & 0x3C0 == 0
    running.execute("set $cpsr = $cpsr | 0x60000000")
    assert re.fullmatch(r"\[ SP EL=1 .*\bC Z \]", running.evaluate("$cpsr"))
    running.execute("stepi")
    assert running.register("cpsr") & 0xF0000000 == 0x60000000


def test_system_registers(running: GdbSession, demo: Demo) -> None:
    """What the kernel has set up, by its own symbols and by the bits of the Arm ARM."""
    sctlr = running.register("sctlr_el1")
    assert [name for name, bit in (("M", 0), ("C", 2), ("I", 12)) if not sctlr >> bit & 1] == []
    assert running.register("vbar_el1") == demo.address("vectors")
    virtual, physical, _ = demo.segments[0]
    tables = {demo.address(name) - virtual + physical for name in demo.symbols if name.endswith("_pg_dir")}
    assert running.register("ttbr1_el1") & 0xFFFF_FFFF_F000 in tables
    assert running.register("ttbr0_el1") & 0xFFFF_FFFF_F000 in tables
    assert running.register("sp_el1") == running.register("sp")
    assert running.execute("info symbol $sp_el0").startswith("init_task in section ")  # current, as in Linux
    assert running.register("midr_el1") >> 24 == 0x41  # Arm Limited
    assert running.register("midr_el1") >> 4 & 0xFFF == 0xD07  # Cortex-A57
    assert running.register("cntfrq_el0") == 62_500_000


def test_vector_registers(running: GdbSession) -> None:
    """Written in one lane and read in others."""
    running.execute("set $v0.d.u[0] = 0x0102030405060708")
    running.execute("set $v0.d.u[1] = 0x3ff0000000000000")
    assert running.evaluate("$v0.d.f[1]") == "1"
    assert running.evaluate("$v0.b.u[0]") == "8"
    assert running.evaluate("$v0.s.u[1]") == str(0x01020304)
    assert running.execute("output/x $v0.q.u[0]") == "0x3ff00000000000000102030405060708"
    running.execute("set $v31.s.f[2] = 1.5")
    assert running.evaluate("$v31.s.f[2]") == "1.5"
    running.execute("set $fpcr = 0x01000000")
    assert running.register("fpcr") == 0x0100_0000


def test_every_register_is_available(running: GdbSession) -> None:
    assert "unavailable" not in running.execute("info all-registers")


def test_kernel_memory(running: GdbSession, demo: Demo) -> None:
    """Text and constants are the file's bytes, at their virtual addresses."""
    for name in ("string_round", "vectors", "sys_call_table"):
        start, size = demo.symbols[name]
        assert running.read_memory(start, size or 64) == demo.initial(start, size or 64)


def test_user_memory(running: GdbSession, demo: Demo) -> None:
    """The task's text through TTBR0, and its stack, which its own SP points into."""
    running.execute("tbreak user_main")
    running.continue_to_stop()
    pc, sp = running.register("pc"), running.register("sp")
    assert 0x7FF000 < sp <= 0x800000  # guests/demo/README.md
    assert running.read_memory(pc, 64) == demo.initial(pc, 64)
    running.execute("set {long} ($sp - 64) = 0x1122334455667788")
    assert running.read_memory(sp - 64, 8) == bytes.fromhex("8877665544332211")


def test_memory_across_pages(running: GdbSession, demo: Demo) -> None:
    virtual, _, data = demo.segments[0]
    size = min(len(data), 3 * 4096)
    assert running.read_memory(virtual, size) == demo.initial(virtual, size)


def test_unmapped_memory(running: GdbSession) -> None:
    for address in (0xFFFF_9000_0000_0000, 0x0000_7000_0000_0000, 0x8000_0000_0000_0000, 0xFFFF_FFFF_FFFF_FFFC):
        with pytest.raises(GdbError, match=r"Unable to read memory|only \d+ can be read"):
            running.read_memory(address, 8)
    with pytest.raises(GdbError, match="Cannot access memory at address"):
        running.execute("set {long} 0xffff900000000000 = 1")
    running.execute("tbreak sort_round")
    assert running.continue_to_stop().function == "sort_round"


def test_memory_written_is_what_the_guest_reads(running: GdbSession, session: Session) -> None:
    """The seed of everything, set by gdb: the batch's checksum is another."""
    running.execute("set workload.random = 1")
    running.execute("tbreak sort_round")
    running.continue_to_stop()
    running.execute("tbreak batch_report")
    running.continue_to_stop()
    running.execute("finish")
    assert b"MISMATCH" in session.machine.console.read()


def test_code_written_is_what_the_guest_executes(running: GdbSession, demo: Demo) -> None:
    """next_random made to return 42 at once, after it has been executed as it was."""
    running.execute("tbreak recursion_round")
    running.continue_to_stop()
    running.execute("set {int} next_random = 0x52800540")  # mov w0, #42
    running.execute("set {int} (next_random + 4) = 0xd65f03c0")  # ret
    running.execute("break *next_random")
    running.continue_to_stop()
    running.execute("finish")
    assert running.register("x0") == 42


def fields(text: str) -> tuple[set[str], dict[str, str]]:
    """Of "[ M C T0SZ=16 ]": the names that stand alone, and those with a value."""
    words = text.strip("[] ").split()
    return {w for w in words if "=" not in w}, dict(w.split("=") for w in words if "=" in w)


def test_fields_of_system_registers(gdb: GdbSession) -> None:
    """Against what guests/demo/arch writes into them, and what the architecture says of a BRK."""
    gdb.execute("tbreak *kfree")
    gdb.continue_to_stop()
    alone, valued = fields(gdb.evaluate("$cpsr"))
    assert "SP" in alone
    assert valued["EL"] == "1"
    value = gdb.register("sctlr_el1")
    names, _ = fields(gdb.evaluate("$sctlr_el1"))
    assert {"M", "C", "I"} <= names  # MMU and caches on
    assert (value & 1, value >> 2 & 1, value >> 12 & 1) == (1, 1, 1)
    assert "A" not in names
    _, translation = fields(gdb.evaluate("$tcr_el1"))
    tcr = gdb.register("tcr_el1")
    assert (int(translation["T0SZ"]), int(translation["T1SZ"])) == (tcr & 63, tcr >> 16 & 63)
    gdb.execute("set $esr_el1 = 0xf2000004UL")
    assert fields(gdb.evaluate("$esr_el1")) == ({"IL"}, {"ISS": "4", "EC": "BRK64", "ISS2": "0"})
    gdb.execute("set $fpcr = 1 << 24")
    assert "FZ" in fields(gdb.evaluate("$fpcr"))[0]
    gdb.execute("set $sctlr_el1 = $sctlr_el1 | 2")
    assert "A" in fields(gdb.evaluate("$sctlr_el1"))[0]


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("sctlr_el1", 0x0200_0300_30D0_0800, "EPAN TCF=3"),  # Arm ARM, D19.2: bit 57, and bits 41 and 40
        ("tcr_el1", 0x0080_0002_B519_3519, "E0PD0 IPS=2"),  # bit 55, and bits 34 to 32
        ("ttbr0_el1", 0xABCD_0000_4008_1000, ""),  # the ASID is bits 63 to 48
    ],
)
def test_registers_show_all_of_64_bits(gdb: GdbSession, name: str, value: int, shown: str) -> None:
    """And the names of those above the lowest 32."""
    before = gdb.register(name)
    gdb.execute(f"set ${name} = {value:#x}UL")
    try:
        assert gdb.register(name) == value
        words = gdb.execute(f"info registers {name}").split()
        assert words[1] == f"{value:#x}"
        assert {*shown.split()} <= {*words}
        assert {*shown.split()} <= {*gdb.evaluate(f"${name}").split()}
    finally:
        gdb.execute(f"set ${name} = {before:#x}UL")


def test_all_registers_are_there(gdb: GdbSession) -> None:
    said = gdb.execute("info all-registers")
    assert "unavailable" not in said
    assert set(SYSTEM_REGISTERS) <= set(re.findall(r"^(\w+) ", said, re.MULTILINE))


def test_system_registers_under_the_names_of_qemu(gdb: GdbSession, session: Session, qemu: Reference) -> None:
    """They are there and have QEMU's values, and what is written under one name is read under the other."""
    assert set(ALIASES) - set(qemu.system) <= {"SCTLR_EL1", "VBAR_EL1"}  # QEMU 7.2 has no _EL1 there
    assert {"SP_EL0", "TTBR1_EL1", "TCR_EL1", "ELR_EL1"} <= set(qemu.system)
    gdb.execute("tbreak *kmalloc")
    gdb.continue_to_stop()
    # QEMU shows of SP_EL1 the copy that it keeps while SP_EL1 is not in use. Its time is the computer's: on a busy
    # one a timer interrupt may come before the place, and leave where it came from.
    shared = qemu.system.keys() - {"SP_EL1", "ELR_EL1", "SPSR_EL1"}
    assert {name: gdb.register(name) for name in shared} == {name: qemu.system[name] for name in shared}
    assert gdb.evaluate("$SP_EL0 == (unsigned long) &init_task") == "1"  # the current task, as in Linux
    gdb.execute("set $sp_el0 = 0x1234")
    assert gdb.register("SP_EL0") == 0x1234
    gdb.execute("set $TPIDR_EL0 = 0x5678")
    assert gdb.register("tpidr_el0") == session.machine.registers["tpidr_el0"] == 0x5678
    gdb.execute("break *kfree if $TPIDR_EL0 == 0x5678")
    assert gdb.continue_to_stop().function == "kfree"
