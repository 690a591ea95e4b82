# SPDX-License-Identifier: GPL-2.0-or-later
"""A stock Debian kernel at its shell."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from armprobe import machine
from armprobe.commands import CommandError, Session, linux
from armprobe.machine import Machine, MachineError

from .shell import Shell


@pytest.fixture(scope="session")
def snapshot() -> Path:
    """Of the guest at its shell; the kernel is fetched and booted if it has never been.

    Where the kernel cannot be had that fails under CI, and is a skip elsewhere.
    """
    try:
        return linux.prepare()
    except (CommandError, MachineError) as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))


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


@pytest.fixture(scope="session")
def gdb_path(tool: Callable[[str, str], str]) -> str:
    return tool("gdb-multiarch", "gdb-multiarch")
