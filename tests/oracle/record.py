# SPDX-License-Identifier: GPL-2.0-or-later
"""Put on record what a stock kernel answers: python -m tests.oracle.record SUITE KERNEL.

KERNEL is a series, such as 6.12, whose newest kernel in Debian SUITE is taken, or one build, such as 6.12.107+deb13 or
6.1.0-50: what `uname -r` prints there without "-cloud-arm64". The kernel is fetched and booted with the module, the
tests of live/ are run on it, and its answers become a file in records/, whatever armprobe would say. The answers of
its functions become another in records/functions/.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from armprobe.guests.linux.debian import cache_directory


def main(suite: str, kernel: str) -> int:
    """Make the record; the status of the tests."""
    os.environ["ARMPROBE_RECORD"] = f"{kernel} {suite}"
    os.environ["XDG_CACHE_HOME"] = str(cache_directory() / "recording" / f"{suite}-{kernel}")
    live = Path(__file__).parent / "live"
    of_guests = [f"--ignore={live / file}" for file in ("test_departures.py", "test_layouts.py")]
    status = pytest.main(["-q", "-p", "no:cacheprovider", str(live), *of_guests])
    from tests.oracle import record_functions  # here: what it imports looks at the environment

    return record_functions.main(suite, kernel) or status


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
