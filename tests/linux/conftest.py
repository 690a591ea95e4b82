# SPDX-License-Identifier: GPL-2.0-or-later
"""Sessions with a stock Debian kernel at its shell."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from armprobe.commands import Session


@pytest.fixture
def session(snapshot: Path) -> Iterator[Session]:
    with Session(snapshot) as session:
        yield session
