# SPDX-License-Identifier: GPL-2.0-or-later
"""Filters and hist triggers of ours and of the guest's own tracefs on the same run: the same lines and files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import pytest

from armprobe.commands import Session
from armprobe.machine import Snapshot
from armprobe.probes.kprobe import OPTIMIZED
from tests.stock import stock_snapshot

pytestmark = pytest.mark.sample(of="files")

TRACEFS: Final = "/sys/kernel/tracing"
EVENT: Final = f"{TRACEFS}/events/kprobes/ev"
DEFINITION: Final = (
    "p:ev vfs_read count=%x2:u64 name=+0(+40(+24(%x0))):string iter=+32(+40(%x0)):x64 neg=\\-5:s32 low=%x2:u8"
)
WORK: Final = "wc /init /proc/version /proc/cpuinfo; head -c 700 /init; dd if=/init bs=99 count=20; wc /proc/self/maps"
WHO: Final = '(comm == "wc" || comm == "head" || comm == "dd")'
"""The programs of the work: those that set triggers, and read files of tracefs, are others."""
TRIGGERS: Final = (
    f"hist:keys=name:vals=count if {WHO}",
    f"hist:keys=common_pid.execname,count.log2:sort=count,common_pid if {WHO}",
    f"hist:keys=count:vals=count.percent,neg:sort=count.descending if {WHO}",
    f"hist:keys=iter.sym,name:sort=name:size=128 if {WHO}",
    f"hist:keys=__probe_ip.sym-offset,low.hex,count.buckets=100 if {WHO}",
    f"hist:keys=count/3+neg,common_cpu:name=totals if {WHO}",
    f'hist:keys=common_pid.execname:vals=hitcount,count.graph,count+neg if {WHO} && count > 500 && name != "version"',
    f'hist:keys=name,low if {WHO} && (comm ~ "[wd][cd]" || low & 1)',
)
FILTERS: Final = (
    "count > 1000",
    "count & 0x1000 || neg == -5",
    "!(count != 99) && low >= 0x60",
    'comm == "wc" && count > 100 || comm != "dd" && !(comm == "cat" || common_pid < 50)',
    'name ~ "vers*" && comm == "wc"',
    'name == "init" || comm ~ "*at"',
)


@pytest.fixture(scope="module")
def start() -> Iterator[tuple[Session, Snapshot]]:
    with Session(stock_snapshot()) as session:
        session.kprobes.kept = 20_000
        session.kprobes.events.define(DEFINITION)
        session.guest.sh(f"cd {TRACEFS}; echo '{DEFINITION}' >> kprobe_events")
        yield session, session.machine.snapshot()


@pytest.fixture
def session(start: tuple[Session, Snapshot]) -> Session:
    """One that begins where the others do."""
    session, snapshot = start
    session.machine.restore(snapshot)
    return session


def again_in_c(start: tuple[Session, Snapshot], work: str) -> None:
    """Do the work once more, without the guest's own kprobe: its breakpoint takes exceptions, which Python handles."""
    session, snapshot = start
    session.machine.restore(snapshot)
    session.guest.sh(work)
    probe = session.kprobes.events.find("ev").probes[0].probe
    assert probe is not None
    assert probe.flags & OPTIMIZED


@pytest.mark.parametrize("trigger", TRIGGERS)
@pytest.mark.sample
def test_histograms_are_equal(start: tuple[Session, Snapshot], session: Session, trigger: str) -> None:
    events = session.kprobes.events
    events.trigger("ev", trigger)
    done = session.guest.sh(f"echo '{trigger}' > {EVENT}/trigger; {WORK} > /dev/null")
    assert (done.err.count("error"), done.status) == (0, 0)
    theirs = session.guest.sh(f"cat {EVENT}/hist").out
    ours = events.hist("ev")
    again_in_c(start, f"{WORK} > /dev/null")
    in_c = events.hist("ev")
    events.trigger("ev", f"!{trigger}")
    assert ours == theirs
    assert in_c == theirs
    assert int(ours.partition("Hits: ")[2].split()[0]) > 5


@pytest.mark.parametrize("text", FILTERS)
@pytest.mark.sample
def test_filtered_events_are_equal(start: tuple[Session, Snapshot], session: Session, text: str) -> None:
    events = session.kprobes.events
    assert events.filter("ev", text) == text
    events.enable("ev")
    begin = f"echo > trace; echo '{text}' > {EVENT}/filter; echo 1 > {EVENT}/enable; cat /proc/version"
    session.guest.sh(f"cd {TRACEFS}; {begin}; {WORK}; echo 0 > {EVENT}/enable")
    theirs = [arguments(line) for line in session.guest.sh(f"grep -v '^#' {TRACEFS}/trace").out.splitlines()]
    ours = [arguments(line) for line in events.trace()]
    again_in_c(start, f"cat /proc/version; {WORK}")
    in_c = [arguments(line) for line in events.trace()]
    events.disable("ev")
    assert theirs
    # Ours was enabled before, and until after.
    assert any(ours[at : at + len(theirs)] == theirs for at in range(len(ours)))
    assert any(in_c[at : at + len(theirs)] == theirs for at in range(len(in_c)))


def arguments(line: str) -> str:
    """What follows the time of a line of the trace."""
    return re.sub(r"^.*?\[\d+\] \S+ +[\d.]+: ", "", line)
