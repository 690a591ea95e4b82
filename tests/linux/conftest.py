# SPDX-License-Identifier: GPL-2.0-or-later
"""A stock Debian kernel at its shell."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from armprobe import machine
from armprobe.commands import Session
from armprobe.machine import Machine
from tests.linux.shell import Shell
from tests.stock import stock_snapshot  # tests have no import name to go by


@pytest.fixture(scope="session")
def snapshot() -> Path:
    """Of the guest at its shell; the kernel is fetched and booted if it has never been."""
    return stock_snapshot()


@pytest.fixture
def guest(snapshot: Path) -> Machine:
    return machine.load(snapshot)


@pytest.fixture
def shell(guest: Machine) -> Shell:
    return Shell(guest)


@pytest.fixture
def session(snapshot: Path) -> Iterator[Session]:
    with Session(snapshot) as session:
        yield session
