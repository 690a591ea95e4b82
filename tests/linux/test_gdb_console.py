# SPDX-License-Identifier: GPL-2.0-or-later
"""The console of a stock kernel that gdb runs: what its shell prints is waited for."""

import pytest

from armprobe.clients import GdbError, GdbSession, GdbTimeout
from armprobe.commands import Session
from armprobe.stub import serve

pytestmark = pytest.mark.sample(of="files")


def test_expect_runs_the_guest_until_the_output(session: Session, gdb_path: str) -> None:
    with GdbSession(session, gdb=gdb_path) as gdb:
        console = gdb.console
        console.write(b"echo a-$((6 * 7))-b; sleep 1; echo sec''ond; echo third\n")  # not in the echo of what is typed
        assert console.expect(r"a-(\d+)-b\r\n")[1] == b"42"
        seconds = session.machine.clock.seconds
        assert console.expect(b"second")[0] == b"second"
        assert 0.9 < session.machine.clock.seconds - seconds < 2  # of the guest's time
        assert console.expect("third")[0] == b"third"
        assert gdb.step().reason == "end-stepping-range"  # the machine is stopped
        with pytest.raises(GdbTimeout, match=r"has not printed b'nothing' in time; its output ends with"):
            console.expect("nothing", timeout=2)
        with pytest.raises(GdbError, match=r"'\(' is no regular expression"):
            console.expect("(")
        assert console.expect("# ")[0] == b"# "  # what the failures have looked at is unread
        console.write(b"cat /proc/version\n")
        with (
            gdb.breakpoint("do_sys_openat2"),
            pytest.raises(GdbError, match="before the machine stopped: breakpoint-hit"),
        ):
            console.expect("Linux version")
        assert console.expect(r"Linux version (\d)")[1] in b"456789"
        assert console.read() == b""  # the guest has printed nothing behind the match


def test_a_session_with_an_address_has_no_console(session: Session, gdb_path: str) -> None:
    with (
        serve(session) as server,
        GdbSession(server.address, gdb=gdb_path) as gdb,
        pytest.raises(GdbError, match="address"),
    ):
        gdb.console.read()
