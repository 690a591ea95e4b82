# SPDX-License-Identifier: GPL-2.0-or-later
"""The command probe says and does what perf probe does with the same file."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator

import pytest

from armprobe.commands import CommandError, Session
from armprobe.machine import MachineError
from armprobe.probes import EventError
from tests.gdb.oracle import DEMO

SAME = (
    *("kmalloc", "kmalloc:6", "kmalloc:7", "slab_round:7", "slab_round:9", "kmalloc%return $retval", "kfree+4 %x0"),
    *("my=kmalloc:6", "grp:my=kmalloc", "slab.c:95", "kernel/slab.c:95", "my=kmalloc%return", "kmalloc s=%x0:u32"),
)


@pytest.fixture
def session() -> Iterator[Session]:
    with Session("demo") as session:
        yield session


@pytest.fixture(scope="module")
def perf(tool: Callable[[str, str], str]) -> Callable[..., str]:
    """perf(arguments): what `perf probe` prints of the demo kernel."""
    path = tool("perf", "linux-perf")

    def run(*arguments: str) -> str:
        done = subprocess.run([path, "probe", "-k", str(DEMO), *arguments], capture_output=True, text=True, check=True)
        return done.stdout

    return run


@pytest.mark.parametrize("text", SAME)
def test_a_definition_is_perfs(session: Session, perf: Callable[..., str], text: str) -> None:
    theirs = [re.sub(r"\+0(?=\s|$)", "", line) for line in perf("-D", text).splitlines()]
    ours = session.run(f"probe -D {text}").rstrip()
    assert ours in theirs  # of a line with several places perf has them all, and here is the first
    assert ours == theirs[0]


def test_variables_are_perfs(session: Session, perf: Callable[..., str]) -> None:
    theirs, ours = perf("-V", "slab_round").splitlines(), session.run("probe -V slab_round").splitlines()
    assert ours[:2] == theirs[:2]
    assert set(ours[2:]) <= set(theirs[2:])


def test_lines_are_those_that_perf_can_probe(session: Session, perf: Callable[..., str]) -> None:
    """And their text is the source's."""
    listing = session.run("probe -L kmalloc").splitlines()
    assert re.fullmatch(r"<kmalloc@.*kernel/slab.c:0>", listing[0])
    source = (DEMO.parent / "kernel/slab.c").read_text().splitlines()
    first = next(number for number, line in enumerate(source) if re.match(r"\w.*\bkmalloc\(", line))
    assert [line[9:] for line in listing[1:]] == [line.rstrip() for line in source[first : first + len(listing) - 1]]
    shown = [int(line[:7]) for line in listing[1:] if line[:7].strip()]
    rows = [row for row in session.ask("probe -L kmalloc").rows if row.address is not None]
    assert shown == [row.line for row in rows]
    entry = session.machine.symbols["kmalloc"].address
    apart = [row.line for row in rows if row.address > entry]  # perf refuses lines that begin where the function does
    assert len(apart) >= 3
    for number in apart:
        assert f"kmalloc_L{number} " in perf("-D", f"kmalloc:{number}")


def test_a_probe_is_an_enabled_event(session: Session) -> None:
    session.run("probe kmalloc size")
    session.run("probe kmalloc:7")
    session.run("probe kfree%return")
    session.machine.run(instructions=5_000_000)
    trace = session.run("trace 200")
    assert re.search(r": kmalloc: \(kmalloc\+0x0/0x\w+\) size=\d+", trace)
    assert ": kmalloc_L7: (kmalloc+0x28/" in trace
    assert ": kfree__return: (" in trace
    session.run("events disable")
    session.run("events clear")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("-L nix", "the debug information has no function nix"),
        ("nix:3", "the debug information has no function nix"),
        ("kmalloc:999", "line 999 of kmalloc has no instruction"),
        ("nix.c:1", "no instruction is of line 1 of a file nix.c"),
        ("kmalloc;x", "is no probe"),
        ("-x", "probe has no option -x"),
        ("kmalloc nix", "nix"),
    ],
)
def test_wrong_probes_are_refused(session: Session, text: str, why: str) -> None:
    with pytest.raises((CommandError, MachineError, EventError), match=why):
        session.run(f"probe {text}")
    assert not session.kprobes.events.list()
