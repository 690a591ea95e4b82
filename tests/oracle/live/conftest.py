# SPDX-License-Identifier: GPL-2.0-or-later
"""Two guests alike, one with the kernel's probes and one with ours, and what it takes to compare them."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ..references import REFERENCES, Reference  # noqa: TID252  # tests have no import name to go by
from .build import prepare_guest
from .journal import Event, comparable, differences
from .subjects import EngineProbes, KernelProbes, Scenario, played

Compare = Callable[[Scenario], list[Event]]


@pytest.fixture(scope="session", params=REFERENCES)
def reference(request: pytest.FixtureRequest) -> Reference:
    """A stock kernel of each era there is one of."""
    return REFERENCES[request.param]


@pytest.fixture(scope="session")
def tool() -> Callable[[str, str], str]:
    """tool(command, package): the path of a program. Where it is absent tests fail, for the same reason."""

    def find(command: str, package: str) -> str:
        return shutil.which(command) or pytest.fail(f"{command} is not installed (Debian: apt-get install {package})")

    return find


@pytest.fixture(scope="session")
def snapshot(reference: Reference, tool: Callable[[str, str], str]) -> Path:
    """A guest with the module loaded."""
    return prepare_guest(reference, tool)


@pytest.fixture(scope="module")
def kernel(snapshot: Path) -> KernelProbes:
    """The kernel's own probes."""
    return KernelProbes(snapshot)


@pytest.fixture(scope="module")
def engine(snapshot: Path, reference: Reference) -> EngineProbes:
    """Ours, in a guest of their own that is the same."""
    return EngineProbes(snapshot, reference.era)


@pytest.fixture
def compare(kernel: KernelProbes, engine: EngineProbes, compared: Callable[[str, int], None]) -> Iterator[Compare]:
    """compare(scenario): play it with both; the kernel's journal, from which ours must differ in nothing."""
    fields = 0

    def play(scenario: Scenario) -> list[Event]:
        nonlocal fields
        journals = [played(scenario, subject) for subject in (kernel, engine)]
        different = differences(*journals)
        assert not different, "\n".join(different)
        fields += sum(len(event) for event in comparable(journals[0]))
        return journals[0]

    yield play
    compared("fields of hits and of registrations", fields)
