# SPDX-License-Identifier: GPL-2.0-or-later
"""Values in the lines of the tracer: names and types are those of the demo kernel's source."""

from __future__ import annotations

import pytest

from armprobe import machine
from armprobe.commands import Session
from armprobe.probes import Kprobe, Kprobes, Kretprobe, Record


@pytest.fixture
def guest() -> machine.Machine:
    loaded = machine.load("demo")
    loaded.run(until="kfree")
    return loaded


def values(kprobes: Kprobes) -> list[str]:
    """What the lines have behind the place."""
    return [kprobes.trace_line(hit).partition(") ")[2] for hit in kprobes.hits.traced()]


def test_arguments_and_results_have_their_names_and_types(guest: machine.Machine) -> None:
    """guests/demo/kernel/slab.c, uaccess.c and printk.c"""
    kprobes = Kprobes(guest)
    for name in ("kmalloc", "kfree", "copy_from_kernel_nofault"):
        kprobes.register_kprobe(Kprobe(name))
        kprobes.register_kretprobe(Kretprobe(name))
    block = guest.call("kmalloc", (1 << 63) + 5, 0x1_8000_0000)  # it is too large, and flags are an unsigned int
    assert block == 0
    block = guest.call("kmalloc", 64, 3264)
    assert guest.call("copy_from_kernel_nofault", block, (1 << 64) - 16, 8) == -14 & (1 << 64) - 1  # -EFAULT
    guest.call("kfree", block)
    assert values(kprobes) == [
        "size=9223372036854775813 flags=2147483648",
        "retval=0x0",
        "size=64 flags=3264",
        f"retval={block:#x}",
        f"dst={block:#x} src=0xfffffffffffffff0 size=8",
        "retval=-14",
        f"p={block:#x}",
        "",
    ]


def test_a_place_without_names_has_x0(guest: machine.Machine) -> None:
    kprobes = Kprobes(guest)
    kprobes.register_kprobe(Kprobe("kfree", offset=4))
    kprobes.register_kprobe(Kprobe("kmalloc", record=Record(registers=["x1"])))
    guest.call("kfree", guest.call("kmalloc", 64, 3264))
    chosen, inside = values(kprobes)
    assert chosen == "x1=0xcc0"
    assert inside.startswith("x0=0x")


def test_texts_are_those_of_the_call() -> None:
    """printk.c builds each line in one buffer, which the next line overwrites."""
    with Session("demo") as session:
        printed = bytearray()
        session.machine.console.listen(printed.extend)
        session.run("kprobe console_write")
        session.run("continue instructions=200000")
        lines = values(session.kprobes)
    written = [line for line in printed.decode().replace("\r", "").split("\n") if line]
    assert len(written) >= 5
    for line in written[:-1]:
        assert any(f's="{line}' in shown and "count=" in shown for shown in lines), (line, lines)
