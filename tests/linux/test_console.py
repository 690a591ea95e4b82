# SPDX-License-Identifier: GPL-2.0-or-later
"""The console of a stock kernel: waited for in Python and in scripts, and as the user's own terminal."""

import sys
from pathlib import Path

import pytest

from armprobe.commands import CommandError, Session
from armprobe.machine import Machine, MachineError
from tests.gdb.terminal import CTRL_C, Terminal

pytestmark = pytest.mark.sample(of="files")


def test_expect(guest: Machine) -> None:
    console = guest.console
    console.read()
    console.write(b"echo a-$((6 * 7))-b; sleep 3; echo second; echo third\n")
    assert console.expect(r"a-(\d+)-b\r\n")[1] == b"42"
    seconds = guest.clock.seconds
    assert console.expect(b"second") is not None
    assert 2.9 < guest.clock.seconds - seconds < 4
    assert console.expect("third")[0] == b"third"
    assert console.read() == b""  # all up to the match is read
    assert console.expect("# ")[0] == b"# "
    with pytest.raises(MachineError, match=r"has not printed b'nothing' within 2 s of the guest's time; its"):
        console.expect("nothing", timeout=2)
    with pytest.raises(MachineError, match=r"'\(' is no regular expression"):
        console.expect("(")
    console.write(b"poweroff -f\n")
    with pytest.raises(MachineError, match=r"before the guest stopped \(.*Power down"):
        console.expect("nothing")
    assert b"Power down" in console.read()


def test_what_has_not_ended_is_said(session: Session) -> None:
    """The command waits for the guest's output for a quarter of a second only."""
    said = list[str]()
    session.on_notice(said.append)
    answer = session.ask("console sleep 30; echo is-$((40 + 2))")
    assert (answer.ended, answer.stop, "is-42" in answer.text) == (False, None, False)
    assert said == ["the guest has not printed a prompt yet: continue has it go on with what was typed\n"]
    session.run(r"continue until-console is-42\r\n.*#\s")
    assert session.ask("console true").ended
    assert len(said) == 1


def test_until_console(session: Session) -> None:
    session.machine.console.write(b"sleep 1; echo is-$((40 + 2))\n")
    stop = session.ask(r"continue until-console is-\d+\r")
    assert (stop.reason, stop.text) == ("until", r"the console has printed 'is-42\r'")
    stop = session.ask("continue instructions=1000 until-console nothing")
    assert stop.reason == "instructions"
    with pytest.raises(CommandError, match="is no regular expression"):
        session.run("continue until-console (")
    before = session.machine.clock.seconds  # while the guest idles, which takes few instructions
    with pytest.raises(
        CommandError, match="has not printed b'nothing' within 3 s of the guest's time; its output ends"
    ):
        session.run("continue timeout=3 until-console nothing")
    assert 3 <= session.machine.clock.seconds - before < 6


def test_the_terminal_is_the_console(snapshot: Path) -> None:
    with Terminal([sys.executable, "-m", "armprobe", str(snapshot), "--listen", "none"]) as terminal:
        terminal.expect("armprobe>")
        terminal.type("console")
        terminal.expect("Ctrl-] leaves, Ctrl-C is the guest's")
        terminal.type("echo is-$((6 * 7))")
        terminal.expect("is-42")
        terminal.press(CTRL_C)  # the guest's shell drops the line
        terminal.expect(r"\^C")
        terminal.type("echo still-$((2 + 3))")
        terminal.expect("still-5")
        terminal.press("\x1d")
        terminal.expect("the guest is stopped")
        terminal.type("print jiffies")
        terminal.expect(r"\(unsigned long\)\d+")
        terminal.type("kprobe do_sys_openat2 stop=pre", "console")
        terminal.expect("Ctrl-] leaves")
        terminal.type("cat /proc/version")
        terminal.expect("do_sys_openat2")  # which stops the guest, and leaves the console
        terminal.type("print 6 * 7")
        terminal.expect(r"\(int\)42")
