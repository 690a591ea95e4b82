# SPDX-License-Identifier: GPL-2.0-or-later
"""Registering several probes at once: all or none."""

from __future__ import annotations

import errno

import pytest

from armprobe import machine
from armprobe.probes import Kprobe, Kprobes, Kretprobe, ProbeError

NAMES = ("kmalloc", "kfree", "strlen", "memcpy")


def test_all(demo: machine.Machine, kprobes: Kprobes) -> None:
    probes, returns = [Kprobe(name) for name in NAMES], [Kretprobe(name) for name in NAMES]
    kprobes.register_kprobes(probes)
    kprobes.register_kretprobes(returns)
    both: list[Kprobe | Kretprobe] = [*probes, *returns]
    assert all(probe.registered for probe in both)
    demo.run(instructions=300_000)
    assert all(probe.hits for probe in both)
    kprobes.unregister_kprobes(both)
    assert kprobes.list() == []


@pytest.mark.parametrize("bad", range(len(NAMES) + 1))
def test_none_if_one_is_refused(demo: machine.Machine, kprobes: Kprobes, bad: int) -> None:
    """Those before it are unregistered, which leaves them as it always does; those after it are not looked at."""
    text = demo.memory.read(demo.symbols["_stext"].address, 0x5000)
    probes, returns = [Kprobe(name) for name in NAMES], [Kretprobe(name) for name in NAMES]
    probes.insert(bad, Kprobe("vectors"))
    returns.insert(bad, Kretprobe("kfree", offset=4))
    for request, batch, words in (
        (kprobes.register_kprobes, probes, "on the kernel's blacklist"),
        (kprobes.register_kretprobes, returns, "not the entry of a function"),
    ):
        with pytest.raises(ProbeError, match=words) as caught:
            request(batch)  # type: ignore[arg-type]
        assert caught.value.errno == errno.EINVAL
        assert f"number {bad + 1} of 5 probes was refused, and so none is registered: " in caught.value.reason
        assert not any(probe.registered for probe in batch)
        assert [bool(probe.flags & 2) for probe in batch] == [i < bad for i in range(5)]
    assert kprobes.list() == []
    assert demo.memory.read(demo.symbols["_stext"].address, 0x5000) == text


def test_the_same_twice(kprobes: Kprobes) -> None:
    probe = Kprobe("kfree")
    with pytest.raises(ProbeError, match=r"number 2 of 2 probes was refused.*registered already"):
        kprobes.register_kprobes([probe, probe])
    assert not probe.registered


def test_none_at_all(kprobes: Kprobes) -> None:
    for request in (kprobes.register_kprobes, kprobes.register_kretprobes):
        with pytest.raises(ProbeError, match="EINVAL: there are no probes to register"):
            request([])
    kprobes.unregister_kprobes([])


def test_unregistering_one_that_is_not(kprobes: Kprobes) -> None:
    first, stranger = kprobes.register_kprobe(Kprobe("kfree")), Kprobe("kmalloc")
    with pytest.raises(ProbeError, match="EINVAL: kmalloc is not registered here"):
        kprobes.unregister_kprobes([first, stranger])
    assert first.registered
    kprobes.unregister_kprobes([first, first])
    assert not first.registered
