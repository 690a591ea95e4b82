# SPDX-License-Identifier: GPL-2.0-or-later
"""Two guests alike, one with the kernel's probes and one with ours, and what it takes to compare them."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from armprobe.commands.debian import DebianError, KernelFiles, fetch_kernel

from .build import prepare_guest
from .journal import Event, comparable, differences
from .subjects import EngineProbes, KernelProbes, Scenario, played

Compare = Callable[[Scenario], list[Event]]


@pytest.fixture(scope="session")
def kernel_files() -> KernelFiles:
    """Debian's stock kernel 6.1. Without it nothing that we say of that kernel is known, so that tests fail."""
    try:
        files = fetch_kernel()
    except DebianError as error:
        pytest.fail(str(error))
    if not files.kernel_version.startswith("6.1."):
        pytest.fail(f"this system's apt offers Linux {files.kernel_version}: the rules compared are those of 6.1")
    return files


@pytest.fixture(scope="session")
def tool() -> Callable[[str, str], str]:
    """tool(command, package): the path of a program. Where it is absent tests fail, for the same reason."""

    def find(command: str, package: str) -> str:
        return shutil.which(command) or pytest.fail(f"{command} is not installed (Debian: apt-get install {package})")

    return find


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
        journals = [played(scenario, subject) for subject in (kernel, engine)]
        different = differences(*journals)
        assert not different, "\n".join(different)
        fields += sum(len(event) for event in comparable(journals[0]))
        return journals[0]

    yield play
    compared("fields of hits and of registrations", fields)
