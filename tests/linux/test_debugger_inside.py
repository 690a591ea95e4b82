# SPDX-License-Identifier: GPL-2.0-or-later
"""Conditions and tracepoints of gdb's on a stock kernel, which it has no debug information of."""

import re
from pathlib import Path

import pytest

from armprobe.commands import GdbSession, Session
from tests.waiting import PATIENCE

pytestmark = pytest.mark.sample(of="files")


def test_a_condition(session: Session, gdb_path: str) -> None:
    """Of dd's reads, a hundred of one byte and one of 77, that one stops."""
    dd = "dd if=/dev/zero of=/dev/null"
    session.machine.console.write(f"{dd} bs=1 count=100; {dd} bs=77 count=1\n".encode())
    with GdbSession(session, gdb=gdb_path) as gdb:
        gdb.execute("break vfs_read if $x2 == 77")
        stop = gdb.continue_to_stop(PATIENCE)
        assert stop.function == "vfs_read"
        assert gdb.register("x2") == 77
        assert "(target evals)" in gdb.execute("info breakpoints")


def test_dprintf_of_the_guests_strings(session: Session, gdb_path: str) -> None:
    """The file names that a shell command opens, which the kernel has copied from user space."""
    session.machine.console.write(b"cat /proc/version /etc/nothing\n")
    with GdbSession(session, gdb=gdb_path) as gdb:
        gdb.execute("set dprintf-style agent")
        gdb.execute('dprintf *do_filp_open,"open %s\\n", *(char **) $x1')
        gdb.execute("break *do_exit")
        opened = re.findall(r"^open (.*)$", gdb.continue_to_stop(PATIENCE).console, re.MULTILINE)
        assert "/proc/version" in opened
        assert "/etc/nothing" in opened


def test_a_tracepoint(session: Session, gdb_path: str, tmp_path: Path) -> None:
    """As many frames as dd reads, each with what it asks for."""
    session.machine.console.write(b"dd if=/dev/zero of=/dev/null bs=7 count=300\n")
    script = tmp_path / "actions"
    script.write_text("trace *vfs_read if $x2 == 7\nactions\ncollect $regs, $trace_timestamp\nend\n")
    with GdbSession(session, gdb=gdb_path) as gdb:
        gdb.execute(f"source {script}")
        gdb.execute("tstart")
        gdb.execute("break *do_exit")
        gdb.continue_to_stop(PATIENCE)
        gdb.execute("tstop")
        assert "Collected 300 trace frames" in gdb.execute("tstatus")
        gdb.execute("tfind 299")
        assert gdb.register("x2") == 7
        last = int(gdb.evaluate("$trace_timestamp"))
        gdb.execute("tfind 0")
        assert 0 < int(gdb.evaluate("$trace_timestamp")) < last
        gdb.execute("tfind none")
    assert session.kprobes.list() == []
