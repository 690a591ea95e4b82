# SPDX-License-Identifier: GPL-2.0-or-later
"""The commands that show callers and registers, at a stop and of what is past."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from armprobe.commands import CommandError, Session
from armprobe.probes import Kprobe

CALLERS = ["slab_round", "workload_round", "workload_run", "start_kernel", "__primary_switched"]
"""Of the first call of kmalloc in the workload, by the demo kernel's source."""


@pytest.fixture
def session() -> Iterator[Session]:
    with Session("demo") as session:
        session.run("continue until=workload_run")
        yield session


def functions(said: str) -> list[str]:
    return re.findall(r"^#\d+ +0x[0-9a-f]{16} (\w+)\+0x[0-9a-f]+/0x[0-9a-f]+$", said, re.MULTILINE)


def test_where_the_guest_is(session: Session) -> None:
    session.run("kretprobe slab_round")
    session.run("kretprobe kmalloc stop=entry,return")
    session.run("continue")
    said = session.run("backtrace")
    assert said == session.run("bt")
    assert functions(said) == ["kmalloc", *CALLERS]
    assert said.count("\n") == len(CALLERS) + 1
    session.run("continue")
    assert functions(session.run("backtrace")) == CALLERS


def test_of_a_hit(session: Session) -> None:
    """Told as long as it is true, refused in a sentence after that."""
    for probe in ("kretprobe slab_round", "kprobe ksize stop=pre", "kretprobe kmalloc"):
        session.run(probe)
    session.run("continue")
    assert functions(session.run("backtrace ksize")) == ["ksize", *CALLERS]
    said = session.run("backtrace slab_round")
    assert said.startswith("kretprobe slab_round: stage entry, hit 1:\n#0   0x")
    assert functions(said) == CALLERS
    with pytest.raises(CommandError, match="ESTALE: the guest has gone on since hit 24 of the kretprobe kmalloc, and"):
        session.run("backtrace kmalloc")
    session.run("continue")
    session.run("disable ksize")
    session.run("continue until=list_round")
    with pytest.raises(CommandError, match=r"ESTALE: .* since hit 1 of the kretprobe slab_round, and"):
        session.run("backtrace slab_round")
    with pytest.raises(CommandError, match="there is no probe 'kfree'"):
        session.run("backtrace kfree")


def test_an_interrupt_and_a_task(session: Session) -> None:
    session.run("continue until=gic_handle_irq")
    lines = session.run("backtrace").splitlines()
    assert [line.endswith(" (interrupted)") for line in lines].count(True) == 1
    assert lines[3].endswith(" (interrupted)")
    session.run("continue until=sys_getpid")
    lines = session.run("backtrace").splitlines()
    assert re.fullmatch(r"#7   0x\w+ user_syscall\+0x\w+/0x\w+ at EL0 \(interrupted\)", lines[7])
    assert re.fullmatch(r"#8   0x\w+ user_getpid\+0x\w+/0x\w+ at EL0", lines[8])


def test_pt_regs_and_the_probes(session: Session) -> None:
    with pytest.raises(CommandError, match="no hit is recorded yet"):
        session.run("pt-regs")
    session.run("kprobe kfree stop=post,pre")
    assert session.run("info kprobes") == session.run("probes")
    assert " stop=pre,post\n" in session.run("probes")
    session.run("continue")
    assert session.run("pt-regs") == session.run("pt-regs pre") == session.run("regs")
    with pytest.raises(CommandError, match="hit 1 of kfree has not recorded the stage post: it has pre"):
        session.run("pt-regs post")
    before = session.run("pt-regs")
    session.run("continue")
    assert session.run("pt-regs pre") == before
    assert session.run("pt-regs").startswith("kprobe kfree, hit 1, stage post:\n")
    session.run("step")
    assert session.run("pt-regs").startswith("kprobe kfree, hit 1, stage post:\n")


@pytest.mark.parametrize("until", ["its slot", "the trampoline"])
def test_an_interrupt_does_not_leave_the_guest_out_of_line(session: Session, until: str) -> None:
    """It stops where the guest itself is next, and nothing is lost of what was under way."""
    session.kprobes.optimization = False  # no slots otherwise
    session.run("kprobe pcrel_leaf" if until == "its slot" else "kretprobe pcrel_leaf")
    session.run("continue until=pcrel_leaf")
    machine = session.machine
    back, start = machine.registers.x[30], machine.registers.pc
    (probe,) = session.kprobes.list()
    if isinstance(probe, Kprobe):
        assert probe.site is not None
        place = probe.site.slot
    else:
        session.owner.call(machine.step)  # past the slot of the function's entry
        place = machine.registers.x[30]
    session.owner.call(machine.run, place)
    assert machine.registers.pc in machine.scratch
    machine.interrupt()  # which is seen before another instruction is executed
    expected = start + 4 if until == "its slot" else back
    assert session.run("continue") == f"interrupted at {machine.symbols.describe(expected)} ({expected:#x})\n"
    assert machine.registers.pc == expected
    assert probe.hits == 1
    assert [hit.stage.value for hit in session.kprobes.hits] == (
        ["pre", "post"] if until == "its slot" else ["entry", "return"]
    )
    assert session.kprobes.outstanding == []
