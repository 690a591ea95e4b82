# SPDX-License-Identifier: GPL-2.0-or-later
"""The stops of probes of every kind that are found going back are those of the way forward, on a stock kernel."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path
from random import Random

import pytest
import unicorn

from armprobe import machine
from armprobe.commands import CommandError, Session
from armprobe.machine import Stop, StopReason
from armprobe.machine.stop import WatchHit
from tests.identity import run_to  # tests have no import name to go by
from tests.linux.load import load
from tests.linux.shell import Shell
from tests.soak import AT_LENGTH, chance

pytestmark = pytest.mark.soak

PROBES = 200 if AT_LENGTH else 24
INSTRUCTIONS = 3_000_000 if AT_LENGTH else 150_000
SPACING = 200_000 if AT_LENGTH else 50_000  # of checkpoints
OFTEN = 12  # calls of a function, at most, that has a probe
KINDS = (
    "kprobe {} stop=pre",
    "kprobe {} stop=post",
    "kprobe {} stop=pre,post",
    "kprobe {}+4 stop=pre",
    "kprobe {} stop=pre if $x0 & 64",
    "kretprobe {} stop=entry",
    "kretprobe {} stop=return",
    "kretprobe {} stop=entry,return",
    "kretprobe {} stop=return if $x0 == 0",
    "break {}",
    "break *{}+8 if $x1 != 0",
)
"""Each as a line of the prompt, for a function."""
TRACEPOINTS = "sched:sched_switch", "sched:sched_wakeup", "timer:hrtimer_start", "kmem:kfree", "irq:irq_handler_entry"


def called(snapshot: Path) -> Counter[str]:
    """The functions that the guest's kernel calls in these instructions, and how often, by a hook of the engine."""
    guest = machine.load(snapshot)
    Shell(guest).run(load())
    names = {symbol.address: symbol.name for symbol in guest.kprobes.functions()}
    entered: Counter[str] = Counter()

    def block(engine: object, address: int, size: int, _: object) -> None:
        if address in names:
            entered[names[address]] += 1

    guest.core.engine.hook_add(unicorn.UC_HOOK_BLOCK, block)
    guest.core.forget_translations()
    guest.run(instructions=INSTRUCTIONS)
    return entered


def set_probes(session: Session, functions: list[str], random: Random) -> None:
    for name in TRACEPOINTS:
        session.run(f"kprobe t:{name} stop=pre")
    while len(session.probes) + len(session.breakpoints) < PROBES:
        try:
            session.run(random.choice(KINDS).format(functions.pop()))
        except CommandError:
            continue  # not every function can be probed


def watch(session: Session) -> None:
    """Words of the present task's stack."""
    stack = session.machine.registers["sp_el1"]
    for below in (96, 200):
        session.run(f"watch {stack - below & ~7:#x} 8")


def shown(session: Session, stop: Stop) -> tuple[int, str]:
    """What there is to compare of a stop: the position, and the words, in which probe, stage and place are."""
    return session.machine.instructions, f"{stop.reason.name} {stop}"


def changes(stop: Stop) -> bool:
    return not isinstance(stop.detail, WatchHit) or stop.detail.value != stop.detail.before


@pytest.mark.sample(of="tests")
def test_stops_found_going_back(snapshot: Path) -> None:
    random = chance()
    counts = called(snapshot)
    functions = [name for name in sorted(counts) if counts[name] <= OFTEN]
    random.shuffle(functions)
    with Session(snapshot) as session:
        guest = session.machine
        Shell(guest).run(load())
        guest.timeline.pacing.spacing = SPACING
        set_probes(session, functions, random)
        watch(session)
        guest.restore(guest.snapshot())  # the history begins here
        end = guest.instructions + INSTRUCTIONS
        forward: list[tuple[int, str]] = []
        while (left := end - guest.instructions) > 0:
            stop = session.go(partial(guest.run, instructions=left), waits=False)
            if stop.reason is not StopReason.INSTRUCTIONS and changes(stop):
                forward.append(shown(session, stop))
        run_to(guest, end)
        print(f"{len(forward)} stops of {len(session.probes)} probes")
        assert len(forward) > PROBES
        for expected in reversed(forward):
            assert shown(session, session.go(guest.timeline.reverse_continue, waits=False)) == expected
        assert session.go(guest.timeline.reverse_continue, waits=False).reason is StopReason.HISTORY_START
