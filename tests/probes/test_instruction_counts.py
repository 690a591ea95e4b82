# SPDX-License-Identifier: GPL-2.0-or-later
"""How often each instruction of functions is executed, against single steps of the same run."""

from __future__ import annotations

from collections import Counter

import pytest

from armprobe import load
from armprobe.probes import Kprobes, ProbeError, function_watches

ROUND = "slab_round"


@pytest.mark.parametrize("pattern", ["k*", "*_round", "mem*", "pac_*"])
@pytest.mark.sample
def test_they_are_what_single_steps_see(pattern: str) -> None:
    """From one function's entry to the next one's, with an interrupt on the way or not."""
    machine, stepped = load("demo"), load("demo")
    machine.run(until=ROUND)
    stepped.run(until=ROUND)
    seen: Counter[int] = Counter()
    while not seen or stepped.registers.pc != stepped.symbols["list_round"].address:
        seen[stepped.registers.pc] += 1
        stepped.step()
    with Kprobes(machine).watches.count_instructions(pattern) as counts:
        machine.run(until="list_round")
    code = {at for each in counts.functions for at in range(each.address, each.address + each.size, 4)}
    assert counts.counted() == {address: times for address, times in seen.items() if address in code}


def test_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(function_watches, "MOST_INSTRUCTIONS", 10)
    with pytest.raises(ProbeError, match="has over 10 instructions: choose fewer"):
        Kprobes(load("demo")).watches.count_instructions("k*")


def test_none() -> None:
    with pytest.raises(ProbeError, match="no function matches 'nosuch'"):
        Kprobes(load("demo")).watches.count_instructions("nosuch")
