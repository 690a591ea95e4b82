# SPDX-License-Identifier: GPL-2.0-or-later
"""Trace lines of events, compared with those of a 6.1 kernel that ran the same commands."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any, Final

import pytest

from armprobe.commands import Session
from armprobe.probes.kprobe import OPTIMIZED
from tests.probes.events.kernel_answers import answers, record_of
from tests.probes.events.kernel_definitions import remove_all
from tests.stock import stock_snapshot  # tests have no import name to go by

LINE: Final = re.compile(
    r" *(?P<task>.+)-(?P<pid>\d+) +\[000\] (?P<flags>\S+) +(?P<seconds>[\d.]+): "
    r"(?P<event>\w+): \((?P<place>[^)]*)\) ?(?P<arguments>.*)",
    re.DOTALL,
)
SHOWN: Final = ("task", "flags", "event", "place")
ADDRESS: Final = "0xffff8000083a0710"  # of vfs_read, in the kernel that was asked


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    """A stock kernel with the files that the kernel on record had."""
    with Session(stock_snapshot()) as session:
        session.guest.sh("mkdir -p /data /etc /tmp")
        for path, content in record_of("files").items():
            session.guest.sh(f"printf %s {shlex.quote(content)} > {path}")
        yield session


@pytest.mark.parametrize("case", answers("values"), ids=lambda case: case["definitions"][0][:60])
@pytest.mark.sample
def test_values(session: Session, case: dict[str, Any]) -> None:
    """The lines of a command: task, flags, event, place and arguments, but what the record calls undefined."""
    kprobes, events = session.kprobes, session.kprobes.events
    remove_all(events)
    kprobes.hits.clear()
    for definition in case["definitions"]:
        events.define(definition.replace(ADDRESS, f"{session.machine.symbols['vfs_read'].address:#x}"))
    for event in events.events:
        events.enable(event.path)
    # The process that ran the commands had two more files open. Each begins with another execve().
    run = shlex.quote(f"exec {case['command']} >/dev/null 2>&1")
    status = session.guest.sh(f"echo $$ > /tmp/pid; exec 3</dev/null 4</dev/null; exec /bin/sh -c {run}").status
    optimized = [bool(each.probe and each.probe.flags & OPTIMIZED) for event in events.events for each in event.probes]
    lines = events.trace()
    remove_all(events)
    pid = int(session.guest.sh("cat /tmp/pid").out)

    ignored = {*case["volatile"], *case.get("undefined", [])}
    theirs = [({key: line[key] for key in SHOWN}, arguments(line["arguments"], ignored)) for line in case["lines"]]
    found = [match for line in lines if (match := LINE.fullmatch(line)) and int(match["pid"]) >= pid]
    ours = [({key: line[key] for key in SHOWN}, arguments(line["arguments"], ignored)) for line in found]
    assert ours[-len(theirs) :] == theirs
    assert status == case["exit"]
    assert optimized == [True] * len(case["definitions"])
    assert kprobes.errors == []


def arguments(text: str, ignored: set[str]) -> dict[str, str]:
    _, *parts = re.split(r"(?:^| )(\w+)=", text)
    return {name: value for name, value in zip(parts[::2], parts[1::2], strict=True) if name not in ignored}
