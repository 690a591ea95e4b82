# SPDX-License-Identifier: GPL-2.0-or-later
"""Thousands of return probes in a running Linux: it does what it did, and every call is accounted for."""

import time

import pytest

from armprobe.machine import Machine, MachineError
from armprobe.probes import Kprobes, Kretprobe, ProbeError
from tests.calls import counted_calls  # tests have no import name to go by
from tests.linux.shell import Shell

PATTERNS = ("vfs_*", "*sys_*", "*page*", "k[a-m]*", "do_*", "*dentry*", "*path*", "sched*", "*_write", "*_read")
WORKLOAD = "ls /bin | head -20; cat /proc/version; for i in 1 2 3; do echo $i > /tmp/f; cat /tmp/f; done; ls /tmp"


def mapped(guest: Machine, address: int) -> bool:
    """Initialisation code is no longer."""
    try:
        return bool(guest.memory.read(address, 4))
    except MachineError:
        return False


@pytest.mark.sample(of="tests")
def test_return_probes_on_thousands_of_functions(guest: Machine, shell: Shell) -> None:
    before = shell.run(WORKLOAD)
    kprobes = Kprobes(guest)
    probes: list[Kretprobe] = []
    places = {function.address for pattern in PATTERNS for function in kprobes.functions(pattern)}
    words = {address: guest.memory.read(address, 4) for address in places if mapped(guest, address)}
    refused: set[tuple[str, str]] = set()
    started = time.process_time()
    for address in sorted(places):
        try:
            probes.append(kprobes.register_kretprobe(Kretprobe(addr=address, record=False, maxactive=20)))
        except ProbeError as error:
            refused.add((error.errno_name, error.rule))
    took = time.process_time() - started
    assert len(probes) >= 2000
    assert {name for name, _ in refused} == {"EINVAL"}
    assert len(refused) < 15  # the rules that were kept to, and not a sentence for each function
    assert took < 0.005 * len(probes)  # it takes a tenth of that: nothing is done to all for each
    with counted_calls(guest, places) as calls:
        assert shell.run(WORKLOAD) == before
    counted = {probe.addr: probe.hits + probe.nmissed + probe.kp.nmissed for probe in probes}
    assert counted == {probe.addr: calls[probe.addr or 0] for probe in probes}
    assert sum(bool(probe.hits) for probe in probes) > 200
    assert sum(probe.nmissed for probe in probes) == 0
    kprobes.unregister_kprobes(probes)
    assert kprobes.list() == []
    assert shell.run(WORKLOAD) == before
    assert {address: guest.memory.read(address, 4) for address in words} == words
