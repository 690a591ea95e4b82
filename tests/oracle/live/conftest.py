# SPDX-License-Identifier: GPL-2.0-or-later
"""Two guests alike, one with the kernel's probes and one with ours, and what it takes to compare them."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from armprobe.commands.debian import KernelFiles

from .build import prepare_guest
from .journal import DISABLED, Event, differences
from .subjects import EngineProbes, KernelProbes, Subject

Scenario = Callable[[Subject], None]
Compare = Callable[[Scenario], list[Event]]


@pytest.fixture(scope="session")
def snapshot(kernel_files: KernelFiles, tool: Callable[[str, str], str]) -> Path:
    """A guest with the module loaded."""
    return prepare_guest(kernel_files, tool)


@pytest.fixture(scope="module")
def kernel(snapshot: Path) -> KernelProbes:
    """The kernel's own probes."""
    return KernelProbes(snapshot)


@pytest.fixture(scope="module")
def engine(snapshot: Path) -> EngineProbes:
    """Ours, in a guest of their own that is the same."""
    return EngineProbes(snapshot)


@pytest.fixture
def compare(kernel: KernelProbes, engine: EngineProbes, compared: Callable[[str, int], None]) -> Iterator[Compare]:
    """compare(scenario): play it with both; the kernel's journal, from which ours must differ in nothing."""
    fields = 0

    def play(scenario: Scenario) -> list[Event]:
        nonlocal fields
        journals = []
        for subject in (kernel, engine):
            subject.clear()
            scenario(subject)
            journals.append(subject.journal)
        kernels = [dict(event) for event in journals[0]]
        for event in itertools.chain(*journals):
            for name in ("slot", "kprobe", "below_sp"):  # where things are, which is another place here
                event.pop(name, None)
            if event.get("flags") == DISABLED:
                event.pop("instructions", None)  # our slots are made when a probe is armed
        different = differences(*journals)
        assert not different, "\n".join(different)
        fields += sum(len(event) for event in journals[0])
        return kernels

    yield play
    compared("fields of hits and of registrations", fields)
