# SPDX-License-Identifier: GPL-2.0-or-later
"""The eras' ways to step and to return: what is the same in all, and what each does in its own way.

What differs is from the kernel's sources: arch/arm64/kernel/probes/kprobes.c of v4.8, v5.4, v5.10 and v6.1.
"""

from __future__ import annotations

from collections import Counter

import pytest
import unicorn

from armprobe import machine
from armprobe.machine import StopReason
from armprobe.probes import (
    ERAS,
    STEPPINGS,
    TRAMPOLINES,
    Kprobe,
    Kprobes,
    Kretprobe,
    KretprobeInstance,
    Moment,
    ProbeError,
    PtRegs,
    Stage,
    Status,
    Verdict,
    decode,
    find_era,
)
from tests.probes.test_hits import PCREL, run_to_report

PSTATE_I, DAIF = 1 << 7, 0x3C0
MDSCR_SS = 1
NAMES = [*(f"x{i}" for i in range(31)), "sp", "pc", "pstate"]
FUNCTIONS = ["kmalloc", "slab_round", "strlen"]

WAYS = [
    *((era, None, None) for era in ERAS),
    ("v4.8", None, "kprobe"),
    *(("v6.1", stepping, trampoline) for stepping in STEPPINGS for trampoline in TRAMPOLINES),
]


@pytest.mark.parametrize(("era", "stepping", "trampoline"), WAYS)
@pytest.mark.sample
def test_the_workload_is_right_and_every_hit_is_counted(
    demo: machine.Machine, era: str, stepping: str | None, trampoline: str | None
) -> None:
    """The demo kernel checks itself; its own count of rounds says how often each instruction was executed."""
    kprobes = Kprobes(demo, era, stepping, trampoline)
    once_a_round = kprobes.register_kprobe(Kprobe("pcrel_round", record=False))
    each = [kprobes.register_kprobe(Kprobe(f"pcrel_{name}", record=False)) for name in PCREL]
    post: Counter[str] = Counter()

    def count(probe: Kprobe, regs: PtRegs, flags: int) -> None:
        post[probe.name] += 1

    often = kprobes.register_kprobe(Kprobe("list_del", post_handler=count, record=False))
    returns = [kprobes.register_kretprobe(Kretprobe(name, record=False)) for name in FUNCTIONS]
    calls = [kprobes.register_kprobe(Kprobe(name, record=False)) for name in FUNCTIONS]
    before = [kretprobe.hits for kretprobe in returns]  # registering them may have called kmalloc
    assert "MISMATCH" not in run_to_report(demo)
    assert once_a_round.hits > 100
    for probe in each:
        assert once_a_round.hits - 1 <= probe.hits <= once_a_round.hits, probe
    assert often.hits - 1 <= post["list_del"] <= often.hits
    for kretprobe, kprobe, earlier in zip(returns, calls, before, strict=True):
        assert kretprobe.hits - earlier + kretprobe.nmissed == kprobe.hits > 0, kretprobe
    kprobes.unregister_kprobes(kprobes.list())
    assert demo.run(instructions=1_000_000).reason is StopReason.INSTRUCTIONS


@pytest.mark.parametrize("era", ERAS)
def test_registers_behind_an_instruction_in_a_slot(demo: machine.Machine, era: str) -> None:
    """What the CPU has behind kfree's first instruction without a probe, every register and PSTATE included."""
    demo.run(until="kfree")
    before = demo.snapshot()
    demo.step()
    expected = [demo.registers[name] for name in NAMES]
    mdscr = demo.registers["mdscr_el1"]
    demo.restore(before)
    kprobes = Kprobes(demo, era)
    seen: list[list[int]] = []
    kprobes.register_kprobe(
        Kprobe("kfree", post_handler=lambda p, regs, flags: seen.append([*regs.regs, regs.sp, regs.pc, regs.pstate]))
    )
    demo.run(until=expected[32])
    assert seen == [expected]
    assert [demo.registers[name] for name in NAMES] == expected
    assert demo.registers["mdscr_el1"] == mdscr


def moments(demo: machine.Machine, kprobes: Kprobes) -> list[Moment]:
    """Those of the first hit, in which the first one masks nothing."""
    kept: list[Moment] = []
    kprobes.on_moment = kept.append
    demo.run(until="kfree")
    demo.run(instructions=20)
    return kept


@pytest.mark.parametrize(
    ("era", "daif"),
    [("v4.8", PSTATE_I), ("v5.4", PSTATE_I), ("v5.10", DAIF), ("v6.1", DAIF), ("v6.9", DAIF), ("v7.2", DAIF)],
)
def test_daif_in_the_slot(demo: machine.Machine, era: str, daif: int) -> None:
    kprobes = Kprobes(demo, era)
    kprobes.register_kprobe(Kprobe("kfree"))
    eret = next(moment for moment in moments(demo, kprobes) if moment.what.startswith("ERET"))
    assert eret.spsr & DAIF == daif
    assert eret.pstate & DAIF == DAIF
    assert eret.mdscr & MDSCR_SS == (kprobes.stepping == "ss")
    assert eret.status is Status.HIT_SS
    assert demo.registers.pstate & DAIF == 0


@pytest.mark.parametrize(
    ("era", "daif"),
    [("v4.8", PSTATE_I), ("v5.4", PSTATE_I), ("v5.10", PSTATE_I), ("v6.1", 0), ("v6.9", DAIF), ("v7.2", DAIF)],
)
def test_daif_in_a_return_handler(demo: machine.Machine, era: str, daif: int) -> None:
    """kretprobe_hash_lock() masks interrupts (until v5.11); a trampoline that is a BRK masks everything."""
    seen: list[int] = []

    def returned(instance: KretprobeInstance, regs: PtRegs) -> None:
        seen.append(demo.call("insn_mrs_daif"))

    kprobes = Kprobes(demo, era)
    kprobes.register_kretprobe(Kretprobe("kfree", handler=returned))
    demo.run(until="kfree")
    assert demo.registers.pstate & DAIF == 0
    demo.run(until=demo.registers.x[30])
    assert seen == [daif]
    assert demo.registers.pstate & DAIF == 0


@pytest.mark.parametrize(("era", "runs_off"), [("v4.8", True), ("v5.4", False), ("v6.1", False)])
def test_code_that_runs_with_d_set(demo: machine.Machine, era: str, runs_off: bool) -> None:
    """Software step is not active then (Arm ARM, D2.12.3), and v4.8 does not clear D at a first hit."""
    demo.run(until="kfree")
    demo.registers.pstate |= 1 << 9
    kprobes = Kprobes(demo, era)
    posts: list[int] = []
    probe = kprobes.register_kprobe(Kprobe("kfree", post_handler=lambda p, regs, flags: posts.append(regs.pc)))
    demo.run(instructions=10)
    assert bool(posts) is not runs_off
    assert [warning.split(",")[0] for warning in probe.warnings] == ["it was hit with PSTATE.D set"] * runs_off


def test_the_step_exception_is_the_cpus_own(demo: machine.Machine) -> None:
    """Without the bit in MDSCR_EL1 that asks for it there is none, and the CPU leaves the slot at its end."""
    kprobes = Kprobes(demo, "v4.8")
    kprobes.register_kprobe(Kprobe("kfree"))
    step = demo.core.software_step
    step.enable = lambda context: None  # type: ignore[method-assign]
    demo.run(until="kfree")
    demo.run(instructions=3000)
    assert "Oops - undefined instruction" in demo.console.read().decode()


@pytest.mark.parametrize(("era", "forgets"), [("v4.8", False), ("v5.4", True), ("v6.1", True)])
def test_after_a_pre_handler_that_redirects(demo: machine.Machine, era: str, forgets: bool) -> None:
    """v4.8 leaves current_kprobe set, so that all that follows is a re-entry, until it is reset by hand."""
    kprobes = Kprobes(demo, era)

    def skip_the_function(probe: Kprobe, regs: PtRegs) -> int:
        regs.pc = regs.regs[30]
        return 1

    demo.run(until="strlen")
    redirecting = kprobes.register_kprobe(Kprobe("strlen", pre_handler=skip_the_function))
    other = kprobes.register_kprobe(Kprobe("checksum_mix"))
    demo.run(instructions=100_000)
    assert redirecting.hits > 0
    assert (other.hits > 0, other.nmissed > 0) == (forgets, not forgets)
    kprobes.unregister(redirecting)
    kprobes.reset_current_kprobe()
    hits = other.hits
    demo.run(instructions=100_000)
    assert other.hits > hits


def test_fault_handlers_are_refused_where_there_are_none(demo: machine.Machine) -> None:
    kprobes = Kprobes(demo, "v6.1")
    with pytest.raises(ProbeError, match=r"EINVAL: .*v6\.1 has no fault_handler"):
        kprobes.register_kprobe(Kprobe("kfree", fault_handler=lambda probe, regs, syndrome: 1))


@pytest.mark.parametrize(
    ("era", "pc"),
    [
        ("v4.8", "garbage"),
        ("v5.4", "zero"),
        ("v5.10", "zero"),
        ("v6.1", "caller"),
        ("v6.9", "caller"),
        ("v7.2", "caller"),
    ],
)
def test_pt_regs_of_a_return(demo: machine.Machine, era: str, pc: str) -> None:
    """Against the registers of the caller without a probe; pc was set by no kernel before v5.15."""
    demo.run(until="strlen")
    before = demo.snapshot()
    back, sp = demo.registers.x[30], demo.registers.sp
    demo.run(until=back)
    assert demo.registers.sp == sp
    expected = [demo.registers[name] for name in NAMES]
    demo.restore(before)
    kprobes = Kprobes(demo, era)
    seen: list[list[int]] = []
    addresses = []

    def returned(ri: KretprobeInstance, regs: PtRegs) -> None:
        seen.append([*regs.regs, regs.sp, regs.pc, regs.pstate])
        addresses.append(ri.ret_addr)

    kprobes.register_kretprobe(Kretprobe("strlen", handler=returned))
    demo.run(until=back)
    assert addresses == [back]
    assert seen[0][30] in demo.scratch  # the trampoline
    assert seen[0][:30] == expected[:30]
    assert seen[0][31] == expected[31]
    assert seen[0][32] == {"caller": back, "zero": 0, "garbage": 1}[pc]  # v4.8 stores x1, which has SPSel
    assert seen[0][33] == expected[33]
    after = [demo.registers[name] for name in NAMES]
    assert after[:30] + after[31:] == expected[:30] + expected[31:]
    assert kprobes.hits[-1].caller == back


@pytest.mark.parametrize("era", ["v6.9", "v7.2"])
def test_a_handler_of_a_trampoline_that_is_a_brk_changes_all_registers(demo: machine.Machine, era: str) -> None:
    """The exception's own registers are restored: x30 and, beyond x0 to x29, nothing else is lost."""
    kprobes = Kprobes(demo, era)

    def returned(ri: KretprobeInstance, regs: PtRegs) -> None:
        regs.regs[0], regs.regs[30] = 5, 7

    demo.run(until="strlen")
    back = demo.registers.x[30]
    kprobes.register_kretprobe(Kretprobe("strlen", handler=returned))
    demo.run(until=back)
    assert (demo.registers.x[0], demo.registers.x[30]) == (5, 7)


def test_a_trampoline_that_is_a_probe_misses_none(demo: machine.Machine) -> None:
    kprobes = Kprobes(demo, "v4.8", trampoline="kprobe")
    order: list[Kretprobe] = []

    def returned(ri: KretprobeInstance, regs: PtRegs) -> None:
        assert ri.rp is not None
        order.append(ri.rp)

    first, second = (kprobes.register_kretprobe(Kretprobe("cmp_u32", handler=returned)) for _ in range(2))
    demo.run(instructions=300_000)
    assert order[:4] == [first, second] * 2  # the oldest registration first
    assert not any(probe.name == "kretprobe_trampoline" for probe in kprobes.list())


@pytest.mark.parametrize("trampoline", TRAMPOLINES)
def test_a_stop_at_return_keeps_no_instance(demo: machine.Machine, trampoline: str) -> None:
    """And until the guest goes on the hit is still being handled: a call that a debugger makes is missed."""
    kprobes = Kprobes(demo, "v6.1", trampoline=trampoline)
    probe = kprobes.register_kretprobe(Kretprobe("kmalloc", maxactive=1, stop=[Stage.RETURN]))
    other = kprobes.register_kprobe(Kprobe("insn_nop", record=False))
    for number in range(1, 4):
        stop = demo.run(instructions=100_000)
        assert stop.reason is StopReason.PROBE
        assert stop.detail.number == number
        hits = other.hits
        assert demo.call("insn_nop", 3) == 3
        assert (other.hits, other.nmissed) == (hits, number)
    assert (probe.hits, probe.nmissed, list(kprobes.outstanding)) == (3, 0, [])


def test_combinations_that_no_kernel_had(demo: machine.Machine) -> None:
    kprobes = Kprobes(demo, "v6.1", "ss", "brk")
    assert [warning.split(":")[0] for warning in kprobes.warnings] == [
        "no kernel of v6.1 stepped by 'ss'",
        "no kernel of v6.1 had the trampoline 'brk'",
    ]


def test_the_trampoline_of_the_review_is_no_release(demo: machine.Machine) -> None:
    assert "in no release" in Kprobes(demo, "v4.8", trampoline="kprobe").warnings[0]


@pytest.mark.parametrize(
    ("what", "arguments"), [("way to step", {"stepping": "x"}), ("trampoline", {"trampoline": "x"})]
)
def test_unknown_names(demo: machine.Machine, what: str, arguments: dict[str, str]) -> None:
    with pytest.raises(ProbeError, match=f"EINVAL: there is no {what} 'x': choose one of"):
        Kprobes(demo, "v6.1", **arguments)
    Kprobes(demo)  # the machine is still free


# A branch behind the slot


def test_a_branch_takes_one_exception_and_a_post_handler_two(demo: machine.Machine) -> None:
    kprobes = Kprobes(demo, "v6.1", "branch")
    kprobes.optimization = False  # an optimised probe has no slot
    probe = kprobes.register_kprobe(Kprobe("kfree", record=False))
    raised = Counter[int]()
    demo.core.engine.hook_add(unicorn.UC_HOOK_INTR, lambda engine, number, data: raised.update([number]))
    demo.run(instructions=50_000)
    assert probe.hits > 5
    assert raised[7] == probe.hits
    raised.clear()
    hits = probe.hits
    kprobes.register_kprobe(Kprobe("kfree", post_handler=lambda p, regs, flags: None, record=False))
    demo.run(instructions=50_000)
    assert raised[7] == 2 * (probe.hits - hits) > 10


@pytest.mark.parametrize("make", [Kprobe, Kretprobe])
def test_a_probe_that_its_handler_removes(demo: machine.Machine, make: type[Kprobe | Kretprobe]) -> None:
    """Its slot is still to be executed, and nothing tells when that is done."""
    kprobes = Kprobes(demo, "v6.1", "branch")

    def remove(probe: Kprobe, regs: PtRegs) -> None:
        kprobes.unregister(probe)
        kprobes.register_kprobe(Kprobe("strlen"))

    if make is Kprobe:
        kprobes.register_kprobe(Kprobe("kfree", pre_handler=remove))
    else:
        kprobes.register_kretprobe(
            Kretprobe("kfree", entry_handler=lambda ri, regs: kprobes.unregister(ri.rp) if ri.rp else None)
        )
    demo.run(instructions=50_000)
    assert "Oops" not in demo.console.read().decode()


def test_a_follower_removed_while_the_slot_is_executed(demo: machine.Machine) -> None:
    """What is under way ends as it began; then the instruction is stepped by a branch."""
    kprobes = Kprobes(demo, "v6.1", "branch")
    kprobes.register_kprobe(Kprobe("kfree"))
    posts = []
    follower = kprobes.register_kprobe(Kprobe("kfree", post_handler=lambda p, regs, flags: posts.append(p)))
    assert follower.site is not None
    demo.run(until=follower.site.slot)
    kprobes.unregister(follower)
    demo.run(instructions=50_000)
    assert "Oops" not in demo.console.read().decode()
    assert posts == []


def test_a_fault_in_a_slot_that_branches_is_seen_at_the_probe(demo: machine.Machine) -> None:
    kprobes = Kprobes(demo, "v6.1", "branch")
    kprobes.register_kprobe(Kprobe("strlen", record=False))
    where = demo.symbols["strlen"].address
    demo.run(until="strlen")
    while True:
        word = demo.memory.u32(demo.registers.pc)
        if word >> 22 & 0x3FF == 0x0E5 or word >> 24 == 0x38:  # LDRB
            break
        demo.step()
    load = demo.registers.pc
    assert where <= load < where + 0x40
    kprobes.register_kprobe(Kprobe(addr=load, record=False))
    for i in range(31):
        demo.registers.x[i] = 0xDEAD_0000
    demo.run(instructions=20_000)
    assert f"pc {load:016x}" in demo.console.read().decode()


@pytest.mark.parametrize(
    ("version", "era"),
    [
        ("v6.1", "v6.1"),
        ("6.1", "v6.1"),
        ("4.8", "v4.8"),
        ("4.19.300", "v4.8"),
        ("5.9", "v5.4"),
        ("5.10.0", "v5.10"),  # of its series the first
        ("5.15.131", "v5.10"),
        ("6.1.50", "v6.1.176"),
        ("6.1.176", "v6.1.176"),
        ("6.1.188", "v6.1.176"),
        ("6.1.189", "v6.1"),
        ("6.1.192", "v6.1"),
        ("6.1.200", "v6.1"),
        ("v6.6.30", "v6.1"),
        ("6.11.1", "v6.9"),
        ("6.12.48", "v6.12.107"),
        ("6.12.110", "v6.12.107"),
        ("6.12.111", "v6.12.117"),
        ("6.12.117", "v6.12.117"),
        ("6.12.300", "v6.12.117"),
    ],
)
def test_era_of_a_version(version: str, era: str) -> None:
    """The nearest not later; of the kernel's own series the first, if all are."""
    assert find_era(version).name == era


@pytest.mark.parametrize("version", ["4.7.10", "2.6", "6", "6.1.", "6.1.0-56-cloud-arm64", "6.1.x", "", "9999999.1"])
def test_no_version(version: str) -> None:
    with pytest.raises(ProbeError, match=f"there is no era '{version}': choose one of v4.8, .*or give a"):
        find_era(version)


def test_era_that_is_not_the_guests(demo: machine.Machine) -> None:
    """What is not Linux has v6.1, unless another is chosen."""
    kprobes = Kprobes(demo)
    assert (kprobes.era.name, kprobes.era_origin) == ("v6.1", "the default")
    other = Kprobes(machine.load("demo"), "6.12.110")
    assert (other.era.name, other.era_origin) == ("v6.12.107", "the nearest to 6.12.110, as chosen")


@pytest.mark.parametrize(
    ("era", "mops", "bc_cond"),
    [
        ("v6.9", Verdict.GOOD, Verdict.GOOD),
        ("v6.12.107", Verdict.REJECTED, Verdict.GOOD_NO_SLOT),
        ("v6.12.117", Verdict.REJECTED, Verdict.GOOD_NO_SLOT),
    ],
)
def test_what_updates_of_6_12_decode_otherwise(era: str, mops: Verdict, bc_cond: Verdict) -> None:
    """As Debian's 6.12.107 and 6.12.117 answer: CPYFP [x0]!, [x1]!, x2! and BC.NE."""
    assert (decode(0x19010440, era).verdict, decode(0x54000031, era).verdict) == (mops, bc_cond)
