# SPDX-License-Identifier: GPL-2.0-or-later
"""The plugin for pytest: a fresh guest for each test, and its trace, console and registers in reports of failures.

pytest imports this file in every run in an environment with armprobe, so it imports the rooms when a test uses them.
PYTEST_DONT_REWRITE: the assertions of armprobe itself are no tests.
"""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from armprobe.clients import GdbSession
    from armprobe.clients.guest_coverage import GuestCoverage
    from armprobe.probes import Kprobes
    from armprobe.session import Session

_TRACE: Final = 40  # lines of the trace in a report
_CONSOLE: Final = 16384  # bytes of console output in a report
_RULES: Final = frozenset(("era", "stepping", "trampoline"))
_BOOTING: Final = frozenset(("kernel", "initrd", "cmdline", "append", "memory", "kaslr"))
_LOADING: Final = frozenset(("initrd", "vmlinux", "cmdline", "append", "kaslr", "base", "memory"))
_SESSIONS: Final = ("demo", "linux", "guest_session")
"""The fixtures that are sessions."""


class _Guest:
    """The session of a test, and what its guest has printed since the test began."""

    def __init__(self, name: str, session: Session) -> None:
        self.name, self.session = name, session
        self._printed = bytearray()
        self._begun = session.stop
        session.machine.console.listen(self._listen)

    def _listen(self, data: bytes) -> None:
        self._printed += data
        if len(self._printed) > 2 * _CONSOLE:
            del self._printed[:-_CONSOLE]

    def sections(self) -> Iterator[tuple[str, str]]:
        """The sections of a report, each a heading and a text."""
        from armprobe.session.console_text import ConsoleText

        printed = ConsoleText().add(bytes(self._printed[-_CONSOLE:]))
        parts = [("trace", self._answer(f"trace {_TRACE}")), ("console", printed)]
        if self._is_stopped_for_the_test():
            parts.append(("registers", f"{self._place()}\n{self._answer('info registers')}"))
        for heading, text in parts:
            yield f"armprobe {heading} ({self.name})", _shown(text.rstrip("\n")) or "(nothing)"

    def _is_stopped_for_the_test(self) -> bool:
        """Whether the guest is neither where it began nor in the thread that has worked for armprobe in it."""
        stop = self.session.stop
        return stop.address != self._pc or not (stop is self._begun or stop.is_armprobes)

    @property
    def _pc(self) -> int:
        machine = self.session.machine
        pc: int = self.session.owner.call_briefly(lambda: machine.registers.pc)
        return pc

    def _place(self) -> str:
        return f"at {self.session.machine.symbols.describe(self._pc)}"

    def _answer(self, line: str) -> str:
        from armprobe.machine import MachineError
        from armprobe.probes import ProbeError
        from armprobe.session import CommandError

        try:
            return self.session.run(line)
        except (CommandError, MachineError, ProbeError) as error:  # such as those of a guest whose memory is unreadable
            return str(error)


_GUESTS: Final = pytest.StashKey[list[_Guest]]()
_SNAPSHOTS: Final = pytest.StashKey[dict[str, Path]]()
_COVERAGE: Final[pytest.StashKey[GuestCoverage]] = pytest.StashKey()
_ROWS: Final = "armprobe coverage"
"""Where a worker of pytest-xdist leaves what it has counted."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of the command line."""
    group = parser.getgroup("armprobe", "armprobe: tests of code that runs in an emulated arm64 guest")
    group.addoption(
        "--armprobe-kernel",
        metavar="FILE",
        help="the kernel of the fixture linux: an Image, vmlinuz or vmlinux, which is booted once, or a snapshot that "
        "the command save has written (default: Debian's, fetched once)",
    )
    group.addoption(
        "--armprobe-initrd",
        metavar="FILE",
        help="the initial ramdisk of that kernel (default: a BusyBox shell)",
    )
    group.addoption(
        "--armprobe-cov",
        metavar="PATTERN",
        action="append",
        help="count the calls of the guest's functions that match, such as 'kmem_*'; may be given several times",
    )
    group.addoption(
        "--armprobe-cov-file",
        metavar="FILE",
        default="armprobe.lcov",
        help="file for the counts, in lcov's format (default: %(default)s)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line(
        "markers",
        "armprobe(guest='demo', era=None, **options): the guest of guest_session, and the era and options of it, of "
        "demo and of linux: stepping, trampoline, and those of armprobe.Session; for linux also kernel",
    )
    config.stash[_SNAPSHOTS] = {}
    if patterns := config.getoption("armprobe_cov"):
        from armprobe.clients import guest_coverage

        config.stash[_COVERAGE] = guest_coverage.GuestCoverage(patterns)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Have a test fail for an error in a handler. Tracebacks end in, or begin with, the user's own code."""
    try:
        result = yield
    except Exception as error:
        if _is_ours(type(error).__module__):  # a sentence for the user: how it was found out does not help
            _cut_insides(error)
        raise
    if failures := [each for guest in item.stash.get(_GUESTS, []) for each in guest.session.kprobes.errors]:
        from armprobe.probes.handler_failures import of_handler

        (probe, stage, raised), *_ = failures
        raised.add_note(f"in the {stage.value} handler of the {probe.kind} on {probe.name}")
        raise raised.with_traceback(of_handler(raised))
    return result


def _cut_insides(error: BaseException) -> None:
    """Let the traceback end in the last function that is neither armprobe's nor of Python's library."""
    last, at = None, error.__traceback__
    while at is not None:
        module = str(at.tb_frame.f_globals.get("__name__"))
        last = last if _is_ours(module) or module.partition(".")[0] in sys.stdlib_module_names else at
        at = at.tb_next
    if last is not None:
        last.tb_next = error.__cause__ = None
        error.__suppress_context__ = True


def _is_ours(module: str) -> bool:
    return module.startswith("armprobe.")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the state of the guests of a test that has failed."""
    report = yield
    if report.failed and report.when != "teardown":
        for guest in item.stash.get(_GUESTS, []):
            report.sections.extend(guest.sections())
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Pass what a worker of pytest-xdist has counted to the process that started it."""
    coverage, worker = session.config.stash.get(_COVERAGE, None), getattr(session.config, "workeroutput", None)
    if coverage is not None and worker is not None:
        worker[_ROWS] = coverage.rows(), coverage.line_rows()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take it. A worker that has crashed has left nothing."""
    if coverage := node.config.stash.get(_COVERAGE, None):
        coverage.add(*getattr(node, "workeroutput", {}).get(_ROWS, ((), ())))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Write the counts of all tests."""
    coverage = config.stash.get(_COVERAGE, None)
    if coverage is None:
        return
    calls = [count for *_, count in coverage.rows()]
    file = config.invocation_params.dir / config.getoption("armprobe_cov_file")
    try:
        file.write_text(coverage.lcov())
    except OSError as error:
        said = f"{file} cannot be written: {error.strerror}"
    else:
        said = f"{sum(map(bool, calls))} of {len(calls)} functions of guests were called; {file} has their counts"
    terminalreporter.write_line(f"armprobe: {said}")


@pytest.fixture
def demo(request: pytest.FixtureRequest) -> Iterator[Session]:
    """A session on the demo kernel, loaded and not yet started."""
    yield from _session(request, "demo")


@pytest.fixture
def linux(request: pytest.FixtureRequest) -> Iterator[Session]:
    """A session on a Linux kernel at its shell, the one of --armprobe-kernel or Debian's."""
    yield from _session(request, "linux")


@pytest.fixture
def guest_session(request: pytest.FixtureRequest) -> Iterator[Session]:
    """A session on the guest that the marker armprobe names: "demo", "linux", or a file that armprobe can load."""
    yield from _session(request, None)


@pytest.fixture
def kprobes(request: pytest.FixtureRequest) -> Kprobes:
    """The probes of the session that the test uses, that of guest_session if it uses none."""
    kprobes: Kprobes = _used(request, "kprobes").kprobes
    return kprobes


@pytest.fixture
def gdb_session(request: pytest.FixtureRequest) -> Iterator[GdbSession]:
    """A gdb that is attached to the session that the test uses, that of guest_session if it uses none."""
    from armprobe.clients import GdbError, GdbSession

    session = _used(request, "gdb_session")
    try:
        gdb = GdbSession(session)
    except GdbError as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None
    with gdb:
        yield gdb


def _used(request: pytest.FixtureRequest, what: str) -> Session:
    """The one session among the fixtures of a test."""
    used = [name for name in _SESSIONS if name in request.fixturenames] or ["guest_session"]
    if len(used) > 1:
        pytest.fail(f"the test uses {' and '.join(used)}: {what} would be that of one only; make it of one", False)
    session: Session = request.getfixturevalue(used[0])
    return session


def _session(request: pytest.FixtureRequest, guest: str | None) -> Iterator[Session]:
    """A new session for one test: nothing that a test does to its guest or probes can reach the next one."""
    from armprobe.machine import MachineError
    from armprobe.probes import ProbeError
    from armprobe.session import CommandError

    guest, options = _options(request, guest)
    try:
        session = _open(request.config, guest, options)
    except (CommandError, MachineError, ProbeError) as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None
    with session, _covered(request.config, session):
        guests = request.node.stash.setdefault(_GUESTS, [])
        guests.append(_Guest(guest, session))
        yield session
    guests.clear()
    # The objects of a machine refer to each other, and the memory that it holds is large.
    del session
    gc.collect()


@contextlib.contextmanager
def _covered(config: pytest.Config, session: Session) -> Iterator[None]:
    """Count the calls of functions in a session, if that is asked for."""
    from armprobe.probes import ProbeError

    coverage = config.stash.get(_COVERAGE, None)
    if coverage is None:
        yield
        return
    with contextlib.ExitStack() as counting:
        try:
            counting.enter_context(coverage.of(session))
        except ProbeError as error:
            raise pytest.fail.Exception(str(error), pytrace=False) from None
        yield


def _options(request: pytest.FixtureRequest, guest: str | None) -> tuple[str, dict[str, Any]]:
    """The guest of a fixture, and the options in the markers and the parameter of the test."""
    options: dict[str, Any] = {}
    for marker in reversed(list(request.node.iter_markers("armprobe"))):  # the nearest last
        if marker.args:
            pytest.fail("the marker armprobe takes arguments by name only, such as guest='demo'", False)
        options |= marker.kwargs
    if hasattr(request, "param"):
        options["era"] = request.param
    named = str(options.pop("guest", "demo"))
    guest = guest or named
    known = _RULES | (_BOOTING if guest == "linux" else _LOADING)
    if unknown := sorted(options.keys() - known):
        there = ", ".join(sorted(known))
        pytest.fail(f"the marker armprobe has no option {unknown[0]} for the guest {guest}: there are {there}", False)
    return guest, options


def _open(config: pytest.Config, guest: str, options: dict[str, Any]) -> Session:
    from armprobe.session import Session

    if guest != "linux":
        return Session(guest, **options)
    rules = {name: options.pop(name) for name in _RULES & options.keys()}
    session = Session(_snapshot(config, options), **rules)
    session.name = guest
    return session


def _snapshot(config: pytest.Config, options: dict[str, Any]) -> Path:
    """The snapshot of a kernel at its shell. It is looked for once in a process, and made by one process only."""
    from armprobe.guests.linux import prepare
    from armprobe.machine.loaders.snapshot_file import is_snapshot

    def file(name: str) -> Path | None:
        given = options.pop(name, None) or config.getoption(f"armprobe_{name}")
        return None if given is None else config.invocation_params.dir / given

    kernel, initrd = file("kernel"), file("initrd")
    if kernel is not None and is_snapshot(kernel):
        return kernel
    snapshots, key = config.stash[_SNAPSHOTS], repr((kernel, initrd, sorted(options.items())))
    if key not in snapshots:
        snapshots[key] = prepare(kernel, initrd, **options)
    return snapshots[key]


def _shown(text: str) -> str:
    """The text without control characters, which a guest could send to the user's terminal."""
    return "".join(each if each.isprintable() or each in "\n\t" else repr(each)[1:-1] for each in text)
