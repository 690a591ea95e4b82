# SPDX-License-Identifier: GPL-2.0-or-later
"""What registering accepts and refuses, with which errno and which words, and what it leaves in the text."""

from __future__ import annotations

import errno
import re

import pytest

from armprobe import machine
from armprobe.machine import StopReason
from armprobe.probes import Kprobe, Kprobes, Kretprobe, ProbeError


def refused(kprobes: Kprobes, probe: Kprobe | Kretprobe) -> ProbeError:
    with pytest.raises(ProbeError) as caught:
        kprobes.register_kretprobe(probe) if isinstance(probe, Kretprobe) else kprobes.register_kprobe(probe)
    assert not probe.registered
    return caught.value


CASES: dict[str, tuple[Kprobe | Kretprobe, int, str]] = {
    "neither": (Kprobe(), errno.EINVAL, "neither a symbol nor an address"),
    "both": (Kprobe("kfree", addr=0xFFFF800000083C90), errno.EINVAL, "both a symbol"),
    "unknown": (Kprobe("kfre"), errno.ENOENT, "'kfre'.*kfree"),
    "unknown return": (Kretprobe("no_such_function"), errno.ENOENT, "no symbol 'no_such_function'"),
    "far away": (Kprobe(addr=0x1000), errno.ENOENT, "no symbol covers it"),
    "not an offset": (Kprobe("kfree+x"), errno.EINVAL, "'x' in 'kfree.x' is not a number"),
    "misaligned": (Kprobe("kfree", offset=2), errno.EINVAL, "multiples of 4"),
    "data": (Kprobe("jiffies"), errno.EINVAL, "not in the kernel's text"),
    "rodata": (Kprobe("sys_call_table"), errno.EINVAL, "not in the kernel's text"),
    "user": (Kprobe("user_main"), errno.EINVAL, "not in the kernel's text"),
    "kprobes.text": (Kprobe("kprobes_text_mix"), errno.EINVAL, "blacklist .kprobes_text"),
    "kprobes.text inside": (Kprobe("kprobes_text_mix+4"), errno.EINVAL, "blacklist"),
    "NOKPROBE": (Kprobe("nokprobe_symbol_mix"), errno.EINVAL, "blacklist .nokprobe_symbol_mix"),
    "entry": (Kprobe("vectors"), errno.EINVAL, "blacklist .entry_text"),
    "irqentry": (Kprobe("gic_handle_irq"), errno.EINVAL, "blacklist .irqentry_text"),
    "idmap": (Kprobe("__enable_mmu"), errno.EINVAL, "blacklist .idmap_text"),
    "extable": (Kprobe("__arch_copy_from_user+4"), errno.EINVAL, "exception table"),
    "mrs daif": (Kprobe("insn_mrs_daif"), errno.EINVAL, "DAIF"),
    "msr daifclr": (Kprobe("insn_msr_daifclr"), errno.EINVAL, "PSTATE"),
    "yield": (Kprobe("insn_yield"), errno.EINVAL, "hints"),
    "prfm literal": (Kprobe("insn_prfm_literal"), errno.EINVAL, "PRFM"),
    "ldxr": (Kprobe("insn_ldxr"), errno.EINVAL, "exclusive"),
    "between": (Kprobe("insn_ldxr+4"), errno.EINVAL, "load exclusive at insn_ldxr"),
    "stxr": (Kprobe("insn_ldxr+8"), errno.EINVAL, "exclusive"),
    "not an entry": (Kretprobe("kmalloc", offset=8), errno.EINVAL, "entry of a function"),
    "data_size": (Kretprobe("kmalloc", data_size=4097), errno.E2BIG, "4096"),
    "data_size negative": (Kretprobe("kmalloc", data_size=-1), errno.E2BIG, "4096"),
}


@pytest.mark.parametrize("name", CASES)
def test_refused(kprobes: Kprobes, demo: machine.Machine, name: str) -> None:
    probe, number, words = CASES[name]
    text = demo.memory.read(demo.symbols["_stext"].address, 0x5000)
    error = refused(kprobes, probe)
    assert error.errno == number
    assert re.search(words, error.reason), error.reason
    assert str(error) == f"{errno.errorcode[number]}: {error.reason}"
    assert "\n" not in str(error)
    assert demo.memory.read(demo.symbols["_stext"].address, 0x5000) == text
    assert list(kprobes.list()) == []


@pytest.mark.parametrize(
    "name",
    [
        "__arch_copy_from_user", "__arch_copy_from_user+0x8", "insn_ldxr+0xc", "insn_nop", "kfree", "kfree+0x8",
        "memcpy", "__switch_to", "pac_sum", "bti_mix",
    ],
)  # fmt: skip
def test_accepted(kprobes: Kprobes, demo: machine.Machine, name: str) -> None:
    probe = kprobes.register_kprobe(Kprobe(name))
    symbol, _, offset = name.partition("+")
    address = demo.symbols[symbol].address + int(offset or "0", 0)
    assert (probe.addr, probe.name) == (address, name)
    assert demo.memory.u32(address) == 0xD4200080


def test_the_blacklist(kprobes: Kprobes, demo: machine.Machine) -> None:
    areas = kprobes.blacklist
    assert [area.name for area in areas if area.start == demo.symbols["nokprobe_symbol_mix"].address]
    assert list(areas) == sorted(areas)
    found = {area.name: (area.start, area.end) for area in areas}
    assert found["kprobes_text"] == tuple(
        demo.symbols[name].address for name in ("__kprobes_text_start", "__kprobes_text_end")
    )


def test_unregister_restores_the_text(kprobes: Kprobes, demo: machine.Machine) -> None:
    address = demo.symbols["kfree"].address
    text = demo.memory.read(address, 16)
    first, second = kprobes.register_kprobe(Kprobe("kfree")), kprobes.register_kprobe(Kprobe("kfree+4"))
    patched = demo.memory.read(address, 16)
    assert patched != text
    assert kprobes.unpatched(address, patched) == text
    for start in range(16):
        for end in range(start + 1, 17):
            assert kprobes.unpatched(address + start, patched[start:end]) == text[start:end]
    kprobes.unregister(first)
    assert demo.memory.read(address, 4) == text[:4]
    kprobes.unregister(second)
    assert demo.memory.read(address, 16) == text
    demo.call("kfree", 0)
    assert (first.hits, second.hits) == (0, 0)


def test_text_is_restored_when_all_are_disabled(kprobes: Kprobes, demo: machine.Machine) -> None:
    word = demo.memory.u32(demo.symbols["insn_nop"].address)
    first, second = kprobes.register_kprobe(Kprobe("insn_nop")), kprobes.register_kprobe(Kprobe("insn_nop"))
    address = demo.symbols["insn_nop"].address
    kprobes.disable(first)
    assert demo.memory.u32(address) == 0xD4200080
    kprobes.disable(second)
    assert demo.memory.u32(address) == word
    demo.call("insn_nop", 1)
    kprobes.enable(first)
    assert demo.memory.u32(address) == 0xD4200080
    demo.call("insn_nop", 1)
    assert (first.hits, second.hits) == (1, 0)


def test_twice(kprobes: Kprobes) -> None:
    probe = kprobes.register_kprobe(Kprobe("kfree"))
    with pytest.raises(ProbeError, match="EINVAL: kfree is registered already"):
        kprobes.register_kprobe(probe)
    kretprobe = kprobes.register_kretprobe(Kretprobe("kfree"))
    with pytest.raises(ProbeError, match="registered already"):
        kprobes.register_kretprobe(kretprobe)
    assert list(kprobes.list()) == [kretprobe, probe]


def test_never_registered(kprobes: Kprobes) -> None:
    for probe in (Kprobe("kfree"), Kretprobe("kfree")):
        for request in (kprobes.unregister, kprobes.enable, kprobes.disable):
            with pytest.raises(ProbeError, match="EINVAL: kfree is not registered"):
                request(probe)


def test_the_reregistration_trap(kprobes: Kprobes, demo: machine.Machine) -> None:
    """As the kernel leaves a probe after unregistering: with its address, and disabled."""
    probe = kprobes.register_kprobe(Kprobe("insn_nop"))
    kprobes.unregister(probe)
    assert probe.addr == demo.symbols["insn_nop"].address
    with pytest.raises(ProbeError, match=r"both a symbol.*set addr to None"):
        kprobes.register_kprobe(probe)
    probe.addr = None
    kprobes.register_kprobe(probe)
    demo.call("insn_nop", 1)
    assert probe.hits == 0
    assert any("disabled" in warning for warning in probe.warnings)
    kprobes.enable(probe)
    demo.call("insn_nop", 1)
    assert probe.hits == 1


def test_offset_past_the_function(kprobes: Kprobes, demo: machine.Machine) -> None:
    symbol = demo.symbols["insn_yield"]
    following = demo.symbols["insn_prfm_literal"]
    probe = kprobes.register_kprobe(Kprobe("insn_yield", offset=following.address + 4 - symbol.address))
    demo.call("insn_prfm_literal", 1)
    assert probe.hits == 1


def test_maxactive(kprobes: Kprobes) -> None:
    for given, becomes in ((0, 10), (-3, 10), (7, 7)):
        assert kprobes.register_kretprobe(Kretprobe("kmalloc", maxactive=given)).maxactive == becomes


def test_out_of_slots(demo: machine.Machine, kprobes: Kprobes) -> None:
    demo.scratch.allocate(8)
    room = 2 << 20
    while room >= 8:  # leave none
        try:
            demo.scratch.allocate(room)
        except machine.MachineError:
            room //= 2
    error = refused(kprobes, Kprobe("kfree"))
    assert error.errno == errno.ENOMEM
    assert kprobes.register_kprobe(Kprobe("pcrel_b")).registered  # simulated: needs none
    assert kprobes.register_kretprobe(Kretprobe("pcrel_ret")).registered  # and the trampoline has a place of its own


def test_slots_are_used_again(demo: machine.Machine, kprobes: Kprobes) -> None:
    kprobes.optimization = False  # an optimised probe has no slot

    def slot_of(name: str) -> tuple[Kprobe, int]:
        probe = kprobes.register_kprobe(Kprobe(name))
        demo.run(until=probe.addr)
        assert probe.site is not None
        stop = demo.run(until=probe.site.slot)  # where the instruction is executed
        assert (stop.reason, probe.hits) == (StopReason.UNTIL, 1)
        return probe, demo.registers.pc

    first, lowest = slot_of("kfree")
    second, higher = slot_of("kmalloc")
    demo.run(instructions=10)
    assert higher > lowest
    kprobes.unregister(first)
    kprobes.unregister(second)
    assert slot_of("strlen")[1] == lowest


def test_registered_before_the_guest_has_mapped_its_text() -> None:
    m = machine.load("demo")
    kprobes = Kprobes(m)
    probe = kprobes.register_kprobe(Kprobe("start_kernel"))
    kretprobe = kprobes.register_kretprobe(Kretprobe("kmalloc"))
    removed = kprobes.register_kprobe(Kprobe("kfree"))
    kprobes.unregister(removed)
    assert refused(kprobes, Kprobe("nokprobe_symbol_mix")).errno == errno.EINVAL
    assert refused(kprobes, Kprobe("insn_yield")).errno == errno.EINVAL
    assert refused(kprobes, Kprobe("__arch_copy_from_user+4")).errno == errno.EINVAL
    m.run(instructions=1_000_000)
    assert (probe.hits, removed.hits) == (1, 0)
    assert kretprobe.hits > 100
    assert b"init: hello from EL0" in m.console.read()


def test_unknown_era() -> None:
    with pytest.raises(ProbeError, match=r"there is no era 'v2\.6': choose one of v4\.8, v5\.4, v5\.10, v6\.1, v6\.9"):
        Kprobes(machine.load("demo"), era="v2.6")


def test_one_registry_a_machine(kprobes: Kprobes, demo: machine.Machine) -> None:
    with pytest.raises(ProbeError, match="EEXIST"):
        Kprobes(demo)


def test_the_guest_changes_the_text_under_a_probe(kprobes: Kprobes, demo: machine.Machine) -> None:
    """A guest that overwrites its text keeps what it wrote."""
    probe = kprobes.register_kprobe(Kprobe("insn_nop"))
    address = demo.symbols["insn_nop"].address
    demo.memory.write(address, (0x91000400).to_bytes(4, "little"))  # add x0, x0, #1
    assert demo.call("insn_nop", 1) == 2
    kprobes.unregister(probe)
    assert demo.memory.u32(address) == 0x91000400


def test_the_guest_changes_the_text_under_a_disabled_probe(kprobes: Kprobes, demo: machine.Machine) -> None:
    """Another probe there executes the instruction that is there now."""
    first = kprobes.register_kprobe(Kprobe("insn_nop"))
    kprobes.disable(first)
    address = demo.symbols["insn_nop"].address
    demo.memory.write(address, (0x91000400).to_bytes(4, "little"))  # add x0, x0, #1
    second = kprobes.register_kprobe(Kprobe("insn_nop", pre_handler=lambda p, regs: None))
    assert demo.call("insn_nop", 1) == 2
    assert second.hits == 1
    kprobes.unregister_kprobes([first, second])
    assert demo.memory.u32(address) == 0x91000400


def test_until_after_registration_in_a_running_guest(kprobes: Kprobes, demo: machine.Machine) -> None:
    """Probes come and go between slices; the guest never executes a stale breakpoint."""
    for _ in range(30):
        probe = kprobes.register_kprobe(Kprobe("cmp_u32"))
        assert demo.run(instructions=40_000).reason is StopReason.INSTRUCTIONS
        assert probe.hits > 0
        kprobes.unregister(probe)
        demo.run(instructions=40_000)
    assert kprobes.errors == []


def test_unregistering_in_ruins(kprobes: Kprobes, demo: machine.Machine) -> None:
    """A guest that has overwritten its own page tables, or whose debugger has, is let go of all the same."""
    armed = [kprobes.register_kprobe(Kprobe("kfree")) for _ in range(2)]
    kretprobe = kprobes.register_kretprobe(Kretprobe("kmalloc"))
    state = demo.snapshot()
    demo.reset()
    waiting = [kprobes.register_kprobe(Kprobe("strlen")) for _ in range(2)]
    for _ in range(2):
        demo.registers["ttbr1_el1"] = 0x1000
        demo.core.forget_translations()
        kprobes.unregister(armed.pop())
        kprobes.unregister(waiting.pop())
        demo.restore(state)
    kprobes.unregister(kretprobe)
    assert kprobes.list() == []
    assert demo.run(until="batch_report").reason is StopReason.UNTIL
