# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel to compare with, how much to compare, and the account of what was compared.

ARMPROBE_ORACLE=all (`make oracle`) compares all there is; otherwise it is what some seconds allow.
"""

import os
from collections.abc import Callable

import pytest

from armprobe.commands.debian import DebianError, KernelFiles, fetch_kernel

from .cold_kernel import ColdKernel

COMPARED = "compared with the kernel"


@pytest.fixture(scope="session")
def everything() -> bool:
    """Whether to compare all there is."""
    return os.environ.get("ARMPROBE_ORACLE") == "all"


@pytest.fixture(scope="session")
def kernel_files() -> KernelFiles:
    """Debian's stock kernel 6.1. Where it cannot be had tests are skipped, and fail under CI."""
    try:
        files = fetch_kernel()
        if files.kernel_version.startswith("6.1."):
            return files
        missing = f"this system's apt offers Linux {files.kernel_version}: the rules compared are those of 6.1"
    except DebianError as error:
        missing = str(error)
    if os.environ.get("CI"):
        pytest.fail(missing)
    pytest.skip(missing)


@pytest.fixture(scope="session")
def kernel(
    kernel_files: KernelFiles, tool: Callable[[str, str], str], tmp_path_factory: pytest.TempPathFactory
) -> ColdKernel:
    """Debian's stock kernel, its functions ready to be called."""
    compiler = tool("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu")
    return ColdKernel(kernel_files.vmlinuz, compiler, tmp_path_factory.mktemp("oracle"))


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
