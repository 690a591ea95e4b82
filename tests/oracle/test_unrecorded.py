# SPDX-License-Identifier: GPL-2.0-or-later
"""A kernel that nobody has put on record yet: what fails on it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from armprobe.guests.linux.debian import KernelFiles
from tests.oracle import references, unrecorded


def reported(
    monkeypatch: pytest.MonkeyPatch, package: str, outcome: str, parameters: dict[str, str], insists: bool = False
) -> Any:
    """The report of a test about a kernel of `package`, that ended in `outcome`."""
    files = KernelFiles(Path("vmlinuz"), Path("busybox"), "6.12.1-cloud-arm64", package)
    monkeypatch.setattr(unrecorded, "fetched", lambda reference, refresh: files)
    monkeypatch.setattr(unrecorded, "recorded", lambda: ["6.12.117"])
    monkeypatch.setattr(unrecorded, "EVERYTHING", insists)
    report = pytest.TestReport("test_x[v6.9]", ("", 0, ""), {}, outcome, None, "call")  # type: ignore[arg-type]
    item: Any = SimpleNamespace(callspec=SimpleNamespace(params=parameters))
    error = AssertionError("x0 is 1 in the kernel, 2 here\nand so on")
    call: Any = SimpleNamespace(excinfo=SimpleNamespace(value=error))
    hook = unrecorded.pytest_runtest_makereport(item, call)
    next(hook)
    with pytest.raises(StopIteration) as done:
        hook.send(report)
    assert done.value.value is report
    return report


def test_difference_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    report = reported(monkeypatch, "6.12.999-1", "failed", {"reference": "v6.9"})
    assert (report.outcome, report.wasxfail) == ("skipped", "x0 is 1 in the kernel, 2 here")
    assert report.user_properties == [("not on record", "6.12.999")]
    lines: list[str] = []
    reporter: Any = SimpleNamespace(
        getreports=lambda outcome: [report] if outcome == "xfailed" else [],
        section=lines.append,
        write_line=lines.append,
    )
    unrecorded.pytest_terminal_summary(reporter)
    assert lines[0] == "Linux 6.12.999 is not on record: 1 tests xfailed"
    assert lines[1] == "test_x[v6.9]: x0 is 1 in the kernel, 2 here"


@pytest.mark.parametrize("parameter", ["reference", "kernel", "snapshot"])
def test_agreement_is_told_too(monkeypatch: pytest.MonkeyPatch, parameter: str) -> None:
    report = reported(monkeypatch, "6.12.999-1", "passed", {parameter: "v6.9"})
    assert (report.outcome, report.user_properties) == ("passed", [("not on record", "6.12.999")])


def test_failure_on_a_kernel_on_record_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    report = reported(monkeypatch, "6.12.117-1", "failed", {"reference": "v6.9"})
    assert (report.outcome, report.user_properties) == ("failed", [])


@pytest.mark.parametrize("parameters", [{}, {"reference": "6.12.117"}, {"kernel": "demo"}])
def test_failure_about_no_such_kernel_is_one(monkeypatch: pytest.MonkeyPatch, parameters: dict[str, str]) -> None:
    assert reported(monkeypatch, "6.12.999-1", "failed", parameters).outcome == "failed"


def test_the_oracle_insists(monkeypatch: pytest.MonkeyPatch) -> None:
    assert reported(monkeypatch, "6.12.999-1", "failed", {"reference": "v6.9"}, insists=True).outcome == "failed"


@pytest.mark.parametrize("series", ["5.10", "6.1"])
def test_kernel_that_cannot_be_had_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch, series: str) -> None:
    """pytest counts the skips that have the same place and reason."""
    monkeypatch.setattr(references, "EVERYTHING", False)

    def skipped(test: str) -> Any:
        with pytest.raises(pytest.skip.Exception) as caught:
            references.missing("the archive does not answer", references.Reference(series, "bookworm"))
        place = (f"{test}.py", len(test), f"Skipped: {caught.value}")
        report = pytest.TestReport(test, ("", 0, ""), {}, "skipped", place, "setup")
        hook = unrecorded.pytest_runtest_makereport(
            cast(Any, SimpleNamespace()), cast(Any, SimpleNamespace(excinfo=caught))
        )
        next(hook)
        with pytest.raises(StopIteration):
            hook.send(report)
        return report.longrepr

    path, _, reason = skipped("test_one")
    assert skipped("test_another") == skipped("test_one")
    assert path == references.__file__
    assert reason == f"Skipped: Linux {series} is not asked: the archive does not answer"
