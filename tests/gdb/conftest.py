# SPDX-License-Identifier: GPL-2.0-or-later
"""A real gdb on the demo kernel."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from armprobe.clients.gdb_session import GDBINIT
from armprobe.commands import GdbSession, Session
from tests.gdb.oracle import DEMO, Demo, Qemu, Reference, reference

Tool = Callable[[str, str], str]


@pytest.fixture(scope="session")
def gdbinit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a user does before connecting: name the program, source armprobe's gdbinit."""
    path = tmp_path_factory.mktemp("gdb") / "gdbinit"
    path.write_text(f"file {DEMO}\nsource {GDBINIT}\n")
    return path


@pytest.fixture(scope="session")
def demo(tool: Tool) -> Demo:
    return Demo(tool("aarch64-linux-gnu-objdump", "binutils-aarch64-linux-gnu"))


@pytest.fixture(scope="session")
def qemu(tool: Tool, gdb_path: str, gdbinit: Path, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """What QEMU's registers are where the tests look at ours."""
    program = tool("qemu-system-aarch64", "qemu-system-arm")
    with Qemu(program, gdb_path, gdbinit, tmp_path_factory.mktemp("qemu")) as gdb:
        return reference(gdb)


@pytest.fixture
def session() -> Iterator[Session]:
    with Session("demo") as session:
        yield session


@pytest.fixture
def gdb(session: Session, gdb_path: str, gdbinit: Path) -> Iterator[GdbSession]:
    """A gdb attached to `session`, before the guest's first instruction."""
    with GdbSession(session, gdb=gdb_path, gdbinit=gdbinit) as gdb:
        yield gdb
