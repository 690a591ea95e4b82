# SPDX-License-Identifier: GPL-2.0-or-later
"""The flags of a probe (include/linux/kprobes.h), and text that goes away under one."""

from __future__ import annotations

import pytest

from armprobe import machine
from armprobe.probes import Kprobe, Kprobes, Kretprobe, ProbeError

GONE, DISABLED = 1, 2


def forget(m: machine.Machine, address: int) -> None:
    """Make the guest map the page of `address` no more (four levels of 4 KiB tables, Arm ARM D8.2)."""
    table = m.registers["ttbr1_el1"] & 0xFFFF_FFFF_F000
    for shift in (39, 30, 21, 12):
        at = table + (address >> shift & 511) * 8
        table = int.from_bytes(m.memory.physical.read(at, 8), "little") & 0xFFFF_FFFF_F000
    m.memory.physical.write(at, bytes(8))
    with pytest.raises(machine.MachineError):
        m.memory.u32(address)


@pytest.mark.parametrize(("given", "kept"), [(0, 0), (0xFF, 2), (1, 0), (2, 2), (4 | 8 | 16, 0)])
def test_what_is_kept_of_the_callers(demo: machine.Machine, kprobes: Kprobes, given: int, kept: int) -> None:
    address = demo.symbols["kfree"].address
    word = demo.memory.u32(address)
    for probe in (Kprobe("kfree"), Kretprobe("kfree")):
        probe.flags = given
        kprobes.register_kretprobe(probe) if isinstance(probe, Kretprobe) else kprobes.register_kprobe(probe)
        assert probe.flags == kept
        assert (demo.memory.u32(address) == word) is bool(kept)
        assert probe.disabled is bool(kept)
        kprobes.unregister(probe)


def test_disabled_from_the_start(demo: machine.Machine, kprobes: Kprobes) -> None:
    probe = kprobes.register_kprobe(Kprobe("insn_nop", disabled=True))
    assert probe.flags == DISABLED
    demo.call("insn_nop", 1)
    kprobes.enable(probe)
    assert probe.flags == 0
    demo.call("insn_nop", 1)
    assert probe.hits == 1


def test_gone(demo: machine.Machine, kprobes: Kprobes) -> None:
    """Text that the guest no longer maps: the probe says so, is not to be enabled, and can be unregistered."""
    before = demo.snapshot()
    place = demo.symbols["avl_rebalance"].address
    there = [probe for probe in ("avl_rebalance", "kfree") if demo.symbols[probe].address >> 12 == place >> 12]
    assert there == ["avl_rebalance"]  # or unmapping takes others with it
    probe, other = kprobes.register_kprobe(Kprobe("avl_rebalance")), kprobes.register_kprobe(Kprobe("kfree"))
    same, returns = Kprobe("avl_rebalance", disabled=True), Kretprobe("avl_rebalance")
    kprobes.register_kprobe(same)
    kprobes.register_kretprobe(returns)
    armed = demo.snapshot()
    forget(demo, place)
    assert {p: p.flags for p in kprobes.list()} == {
        probe: GONE, same: GONE | DISABLED, returns: GONE, other: 0,
    }  # fmt: skip
    assert probe.gone
    assert returns.gone
    for gone in (probe, same, returns):
        with pytest.raises(ProbeError, match="EINVAL: avl_rebalance is gone, as the guest has freed its code"):
            kprobes.enable(gone)
    kprobes.disable(probe)  # which is no error, as in the kernel
    with pytest.raises(ProbeError, match=r"EINVAL: .* cannot be read"):
        kprobes.register_kprobe(Kprobe("avl_rebalance"))
    kprobes.unregister(probe)
    kprobes.unregister(returns)
    assert set(kprobes.list()) == {same, other}
    demo.restore(armed)  # it is there again, with a breakpoint of a probe that is no more
    assert same.flags == DISABLED
    assert demo.memory.u32(place) != 0xD4200080
    kprobes.enable(same)
    demo.run(instructions=100_000)
    assert same.hits
    kprobes.unregister_kprobes([same, other])
    demo.restore(before)
    assert demo.run(instructions=1_000_000).reason is machine.StopReason.INSTRUCTIONS


def test_gone_and_back(demo: machine.Machine, kprobes: Kprobes) -> None:
    """New text at the same address, as when a module is loaded again: a new probe there is none of the old one's."""
    probe = kprobes.register_kprobe(Kprobe("avl_rebalance"))
    state = demo.snapshot()
    forget(demo, probe.addr or 0)
    assert [(each, each.flags) for each in kprobes.list()] == [(probe, GONE)]
    demo.restore(state)
    again = kprobes.register_kprobe(Kprobe("avl_rebalance"))
    demo.run(instructions=100_000)
    assert again.hits == probe.hits > 0
