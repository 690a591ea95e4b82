# SPDX-License-Identifier: GPL-2.0-or-later
"""A probe on every function that can have one, and each call accounted for."""

from __future__ import annotations

from collections import Counter

import pytest

from armprobe import machine
from armprobe.commands import CommandError, Session
from armprobe.probes import Kprobe, Kprobes, Kretprobe, ProbeError
from tests.calls import counted_calls  # tests have no import name to go by

ROUNDS = 3


def ready() -> machine.Machine:
    """The demo kernel at the start of a round of its workload, its timer off: nothing in it depends on time then."""
    demo = machine.load("demo")
    demo.run(until="workload_round")
    demo.core.timers[3].write(1, 0)
    return demo


def played(demo: machine.Machine) -> tuple[Counter[int], bytes]:
    """The calls in some rounds of the workload, and what it computed."""
    functions = {function.address for function in demo.symbols.functions()}
    with counted_calls(demo, functions) as calls:
        for _ in range(ROUNDS):
            demo.run(until="workload_round")
    workload = demo.symbols["workload"]
    return calls, demo.memory.read(workload.address, workload.size)


@pytest.fixture(scope="module")
def undisturbed() -> tuple[Counter[int], bytes]:
    return played(ready())


@pytest.mark.parametrize("kind", ["kprobe", "kretprobe"])
def test_every_call_is_a_hit_or_missed(undisturbed: tuple[Counter[int], bytes], kind: str) -> None:
    """The same run without probes, its calls counted by the engine, is the measure."""
    demo = ready()
    kprobes = Kprobes(demo)
    start, end = demo.symbols["_stext"].address, demo.symbols["_etext"].address
    text = demo.memory.read(start, end - start)
    probes: list[Kprobe | Kretprobe] = []
    refused = 0
    for function in kprobes.functions():
        if kind == "kretprobe" and function.name == "pcrel_blr_x30":
            refused += 1  # looks at its own return address, and would find the trampoline's there
            continue
        try:
            if kind == "kprobe":
                probes.append(kprobes.register_kprobe(Kprobe(addr=function.address, record=False)))
            else:
                probes.append(kprobes.register_kretprobe(Kretprobe(addr=function.address, record=False)))
        except ProbeError:
            refused += 1
    assert len(probes) > 150
    assert len(probes) + refused == len({function.address for function in demo.symbols.functions()})
    assert played(demo) == undisturbed
    calls = undisturbed[0]
    counted = {
        probe.addr: probe.hits + probe.nmissed + (probe.kp.nmissed if isinstance(probe, Kretprobe) else 0)
        for probe in probes
    }
    assert counted == {probe.addr: calls[probe.addr or 0] for probe in probes}
    assert sum(calls.values()) > 5000
    assert sum(bool(probe.hits) for probe in probes) > 120
    assert kprobes.errors == []
    kprobes.unregister_kprobes(probes)
    assert demo.memory.read(start, end - start) == text


def test_patterns() -> None:
    with Session("demo") as session:
        session.run("continue until=workload_run")
        names = [function.name for function in session.kprobes.functions("pcrel_[ct]b*z")]
        assert sorted(names) == ["pcrel_cbnz", "pcrel_cbz", "pcrel_tbnz", "pcrel_tbz"]
        said = session.run("kprobe 'k*' quiet=yes")
        assert said.splitlines()[0] == "kprobes 1 to 6: on 6 of the 7 functions that match"
        assert said.splitlines()[1:] == ["      1 refused, EINVAL: on the kernel's blacklist"]
        assert session.run("kretprobe [s]trlen quiet=yes") == "kretprobe 7: on 1 of the 1 functions that match\n"
        session.run("continue instructions=500000")
        top = session.run("probes top=2").splitlines()[1:]
        hits = sorted((probe.hits for probe in session.probes.values()), reverse=True)
        assert [int(line.split()[4]) for line in top] == hits[:2]
        assert len(session.run("probes 'k*'").splitlines()) == 1 + 6
        assert session.run("disable 'k*'").count("is disabled") == 6
        assert session.run("probes 'k*'").count("[DISABLED]") == 6
        assert session.run("unregister 'k*'").count("is gone") == 6
        assert list(session.probes) == [7]
        for line, words in (
            ("kprobe 'zz*'", r"no function matches 'zz\*'"),
            ("kprobe 'el1*'", "none of the 16 functions that match"),
            ("kprobe nowhere:*", r"no function matches 'nowhere:\*'"),
            ("unregister 'zz*'", r"there is no probe 'zz\*'"),
        ):
            with pytest.raises(CommandError, match=words):
                session.run(line)
        assert list(session.probes) == [7]


def test_all_by_one_command() -> None:
    with Session("demo") as session:
        session.run("continue until=workload_run")
        said = session.run("kretprobe * quiet=yes").splitlines()
        count, functions = len(session.probes), len(session.kprobes.functions())
        assert said[0] == f"kretprobes 1 to {count}: on {count} of the {functions} functions that match"
        assert sum(int(line.split()[0]) for line in said[1:]) == functions - count
        assert len(said) < 12  # a line for each reason, not for each function
        session.run("continue instructions=1000000")
        hits = sum(probe.hits for probe in session.probes.values())
        assert hits > 10_000
        assert session.run("unregister all").startswith(f"{count} probes are gone: {hits:,} hits, ")
