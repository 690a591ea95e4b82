# SPDX-License-Identifier: GPL-2.0-or-later
"""What tests of every room share."""

import os
import shutil
from collections.abc import Callable

import hypothesis
import pytest

from .oracle.unrecorded import pytest_runtest_makereport, pytest_terminal_summary
from .progress import configure

__all__ = ["pytest_runtest_makereport", "pytest_terminal_summary"]

# The cores are shared with emulated machines, so the time one example takes says nothing.
hypothesis.settings.register_profile("armprobe", deadline=None)
hypothesis.settings.load_profile("armprobe")


def pytest_configure(config: pytest.Config) -> None:
    """See `progress`."""
    configure(config)


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


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name binary parameters by their argument: what is in compressed ones differs from worker to worker."""
    return argname if isinstance(val, bytes) and not val.isascii() else None
