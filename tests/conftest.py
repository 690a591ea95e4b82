# SPDX-License-Identifier: GPL-2.0-or-later
"""What tests of every room share."""

import gc
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest

from armprobe import machine
from armprobe.clients import debugger_session
from armprobe.machine import Machine
from tests import sampling
from tests.linux.shell import Shell
from tests.oracle.references import ASKED, REFERENCES
from tests.oracle.unrecorded import pytest_runtest_makereport, pytest_terminal_summary
from tests.progress import configure
from tests.stock import stock_snapshot
from tests.waiting import PATIENCE

__all__ = ["pytest_runtest_makereport", "pytest_terminal_summary"]

# No garbage is looked for among modules and tests, which stay: it took a tenth of a worker's time.
gc.disable()

# The cores are shared with emulated machines, so the time one example takes says nothing.
hypothesis.settings.register_profile("armprobe", deadline=None)
hypothesis.settings.load_profile("armprobe")


def pytest_report_header() -> str:
    """Say which kernels this run is about."""
    series = ", ".join(REFERENCES[era].series for era in ASKED)
    return f"Linux of the series {series}; others by ARMPROBE_SERIES, all by make oracle\n{sampling.header()}"


def pytest_configure(config: pytest.Config) -> None:
    """See `progress`. And gdb has as long as all else, and gives others as long."""
    configure(config)
    sampling.configure(config)
    debugger_session.TIMEOUT = PATIENCE
    if shutil.which("gdb-multiarch"):
        os.environ["PATH"] = f"{Path(__file__).parent / 'programs'}:{os.environ['PATH']}"


@pytest.fixture(scope="session")
def tool() -> Callable[[str, str], str]:
    """tool(command, package): the path of a program a test needs.

    Where it is absent the test fails under CI, so that nothing goes unseen there, and is skipped elsewhere.
    """

    def find(command: str, package: str) -> str:
        path = shutil.which(command)
        if path is None:
            missing = f"{command} is not installed (Debian: apt-get install {package})"
            if os.environ.get("CI"):
                pytest.fail(missing)
            pytest.skip(missing)
        return path

    return find


@pytest.fixture(scope="session")
def gdb_path(tool: Callable[[str, str], str]) -> str:
    return tool("gdb-multiarch", "gdb-multiarch")


@pytest.fixture(scope="session")
def snapshot() -> Path:
    """A stock Debian kernel at its shell, fetched and booted once. Tests of another guest have their own `snapshot`."""
    return stock_snapshot()


@pytest.fixture
def guest(snapshot: Path) -> Machine:
    return machine.load(snapshot)


@pytest.fixture
def shell(guest: Machine) -> Shell:
    return Shell(guest)


# The files that take longest (CPU time, measured), longest first: what is left to the end keeps all workers busy. The
# first one downloads and boots the kernels of all others; those next to it need none of them.
LONGEST = (
    "oracle/live/test_hits.py",
    "docs/test_tutorial.py",
    "probes/test_position.py",
    "linux/test_disk.py",
    "test_layout.py",
    "oracle/test_modules.py",
    "linux/test_use_after_free.py",
    "oracle/test_decode.py",
    "commands/test_bundle.py",
    "clients/test_pytest_plugin.py",
    "oracle/test_hostile_memory.py",
    "linux/test_boot.py",
    "machine/test_hostile_files.py",
    "docs/test_site.py",
    "linux/test_every_function.py",
    "machine/native/test_binding.py",
    "commands/test_terminal.py",
    "gdb/test_unwinding.py",
    "debuggers/test_debuggers.py",
    "commands/test_front_ends.py",
    "linux/test_guest.py",
    "probes/test_machines.py",
    "probes/test_linux.py",
    "oracle/live/test_returns.py",
    "linux/test_trace_events.py",
    "stub/test_guest_flood.py",
    "commands/test_progress.py",
    "machine/test_exactness.py",
    "machine/test_snapshot_file.py",
    "probes/test_eras.py",
    "oracle/live/test_layouts.py",
    "expressions/test_native.py",
    "linux/test_driver.py",
    "gdb/test_probes.py",
    "test_package.py",
    "linux/test_timeline.py",
    "clients/test_gdb_session.py",
    "machine/test_input_gate.py",
    "kernel/test_kernel_facts.py",
    "oracle/test_event_triggers.py",
    "stub/test_gdb.py",
    "gdb/test_patchable_entries.py",
    "linux/test_backtrace.py",
    "traces/test_report_in_browser.py",
    "probes/test_abandoned_calls.py",
    "oracle/test_event_definitions.py",
    "gdb/test_conditions.py",
    "stub/test_endurance.py",
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Workers are given files in this order (xdist's loadfile, with --no-loadscope-reorder)."""
    place = {Path(__file__).parent / name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path, len(place)))
    if out := sampling.left_out(items):
        config.hook.pytest_deselected(items=out)
        left = set(map(id, out))
        items[:] = [item for item in items if id(item) not in left]


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name binary parameters by their argument: what is in compressed ones differs from worker to worker."""
    return argname if isinstance(val, bytes) and not val.isascii() else None
