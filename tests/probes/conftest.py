# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests to put probes on."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from armprobe import machine
from armprobe.kernel.text import Text
from armprobe.machine.symbols import Symbol, Symbols
from armprobe.probes import Kprobes, optimizer


@pytest.fixture
def demo() -> machine.Machine:
    """The demo kernel at the start of its workload."""
    m = machine.load("demo", memory="16M")  # snapshots look at all of it
    m.run(until="workload_run")
    return m


@pytest.fixture
def kprobes(demo: machine.Machine) -> Kprobes:
    """The probes of `demo`."""
    return Kprobes(demo)


@pytest.fixture
def code(demo: machine.Machine) -> Callable[..., int]:
    """code(*words): the address of these instructions in the memory of `demo`, where nothing else uses it."""

    def write(*words: int) -> int:
        address = demo.scratch.allocate(4 * len(words), 16)
        demo.scratch.write(address, struct.pack(f"<{len(words)}I", *words))
        return address

    return write


@pytest.fixture
def add_function(demo: machine.Machine) -> Callable[..., int]:
    """add_function(name, *words): the address of a function put behind the text of `demo`, which then reaches to it."""

    def write(name: str, *words: int) -> int:
        ((address, end),) = Text(demo, {}).padding()
        size = 4 * len(words)
        assert end - address > size
        demo.memory.write(address, struct.pack(f"<{len(words)}I", *words))
        others = [symbol for symbol in demo.symbols if symbol.name != "_etext"]
        here = Symbol(name, address, size, "function"), Symbol("_etext", address + size, 0, "other")
        demo.symbols = Symbols([*others, *here])
        return address

    return write


@pytest.fixture(params=[30, 0], ids=["hooks", "breakpoints"])
def _hooks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of addresses at which hits are seen by a hook; others have a breakpoint that C answers."""
    monkeypatch.setattr(optimizer, "HOOKS", request.param)
