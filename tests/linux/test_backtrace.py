# SPDX-License-Identifier: GPL-2.0-or-later
"""Backtraces of a Linux guest, against those that its own kernel takes at the same hits."""

import re

import pytest

from armprobe.commands import GdbSession, Session
from armprobe.machine import Machine
from armprobe.probes import Kprobe, Kprobes, Kretprobe, PtRegs, symbolised
from tests.linux.shell import TRACING, Shell
from tests.waiting import PATIENCE

pytestmark = pytest.mark.sample(of="files")

CALLERS = ("ksys_read", "__arm64_sys_read", "invoke_syscall", "el0_svc_common.constprop.0", "do_el0_svc")


def guests(shell: Shell) -> list[list[str]]:
    """The stack at each hit in the guest's trace file, innermost first, without its tracing functions."""
    stacks = []
    for part in shell.run(f"cat {TRACING}/trace").split("<stack trace>\n")[1:]:
        stacks.append(re.findall(r"^ => (\S+)$", part, re.MULTILINE))
    assert stacks
    return stacks


@pytest.mark.parametrize("offset", [0, 0x20])
@pytest.mark.parametrize("returning", [False, True], ids=["kprobe", "kretprobes-on-the-callers"])
@pytest.mark.sample
def test_the_guest_s_own_backtraces(guest: Machine, shell: Shell, offset: int, returning: bool) -> None:
    """Each function with its offset and size. The kernel overlooks the caller of a function that has no frame yet
    (arch_stack_walk starts from the frame record at x29), and it would see the trampoline of a kretprobe of ours: so
    those are on in a second run of the same command, and compared with the first."""
    kprobes = Kprobes(guest)
    seen: list[list[str]] = []

    def hit(probe: Kprobe, regs: PtRegs) -> None:
        backtrace = kprobes.backtrace()
        assert backtrace.end == ""
        seen.append([symbolised(guest.symbols, frame) for frame in backtrace.frames if not frame.el0])

    shell.run(f"echo 1 > {TRACING}/options/sym-offset; echo 1 > {TRACING}/options/stacktrace")
    shell.probe_events(f"p:d vfs_read+{offset:#x}")
    probe = kprobes.register_kprobe(Kprobe("vfs_read", offset=offset, pre_handler=hit))
    shell.run(f"echo > {TRACING}/trace")
    seen.clear()
    shell.run("cat /proc/version")
    shell.run(f"echo 0 > {TRACING}/events/kprobes/enable")
    theirs = guests(shell)
    ours = seen[: len(theirs)]
    assert [frame.partition("+")[0] for frame in ours[0][1:6]] == list(CALLERS)
    for stack, backtrace in zip(theirs, ours, strict=True):
        assert stack[-len(backtrace) + 2 :] == backtrace[2:]
        assert offset == 0 or stack[-len(backtrace) :] == backtrace
    if returning:
        kprobes.unregister(probe)
        shell.no_probe_events()
        seen.clear()
        kprobes.register_kprobe(Kprobe("vfs_read", offset=offset, pre_handler=hit))
        for function in ("vfs_read", *CALLERS[:3]):
            kprobes.register_kretprobe(Kretprobe(function, maxactive=100))
        shell.run("cat /proc/version")
        assert len(kprobes.outstanding) >= 1
        assert seen
        assert {tuple(backtrace) for backtrace in seen} <= {tuple(backtrace) for backtrace in ours}


def test_in_gdb(session: Session, gdb_path: str) -> None:
    """Without debug information, and with kretprobes on the callers: gdb has the frames that it has without."""
    snapshot = session.machine.snapshot()
    backtraces = []
    for probed in (False, True):
        session.owner.call(session.machine.restore, snapshot)
        if probed:
            for function in ("vfs_read", *CALLERS):
                session.run(f"kretprobe {function} maxactive=100")
        with GdbSession(session, gdb=gdb_path) as gdb:
            gdb.execute("monitor console cat /proc/version")
            gdb.execute("tbreak *vfs_read+32")  # the shell reads a byte at a time
            gdb.continue_to_stop(PATIENCE)
            backtraces.append(gdb.execute("backtrace"))
    assert backtraces[0] == backtraces[1]
    assert re.findall(r" in (\S+) \(", backtraces[0])[1:4] == list(CALLERS[:3])
