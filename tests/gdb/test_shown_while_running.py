# SPDX-License-Identifier: GPL-2.0-or-later
"""What gdb shows of a guest that it runs: the console, and hits that are followed."""

import re
import sys

from armprobe.clients.gdb_session import GdbSession
from armprobe.commands import Session
from tests.gdb.terminal import Terminal


def test_console_and_hits(gdb_path: str) -> None:
    """The lines are those that the trace has, and the guest's are in its sources (guests/demo)."""
    with Terminal([sys.executable, "-m", "armprobe", "gdb", "--", "-nx"]) as terminal:
        terminal.expect(r"\(gdb\) ")
        terminal.type("set pagination off", "set confirm off", "set width 0", "kprobe strlen", "kprobe-trace follow")
        terminal.type(
            "break *string_round", "ignore 1 30", "continue", "echo =followed\\n", "kprobe-trace 999", "echo =traced\\n"
        )
        said = terminal.expect("^(?:.gdb. )*=traced$")
        terminal.type("kill", "quit")
        terminal.rest()
    followed, traced = said.split("=followed\n")
    assert re.search("^demo kernel: AArch64 at EL1", followed, re.MULTILINE)
    lines = re.findall(r"^ +\S+ +\[000\] .*: strlen: .*$", traced, re.MULTILINE)
    assert len(lines) > 20
    assert re.findall(r"^ +\S+ +\[000\] .*: strlen: .*$", followed, re.MULTILINE) == lines


def test_hits_are_shown_where_they_were_asked_for(gdb: GdbSession, session: Session) -> None:
    """At armprobe's prompt, also while gdb runs the guest, or in gdb."""
    notices: list[str] = []
    session.on_notice(notices.append)
    session.run("kprobe strlen")
    session.run("trace follow")
    gdb.execute("break *string_round")
    gdb.execute("ignore 1 30")
    assert "strlen: (" not in gdb.execute("continue")
    assert "strlen: (" in "".join(notices)
    gdb.execute("monitor trace follow")
    notices.clear()
    gdb.execute("ignore 1 30")
    assert "strlen: (" in gdb.execute("continue")
    assert "strlen: (" not in "".join(notices)
    gdb.close()
    assert "strlen: (" in session.run("continue instructions=1000000")  # nobody else is there
