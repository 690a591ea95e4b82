# SPDX-License-Identifier: GPL-2.0-or-later
"""Triggers that switch tracing, events and histograms, ours and those of the guest's own tracefs on the same run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import pytest

from armprobe.commands import Session
from tests.stock import stock_snapshot

pytestmark = pytest.mark.sample(of="files")

TRACEFS: Final = "/sys/kernel/tracing"
EVENTS: Final = {
    "ev": "p:ev vfs_read count=%x2:u64",
    "two": "p:two vfs_write count=%x2:u64",
    "ret": "r:ret vfs_write v=$retval:s64",
    "sy": "p:sy invoke_syscall nr=%x1:u32",
}
DD: Final = 'comm == "dd"'
"""The programs of the work: those that set triggers, and read files of tracefs, are others."""
WORK: Final = "; ".join(
    f"dd if=/init of=/tmp/o bs={size} count={count} 2>/dev/null" for size, count in ((10, 3), (99, 3), (15, 2), (20, 2))
)
CASES: Final[tuple[tuple[dict[str, str], list[str]], ...]] = (  # triggers by event, and the events that are enabled
    ({"ev": f"traceoff:1 if {DD}"}, ["ev", "two"]),
    ({"ev": "traceoff if count == 99"}, ["ev", "two"]),
    ({"ev": "traceon if count == 99", "two": "traceoff if count == 20"}, ["ev", "two"]),
    ({"ev": "enable_event:kprobes:two if count == 99"}, ["ev"]),
    ({"ev": "enable_event:kprobes:two:1 if count == 99", "two": "disable_event:kprobes:two if count == 15"}, ["ev"]),
    ({"two": f"disable_event:kprobes:ev:1 if {DD}"}, ["ev", "two"]),
    ({"two": "disable_event:kprobes:two"}, ["ev", "two"]),
    ({"ev": "disable_event:kprobes:ev if count == 99"}, ["ev", "two"]),
    ({"ev": f"hist:name=x:keys=count if {DD}", "two": f"hist:name=x:keys=count if {DD}"}, []),
    ({"two": f"hist:keys=count if {DD}", "ev": f"disable_hist:kprobes:two:2 if {DD}"}, []),
    ({"two": f"hist:keys=count:pause if {DD}", "ev": f"enable_hist:kprobes:two if {DD} && count == 10"}, []),
    ({"ret": f"hist:keys=v:vals=v.hex:sort=v if {DD}"}, []),
    ({"ret": f"hist:keys=__probe_ret_ip.sym,__probe_func.sym-offset if {DD}"}, ["ret"]),
    ({"sy": f"hist:keys=nr.syscall:sort=nr if {DD}"}, []),
)


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with Session(stock_snapshot()) as session:
        session.kprobes.kept = 20_000
        for definition in EVENTS.values():
            session.kprobes.events.define(definition)
        session.guest.sh("".join(f"echo '{each}' >> {TRACEFS}/kprobe_events;" for each in EVENTS.values()))
        yield session


@pytest.mark.parametrize(("triggers", "enabled"), CASES, ids=lambda case: str(case))
@pytest.mark.sample
def test_triggers_act_as_the_kernels(session: Session, triggers: dict[str, str], enabled: list[str]) -> None:
    events = session.kprobes.events
    events.tracing = True
    session.kprobes.hits.clear()
    script = [f"cd {TRACEFS}/events/kprobes", "echo 1 > ../../tracing_on"]
    for name in EVENTS:
        events.filter(name, DD)
        script.append(f"echo '{DD}' > {name}/filter")
    for name, trigger in triggers.items():
        events.trigger(name, trigger)
        script.append(f"echo '{trigger}' >> {name}/trigger")
    for name in enabled:
        events.enable(name)
        script.append(f"echo 1 > {name}/enable")
    assert session.guest.sh("; ".join([*script, "echo > ../../trace"])).err == ""
    session.guest.sh(WORK)
    files = "; ".join(f"cat {name}/enable {name}/trigger {name}/hist" for name in EVENTS)
    shown = session.guest.sh(f"cd {TRACEFS}/events/kprobes; cat ../../tracing_on; {files}; grep -v '^#' ../../trace")
    ours = [f"{events.tracing:d}\n"]
    for name in EVENTS:
        ours += [f"{events.find(name).control.enable_file}\n", events.trigger(name), events.hist(name)]
    ours += [f"{line}\n" for line in events.trace()]
    remove(session, triggers)
    assert timeless("".join(ours)) == timeless(shown.out)


def timeless(text: str) -> str:
    """The lines of a trace from the name of the event on."""
    return re.sub(r"^.*?\[\d+\] \S+ +[\d.]+: ", "", text, flags=re.MULTILINE)


def remove(session: Session, triggers: dict[str, str]) -> None:
    """Remove the triggers from both, the last first, and disable the events."""
    script = [f"cd {TRACEFS}/events/kprobes"]
    for name, trigger in reversed(triggers.items()):
        removal = f"!{trigger.replace(':pause', '')}"
        session.kprobes.events.trigger(name, removal)
        script.append(f"echo '{removal}' >> {name}/trigger")
    for name in EVENTS:
        session.kprobes.events.disable(name)
        script.append(f"echo 0 > {name}/enable")
    assert session.guest.sh("; ".join(script)).err == ""
