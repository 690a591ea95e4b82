# SPDX-License-Identifier: GPL-2.0-or-later
"""`diff`, held against two full copies of the guest, and going back to where a condition was true."""

from collections.abc import Iterator

import pytest

from armprobe.commands import Session
from armprobe.session.errors import CommandError


@pytest.fixture
def demo() -> Iterator[Session]:
    with Session("demo", memory="4M") as session:
        session.machine.timeline.pacing.spacing = 30_000
        session.run("run instructions=60000")
        yield session


def copy(session: Session) -> tuple[dict[str, int], bytes]:
    names = (*(f"x{number}" for number in range(31)), "sp", "pc", "pstate")
    registers = session.machine.registers
    return {name: registers[name] for name in names}, bytes(session.machine.ram.data)


@pytest.mark.parametrize(("first", "second"), [(55_000, 60_000), (60_000, 45_000), (100, 60_000), (59_990, 60_000)])
def test_it_is_that_of_two_copies(demo: Session, first: int, second: int) -> None:
    demo.run(f"goto {first}")
    registers, ram = copy(demo)
    demo.run(f"goto {second}")
    later, content = copy(demo)
    found = demo.ask(f"diff {first} {second}")
    assert {each.name: (each.before, each.after) for each in found.registers} == {
        name: (registers[name], later[name]) for name in later if registers[name] != later[name]
    }
    assert found.bytes_changed == sum(one != other for one, other in zip(ram, content, strict=True))
    base = demo.machine.ram.base
    pages = [at for at in range(0, len(ram), 4096) if ram[at : at + 4096] != content[at : at + 4096]]
    assert list(found.pages) == [base + at for at in pages]
    for symbol in found.symbols:
        at = demo.machine.memory.translate(symbol.address).physical - base
        one, other = ram[at : at + symbol.size], content[at : at + symbol.size]
        assert symbol.changed == sum(x != y for x, y in zip(one, other, strict=True))
        if symbol.before is not None:
            assert (symbol.before, symbol.after) == (int.from_bytes(one, "little"), int.from_bytes(other, "little"))
    assert copy(demo) == (later, content)


def test_types_are_shown(demo: Session) -> None:
    rows = {each.name: each for each in demo.ask("diff boot end").symbols}
    assert rows["pgtable_used"].type == "unsigned int"
    assert rows["pgtable_used"].before_text == "(unsigned int)0"


def test_between_branches(demo: Session) -> None:
    demo.run("goto 50000")
    demo.run("set $x9 = 0x1234")
    found = demo.ask("diff main:50000 end")
    assert [(each.name, each.after) for each in found.registers] == [("x9", 0x1234)]
    assert found.page_count == 0
    assert demo.machine.timeline.branch == "branch-1"


def test_back_to_where_a_condition_was_true(demo: Session) -> None:
    """The position is that of a log of single steps."""
    demo.run("goto 58000")
    log = []
    while demo.machine.instructions < 60_000:
        log.append((demo.machine.instructions, demo.machine.registers.x[0]))
        demo.machine.step()
    value = log[700][1]
    expected = max(position for position, x0 in log if x0 == value)
    assert demo.ask(f"reverse-continue until $x0 == {value:#x}").reason == "until"
    assert demo.machine.instructions == expected
    assert demo.ask("reverse-continue until $_position == 5000").reason == "until"
    assert demo.machine.instructions == 5000
    assert demo.ask("reverse-continue until $x0 == 0x123456789").reason == "history_start"


def test_a_condition_that_is_wrong(demo: Session) -> None:
    with pytest.raises(CommandError, match="nosuch"):
        demo.run("reverse-continue until $nosuch")
