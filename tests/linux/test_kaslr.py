# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's kernel with KASLR, and with the page table isolation that it then turns on.

The expected addresses are those of the guest's own /proc/kallsyms.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from armprobe import machine
from armprobe.clients import GdbSession
from armprobe.commands import Session
from armprobe.guests import linux
from armprobe.machine import Machine, StopReason
from armprobe.probes import Kprobe, Kprobes
from tests.linux.shell import Shell
from tests.progress import progress
from tests.stock import stock_kernel

pytestmark = pytest.mark.sample(of="files")

SEED = 2
NAMES = ("_stext", "kfree", "vfs_read", "do_sys_openat2", "schedule", "start_kernel")


@pytest.fixture(scope="module")
def moved_snapshot() -> Path:
    stock_kernel()
    return linux.prepare(report=progress, kaslr=SEED)


@pytest.fixture
def moved(moved_snapshot: Path) -> Iterator[Session]:
    with Session(moved_snapshot) as session:
        yield session


def kallsyms(guest: Machine) -> dict[str, int]:
    """The addresses that the guest prints for NAMES."""
    rows = Shell(guest).run(f"grep -E ' ({'|'.join(NAMES)})$' /proc/kallsyms").split("\n")
    return {row.split()[2]: int(row.split()[0], 16) for row in rows if len(row.split()) == 3}


def run_to_user_space(guest: Machine) -> None:
    for _ in range(100_000):
        if not guest.registers.pstate & 0xF:
            return
        guest.run(instructions=997)
    pytest.fail("the guest did not get to EL0")


def test_symbols_follow_the_kernel(moved: Session, snapshot: Path) -> None:
    expected = kallsyms(moved.machine)
    assert expected.keys() == set(NAMES)
    assert {name: moved.machine.symbols[name].address for name in NAMES} == expected
    with Session(snapshot) as unmoved:
        slide = expected["_stext"] - unmoved.machine.symbols["_stext"].address
    assert slide > 0
    assert not slide % (2 << 20)  # MIN_KIMG_ALIGN


def test_probes_hit(moved: Session) -> None:
    moved.run("kprobe do_sys_openat2")
    moved.run("kretprobe vfs_read")
    assert "root" in Shell(moved.machine).run("cat /etc/passwd; id -un") + Shell(moved.machine).run("ls /")
    first, second = moved.kprobes.list()
    assert first.hits
    assert second.hits


def test_the_kernel_is_read_in_user_space(moved: Session) -> None:
    """Where the CPU itself would fault, as the kernel is not mapped there."""
    guest = moved.machine
    kfree = guest.symbols["kfree"].address
    Shell(guest).run("true")
    while not guest.registers.pstate & 0xF:
        guest.run(instructions=997)
    code = guest.memory.read(kfree, 64)
    run_to_user_space(guest)
    assert guest.core.read_virtual(kfree, 4) is None
    assert guest.memory.read(kfree, 64) == code
    probe = moved.kprobes.register_kprobe(Kprobe("kfree"))
    Shell(guest).run("ls /proc")
    assert probe.hits


def test_a_probe_set_before_the_boot_hits() -> None:
    guest = machine.load(stock_kernel().vmlinuz, kaslr=SEED)
    stopped = []
    Kprobes(guest).register_kprobe(Kprobe("init_IRQ", pre_handler=lambda p, regs: stopped.append(regs.pc)))
    stop = guest.run(until="rest_init", instructions=200_000_000)
    assert stop.reason is StopReason.UNTIL
    assert stopped == [guest.symbols["init_IRQ"].address]


def test_gdb_knows_the_moved_kernel(moved: Session) -> None:
    expected = kallsyms(moved.machine)
    with GdbSession(moved) as gdb:
        assert gdb.execute(f"info symbol {expected['vfs_read']:#x}").startswith("vfs_read in section .text")
        assert f"{expected['kfree']:#x}" in gdb.execute("info address kfree")
