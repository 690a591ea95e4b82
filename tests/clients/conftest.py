# SPDX-License-Identifier: GPL-2.0-or-later
"""What tests of the clients share with those of the commands: a toy session, and a gdb attached to it."""

from pathlib import Path

import pytest

from tests.commands.conftest import gdb, session

__all__ = ["gdb", "session"]


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A program that does not run: execve(2), ENOEXEC."""
    path = tmp_path / "broken"
    path.write_bytes(b"\x7fELF")
    path.chmod(0o755)
    return path
