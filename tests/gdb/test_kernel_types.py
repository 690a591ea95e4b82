# SPDX-License-Identifier: GPL-2.0-or-later
"""A stripped kernel's types and arguments in gdb, which has nothing but what the stub gives it.

The expected values are what the guest's shell was told to do.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from armprobe.clients.gdb_session import GdbSession
from armprobe.commands import Session

READS = b"dd if=/dev/zero of=/dev/null bs=4321 count=1\n"


@pytest.fixture(scope="module")
def session(snapshot: Path) -> Iterator[Session]:
    with Session(snapshot) as session:
        yield session


@pytest.fixture(scope="module")
def gdb(session: Session, gdb_path: str) -> Iterator[GdbSession]:
    with GdbSession(session, gdb=gdb_path) as gdb:
        yield gdb


def test_arguments_of_a_call(session: Session, gdb: GdbSession) -> None:
    gdb.execute("break vfs_read if count == 4321")
    session.machine.console.write(READS)
    assert gdb.continue_to_stop().function == "vfs_read"
    assert re.search(r"^file = 0xffff\w+\nbuf = 0x.*\ncount = 4321\npos = 0xffff\w+\n", gdb.execute("info args"))
    assert '"zero"' in gdb.execute("print file->f_path.dentry->d_name.name")
    assert '"zero"' in gdb.execute("print ((struct file *)$x0)->f_path.dentry->d_name.name")
    frames = gdb.execute("backtrace").splitlines()
    assert [frame.split()[3] for frame in frames[1:4]] == ["ksys_read", "__arm64_sys_read", "invoke_syscall"]
    for frame in frames[1:]:  # their registers are lost
        assert set(re.findall(r"\w=([^,)]*)", frame)) <= {"<optimized out>"}
    gdb.execute("up")
    assert "<not saved>" in gdb.execute("print $x0")
    gdb.execute("down")
    assert "= 4321\n" in gdb.execute("finish") + gdb.execute("print $x0")
    gdb.execute("delete")


def test_a_call_of_a_function_with_its_types(gdb: GdbSession) -> None:
    assert '"init"' in gdb.execute("print find_task_by_vpid(1)->comm")
    assert "= 1\n" in gdb.execute("print find_task_by_vpid(1)->tgid")


def test_a_probe_on_a_condition_by_an_argument(session: Session, gdb: GdbSession) -> None:
    gdb.execute("kprobe vfs_read stop=pre if count > 4000 && file->f_pos == 0")
    session.machine.console.write(READS)
    gdb.continue_to_stop()
    assert "count = 4321\n" in gdb.execute("info args")
    gdb.execute("unregister 1")


def test_variables(session: Session, gdb: GdbSession) -> None:
    """Those of VMCOREINFO, those that code shows, and those of each CPU, as scripts/gdb/linux/cpus.py finds them."""
    gdb.execute("break vfs_read")
    session.machine.console.write(READS)
    gdb.continue_to_stop()
    assert '"swapper/0' in gdb.execute("print init_task.comm")
    release = gdb.execute("print init_uts_ns.name.release")
    assert re.search(r'"\d+\.\d+\.\d+.*-arm64"', release)
    assert " <init_uts_ns>" in gdb.execute("print &init_uts_ns")
    assert "type = struct rq\n" in gdb.execute("whatis runqueues")
    gdb.execute("set $rq = (struct rq *)((char *)&runqueues + __per_cpu_offset[0])")
    assert "= 1\n" in gdb.execute("print $rq->curr == (struct task_struct *)$sp_el0")
    assert "= 0\n" in gdb.execute("print $rq->idle != &init_task")
    assert "type = unsigned long\n" in gdb.execute("whatis jiffies")
    gdb.execute("delete")


def test_variables_that_say_what_runs(session: Session, gdb: GdbSession) -> None:
    """As /proc has them (fs/proc/version.c, cmdline.c). pwndbg takes a kernel without the first for stripped."""
    for variable, file in ("linux_banner", "version"), ("saved_command_line", "cmdline"):
        text = session.guest.sh(f"cat /proc/{file}").out
        assert text.count("\n") == 1
        assert text.rstrip() in gdb.execute(f"print {variable}"), variable


def test_data_behind_the_code_is_not_the_codes(session: Session, gdb: GdbSession) -> None:
    end = session.machine.symbols["_etext"].address
    assert gdb.execute(f"info symbol {end}").startswith("_etext in section .data")
    assert gdb.execute(f"info symbol {end + 0x1000}").startswith("No symbol matches")
