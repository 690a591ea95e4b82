# SPDX-License-Identifier: GPL-2.0-or-later
"""armprobe's commands in LLDB by `lldbinit`. LLDB is Debian's, or the one that `make matrix` has installed."""

import subprocess
from pathlib import Path

import pytest

from armprobe.commands import Session
from armprobe.machine.loaders import DEMO
from armprobe.stub import serve
from tests.debuggers.programs import lldb_path
from tests.waiting import PATIENCE

ROOT = Path(__file__).parents[2]


def test_commands() -> None:
    lldb = lldb_path()
    if lldb is None:
        pytest.skip("lldb is not installed (Debian: apt-get install lldb)")
    with Session("demo") as session, serve(session, "127.0.0.1:0") as server:
        lines = (
            *(
                "script lldb.debugger.SetAsync(False)",
                "command source -s 1 lldbinit",
                "probes",
                f"target create {DEMO}",
                f"gdb-remote {server.address}",
            ),
            *("kprobe strlen if x0", "kretprobe kmalloc stop=return", "kprobe nosuch", "continue", "regs", "probes"),
            *("kprobe-trace 1", "unregister kmalloc", "armprobe symbols kfree", "help kretprobe", "kill", "quit"),
        )
        said = subprocess.run(
            [lldb, "--no-lldbinit"],
            input="".join(f"{line}\n" for line in lines),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
            cwd=ROOT,
        ).stdout
        kmalloc = session.machine.symbols["kmalloc"].address
    assert "error: LLDB is not connected to an armprobe machine: use gdb-remote HOST:PORT first" in said
    assert "error: ENOENT: there is no symbol 'nosuch'" in said
    assert f"kretprobe 2: kmalloc at {kmalloc:#x}, stops at return" in said
    assert "stop reason = kretprobe kmalloc: stage return, hit 1" in said
    assert "kretprobe kmalloc, hit 1, stage return:\n" in said
    assert f"  2  kretprobe  {kmalloc:#x} kmalloc " in said
    assert "kmalloc: (slab_round+" in said
    assert "Usage: kretprobe FUNCTION" in said
