# SPDX-License-Identifier: GPL-2.0-or-later
"""What the prompt shows after a stop."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prompt_toolkit.input import create_pipe_input

from armprobe.commands import CommandError, Session
from armprobe.commands.context import after_stops
from armprobe.commands.render.text import as_text
from armprobe.commands.repl import BANNER, Repl
from tests.commands.test_repl import Screen  # tests have no import name to go by


@pytest.fixture
def session() -> Iterator[Session]:
    with Session("demo", memory="16M") as session:
        yield session


def typed(session: Session, *lines: str) -> str:
    with create_pipe_input() as keys:
        keys.send_text("".join(f"{line}\r" for line in lines) + "\x04")
        screen = Screen()
        assert Repl(session, session.shell.registry, keys, screen, after=after_stops(session)).run() == 0
    return screen.text.removeprefix(BANNER)


def test_registers_that_changed_are_marked(session: Session) -> None:
    session.ask("continue until=kmalloc")
    assert not any(register.changed for register in session.ask("context").registers)
    before = [*session.machine.registers.x, session.machine.registers.sp]
    session.ask("step 3")
    after = [*session.machine.registers.x, session.machine.registers.sp]
    found = {register.name: register for register in session.ask("context").registers}
    names = [*(f"x{number}" for number in range(31)), "sp"]
    assert [found[name].changed for name in names] == [a != b for a, b in zip(before, after, strict=True)]
    assert found["pc"].changed
    assert [found[name].value for name in names] == after


def test_code_shows_what_a_probe_is_in_place_of(session: Session) -> None:
    session.ask("continue until=kmalloc")
    original = session.ask("disassemble $pc 2")[1]
    session.ask("kprobe kmalloc+4 stop=pre")
    around = session.ask("context")
    (current,) = [each for each in around.code if each.current]
    assert current.location.address == session.machine.registers.pc
    (probed,) = [each for each in around.code if each.location.address == original.location.address]
    assert probed.replaced == original.text
    assert probed.word != original.word
    assert around.stack == session.ask("backtrace").frames[:5]
    assert max(len(line) for line in as_text(around).splitlines()) <= 80


def test_the_prompt_shows_it_after_each_stop_only(session: Session) -> None:
    said = typed(session, "tb kmalloc", "c", "i b", "context off", "ni", "context stack", "ni")
    assert said.count("-- registers") == 1
    assert said.count("-- code") == 1
    assert said.count("-- stack") == 2
    assert said.index("-- registers") > said.index("temporary breakpoint 1 at kmalloc (")


def test_commands_alone_do_not_show_it(session: Session) -> None:
    assert "-- " not in session.run("continue until=kmalloc")


def test_parts_are_checked(session: Session) -> None:
    assert session.run("context code,regs") == "after a stop the prompt shows: code, regs\n"
    assert session.run("context off") == "after a stop the prompt shows: nothing\n"
    assert session.run("context on") == "after a stop the prompt shows: regs, code, stack\n"
    with pytest.raises(CommandError, match="'source' is no part of the context"):
        session.ask("context source")
