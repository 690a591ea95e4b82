# SPDX-License-Identifier: GPL-2.0-or-later
"""The behaviours that the kernel's selftests for kprobes check, on our probes: docs/selftests.md has the list.

Those are shell scripts (tools/testing/selftests/ftrace/test.d/kprobe) that go through kprobe_events; what they check of
the probes themselves is checked here.
"""

from __future__ import annotations

import re

import pytest

from armprobe import machine
from armprobe.commands import CommandError, Session
from armprobe.probes import Kprobe, Kprobes, Kretprobe, KretprobeInstance, ProbeError, PtRegs


def test_add_and_remove(kprobes: Kprobes) -> None:
    """add_and_remove.tc: what is added is listed, what is removed is not."""
    probe = kprobes.register_kprobe(Kprobe("strlen"))
    assert kprobes.list() == [probe]
    kprobes.unregister(probe)
    assert kprobes.list() == []


def test_busy(demo: machine.Machine, kprobes: Kprobes) -> None:
    """busy_check.tc refuses to remove an event in use; unregister_kprobe() does not, and the hit comes to its end."""
    expected = demo.call("checksum_mix", 1, 2)
    probe = Kprobe("checksum_mix", pre_handler=lambda p, regs: kprobes.unregister(p))
    kprobes.register_kprobe(probe)
    assert demo.call("checksum_mix", 1, 2) == expected
    assert (probe.registered, probe.hits, kprobes.errors) == (False, 1, [])
    assert demo.call("checksum_mix", 1, 2) == expected
    assert probe.hits == 1


def test_every_place_of_a_function(demo: machine.Machine, kprobes: Kprobes) -> None:
    """kprobe_insn_boundary.tc: at each of the first 256 bytes; what is accepted is hit, and the function works."""
    function = demo.symbols["vsnprintf"]
    start, size = function.address, min(function.size, 256)
    text = demo.memory.read(start, 256)
    accepted, refused = [], set()
    for offset in range(size):
        try:
            accepted.append(kprobes.register_kprobe(Kprobe("vsnprintf", offset=offset)))
        except ProbeError as error:
            refused.add((error.errno_name, error.rule))
    assert [probe.offset for probe in accepted] == list(range(0, size, 4))
    assert refused == {("EINVAL", "misaligned: A64 instructions are at multiples of 4")}
    demo.run(instructions=600_000)
    kprobes.unregister_kprobes(accepted)
    assert demo.memory.read(start, 256) == text
    assert kprobes.errors == []


def test_many(demo: machine.Machine, kprobes: Kprobes) -> None:
    """multiple_kprobes.tc: 256 at once, enabled, disabled, removed."""
    start, end = demo.symbols["_stext"].address, demo.symbols["_etext"].address
    text = demo.memory.read(start, end - start)
    probes: list[Kprobe] = []
    for address in range(demo.symbols["kmem_cache_grow"].address, end, 4):
        probe = Kprobe(addr=address, disabled=True, record=False)
        try:
            probes.append(kprobes.register_kprobe(probe))
        except ProbeError:
            continue
        if len(probes) == 256:
            break
    assert len(probes) == 256
    assert demo.memory.read(start, end - start) == text
    for probe in probes:
        kprobes.enable(probe)
    demo.run(instructions=300_000)
    assert sum(bool(probe.hits) for probe in probes) > 100
    for probe in probes:
        kprobes.disable(probe)
    assert demo.memory.read(start, end - start) == text
    hits = [probe.hits for probe in probes]
    demo.run(instructions=100_000)
    assert [probe.hits for probe in probes] == hits
    kprobes.unregister_kprobes(probes)


def test_probe_points(demo: machine.Machine, kprobes: Kprobes) -> None:
    """probepoint.tc: a symbol, its address, an offset into the next function; but none back before the symbol."""
    function, following = demo.symbols["strlen"], demo.symbols["memcpy"]
    assert following.address > function.address
    distance = following.address - function.address
    for probe in (Kprobe("strlen"), Kprobe(addr=function.address), Kprobe(f"strlen+{distance}")):
        kprobes.unregister(kprobes.register_kprobe(probe))
    back = demo.symbols["kfree"].address - function.address
    assert back < 0
    for name in (f"strlen{back}", f"strlen+{back}", f"strlen+{back + (1 << 64):#x}"):
        with pytest.raises(ProbeError):
            kprobes.register_kprobe(Kprobe(name))


def test_names_that_are_not_unique() -> None:
    """kprobe_non_uniq_symbol.tc, of v6.6: there kprobe_events refuses them. Before, and here, it is the first."""
    symbols = machine.Symbols(
        [machine.Symbol("name_show", address, 16, "function") for address in (0x2000, 0x1000, 0x3000)]
    )
    assert symbols["name_show"].address == 0x1000


def test_maxactive() -> None:
    """kretprobe_maxactive.tc: none, a small one, one that is too large, one that is no number."""
    with Session("demo") as session:
        assert session.run("kretprobe kmalloc").startswith("kretprobe 1: kmalloc at")
        assert session.run("kretprobe kmalloc maxactive=10").startswith("kretprobe 2: kmalloc at")
        for value, words in (("1000000", "4096 at most"), ("10fuzz", "'10fuzz' is not a number")):
            with pytest.raises(CommandError, match=words):
                session.run(f"kretprobe kmalloc maxactive={value}")
        assert list(session.probes) == [1, 2]


def test_profile() -> None:
    """profile.tc: a probe is listed with no hits, then with its hits and no misses, then not at all."""
    with Session("demo") as session:
        session.run("continue until=workload_run")
        assert "strlen" not in session.run("probes")
        session.run("kprobe strlen")
        assert re.search(r"strlen +0 +0$", session.run("probes"), re.MULTILINE)
        session.run("continue instructions=100000")
        assert re.search(r"strlen +[1-9]\d* +0 \[OPTIMIZED\]$", session.run("probes"), re.MULTILINE)
        session.run("unregister strlen")
        assert "strlen" not in session.run("probes")


def test_several_at_one_place(demo: machine.Machine, kprobes: Kprobes) -> None:
    """kprobe_multiprobe.tc: events at one place are each other's neighbours, and are removed one by one."""
    probes = [kprobes.register_kprobe(Kprobe("checksum_mix")) for _ in range(3)]
    for removed, probe in enumerate(probes):
        demo.call("checksum_mix", 1, 2)
        assert [each.hits for each in probes[removed:]] == [removed + 1] * (3 - removed)
        kprobes.unregister(probe)
    demo.call("checksum_mix", 1, 2)
    assert [probe.hits for probe in probes] == [1, 2, 3]


def test_arguments_and_results(demo: machine.Machine, kprobes: Kprobes) -> None:
    """kprobe_args.tc, kprobe_args_string.tc, kretprobe_args.tc, kretprobe_entry_arg.tc: what handlers can read."""
    seen: list[tuple[bytes, int]] = []

    def entered(ri: KretprobeInstance, regs: PtRegs) -> None:
        ri.data = demo.memory.read_string(regs.argument(0))

    def returned(ri: KretprobeInstance, regs: PtRegs) -> None:
        seen.append((ri.data, regs.return_value))

    kprobes.register_kretprobe(Kretprobe("strlen", entry_handler=entered, handler=returned))
    demo.run(instructions=300_000)
    assert len(seen) > 5
    assert [length for _, length in seen] == [len(text) for text, _ in seen]


def test_mistakes_are_told(kprobes: Kprobes) -> None:
    """kprobe_syntax_errors.tc: each mistake is told by what is wrong, and nothing is left behind."""
    for name in ("vfs", "strlen+", "strlen+0x", "+8", "nowhere:strlen", "strlen:", ":strlen", "str len", "1strlen"):
        with pytest.raises(ProbeError) as caught:
            kprobes.register_kprobe(Kprobe(name))
        assert name.partition("+")[0] in caught.value.reason
    assert kprobes.list() == []
