# SPDX-License-Identifier: GPL-2.0-or-later
"""What tests of traces share."""

from __future__ import annotations

import pytest

from armprobe.probes import Kprobes

from .recorded import record


@pytest.fixture(scope="session")
def kprobes() -> Kprobes:
    """Recorded hits of the demo kernel."""
    return record()
