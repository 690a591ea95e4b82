# SPDX-License-Identifier: GPL-2.0-or-later
"""Chosen stages, registers, memory and strings of hits, in C and in Python, against all that handlers see."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from armprobe.commands import CommandError, Session
from armprobe.expressions import Condition
from armprobe.probes import Hit, Kprobe, Kretprobe, ProbeError, Record, Stage
from armprobe.probes.kprobe import OPTIMIZED
from armprobe.probes.scope import GuestScope

RUN = 100_000  # instructions


def started() -> Session:
    session = Session("demo", memory="16M")
    session.run("continue until=workload_round")
    session.kprobes.kept = 1 << 14
    return session


@pytest.fixture
def session() -> Iterator[Session]:
    with started() as session:
        yield session


def hits(make: Callable[[Session], Kprobe | Kretprobe], optimization: bool) -> list[Hit]:
    with started() as session:
        kprobes = session.kprobes
        kprobes.optimization = optimization
        probe = make(session)
        if isinstance(probe, Kretprobe):
            kprobes.register_kretprobe(probe)
        else:
            kprobes.register_kprobe(probe)
        session.machine.run(instructions=RUN)
        assert probe.flags == OPTIMIZED * optimization
        assert kprobes.lost == 0
        return list(kprobes.hits)


@pytest.mark.usefixtures("_hooks")
@pytest.mark.parametrize("optimization", [True, False])
def test_a_kprobe(optimization: bool) -> None:
    seen: list[tuple[Any, ...]] = []
    with started() as session:
        memory = session.machine.memory

        def pre(probe: Kprobe, regs: Any) -> None:
            text = memory.read(regs.regs[0], 64).partition(b"\0")[0].decode()
            seen.append((regs.regs[0], regs.sp, text, memory.read(regs.sp, 24)))

        session.kprobes.register_kprobe(Kprobe("strlen", pre_handler=pre))
        session.machine.run(instructions=RUN)
    record = Record([Stage.PRE], ["x0", "sp"], memory={"stack": ("sp", 24)}, strings={"text": "(char *)x0"})
    found = hits(lambda _: Kprobe("strlen", record=record), optimization)
    assert [(hit.regs.regs[0], hit.regs.sp, hit.data["text"], hit.data["stack"]) for hit in found] == seen
    assert len(seen) >= 3
    assert all(hit.stage is Stage.PRE and set(hit.recorded) == {"x0", "sp"} for hit in found)
    with pytest.raises(ProbeError, match="x1 is not recorded"):
        _ = found[0].regs.regs[1]
    with pytest.raises(ProbeError, match="pc is not recorded"):
        _ = found[0].regs.pc


@pytest.mark.usefixtures("_hooks")
@pytest.mark.parametrize("condition", ["", "retval & 0x40"])
def test_a_kretprobe_with_memory_at_its_entry(condition: str) -> None:
    """With a condition that is asked at the return, the record of the entry is held until then."""

    def make(session: Session) -> Kretprobe:
        record = Record(registers=["x0"], memory={"frame": ("sp", "x0 & 0x3f")}, most=32)
        names = GuestScope(session.machine, Stage.RETURN)
        asked = Condition.compile(condition, names) if condition else None
        return Kretprobe("kmalloc", record=record, maxactive=4, condition=asked)

    quick, ordinary = (
        [(h.stage, h.number, h.instructions, h.general, h.pstate, h.caller, h.data, h.missing) for h in found]
        for found in (hits(make, True), hits(make, False))
    )
    assert quick == ordinary
    entries = [(int.from_bytes(general[:8], "little"), data) for stage, _, _, general, _, _, data, _ in quick if data]
    assert len(entries) > 5
    assert len(entries) == sum(stage is Stage.ENTRY for stage, *_ in quick) == len(quick) / 2
    frames = []
    for size, data in entries:
        frame = data["frame"]
        assert isinstance(frame, bytes)
        assert len(frame) == min(size & 0x3F, 32)
        frames.append(frame)
    assert any(map(any, frames))


@pytest.mark.parametrize("optimization", [True, False])
def test_at_the_return_and_what_cannot_be_read(session: Session, optimization: bool) -> None:
    kprobes = session.kprobes
    kprobes.optimization = optimization
    good = Record(stages=[Stage.RETURN], registers=[], memory={"new": ("retval", 8)}, at=Stage.RETURN)
    bad = Record(memory={"null": ("0", 8), "hole": ("8", 8), "none": ("sp", -1)}, strings={"text": "0"})
    first = kprobes.register_kretprobe(Kretprobe("kmalloc", record=good))
    kprobes.register_kprobe(Kprobe("kfree", record=bad))
    session.machine.run(instructions=RUN)
    mine = [hit for hit in kprobes.hits if hit.probe is first]
    assert {hit.stage for hit in mine} == {Stage.RETURN}
    assert all(isinstance(hit.data["new"], bytes) and len(hit.data["new"]) == 8 for hit in mine)
    assert not mine[0].recorded
    other = [hit for hit in kprobes.hits if hit.probe is not first and hit.stage is Stage.PRE]
    assert all(hit.data == {"null": None, "hole": None, "none": b"", "text": None} for hit in other)
    assert other


def test_a_full_ring_loses_the_oldest_and_says_so(session: Session) -> None:
    kprobes = session.kprobes
    kprobes.kept = 10
    record = Record(stages=[Stage.PRE], registers=["x0"], memory={"stack": ("sp", 16)})
    probe = kprobes.register_kprobe(Kprobe("kmalloc", record=record))
    session.machine.run(instructions=RUN)
    assert probe.flags == OPTIMIZED
    assert [hit.number for hit in kprobes.hits] == [*range(probe.hits - 9, probe.hits + 1)]
    assert kprobes.lost == probe.hits - 10 > 0


def test_a_handler_makes_it_ordinary_and_its_record_stays(session: Session) -> None:
    record = Record(stages=[Stage.PRE], registers=["x0"], strings={"text": "(char *)x0"})
    probe = session.kprobes.register_kprobe(Kprobe("strlen", record=record))
    session.machine.run(instructions=RUN)
    first = len(session.kprobes.hits)
    probe.pre_handler = lambda p, regs: None
    session.machine.run(instructions=RUN)
    assert probe.flags == 0
    texts = [hit.data["text"] for hit in session.kprobes.hits]
    assert len(texts) > first > 0
    assert all(isinstance(text, str) and text for text in texts)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (Record(stages=[Stage.RETURN]), "stages has one that the probe does not have"),
        (Record(registers=["w0"]), "'w0' cannot be recorded"),
        (Record(memory={"a": ("x0 +", 4)}), "is wrong at its end"),
        (Record(memory={"a": ("x0", 4)}, strings={"a": "x0"}), "two fields have the name 'a'"),
        (Record(memory={"a": ("x0", 4)}, at=Stage.POST), "memory cannot be read at"),
        (Record(memory={"a": ("x0", 4)}, stages=[Stage.POST]), "which is not one of the stages recorded"),
        (Record(memory={"a": ("x0", 4)}, most=1 << 20), "bytes of a field cannot be recorded"),
        (Record(memory={str(n): ("x0", 4) for n in range(17)}), "17 fields are more"),
    ],
)
def test_what_is_refused(session: Session, record: Record, reason: str) -> None:
    with pytest.raises(ProbeError, match=reason) as refused:
        session.kprobes.register_kprobe(Kprobe("kfree", record=record))
    assert refused.value.errno == errno.EINVAL
    assert not session.kprobes.list()


def test_memory_is_bounded(session: Session) -> None:
    kprobes = session.kprobes
    kprobes.kept = 1 << 10
    large = Record(memory={str(n): ("x0", 4096) for n in range(16)}, most=4096)
    probe = kprobes.register_kprobe(Kprobe("kfree", record=large))
    with pytest.raises(ProbeError, match="a probe records 65536 bytes of memory of each"):
        kprobes.kept = 1 << 16
    kprobes.unregister(probe)
    kprobes.kept = 1 << 16
    with pytest.raises(ProbeError, match="are more than can be kept"):
        kprobes.register_kprobe(Kprobe("kfree", record=large))
    with pytest.raises(ProbeError, match="is registered: give its Record before"):
        kprobes.register_kprobe(Kprobe("kfree")).record = large


def test_the_command(session: Session) -> None:
    session.run("kprobe strlen record=pre,x0,x30 memory=x0:4 strings=x0")
    session.run("continue until=strlen")
    session.run("continue instructions=1000")
    line = session.run("trace 1")
    hit = session.kprobes.hits[-1]
    text = hit.data["x0"]
    assert isinstance(text, str)
    first = ",".join(f"{byte:#x}" for byte in text.encode()[:4])
    expected = f' x0={hit.regs.regs[0]:#x} x30={hit.regs.regs[30]:#x} x0:4={{{first}}} x0="{text}"\n'
    assert line.endswith(expected)
    with pytest.raises(CommandError, match=r"only some are recorded \(x0, x30\): trace shows them"):
        session.run("regs")
    for wrong, reason in (
        ("kprobe kfree memory=x0", "takes addresses with sizes"),
        ("kprobe kfree quiet=yes record=pre", "quiet=yes records nothing"),
        ("kprobe kfree record=entry", "'entry' cannot be recorded"),
    ):
        with pytest.raises((CommandError, ProbeError), match=reason):
            session.run(wrong)
