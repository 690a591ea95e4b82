# SPDX-License-Identifier: GPL-2.0-or-later
"""On a stock Debian kernel, whose own kprobes are both the measure and the neighbours of ours."""

from __future__ import annotations

import os
import random
import re
import textwrap
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from armprobe import machine
from armprobe.kernel.text import Text
from armprobe.machine.native.text_watch import TextWatch
from armprobe.probes import Kprobe, Kprobes, Kretprobe, ProbeError, Stage
from tests.linux.shell import TRACING, Shell  # tests have no import name to go by
from tests.stock import stock_kernel

pytestmark = pytest.mark.sample(of="files")

MOV_X9_X30 = bytes.fromhex("e9031eaa")  # the first of the two words that ftrace has at the start of a function
REGISTERS = [*(f"x{i}" for i in range(31)), "sp", "pc", "pstate"]


@pytest.fixture
def shell(shell: Shell) -> Shell:
    shell.run(f"mount -t tracefs t {TRACING}; echo 1 >/proc/sys/kernel/printk")
    version = shell.run("uname -r")
    if not re.search(r"\b6\.1\.", version):
        pytest.skip(f"the rules compared are those of 6.1, and this kernel is {version.strip()}")
    return shell


@pytest.fixture
def kprobes(shell: Shell) -> Kprobes:
    return Kprobes(shell.machine)


def test_many_probes_are_watched_together(kprobes: Kprobes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Telling all of them to what watches the guest's patching, at each registration, takes a time of their square.

    Those without a breakpoint are not watched.
    """
    told, watch = 0, TextWatch.watch

    def counted(self: TextWatch, addresses: Iterable[int]) -> None:
        nonlocal told
        told += 1
        watch(self, addresses)

    monkeypatch.setattr(TextWatch, "watch", counted)
    kprobes.optimization = False
    probes = [kprobes.register_kprobe(Kprobe(function.name)) for function in kprobes.functions("vfs_read*")]
    assert len(probes) > 2
    assert told == 0
    kprobes.machine.run(instructions=1000)
    assert 0 < told <= 5, "once for each function of the kernel's that patches text"
    told, kprobes.optimization = 0, True
    kprobes.machine.run(instructions=1000)
    assert all(probe.site is not None and probe.site.hooked for probe in probes)
    assert told == 0


def test_accepts_what_the_kernel_accepts(shell: Shell, kprobes: Kprobes) -> None:
    """Places in many functions, offered to the guest's own register_kprobe and to ours.

    The interface used refuses whole functions that ftrace does not know, so they are not among them.
    """
    traced = [
        symbol
        for symbol in shell.machine.symbols.functions()
        if symbol.size >= 16
        and symbol.address < shell.machine.symbols["_etext"].address
        and shell.machine.memory.read_available(symbol.address, 4) == MOV_X9_X30
    ]
    names = Counter(symbol.name for symbol in shell.machine.symbols)
    most = 50 if os.environ.get("ARMPROBE_ORACLE") == "all" else 15
    chosen = [symbol for symbol in random.Random(6).sample(traced, most) if names[symbol.name] == 1]
    chosen += [shell.machine.symbols[name] for name in ("kfree", "get_kprobe", "schedule", "vfs_read", "do_mem_abort")]
    places = [f"{symbol.name}+{at}" for symbol in chosen for at in range(0, min(symbol.size, 0x40), 4)]
    places += [f"{symbol.name}+2" for symbol in chosen[:3]]
    theirs: dict[str, bool] = {}
    for words in textwrap.wrap(" ".join(places), 700, break_on_hyphens=False):  # the shell takes 1023 characters a line
        said = shell.run(
            f"cd {TRACING}; for p in {words}; do "
            "echo p:t/x $p 2>/dev/null >kprobe_events && echo $p yes || echo $p no; echo >kprobe_events; done 2>&-"
        )
        theirs |= {name: answer == "yes" for name, answer in re.findall(r"^(\S+\+\d+) (yes|no)$", said, re.MULTILINE)}
    assert set(theirs) == set(places)
    assert len(places) / 5 < sum(theirs.values()) < len(places) * 4 / 5
    ours = {}
    for place in places:
        probe = Kprobe(place)
        try:
            kprobes.register_kprobe(probe)
        except ProbeError:
            ours[place] = False
        else:
            kprobes.unregister(probe)
            ours[place] = True
    assert ours == theirs


def test_the_kernels_blacklist(shell: Shell, kprobes: Kprobes) -> None:
    said = shell.run("mount -t debugfs d /sys/kernel/debug; cat /sys/kernel/debug/kprobes/blacklist")
    listed = re.findall(r"^0x([0-9a-f]+)-0x([0-9a-f]+)\s", said, re.MULTILINE)
    assert len(listed) > 100
    ours = {(area.start, area.end) for area in kprobes.blacklist}
    assert {(int(start, 16), int(end, 16)) for start, end in listed} == ours


@pytest.mark.parametrize("first", ["ours", "theirs"])
@pytest.mark.parametrize("place", ["vfs_read", "vfs_read+0xc"])
@pytest.mark.sample
def test_sharing_an_instruction_with_the_guests_own_kprobe(
    shell: Shell, kprobes: Kprobes, first: str, place: str
) -> None:
    """Both see each hit with the same registers, whoever came first; and the text is as it was when both are gone."""
    arguments = " ".join(f"{name}=%{name}" for name in REGISTERS)
    address = shell.machine.symbols["vfs_read"].address + int(place.partition("+")[2] or "0", 0)
    word = shell.machine.memory.u32(address)

    def set_theirs() -> None:
        shell.run(f"cd {TRACING}; echo 'p:mine {place} {arguments}' >kprobe_events; echo 1 >events/kprobes/mine/enable")

    if first == "theirs":
        set_theirs()
    ours = kprobes.register_kprobe(Kprobe(place))
    if first == "ours":
        set_theirs()
    shell.run(f"echo >{TRACING}/trace")
    kprobes.hits.clear()
    shell.run("read v </proc/version")
    pre = [hit for hit in kprobes.hits if hit.stage is Stage.PRE]
    post = [hit for hit in kprobes.hits if hit.stage is Stage.POST]
    assert len(pre) >= 3
    assert len(post) == len(pre)
    trace = shell.run(f"cat {TRACING}/trace")
    lines = re.findall(r"mine: \((\S+)\)((?: \w+=0x[0-9a-f]+)+)", trace)
    seen = [[int(value, 16) for value in re.findall(r"=0x([0-9a-f]+)", values)] for _, values in lines]
    assert len(seen) >= len(pre)
    recorded = [[*hit.regs.regs, hit.regs.sp, hit.regs.pc, hit.regs.pstate] for hit in pre]
    assert recorded in [seen[at : at + len(recorded)] for at in range(len(seen))]  # the trace goes on while it is read
    # and the line we print is the kernel's own, but for the name and who it was
    line = kprobes.trace_line(pre[0], [("x0", pre[0].regs.regs[0])])
    assert f"({lines[0][0]}) x0={pre[0].regs.regs[0]:#x}" in line
    assert all(hit.regs.pc == address + 4 for hit in post)

    if first == "ours":
        shell.run(f"cd {TRACING}; echo 0 >events/kprobes/mine/enable; echo >kprobe_events")
        hits = ours.hits
        shell.run("read v </proc/version")
        assert ours.hits > hits
        kprobes.unregister(ours)
    else:
        kprobes.unregister(ours)
        shell.run(f"echo >{TRACING}/trace; read v </proc/version")
        assert "mine:" in shell.run(f"cat {TRACING}/trace")
        shell.run(f"cd {TRACING}; echo 0 >events/kprobes/mine/enable; echo >kprobe_events")
    assert shell.machine.memory.u32(address) == word
    assert ours.warnings == []


def test_sharing_a_simulated_instruction(shell: Shell, kprobes: Kprobes) -> None:
    """The guest simulates it: nothing says when. Our post-handlers see what it will do."""
    symbol = shell.machine.symbols["ksys_read"]
    address = next(
        at
        for at in range(symbol.address, symbol.address + symbol.size, 4)
        if shell.machine.memory.u32(at) >> 26 == 0b100101 and at - symbol.address > 16  # BL
    )
    place = f"ksys_read+{address - symbol.address}"
    shell.run(f"cd {TRACING}; echo 'p:mine {place}' >kprobe_events; echo 1 >events/kprobes/mine/enable")
    kprobes.register_kprobe(Kprobe(place))
    shell.run(f"echo >{TRACING}/trace; read v </proc/version")
    pre = [hit.regs for hit in kprobes.hits if hit.stage is Stage.PRE]
    post = [hit.regs for hit in kprobes.hits if hit.stage is Stage.POST]
    assert len(pre) == len(post) >= 2
    assert {regs.regs[30] for regs in post} == {address + 4}
    assert len({regs.pc for regs in post}) == 1
    assert "mine:" in shell.run(f"cat {TRACING}/trace")


def test_stops_where_the_guest_has_a_probe_too(shell: Shell, kprobes: Kprobes) -> None:
    shell.run(f"cd {TRACING}; echo 'p:mine vfs_read' >kprobe_events; echo 1 >events/kprobes/mine/enable")
    probe = kprobes.register_kprobe(Kprobe("vfs_read", stop=[Stage.PRE, Stage.POST]))
    shell.machine.console.write(b"read v </proc/version\n")
    address = shell.machine.symbols["vfs_read"].address
    for _ in range(3):
        stop = shell.machine.run(instructions=50_000_000)
        assert (stop.detail.stage, shell.machine.registers.pc) == (Stage.PRE, address)
        stop = shell.machine.run(instructions=50_000_000)
        assert (stop.detail.stage, shell.machine.registers.pc) == (Stage.POST, address + 4)
    probe.stop.clear()
    assert "Linux version" in shell.run("cat /proc/version")
    assert probe.nmissed == 0


def test_return_probes_of_both(shell: Shell, kprobes: Kprobes) -> None:
    """The guest's kretprobe and ours on one function, and the trace line of a return."""
    shell.run(f"cd {TRACING}; echo 'r:mine vfs_read ret=$retval' >kprobe_events")
    shell.run(f"cd {TRACING}; echo 1 >events/kprobes/mine/enable; echo >trace")
    probe = kprobes.register_kretprobe(Kretprobe("vfs_read", maxactive=50))
    shell.run("read v </proc/version")
    hits = [hit for hit in kprobes.hits if hit.stage is Stage.RETURN]
    kprobes.unregister(probe)
    shell.run("true")
    trace = shell.run(f"cat {TRACING}/trace")
    theirs = [int(value, 16) for value in re.findall(r"mine: \(.*\) ret=0x([0-9a-f]+)", trace)]
    assert len(hits) >= 3
    returned = [hit.regs.return_value for hit in hits]
    assert returned == [value for value in theirs if value in returned][: len(returned)]

    shell.run(f"cd {TRACING}; echo 0 >events/kprobes/mine/enable; echo >kprobe_events; echo >trace")
    alone = kprobes.register_kretprobe(Kretprobe("vfs_read", maxactive=50))
    kprobes.hits.clear()
    shell.run("read v </proc/version")
    line = kprobes.trace_line(next(hit for hit in kprobes.hits if hit.stage is Stage.RETURN), [("ret", 1)])
    kprobes.unregister(alone)
    shell.run(
        f"cd {TRACING}; echo 'r:vfs_read vfs_read ret=%x29' >kprobe_events; echo 1 >events/kprobes/vfs_read/enable"
    )
    trace = shell.run(f"read v </proc/version; cat {TRACING}/trace")
    shape = re.compile(
        r"^ *\S+-\d+ +\[000\] \.{5} +\d+\.\d{6}: (vfs_read: \(ksys_read\+\S+ <- vfs_read\)) ret=0x[0-9a-f]+$"
    )
    guests = next(found for text in trace.splitlines() if (found := shape.match(text)))
    mine = shape.match(line)
    assert mine is not None
    assert mine[1] == guests[1]


def test_hits_in_the_middle_of_everything(shell: Shell, kprobes: Kprobes) -> None:
    """Busy functions of a running system: scheduler, interrupts, memory, files."""
    probes = [
        kprobes.register_kprobe(Kprobe(name, record=False))
        for name in ("__switch_to", "kfree", "handle_mm_fault", "ksys_read+8", "update_process_times")
    ]
    returns = [
        kprobes.register_kretprobe(Kretprobe(name, record=False, maxactive=100))
        for name in ("schedule", "vfs_read", "handle_mm_fault", "do_sys_openat2")
    ]
    said = shell.run("for i in 1 2 3 4 5 6 7 8; do cat /proc/version /proc/meminfo | wc -l; done; ls / | head -1")
    assert said.count("\n") >= 9
    both: list[Kprobe | Kretprobe] = [*probes, *returns]
    assert all(probe.hits for probe in both)
    assert sum(probe.nmissed for probe in both) == 0
    for probe in both:
        kprobes.unregister(probe)
    assert "Linux version" in shell.run("cat /proc/version")
    assert kprobes.errors == []


def test_ftrace_sites_are_found_before_the_guest_boots(snapshot: Path) -> None:
    """Then they are NOPs; ftrace has patched those of the booted guest."""
    booted, cold = machine.load(snapshot), machine.load(stock_kernel().vmlinuz)
    after, before = Text(booted, {}), Text(cold, {})
    end = booted.symbols["_etext"].address  # what lies behind it has been freed
    functions = [function for function in cold.symbols.functions() if function.address < end]
    found = Counter[tuple[bool, bool]]()
    for function in random.Random(5).sample(functions, 5000):
        for offset in (4, 8):
            place = function.address + offset
            found[before.is_ftrace_site(function, place), after.is_ftrace_site(function, place)] += 1
    assert found[True, True] > 3000
    assert found[False, True] == 0
    assert found[True, False] < 20  # a few begin with NOPs that are none of ftrace's, or become something else
