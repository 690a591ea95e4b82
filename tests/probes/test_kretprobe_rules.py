# SPDX-License-Identifier: GPL-2.0-or-later
"""What each era's register_kretprobe() (kernel/kprobes.c) accepts, and with what errno it refuses."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from armprobe import machine
from armprobe.probes import Kprobe, Kprobes, Kretprobe, ProbeError

ERAS = ["v4.8", "v5.4", "v5.10", "v6.1", "v6.9", "v7.2"]
EINVAL, ENOENT, E2BIG, ENOMEM = errno.EINVAL, errno.ENOENT, errno.E2BIG, errno.ENOMEM


def by_era(*results: int) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("era", "result"), list(zip(ERAS, results, strict=True)))


def registered(kprobes: Kprobes, probe: Kprobe | Kretprobe) -> int:
    """The errno, 0 for none."""
    try:
        if isinstance(probe, Kretprobe):
            kprobes.register_kretprobe(probe)
        else:
            kprobes.register_kprobe(probe)
    except ProbeError as error:
        return error.errno
    return 0


@by_era(0, EINVAL, EINVAL, EINVAL, EINVAL, EINVAL)
def test_off_the_entry(demo: machine.Machine, era: str, result: int) -> None:
    """Until v4.12 nobody looked. Where x30 still is the return address, that is seen like any return."""
    kprobes = Kprobes(demo, era)
    returns: list[int] = []
    probe = Kretprobe("pcrel_leaf+4", handler=lambda ri, regs: returns.append(regs.regs[0]))
    assert registered(kprobes, probe) == result
    assert demo.call("pcrel_leaf", 4) == 12
    assert returns == ([] if result else [12])
    assert ["not the entry of a function" in warning for warning in probe.kp.warnings] == [True] * (not result)


@pytest.mark.parametrize("trampoline", ["direct", "kprobe"])
def test_where_the_stack_pointer_has_moved(
    demo: machine.Machine, add_function: Callable[..., int], trampoline: str
) -> None:
    """The newest call of the task is the one that returns, as in the kernel."""
    sub, add, nop, ret = 0xD10083FF, 0x910083FF, 0xD503201F, 0xD65F03C0
    add_function("makes_room", sub, nop, add, ret)
    kprobes = Kprobes(demo, "v4.8", trampoline=trampoline)
    returns: list[int] = []
    kprobes.register_kretprobe(Kretprobe("makes_room+4", handler=lambda ri, regs: returns.append(regs.regs[0])))
    for calls in (1, 2):
        assert demo.call("makes_room", 77) == 77
        assert returns == [77] * calls
        assert kprobes.outstanding == []


@by_era(ENOENT, EINVAL, ENOENT, ENOENT, ENOENT, ENOENT)
def test_on_a_symbol_that_there_is_not(demo: machine.Machine, era: str, result: int) -> None:
    """For a while the entry check came first and said only no: until commit 97c753e62e6c, v5.11 and updates of 5.10."""
    kprobes = Kprobes(demo, era)
    assert registered(kprobes, Kretprobe("no_such_function")) == result
    assert registered(kprobes, Kprobe("no_such_function")) == ENOENT


@by_era(EINVAL, EINVAL, EINVAL, ENOENT, ENOENT, ENOENT)
def test_at_an_address_that_no_symbol_covers(demo: machine.Machine, era: str, result: int) -> None:
    """Looked up only since v5.18 (commit cc66bb914578); before, it is just not in the kernel's text."""
    kprobes = Kprobes(demo, era)
    assert registered(kprobes, Kretprobe(addr=0x1000)) == (
        ENOENT if era == "v5.10" else result
    )  # the entry comes first
    assert registered(kprobes, Kprobe(addr=0x1000)) == result
    with pytest.raises(ProbeError, match="no symbol covers it") as refused:
        kprobes.check(0x1000)
    assert refused.value.errno == result


@by_era(ENOMEM, ENOMEM, E2BIG, E2BIG, E2BIG, E2BIG)
def test_size_of_data(demo: machine.Machine, era: str, result: int) -> None:
    """KRETPROBE_MAX_DATA_SIZE is of v5.17, and in updates of 5.10; before, the demo kernel's kmalloc() is the limit."""
    kprobes = Kprobes(demo, era)
    assert registered(kprobes, Kretprobe("insn_nop", maxactive=1, data_size=4097)) == result
    for huge in (-1, 4 << 20, 1 << 62):
        assert registered(kprobes, Kretprobe("hanoi", data_size=huge)) == (result or ENOMEM)
    assert registered(kprobes, Kretprobe("hanoi", data_size=4096, maxactive=1 << 16)) == ENOMEM
    assert registered(kprobes, Kretprobe("fib", data_size=2000, maxactive=1)) == 0
