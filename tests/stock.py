# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel that `armprobe linux` boots, from the user's own cache, so that it is downloaded and booted once.

Where it cannot be had tests are skipped, and fail under CI.
"""

import os
from pathlib import Path
from typing import NoReturn

import pytest

from armprobe.commands import CommandError
from armprobe.guests import linux
from armprobe.guests.linux.debian import DebianError, KernelFiles, fetch_kernel
from armprobe.machine import MachineError
from tests.progress import progress


def stock_kernel() -> KernelFiles:
    """Its files."""
    try:
        return fetch_kernel(progress)
    except DebianError as error:
        _absent(error)


def stock_snapshot() -> Path:
    """The snapshot of it at its shell."""
    try:
        return linux.prepare(report=progress)
    except (CommandError, MachineError) as error:
        _absent(error)


def _absent(error: Exception) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(str(error))
    pytest.skip(str(error))
