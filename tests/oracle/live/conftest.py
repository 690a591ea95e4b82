# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's probes and ours, on the same functions, and what it takes to compare them.

The kernel runs, or what it answered is on record (record.py).
"""

import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from armprobe.probes import Era, find_era
from tests.oracle.live.build import prepare_guest
from tests.oracle.live.engine_probes import EngineProbes
from tests.oracle.live.guests import LiveGuest, OracleGuest
from tests.oracle.live.journal import Event, comparable, differences
from tests.oracle.live.kernel_probes import Kernel, KernelProbes
from tests.oracle.live.record import Record, Tape, recorded, test_name
from tests.oracle.live.recorded import Asked, RecordedKernel, RecordingKernel, finish
from tests.oracle.live.recorded_guest import RecordedGuest
from tests.oracle.live.subjects import Scenario, played
from tests.oracle.references import (  # tests have no import name to go by
    ASKED,
    DEFAULT,
    EVERYTHING,
    RECORDING,
    REFERENCES,
    Reference,
)

Compare = Callable[[Scenario], list[Event]]
Tool = Callable[[str, str], str]


class Opponent(ABC):
    """A kernel to be compared with, and the era that it is in."""

    era: Era

    @abstractmethod
    def guest(self) -> OracleGuest:
        """A guest of it, with nothing probed yet."""

    @abstractmethod
    def kernel(self) -> Kernel:
        """Its own probes, in a guest of their own."""

    def engine(self, era: Era | None = None) -> EngineProbes:
        """Ours, in a guest of their own that is the same; by the rules of its era unless others are given."""
        return EngineProbes(self.guest(), era or self.era)

    def begin(self, test: str) -> None:  # noqa: B027
        """Another test begins."""


class LiveKernel(Opponent):
    """One that runs."""

    def __init__(self, reference: Reference, tool: Tool) -> None:
        self.snapshot, self.package_version = prepare_guest(reference, tool)
        self.release = self.package_version.partition("-")[0]
        self.era = find_era(self.release)
        self._record = Record.load(self.release) if self.release in recorded() else None

    def only_repeats(self, test: str) -> bool:
        """Whether its answers to `test` are on record, and that is not one of those in which it is asked again."""
        return self._record is not None and test in self._record.tests.keys() - self._record.sample()

    def guest(self) -> LiveGuest:
        return LiveGuest(self.snapshot)

    def kernel(self) -> Kernel:
        return KernelProbes(self.guest())


class _NotAsked:
    """In place of our probes."""

    def __getattr__(self, name: str) -> Any:
        pytest.skip("only the kernel is asked while its answers are put on record")


class KernelToRecord(LiveKernel):
    """One whose answers are put on record, with nobody to compare them with."""

    def __init__(self, reference: Reference, tool: Tool) -> None:
        super().__init__(reference, tool)
        self.record = Record(self.release, f"linux {self.package_version}")
        self.tape, self.asked = Tape(self.record.tests), Asked()

    def kernel(self) -> Kernel:
        return RecordingKernel(self.guest(), self.tape, self.asked)

    def engine(self, era: Era | None = None) -> EngineProbes:
        return cast(EngineProbes, _NotAsked())

    def begin(self, test: str) -> None:
        self.tape.begin(test, anew=True)


class KernelOnRecord(Opponent):
    """One of which there are only its answers."""

    def __init__(self, release: str) -> None:
        self.record = Record.load(release)
        self.tape = Tape(self.record.tests)
        self.era = find_era(release)

    def guest(self) -> RecordedGuest:
        return RecordedGuest(self.record)

    def kernel(self) -> Kernel:
        return RecordedKernel(self.guest().guest, self.tape)

    def begin(self, test: str) -> None:
        self.tape.begin(test, anew=False)


@pytest.fixture(scope="session", params=["recording"] if RECORDING else [*ASKED, *recorded()])
def reference(request: pytest.FixtureRequest, tool: Tool) -> Iterator[Opponent]:
    """A stock kernel of each series that is asked, and each that is on record."""
    if RECORDING:
        recording = KernelToRecord(RECORDING, tool)
        yield recording
        finish(recording.record, recording.guest(), recording.asked)
    elif request.param in REFERENCES:
        yield LiveKernel(REFERENCES[request.param], tool)
    else:
        yield KernelOnRecord(request.param)


@pytest.fixture(autouse=True)
def _begin(request: pytest.FixtureRequest, reference: Opponent) -> None:
    """Tell the kernel which test it is.

    The engine is compared with all answers on record. A kernel that gave them is asked again in one case of every
    fourth test, and in all with `make oracle`, as are the default one and one that is not on record.
    """
    series = str(request.node.callspec.params["reference"])
    test = test_name(f"{Path(request.node.path).stem}::{request.node.name}", series)
    if series in REFERENCES and not (EVERYTHING or series == DEFAULT):
        assert isinstance(reference, LiveKernel)
        if reference.only_repeats(test):
            pytest.skip("the answer of this kernel is on record; make oracle asks it again")
    reference.begin(test)


@pytest.fixture(scope="session")
def tool() -> Tool:
    """tool(command, package): the path of a program. Where it is absent tests fail, for the same reason."""

    def find(command: str, package: str) -> str:
        return shutil.which(command) or pytest.fail(f"{command} is not installed (Debian: apt-get install {package})")

    return find


@pytest.fixture(scope="module")
def kernel(reference: Opponent) -> Kernel:
    """The kernel's own probes."""
    return reference.kernel()


@pytest.fixture(scope="module")
def engine(reference: Opponent) -> EngineProbes:
    """Ours."""
    return reference.engine()


def counts_preemption(era: Era) -> bool:
    """Whether Debian's kernel of that era counts preemption (CONFIG_PREEMPT_COUNT), as 7.2 does.

    Its handlers of debug exceptions run with preemption disabled, where no page fault is repaired but by an entry of
    the exception table (faulthandler_disabled() in do_page_fault()).
    """
    return era.release >= (7, 2, 0)


@pytest.fixture
def handlers_may_fault(reference: Opponent) -> None:
    """What the handlers of kprobes call may touch pages that are not there yet."""
    if counts_preemption(reference.era):
        pytest.skip("a page fault in a handler is an oops in this kernel, which counts preemption")


@pytest.fixture
def compare(kernel: Kernel, engine: EngineProbes, compared: Callable[[str, int], None]) -> Iterator[Compare]:
    """compare(scenario): play it with both; the kernel's journal, from which ours must differ in nothing."""
    fields = 0

    def play(scenario: Scenario) -> list[Event]:
        nonlocal fields
        journal = played(scenario, kernel)
        if not RECORDING:
            different = differences(journal, played(scenario, engine))
            assert not different, "\n".join(different)
        fields += sum(len(event) for event in comparable(journal))
        return journal

    yield play
    compared("fields of hits and of registrations", fields)
