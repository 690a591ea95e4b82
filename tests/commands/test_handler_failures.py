# SPDX-License-Identifier: GPL-2.0-or-later
"""What a user's function raises while the guest runs is never silent, whoever listens."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from armprobe.commands import Session, cli
from armprobe.probes import Kprobe

# A program with a function that raises, in each place that calls one.
PLACES = {
    "pre_handler": 's.kprobes.register_kprobe(Kprobe("kfree", pre_handler=fail))',
    "post_handler": 's.kprobes.register_kprobe(Kprobe("kfree", post_handler=fail))',
    "entry_handler": 's.kprobes.register_kretprobe(Kretprobe("kmalloc", entry_handler=fail))',
    "handler": 's.kprobes.register_kretprobe(Kretprobe("kmalloc", handler=fail))',
    "condition": 's.kprobes.register_kprobe(Kprobe("kfree", condition=fail))',
    "note": 's.kprobes.register_kprobe(Kprobe("kfree", note=fail))',
    "on_hit": 's.kprobes.on_hit = fail; s.kprobes.register_kprobe(Kprobe("kfree"))',
    "entry": 's.kprobes.register_jprobe(Jprobe("kfree", entry=fail))',
}
PROGRAM = """
from armprobe.commands import Session
from armprobe.probes import Jprobe, Kprobe, Kretprobe

def fail(*_):
    raise ValueError("from the user's function")

with Session("demo", era="v4.8") as s:
    {}
    s.run("continue instructions=1500000")
"""


@pytest.mark.parametrize("place", PLACES)
def test_a_program_says_so(place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(PLACES[place]))
    assert cli.main(["script", str(program)]) == 1
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("a handler of the ")
    assert said[-1] == "ValueError: from the user's function"
    assert len(said) < 10  # once a probe


def test_on_moment_ends_the_run(tmp_path: Path) -> None:
    """There is no probe to tell it of."""
    with Session("demo") as session:
        session.kprobes.register_kprobe(Kprobe("kfree"))
        session.kprobes.on_moment = lambda moment: 1 // 0
        with pytest.raises(ZeroDivisionError):
            session.run("continue")
        session.kprobes.on_moment = None
        probe = session.kprobes.register_kprobe(Kprobe("strlen"))
        session.run("continue instructions=1500000")
        assert probe.hits
        assert not probe.nmissed


def test_a_session_that_nobody_listens_to(caplog: pytest.LogCaptureFixture) -> None:
    """The log goes to standard error where the program has not configured it (module logging)."""
    with Session("demo") as session:
        session.kprobes.register_kprobe(Kprobe("kfree", pre_handler=lambda p, regs: 1 // 0))
        session.run("continue instructions=1500000")
    (record,) = caplog.records
    assert (record.levelno, record.name) == (logging.ERROR, "armprobe.probes")
    assert record.getMessage().endswith("ZeroDivisionError: integer division or modulo by zero")


def test_a_program_that_has_its_own_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = tmp_path / "program.py"
    own = PROGRAM.format("s.kprobes.on_error = lambda probe, error: print('mine:', error); " + PLACES["pre_handler"])
    program.write_text(own)
    assert cli.main(["script", str(program)]) == 0
    assert capsys.readouterr() == ("mine: from the user's function\n", "")
