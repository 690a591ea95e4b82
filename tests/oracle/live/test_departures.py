# SPDX-License-Identifier: GPL-2.0-or-later
"""Modules that are unloaded under our probes, and initialisation code that the kernel frees."""

from __future__ import annotations

import re

import pytest

from armprobe import machine
from armprobe.probes import Kprobe, Kprobes, Kretprobe, ProbeError
from tests.linux.shell import Shell  # tests have no import name to go by
from tests.oracle.live.conftest import LiveKernel
from tests.oracle.references import ASKED

GONE, DISABLED, OPTIMIZED = 1, 2, 4
BRK = 0xD420_0080


# Those that run: it is not about their own probes.
pytestmark = pytest.mark.parametrize("reference", ASKED, indirect=True, scope="session")


@pytest.fixture
def guest(reference: LiveKernel) -> machine.Machine:
    """At its shell, with the module loaded."""
    return machine.load(reference.snapshot)


def test_a_module_that_is_unloaded(guest: machine.Machine, reference: LiveKernel) -> None:
    shell, kprobes = Shell(guest), Kprobes(guest, reference.era)
    armed, disabled = Kprobe("oracle:oracle_add"), Kprobe("oracle_add", disabled=True)
    returns, other = Kretprobe("oracle_inner"), Kprobe("vfs_read")
    kprobes.register_kprobes([armed, disabled, other])
    kprobes.register_kretprobe(returns)
    assert list(guest.symbols.modules) == ["oracle"]
    before = guest.snapshot()
    assert shell.run("rmmod oracle") == ""
    assert shell.run("tail -n 1000 /proc/kallsyms | grep -c oracle_add") == "0\n"
    assert (armed.flags, disabled.flags, returns.flags, other.flags) == (GONE, GONE | DISABLED, GONE, OPTIMIZED)
    assert set(kprobes.list()) == {armed, disabled, returns, other}
    for probe in (armed, disabled, returns):
        with pytest.raises(ProbeError, match=r"EINVAL: .*oracle_\w+ is gone, as the guest has freed its code"):
            kprobes.enable(probe)
    assert list(guest.symbols.modules) == []
    with pytest.raises(ProbeError, match=r"ENOENT: .*no module oracle is loaded"):
        kprobes.register_kprobe(Kprobe("oracle:oracle_add"))
    assert "Linux version" in shell.run("cat /proc/version")
    assert other.hits
    kprobes.unregister_kprobes([armed, returns])
    assert set(kprobes.list()) == {disabled, other}

    guest.restore(before)
    assert (disabled.flags, other.flags) == (DISABLED, OPTIMIZED)
    assert guest.memory.u32(disabled.addr or 0) != BRK
    kprobes.enable(disabled)
    assert guest.memory.u32(disabled.addr or 0) == BRK
    kprobes.unregister_kprobes([disabled, other])
    assert shell.run("rmmod oracle; echo $?") == "0\n"


def test_a_module_that_is_going(guest: machine.Machine, reference: LiveKernel) -> None:
    """While delete_module() runs its exit function, and to the end of it."""
    shell, kprobes = Shell(guest), Kprobes(guest, reference.era)
    refused: list[ProbeError] = []

    def going(p: Kprobe, regs: object) -> None:
        with pytest.raises(ProbeError) as caught:
            kprobes.register_kprobe(Kprobe("oracle:oracle_add"))
        refused.append(caught.value)

    kprobes.register_kprobe(Kprobe("free_module", pre_handler=going))
    early = kprobes.register_kprobe(Kprobe("oracle:oracle_add"))
    shell.run("rmmod oracle")
    assert [error.errno_name for error in refused] == ["ENOENT"]
    assert "the module oracle is being unloaded" in refused[0].reason
    assert early.gone
    assert kprobes.errors == []


def test_the_blacklist_follows_modules(guest: machine.Machine, reference: LiveKernel) -> None:
    shell, kprobes = Shell(guest), Kprobes(guest, reference.era)
    marked = guest.symbols["oracle_marked"].address
    assert any(area.start == marked for area in kprobes.blacklist)
    shell.run("rmmod oracle")
    assert not any(area.start == marked for area in kprobes.blacklist)
    said = shell.run("cat /sys/kernel/debug/kprobes/blacklist")
    listed = {(int(start, 16), int(end, 16)) for start, end in re.findall(r"^0x(\w+)-0x(\w+)\s", said, re.MULTILINE)}
    assert {(area.start, area.end) for area in kprobes.blacklist} == listed
