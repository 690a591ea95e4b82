# SPDX-License-Identifier: GPL-2.0-or-later
"""Lines for who watches the tests, about what takes more than a few seconds: downloads, boots, builds of modules."""

import os
import sys

import pytest
from _pytest.capture import CaptureManager

_capture: CaptureManager | None = None


def configure(config: pytest.Config) -> None:
    """Learn of pytest's capture, past which lines have to get."""
    global _capture
    _capture = config.pluginmanager.getplugin("capturemanager")


def progress(line: str) -> None:
    """Print `line` at once, on a line of its own between the dots; a worker's own stderr is the terminal's."""
    if _capture is None:  # not pytest's: `make matrix`, `make bench`
        print(line, file=sys.stderr, flush=True)
        return
    with _capture.global_and_fixture_disabled():
        print(f"\n{os.environ.get('PYTEST_XDIST_WORKER', 'tests')}: {line}", file=sys.__stderr__, flush=True)
