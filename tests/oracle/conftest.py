# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernels to compare with, how much to compare, and the account of what was compared."""

from collections.abc import Callable
from functools import cache

import pytest

from armprobe.guests.linux.debian import KernelFiles
from tests.oracle.cold_kernel import ColdKernel
from tests.oracle.function_records import KernelOnRecord, newest_on_record
from tests.oracle.references import ASKED, DEFAULT, EVERYTHING, REFERENCES, Reference, fetch, fetched

COMPARED = "compared with the kernel"


@pytest.fixture(scope="session")
def kernel_files() -> KernelFiles:
    """Those of the kernel that the default era is compared with."""
    return fetch(REFERENCES[DEFAULT])


@pytest.fixture(scope="session")
def cold_kernel(
    tool: Callable[[str, str], str], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], ColdKernel | KernelOnRecord]:
    """cold_kernel(era): the stock kernel of an era's series, its functions ready to be called.

    Where that is not asked, or cannot be had, it is what is on record of the newest kernel of the series.
    """

    @cache  # tests go from kernel to kernel and back; making one takes a second, and all of them have 400 MiB
    def make(era: str) -> ColdKernel | KernelOnRecord:
        reference = REFERENCES[era]
        if era not in ASKED or (isinstance(fetched(reference, False), str) and not EVERYTHING):
            record = newest_on_record(reference.series)
            if record is not None:
                return KernelOnRecord(record)
        compiler = tool("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu")
        files = fetch(reference)
        return ColdKernel(files.vmlinuz, Reference.era_of(files), compiler, tmp_path_factory.mktemp("oracle"))

    return make


@pytest.fixture(scope="session", params=REFERENCES)
def kernel(
    request: pytest.FixtureRequest, cold_kernel: Callable[[str], ColdKernel | KernelOnRecord]
) -> ColdKernel | KernelOnRecord:
    """A stock kernel of each era there is one of.

    pytest takes the values of `parametrize` with several names for different ones even where they are equal, and with
    scope="session" mixes them. With scope="function" it takes them in the order that is given.
    """
    return cold_kernel(request.param)


@pytest.fixture
def share(kernel: ColdKernel | KernelOnRecord) -> int:
    """Of how many things to compare one is: a part will do for eras that are not the default."""
    return 1 if EVERYTHING or kernel.era.name == DEFAULT else 8


@pytest.fixture
def compared(record_property: Callable[[str, object], None]) -> Callable[[str, int], None]:
    """compared(what, number): put it on the account."""
    return lambda what, number: record_property(COMPARED, (what, number))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how much was compared, of what."""
    reports = terminalreporter.getreports("passed")
    account = [value for report in reports for name, value in report.user_properties if name == COMPARED]
    if account:
        terminalreporter.section(COMPARED)
        for what, number in account:
            terminalreporter.write_line(f"{number:>12,}  {what}")
