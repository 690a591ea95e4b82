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
    # inlined copies, of which some have no code of their own, or are in units of their own
    *("push_free", "push_free+4", "my=push_free %x0", "readl v=%x0", "writel", "height", "map_image", "word_aligned"),
    *(
        "push_free:3",
        "readl:2",
        "local_irq_enable:2",
        "kmalloc@slab.c",
        "kmalloc@kernel/slab.c",
        "readl@sysreg.h",
    ),
    *(
        "kmalloc;return*",
        "slab.c;*->free*",
        "push_free;cache->free*=object;",
        "avl.c;node->*",
    ),
)
LISTED = (
    *("kmalloc", "kmalloc:5", "kmalloc:5-10", "kmalloc:5+3", "kmalloc@slab.c:0-3", "slab.c:90-100", "slab.c:90"),
    *(
        "slab.c",
        "push_free",
        "height",
        "writel",
        "append",
        "el1h_64_sync_handler",
        "map_range",
        "vsnprintf",
        "avl_rebalance",
    ),
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
        command = [path, "probe", "-k", str(DEMO), "-s", str(DEMO.parent), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=DEMO.parent)
        return done.stdout

    return run


@pytest.mark.parametrize("text", SAME)
@pytest.mark.sample
def test_a_definition_is_perfs(session: Session, perf: Callable[..., str], text: str) -> None:
    theirs = re.sub(r"\+0(?=\s|$)", "", perf("-D", text), flags=re.MULTILINE)
    assert session.run(f"probe -D {text}") == theirs


@pytest.mark.parametrize("text", LISTED)
@pytest.mark.sample
def test_a_listing_is_perfs(session: Session, perf: Callable[..., str], text: str) -> None:
    """But for blanks at the ends of lines, and the folder in which the sources were compiled."""
    ours, theirs = session.run(f"probe -L {text}").splitlines(), perf("-L", text).splitlines()
    assert [re.sub(r"^<([^:]*@)?[^:]*/", r"<\1", line).rstrip() for line in ours] == [
        re.sub(r"^<([^:]*@)?[^:]*/", r"<\1", line).rstrip() for line in theirs
    ]


def test_every_copy_has_a_probe(session: Session) -> None:
    """Which is hit when the function around it is executed; refused, none of them has."""
    session.run("probe push_free %x0")
    session.run("kprobe kmem_cache_free")
    session.machine.run(instructions=100_000)
    listed = session.ask("events")
    assert [row.definition for row in listed] == [
        "p:probe/push_free kmem_cache_free arg1=%x0",
        "p:probe/push_free kmem_cache_grow+68 arg1=%x0",
    ]
    assert listed[0].hits == session.ask("probes")[-1].hits > 10
    session.run("events disable")
    session.run("event -:probe/push_free")
    with pytest.raises(CommandError):
        session.run("probe local_irq_enable +0(%nix)")
    assert not session.kprobes.events.list()


def test_listing_and_deleting_as_perf_does(session: Session) -> None:
    """In the form of perf_probe_event__sprintf() (tools/perf/util/probe-event.c)."""
    for line in (
        "probe kmalloc s=%x0 f=%x1:u32",
        "probe --add='kfree%return'",
        "probe -a 'kmem_cache_free+8'",
        "event p:g/e kfree",
    ):
        session.run(line)
    assert session.run("probe -l") == (
        "  probe:kmalloc        (on kmalloc with s f)\n"
        "  probe:kfree__return  (on kfree%return)\n"
        "  probe:kmem_cache_free (on kmem_cache_free+8)\n"
        "  g:e                  (on kfree)\n"
    )
    assert session.run("probe --list=probe:k*e") == "  probe:kmem_cache_free (on kmem_cache_free+8)\n"
    assert session.run("probe -d kmalloc") == "deleted: p:probe/kmalloc kmalloc s=%x0 f=%x1:u32\n"
    session.run("events trigger probe/kfree__return traceoff")
    with pytest.raises(CommandError, match="EBUSY"):
        session.run("probe -d kfree*")
    session.run("probe --del=g:*")
    assert [row.event for row in session.ask("probe -l")] == ["probe:kfree__return", "probe:kmem_cache_free"]
    for line, reason in (
        ("probe -d nix", "'nix' names no event: probe -l lists them"),
        ("probe --add='kmalloc' --add='kfree'", "write a line for each"),
        ("probe -x /bin/ls main", "those of programs cannot"),
        ("probe -m crypto main", "event p MODULE:FUNCTION"),
    ):
        with pytest.raises(CommandError, match=reason):
            session.run(line)


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
        ("kmalloc:999", "no instruction begins line 999 of kmalloc"),
        ("nix.c:1", "the debug information has no file nix.c"),
        ("-x", "probe has no option -x"),
        ("kmalloc nix", "nix"),
    ],
)
def test_wrong_probes_are_refused(session: Session, text: str, why: str) -> None:
    with pytest.raises((CommandError, MachineError, EventError), match=why):
        session.run(f"probe {text}")
    assert not session.kprobes.events.list()
