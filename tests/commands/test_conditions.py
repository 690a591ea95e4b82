# SPDX-License-Identifier: GPL-2.0-or-later
"""Probes with conditions, as commands set them, on the demo kernel: what is expected is what Python says of the hits
that a probe without a condition has recorded in the same run."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from armprobe.commands import CommandError, Session
from armprobe.probes import Hit, Kprobe, Kretprobe, Stage


@pytest.fixture
def session() -> Iterator[Session]:
    """Where the workload begins; a round of it calls kmalloc and kfree 24 times each before the lists are."""
    with Session("demo") as session:
        session.run("continue until=workload_round")
        yield session


def signed(value: int) -> int:
    return value - ((value & 1 << 63) << 1)


def hits(session: Session, number: int, stage: Stage | None = None) -> list[Hit]:
    probe = session.probes[number]
    return [hit for hit in session.kprobes.hits if hit.probe is probe and stage in (None, hit.stage)]


KPROBE_CONDITIONS: list[tuple[str, Callable[[Hit], object]]] = [
    ("x0 > 300", lambda hit: hit.regs.regs[0] > 300),
    ("x0 % 2 == 0 && x0 < 100", lambda hit: hit.regs.regs[0] % 2 == 0 and hit.regs.regs[0] < 100),
    ("$x0 & 1", lambda hit: hit.regs.regs[0] & 1),
    ("x30 == 0 || sp % 16", lambda hit: False),
    ("pc == kmalloc", lambda hit: True),
    ("(pstate >> 6 & 0xf) != 0xf && x0 > 200", lambda hit: hit.regs.pstate >> 6 & 15 != 15 and hit.regs.regs[0] > 200),
    ("$sp_el0 == 1", lambda hit: False),
    ("*(u32 *)kmalloc != 0xd4200080", lambda hit: True),  # memory as it is without the probe
]


@pytest.mark.parametrize(("text", "expected"), KPROBE_CONDITIONS)
def test_kprobe(session: Session, text: str, expected: Callable[[Hit], object]) -> None:
    session.run("kprobe kmalloc")
    assert f", if {text}\n" in session.run(f"kprobe kmalloc if {text}")
    stop = session.run("continue until=list_round")
    assert "list_round" in stop
    wanted = [hit.number for hit in hits(session, 1, Stage.PRE) if expected(hit)]
    for stage in (Stage.PRE, Stage.POST):
        assert [hit.number for hit in hits(session, 2, stage)] == wanted
    probe = session.probes[2]
    assert (probe.hits, probe.met) == (24, len(wanted))
    assert f" met={len(wanted)} if {text}\n" in session.run("probes 2")


def test_the_stack_pointer_of_a_hit_by_both_its_names(session: Session) -> None:
    """At EL1h, SP is SP_EL1 (Arm ARM, SPSel). The trampoline's frame, below it on the stack, is no part of the hit."""
    session.run("kretprobe kmalloc if $sp_el1 == sp")
    session.run("continue until=list_round")
    assert session.probes[1].met == session.probes[1].hits == 24


def test_stops(session: Session) -> None:
    """Only where it is true, at any stage."""
    session.run("kprobe kmalloc stop=post if x0 == 0x1a2")
    said = session.run("continue")
    assert "kprobe kmalloc: stage post, hit " in said
    assert [hit.regs.regs[0] for hit in hits(session, 1, Stage.PRE)] == [0x1A2]
    assert session.probes[1].hits > 1


def test_quiet(session: Session) -> None:
    session.run("kprobe kmalloc quiet=yes if x0 > 300")
    session.run("kprobe kmalloc if x0 > 300")
    session.run("continue until=list_round")
    assert hits(session, 1) == []
    assert session.probes[1].met == session.probes[2].met == len(hits(session, 2, Stage.PRE)) > 0


def test_a_pattern(session: Session) -> None:
    session.run("kprobe 'k*alloc' if x0 > 300")
    session.run("kprobe kmalloc")
    session.run("continue until=list_round")
    (number,) = (n for n, probe in session.probes.items() if probe.symbol_name == "kmalloc" and probe.condition)
    assert [hit.regs.regs[0] for hit in hits(session, number, Stage.PRE)] == [
        hit.regs.regs[0] for hit in hits(session, max(session.probes), Stage.PRE) if hit.regs.regs[0] > 300
    ]


RETURNS = ["retval & 0x80", "x0 % 0x1000 == 0", "(u32)retval > 0x202000", "w0 < 0", "*(u64 *)retval == 0"]


@pytest.mark.parametrize("text", RETURNS)
def test_kretprobe(session: Session, text: str) -> None:
    """At the return; then the stage entry is there too, with the arguments of just those calls."""
    session.run("kretprobe kmalloc")
    session.run(f"kretprobe kmalloc if {text}")
    memory = session.machine.memory
    answers: dict[int, bool] = {}

    def answer(hit: Hit) -> None:
        if hit.probe is session.probes[1] and hit.stage is Stage.RETURN:
            result = hit.regs.regs[0]
            answers[hit.number] = {
                RETURNS[0]: bool(result & 0x80),
                RETURNS[1]: result % 0x1000 == 0,
                RETURNS[2]: result & 0xFFFF_FFFF > 0x202000,
                RETURNS[3]: bool(result & 1 << 31),
                RETURNS[4]: memory.read(result, 8) == bytes(8),
            }[text]

    session.kprobes.on_hit = answer
    session.run("continue until=list_round")
    assert len(answers) == 24
    wanted = [number for number, met in answers.items() if met]
    assert [hit.number for hit in hits(session, 2, Stage.RETURN)] == wanted
    entered = [(hit.number, hit.instructions, list(hit.regs.regs)[:30]) for hit in hits(session, 2, Stage.ENTRY)]
    assert entered == [
        (hit.number, hit.instructions, list(hit.regs.regs)[:30])  # x30 is where the first of the two goes on to
        for hit in hits(session, 1, Stage.ENTRY)
        if hit.number in wanted
    ]
    assert (session.probes[2].hits, session.probes[2].met) == (24, len(wanted))


def test_kretprobe_asked_at_entry(session: Session) -> None:
    session.run("kretprobe fib")
    session.run("kretprobe fib at=entry maxactive=64 if x0 % 3 == 0")
    session.run("kretprobe fib maxactive=64 if retval == 1")
    session.run("unregister 1")
    session.machine.call("fib", 7)
    entered = hits(session, 2, Stage.ENTRY)
    assert entered
    assert {hit.regs.regs[0] for hit in entered} == {0, 3, 6}
    assert {hit.number for hit in entered} == {hit.number for hit in hits(session, 2, Stage.RETURN)}
    fibonacci = {0: 0, 3: 2, 6: 8}
    arguments = {hit.number: hit.regs.regs[0] for hit in entered}
    for hit in hits(session, 2, Stage.RETURN):  # though these calls are nested in each other
        assert hit.regs.regs[0] == fibonacci[arguments[hit.number]]
    ones = hits(session, 3)
    assert [hit.stage for hit in ones] == [Stage.ENTRY, Stage.RETURN] * (len(ones) // 2)
    assert {hit.regs.regs[0] for hit in ones if hit.stage is Stage.ENTRY} == {1, 2}


def test_stop_at_return(session: Session) -> None:
    session.run("kretprobe kmalloc stop=return if retval & 0x80")
    said = session.run("continue")
    assert "kretprobe kmalloc: stage return, hit " in said
    assert session.machine.registers.x[0] & 0x80


def test_one_that_cannot_be_evaluated(session: Session) -> None:
    """The guest stops and says why, as it does at gdb's breakpoints; the probe need not be recorded."""
    session.run("kprobe kfree quiet=yes if *(u32 *)8 == 1")
    said = session.run("continue")
    assert said.count("kprobe kfree: stage pre, hit 1; its condition cannot be evaluated: 0x8 is not mapped") == 1
    assert session.machine.registers.pc == session.machine.symbols["kfree"].address
    assert "hit 2; its condition cannot be evaluated" in session.run("continue")
    session.run("unregister all")
    session.run("kretprobe kmalloc if 1 / (retval - retval)")
    said = session.run("continue")
    assert (
        "kretprobe kmalloc: stage return, hit 1; its condition cannot be evaluated: the expression divides by" in said
    )
    session.run("unregister all")
    assert "list_round" in session.run("continue until=list_round")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("kprobe kfree if", "if needs CONDITION after it"),
        ("kprobe kfree if nosuch", "there is no symbol 'nosuch'"),
        ("kprobe kfree if $v0", "there is no register 'v0' of 64 bits or less"),
        ("kprobe kfree if retval", "put a kretprobe on it"),
        ("kretprobe kfree at=entry if retval", "put a kretprobe on it"),
        ("kretprobe kfree stop=entry if retval", "stop has Stage.ENTRY, where its condition is not known yet"),
        ("kprobe kfree code=reg:0,end", "write what it was compiled from after if"),
        ("kprobe kfree code=nosuch if x0", "there is no operation 'nosuch'"),
        ("kprobe kfree code=reg:zero if x0", "'reg:zero' is no operation"),
        ("jprobe kfree if x0", "v4.8"),
        ("kprobe kfree print", "print needs NOTE after it"),
        ("kprobe kfree if x0 if x1", "if is given twice"),
        ("kprobe kfree print x0", "begins with a format in quotes"),
        ('kprobe kfree print "%d"', 'the format "%d" takes 1, and the values are 0'),
        ('kprobe kfree print "%d" x0', "a comma or an operator was expected"),
        ('kprobe kfree print "%d", retval', "put a kretprobe on it"),
        ('kprobe kfree print "%f", x0', "floating-point numbers cannot be printed"),
        ('kprobe kfree print "%q", x0', "'%' that begins no known conversion"),
    ],
)
def test_refusals(session: Session, line: str, said: str) -> None:
    with pytest.raises(CommandError, match=said):
        session.run(line)
    assert not session.probes


def test_code(session: Session) -> None:
    """As gdb passes it; what is wrong with it only shows when it is evaluated."""
    session.run("kprobe kmalloc code=reg:0,ext:64,const16:300,swap,less_signed,end if size > 300")
    session.run("kprobe kmalloc if x0 > 300")
    session.run("continue until=list_round")
    assert session.probes[1].met == session.probes[2].met > 0
    session.run("kprobe kmalloc code=reg:0 if size")
    assert "cannot be evaluated: the expression runs past its last operation" in session.run("continue")
    session.run("unregister all")
    session.run("kprobe kmalloc code=getv:1,end if $counter")
    assert "probes have no trace state variables: use a tracepoint" in session.run("continue")


def test_completion(session: Session) -> None:
    assert session.complete("kprobe kfree i") == ["if"]
    assert "kmalloc" in session.complete("kprobe kfree if pc == kma")
    assert session.complete("kprobe kfree if x0 == 3 sto") == []


def test_in_python(session: Session) -> None:
    """A function is a condition too, and is asked once a hit."""
    asked: list[Stage] = []

    def large(stage: Stage, regs: object) -> bool:
        asked.append(stage)
        return len(asked) % 2 == 0

    kprobes = session.kprobes
    kprobe = kprobes.register_kprobe(Kprobe("kmalloc", condition=large))
    session.run("continue until=list_round")
    assert asked == [Stage.PRE] * 24
    assert (kprobe.hits, kprobe.met) == (24, 12)
    kprobes.unregister(kprobe)
    asked.clear()
    kretprobe = kprobes.register_kretprobe(Kretprobe("fib", condition=large, condition_at=Stage.ENTRY))
    session.machine.call("fib", 2)
    assert asked == [Stage.ENTRY] * 3
    assert (kretprobe.hits, kretprobe.met) == (3, 1)


def test_print(session: Session) -> None:
    """What trace shows is what there was at the hit; memory has changed by the time that it is asked for."""
    strings = []

    def remember(hit: Hit) -> None:
        if hit.stage is Stage.PRE:
            strings.append(session.machine.memory.read_string(hit.regs.regs[0]))

    session.kprobes.on_hit = remember
    session.run(r'kprobe strlen print "strlen(\"%.7s\") of %d", x0, *(char *)x0')
    session.run('kretprobe strlen if retval > 2 print "%s", 8')
    session.run("continue instructions=200000")
    lines = session.run("trace").splitlines()
    of_kprobe = [line.partition(") strlen")[2] for line in lines if "<- strlen" not in line]
    assert strings
    assert of_kprobe == [f'("{repr(text.decode()[:7])[1:-1]}") of {text[0]}' for text in strings]
    assert not any(hit.note for hit in session.kprobes.hits if hit.stage in (Stage.POST, Stage.ENTRY))
    returns = [line for line in lines if "<- strlen) " in line]
    assert len(returns) == len(strings)
    assert all(
        line.endswith("<- strlen) (0x8 is not mapped by the guest (its level 2 entry is invalid))") for line in returns
    )
    assert session.complete("kprobe kfree if x0 prin") == ["print", "printk"]


def test_a_note_in_python(session: Session) -> None:
    probe = Kprobe("fib", note=lambda stage, regs: f"{stage.value} {regs.regs[0]}")
    session.kprobes.register_kprobe(probe)
    session.machine.call("fib", 1)
    assert [hit.note for hit in session.kprobes.hits] == ["pre 1", "post 1"]
    assert session.run("trace").endswith(") pre 1\n")
