# SPDX-License-Identifier: GPL-2.0-or-later
"""What gdb shows after a stop, once it is asked to: what armprobe's own prompt does."""

from pathlib import Path

from armprobe.clients.gdb_session import PROXY
from armprobe.commands import Session
from armprobe.stub import serve
from tests.gdb.terminal import Terminal

RULE = "-- registers, \\* changed -+\n"


def test_context(session: Session, gdb_path: str, gdbinit: Path) -> None:
    environment = {"ARMPROBE_GDB_PROXY": str(PROXY)}
    with (
        serve(session, "127.0.0.1:0") as server,
        Terminal([gdb_path, "-nx", "-q", "-iex", "set height 0", "-x", str(gdbinit)], environment) as gdb,
    ):
        gdb.type(f"target remote {server.address}", "break kmalloc", "continue")
        quiet = gdb.expect("Breakpoint 1, .*\n(.*\n)*?\\(gdb\\) ")
        assert "-- registers" not in quiet
        gdb.type("guest-context on", "stepi")
        shown = gdb.expect(f"{RULE}(.*\n)*?-- code -+\n(.*\n)*?-- stack -+\n(.*\n)*?-+\n")
        kmalloc = session.machine.symbols["kmalloc"].address
        assert f"=> {kmalloc + 4:#x}" in shown
        assert f"#0  {kmalloc + 4:#x} kmalloc+0x4" in shown
        gdb.type("guest-context regs", "stepi")
        shown = gdb.expect(f"{RULE}(.*\n)*?-{{72}}\n")
        assert f"*pc  {kmalloc + 8:016x}" in shown
        assert "-- code" not in shown
        gdb.type("guest-context off", "stepi", "print 6 * 7")
        assert "-- " not in gdb.expect("= 42")
