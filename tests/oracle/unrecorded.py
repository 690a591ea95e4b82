# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernels that there is no record of, such as an update that came this morning: their differences are listed, and do
not fail `make test`. They fail `make oracle`. Kernels that there is only a record of are told, too, and those that
cannot be had, each in one line. tests/conftest.py has the two hooks."""

from __future__ import annotations

from collections.abc import Generator
from typing import Final

import pytest

from armprobe.guests.linux.debian import KernelFiles
from tests import stock
from tests.oracle import references
from tests.oracle.function_records import KernelOnRecord
from tests.oracle.live.record import recorded
from tests.oracle.references import EVERYTHING, REFERENCES, fetched

_PROPERTY: Final = "not on record"
_ONLY_RECORD: Final = "only on record"
_SKIPPING: Final = {stock.__file__, references.__file__}
"""What skips tests because a kernel cannot be had."""


def _unrecorded(item: pytest.Item) -> str:
    """The release of the kernel that a test is about, if that runs and is not on record; else empty."""
    callspec = getattr(item, "callspec", None)
    for name in ("reference", "kernel", "snapshot"):
        series = callspec.params.get(name) if callspec else None
        if isinstance(series, str) and series in REFERENCES:
            files = fetched(REFERENCES[series], False)
            release = files.package_version.partition("-")[0] if isinstance(files, KernelFiles) else ""
            return "" if release in recorded() else release
    return ""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a failure that is about such a kernel into one that is expected, and have one place for all skips."""
    report = yield
    if report.skipped and isinstance(report.longrepr, tuple) and call.excinfo:
        # pytest prints a line for each place. Where a fixture skips, it says that the test does.
        for entry in call.excinfo.traceback:
            if str(entry.path) in _SKIPPING:
                report.longrepr = (str(entry.path), entry.lineno + 1, report.longrepr[2])
    kernel = getattr(item, "funcargs", {}).get("kernel")
    if report.when == "call" and isinstance(kernel, KernelOnRecord):
        report.user_properties.append((_ONLY_RECORD, kernel.record.release))
    if report.when == "call" and not EVERYTHING and (release := _unrecorded(item)):
        report.user_properties.append((_PROPERTY, release))
        if report.failed:
            error = call.excinfo.value if call.excinfo else None
            report.outcome = "skipped"
            report.wasxfail = (str(error) or type(error).__name__).partition("\n")[0]
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which kernels are not on record, and in what they differ; and of which there is only a record."""
    told = [value for report in terminalreporter.getreports("passed") for value in report.user_properties]
    for release in sorted({release for name, release in told if name == _ONLY_RECORD}):
        number = told.count((_ONLY_RECORD, release))
        terminalreporter.section(f"Linux {release} cannot be had: {number} tests took what is on record of it")
    for outcome in ("passed", "xfailed"):
        reports = [
            (release, report)
            for report in terminalreporter.getreports(outcome)
            for name, release in report.user_properties
            if name == _PROPERTY
        ]
        for release in sorted({release for release, _ in reports}):
            of_it = [report for each, report in reports if each == release]
            terminalreporter.section(f"Linux {release} is {_PROPERTY}: {len(of_it)} tests {outcome}")
            if outcome == "xfailed":
                for report in of_it:
                    terminalreporter.write_line(f"{report.nodeid}: {report.wasxfail}")
                terminalreporter.write_line(
                    "put it on record (make record SUITE=... KERNEL=...), and make what differs an era of its own"
                )
