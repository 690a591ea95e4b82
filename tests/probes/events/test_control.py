# SPDX-License-Identifier: GPL-2.0-or-later
"""Filters and triggers of events of the demo kernel."""

from __future__ import annotations

import errno

import pytest

from armprobe import machine
from armprobe.probes import EventError, Kprobes
from armprobe.probes.kprobe import OPTIMIZED

DEFINITIONS = """\
p:alloc kmalloc size=%x0:u64 low=%x0:u8 s=%x0:s32 bits=%x0:b4@2/32 at=+0(%sp):u64
r:result kmalloc v=$retval:x64
p:free kfree p=%x0:x64
"""
RUN = 300_000


@pytest.fixture
def kprobes() -> Kprobes:
    guest = machine.load("demo")
    kprobes = Kprobes(guest)
    kprobes.kept = 100_000
    kprobes.events.define(DEFINITIONS)
    return kprobes


def recorded(kprobes: Kprobes, event: str, text: str) -> list[str]:
    """The lines of a run from the beginning with a filter."""
    kprobes.machine.reset()
    kprobes.hits.clear()
    kprobes.events.filter(event, text)
    kprobes.events.enable(event)
    kprobes.machine.run(instructions=RUN)
    kprobes.events.disable(event)
    return kprobes.events.trace()


def value(line: str, name: str) -> int:
    return int(line.partition(f" {name}=")[2].split()[0], 0)


# The filters, and what they say of the value of x0 in Python.
SELECTIONS = {
    "size > 100": lambda x: x > 100,
    "low == 0x40 || low & 1": lambda x: x & 0xFF == 0x40 or x & 1,
    "s < 64 && !(s == 24)": lambda x: x < 64 and x != 24,
    "size <= 64": lambda x: x <= 64,
    "size >= 64 && size != 64": lambda x: x > 64,
    "bits == 6": lambda x: x >> 2 & 15 == 6,
    "low > 0xffffffffffffff10": lambda x: x & 0xFF > 0x10,
}


@pytest.mark.parametrize("text", SELECTIONS)
def test_a_filter_of_registers_is_evaluated_in_c(kprobes: Kprobes, text: str) -> None:
    everything = recorded(kprobes, "alloc", "0")
    expected = [line for line in everything if SELECTIONS[text](value(line, "size"))]
    assert 0 < len(expected) < len(everything)
    kprobes.events.enable("alloc")
    assert recorded(kprobes, "alloc", text) == expected
    probe = kprobes.events.find("alloc").probes[0].probe
    assert probe is not None
    kprobes.events.enable("alloc")
    kprobes.machine.run(instructions=1000)
    assert probe.flags & OPTIMIZED
    kprobes.optimization = False
    assert recorded(kprobes, "alloc", text) == expected


def test_a_filter_of_memory_is_evaluated_in_python(kprobes: Kprobes) -> None:
    everything = recorded(kprobes, "alloc", "0")
    expected = [line for line in everything if value(line, "size") == 24]
    assert recorded(kprobes, "alloc", 'size == 24 && at != 1 && comm != "dd"') == expected


def test_a_filter_of_a_return_value_is_evaluated_in_c(kprobes: Kprobes) -> None:
    everything = recorded(kprobes, "result", "0")
    expected = [line for line in everything if value(line, "v") & 0x100]
    assert 0 < len(expected) < len(everything)
    assert recorded(kprobes, "result", "v & 0x100") == expected


def test_a_refused_filter_leaves_the_event_unfiltered(kprobes: Kprobes) -> None:
    everything = recorded(kprobes, "alloc", "0")
    kprobes.events.filter("alloc", "size > 100")
    with pytest.raises(EventError, match="EINVAL: Field not found") as refused:
        kprobes.events.filter("alloc", "length > 100")
    assert refused.value.column == 7
    assert kprobes.events.filter("alloc") == "length > 100\n       ^\nparse_error: Field not found"
    kprobes.machine.reset()
    kprobes.hits.clear()
    kprobes.events.enable("alloc")
    kprobes.machine.run(instructions=RUN)
    assert kprobes.events.trace() == everything


def test_a_histogram_counts_hits_of_an_event_that_is_not_enabled(kprobes: Kprobes) -> None:
    sizes = [value(line, "size") for line in recorded(kprobes, "alloc", "0")]
    kprobes.machine.reset()
    kprobes.hits.clear()
    kprobes.events.trigger("alloc", "hist:keys=size:sort=size if size > 100")
    kprobes.machine.run(instructions=RUN)
    expected = sorted({size for size in sizes if size > 100})
    lines = [f"{{ size: {size:10} }} hitcount: {sizes.count(size):10}" for size in expected]
    text = kprobes.events.hist("alloc")
    assert [line for line in text.splitlines() if line.startswith("{")] == lines
    assert kprobes.events.trace() == []
    with pytest.raises(EventError, match="EBUSY"):
        kprobes.events.delete("alloc")
    kprobes.events.trigger("alloc", "!hist:keys=size:sort=size if size > 100")
    kprobes.events.delete("alloc")


def test_going_back_takes_what_was_counted_back(kprobes: Kprobes) -> None:
    guest = kprobes.machine
    kprobes.events.trigger("alloc", "hist:keys=size")
    guest.run(instructions=RUN)
    middle, counted = guest.snapshot(), kprobes.events.hist("alloc")
    guest.run(instructions=RUN)
    later = kprobes.events.hist("alloc")
    guest.restore(middle)
    assert kprobes.events.hist("alloc") == counted != later
    guest.run(instructions=RUN)
    assert kprobes.events.hist("alloc") == later


def test_going_back_takes_what_triggers_switched_back(kprobes: Kprobes) -> None:
    guest, events = kprobes.machine, kprobes.events
    events.trigger("alloc", "traceoff:1 if size > 500")
    events.trigger("free", "enable_event:kprobes:result if p != 0")
    events.enable("alloc")
    start = guest.snapshot()
    guest.run(instructions=RUN)
    first, state = events.trace(), (events.tracing, events.trigger("alloc"), events.find("result").control.enable_file)
    assert state == (False, "traceoff:count=0 if size > 500\n", "1*")
    for _ in range(2):
        guest.restore(start)
        assert events.trace() == []
        assert (events.tracing, events.find("result").control.enable_file) == (True, "0*")
        guest.run(instructions=RUN)
        assert events.trace() == first
        assert (events.tracing, events.trigger("alloc"), events.find("result").control.enable_file) == state


def test_a_trigger_takes_a_snapshot_of_the_machine(kprobes: Kprobes) -> None:
    guest, events = kprobes.machine, kprobes.events
    events.trigger("alloc", "snapshot:1 if size > 100")
    events.enable("alloc")
    guest.run(instructions=RUN)
    first = next(hit for hit in kprobes.hits if hit.regs.argument(0) > 100)
    assert events.snapshot is not None
    guest.restore(events.snapshot)
    assert first.instructions <= guest.instructions <= first.instructions + 1
    assert events.trigger("alloc") == "snapshot:count=0 if size > 100\n"


def test_a_trigger_records_the_stack(kprobes: Kprobes) -> None:
    kprobes.events.trigger("alloc", "stacktrace:1")
    kprobes.events.enable("alloc")
    kprobes.machine.run(instructions=RUN)
    lines = kprobes.events.trace()
    assert lines[1].endswith(": <stack trace>")
    assert lines[1].partition(": <stack")[0] == lines[0].partition(": alloc: (")[0]
    assert lines[2:6] == [f" => {name}" for name in ("kmalloc", "slab_round", "workload_round", "workload_run")]
    assert sum("<stack trace>" in line for line in lines) == 1


def test_triggers_switch_tracing_off_and_on(kprobes: Kprobes) -> None:
    everything = recorded(kprobes, "alloc", "0")
    stops = next(at for at, line in enumerate(everything) if value(line, "size") > 500)
    kprobes.machine.reset()
    kprobes.hits.clear()
    kprobes.events.trigger("alloc", "traceoff if size > 500")
    kprobes.events.enable("alloc")
    kprobes.machine.run(instructions=RUN)
    assert kprobes.events.trace() == everything[: stops + 1]  # traceoff acts when the hit is recorded
    assert not kprobes.events.tracing
    kprobes.events.tracing = True
    kprobes.events.trigger("alloc", "!traceoff")
    kprobes.machine.run(instructions=10_000)
    assert len(kprobes.events.trace()) > stops + 1


def test_a_trigger_enables_another_event(kprobes: Kprobes) -> None:
    kprobes.events.trigger("free", "enable_event:kprobes:alloc:1")
    assert kprobes.events.find("alloc").enabled  # its probe is in the text, as in the kernel
    kprobes.events.enable("free")
    kprobes.machine.run(instructions=RUN)
    names = [line.split(": ")[1] for line in kprobes.events.trace()]
    assert names[0] == "free"
    assert "alloc" in names
    assert kprobes.events.trigger("free") == "enable_event:kprobes:alloc:count=0\n"
    kprobes.events.trigger("free", "!enable_event:kprobes:alloc")
    kprobes.events.disable("alloc")
    assert not kprobes.events.find("alloc").enabled


def test_enabling_what_is_enabled_compiles_no_filter(kprobes: Kprobes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trigger without a count acts at each hit of its event, most often to no effect."""
    kprobes.events.filter("alloc", "size > 100")
    kprobes.events.enable("alloc")
    kprobes.events.enable("free")
    kprobes.events.trigger("free", "enable_event:kprobes:alloc")
    compiled = []
    monkeypatch.setattr("armprobe.probes.events.event.condition", lambda *given: compiled.append(given))
    kprobes.machine.run(instructions=RUN)
    assert sum(": free: (" in line for line in kprobes.events.trace()) > 100
    assert compiled == []


def test_an_event_is_found_by_its_name(kprobes: Kprobes) -> None:
    for method in (kprobes.events.filter, kprobes.events.trigger, kprobes.events.hist):
        with pytest.raises(EventError) as refused:
            method("nothing")
        assert refused.value.errno == errno.ENOENT


def test_an_event_without_triggers_shows_those_there_are(kprobes: Kprobes) -> None:
    assert kprobes.events.trigger("free").startswith("# Available triggers:\n# traceon traceoff snapshot")
    assert kprobes.events.hist("free") == ""
