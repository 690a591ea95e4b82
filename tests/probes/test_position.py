# SPDX-License-Identifier: GPL-2.0-or-later
"""Probes that only look leave the guest's run identical: compared with the run of the same guest without probes."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from armprobe import machine
from armprobe.machine import Machine, StopReason
from armprobe.machine.core import cpu_state
from armprobe.probes import Kprobe, Kprobes, Kretprobe, ProbeError
from tests.memories import PIECE, different_pieces
from tests.soak import AT_LENGTH, chance

_IN_MEMORY = ("v4.8", "v5.4")  # the eras whose instances are in the guest's memory


@dataclass
class State:
    """A guest at one position."""

    position: int
    registers: dict[str, int]
    console: bytes
    ram: bytes


def states(m: Machine, stretches: Iterable[tuple[int, bytes]]) -> Iterator[State]:
    """The state after each stretch: a number of instructions, and what is typed before it (the FIFO takes it)."""
    for instructions, typed in stretches:
        m.console.write(typed)
        assert m.run(instructions=instructions).reason is StopReason.INSTRUCTIONS
        assert m.registers.pc not in m.scratch
        yield State(m.instructions, cpu_state.read(m.core), m.console.read(), bytes(m.ram.data))


def compare(plain: State, probed: State, kprobes: Kprobes, m: Machine) -> int:
    """Returns the number of words that hold the trampoline's address instead of a return address."""
    trampoline = kprobes._kretprobes.trampoline
    assert plain.position == probed.position
    assert plain.console == probed.console
    different = {name for name, value in plain.registers.items() if probed.registers[name] != value}
    assert {name for name in different if not trampoline or probed.registers[name] != trampoline} == set()
    ours = bytearray(probed.ram)
    own = sorted(m.scratch._adopted)  # the slots that end in a branch
    for probe in kprobes.list():
        kprobe = probe.kp if isinstance(probe, Kretprobe) else probe
        assert isinstance(kprobe, Kprobe)
        site = kprobe.site
        if site is not None and site.armed:
            own.append(site.addr)
    for address in own:
        at = m.memory.translate(address).physical - m.ram.base
        ours[at : at + 4] = plain.ram[at : at + 4]
    words = 0
    returns = trampoline.to_bytes(8, "little")
    for at in different_pieces(ours, plain.ram):
        for word in range(at, min(at + PIECE, len(ours)), 8):
            if ours[word : word + 8] == plain.ram[word : word + 8]:
                continue
            # The guest may have overwritten a part of the word since, as an old part of its stack.
            now, was = ours[word : word + 8], plain.ram[word : word + 8]
            kept = [now[i] in (was[i], returns[i] if trampoline else was[i]) for i in range(8)]
            assert all(kept), f"{m.ram.base + word:#x}: {now!r} instead of {was!r}"
            words += 1
    return words


def probe(kprobes: Kprobes, names: Iterable[str], kinds: Iterable[str], optimised: bool) -> int:
    """Put probes of these kinds on the functions, optimised or not. Returns how many were accepted."""

    def look(*_: object) -> int:
        return 0

    accepted = 0
    for name, kind in zip(names, kinds, strict=False):
        try:
            if kind == "kprobe":
                kprobes.register_kprobe(Kprobe(name, pre_handler=None if optimised else look))
            else:
                kprobes.register_kretprobe(Kretprobe(name, handler=None if optimised else look))
            accepted += 1
        except ProbeError:
            continue
    return accepted


STRETCHES = [(20_011, b""), (1, b""), (70_001, b""), (5, b""), (100_003, b"")]


def demo_kernel() -> Machine:
    m = machine.load("demo", memory="16M")
    m.run(until="workload_run")
    return m


@cache
def plain_demo() -> list[State]:
    return list(states(demo_kernel(), STRETCHES))


@cache
def functions() -> list[str]:
    names = {symbol.name for symbol in demo_kernel().symbols.functions()}
    return sorted(names - {"pcrel_ldr_literal", "pcrel_blr_x30"})  # which read their own code, and return x30


@given(
    st.sampled_from(["v4.8", "v5.4", "v5.10", "v6.1", "v6.9"]),
    st.sampled_from([None, "ss", "brk", "branch"]),
    st.booleans(),
    st.randoms(use_true_random=False),
    st.integers(1, 60),
)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_demo(era: str, stepping: str | None, optimised: bool, chance: random.Random, count: int) -> None:
    m = demo_kernel()
    kprobes = Kprobes(m, era, stepping)
    kinds = ["kprobe"] if era in _IN_MEMORY else ["kprobe", "kretprobe"]
    places = [f"{name}+{4 * chance.randrange(3)}" if chance.random() < 0.3 else name for name in functions()]
    chosen = chance.sample(places, min(count, len(places)))
    probe(kprobes, chosen, (chance.choice(kinds) for _ in chosen), optimised)
    for plain, probed in zip(plain_demo(), states(m, STRETCHES), strict=True):
        compare(plain, probed, kprobes, m)


@pytest.mark.soak
@pytest.mark.parametrize("way", ["ordinary", "optimised"] if AT_LENGTH else ["either"])
@pytest.mark.sample(of="tests")
def test_linux(guest: Machine, plain_linux: list[State], way: str) -> None:
    optimised = chance().random() < 0.5 if way == "either" else way == "optimised"
    kprobes = Kprobes(guest, "v6.1")
    places = random.Random(12)
    first, end = (guest.symbols[name].address for name in ("_stext", "_etext"))
    names = sorted({symbol.name for symbol in guest.symbols.functions() if first <= symbol.address < end})
    places.shuffle(names)
    often = ["vfs_read", "vfs_write", "kfree", "__fget_light", "do_filp_open", "path_openat", "mas_walk", "n_tty_read"]
    kinds = ("kprobe", "kretprobe")
    accepted = 0
    for kind in kinds:  # half of each
        accepted += probe(kprobes, often, [kind] * len(often), optimised)
    wanted = 1000 if AT_LENGTH else 100
    while accepted < wanted:
        accepted += probe(kprobes, [names.pop()], [kinds[accepted % 2]], optimised)
    stack = 0
    for plain, probed in zip(plain_linux, states(guest, LINUX_STRETCHES), strict=True):
        stack += compare(plain, probed, kprobes, guest)
    assert sum(p.hits for p in kprobes.list()) > 1000
    assert stack > 0
    assert b"\r\narmprobe-done" in b"".join(state.console for state in plain_linux)


# Ten positions. The shell takes the lines piece by piece.
LINUX_STRETCHES = [
    (400_000, b"cd /; ls -l | "),
    (300_007, b"sort -r; x=1"),
    (1, b""),
    (250_001, b"; cat proc/"),
    (200_003, b"*/stat|wc"),
    (10_000_000, b"\n"),
    (8_000_017, b""),
    (100_001, b"echo arm''"),
    (100_003, b"probe-done\n"),
    (5_000_000, b""),
]


@pytest.fixture(scope="module")
def plain_linux(snapshot: Path) -> list[State]:
    return list(states(machine.load(snapshot), LINUX_STRETCHES))
