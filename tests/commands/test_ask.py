# SPDX-License-Identifier: GPL-2.0-or-later
"""What commands answer: values, whose text is what the prompt shows."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from armprobe.commands import CommandError, Session, values
from armprobe.commands.render.text import as_text


@pytest.fixture
def session() -> Iterator[Session]:
    with Session("demo") as session:
        yield session


def test_a_value_and_its_text(session: Session) -> None:
    session.run("continue until=workload_round")
    assert session.ask("probes") == values.Probes() == ()
    registered = session.ask("kretprobe kmalloc")
    assert isinstance(registered, values.Registered)
    location = registered.location
    assert location is not None
    kmalloc = session.machine.symbols["kmalloc"]
    assert (registered.probe.number, location.symbol) == (1, "kmalloc")
    assert (registered.probe.address, location.size) == (kmalloc.address, kmalloc.size)
    session.ask("continue instructions=100000")
    (row,) = session.ask("probes")
    (probe,) = session.kprobes.list()
    assert row.hits == probe.hits > 0
    for line in ("probes", "info", "info system", "regs", "trace", "decode kfree era=all", "check kfree era=all"):
        assert as_text(session.ask(line)) == session.run(line)
    assert session.ask("regs")[1].registers.x == tuple(session.kprobes.hits[-1].regs.regs[i] for i in range(31))
    assert session.ask("  # a comment") is session.ask("") is None


def test_what_a_refused_command_has_found(session: Session) -> None:
    printed: list[str] = []
    with pytest.raises(CommandError, match="1 would be refused") as failed:
        session.execute("check kfree insn_yield", printed.append)
    assert isinstance(failed.value.value, values.Checked)
    assert [place.accepted for place in failed.value.value[0].places] == [True, False]
    assert as_text(failed.value.value) == "".join(printed)


def test_columns_of_long_lists_are_aligned() -> None:
    row = values.ProbeRow(1, "kprobe", 0x1000, "f", "f", 0, 0, "enabled", False, (), 0, None, None, None, None)
    long = values.ProbeRow(
        1000, "kprobe", 1 << 63, "f" * 40, "f" * 40, 10**10, 10**8, "disabled", False, (), 0, None, None, None, None
    )
    lines = as_text(values.Probes((row, long))).splitlines()
    assert [line.split()[0] for line in lines] == ["num", "1", "1000"]
    assert [line.index("kprobe") for line in lines[1:]] == [lines[0].index("kind")] * 2
    assert lines[1].endswith(" 0")
    assert len(lines[0]) == len(lines[1]) == lines[2].index(" [DISABLED]")
