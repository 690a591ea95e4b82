# SPDX-License-Identifier: GPL-2.0-or-later
"""Probes with conditions on a stock kernel: what they select is what Python selects of all hits.

`long do_sys_openat2(int dfd, const char __user *filename, struct open_how *how)` (fs/open.c); -100 is AT_FDCWD.
"""

from collections.abc import Callable

import pytest

from armprobe.commands import GdbSession, Session
from armprobe.probes import Hit, Stage
from tests.linux.shell import TRACING, Shell
from tests.waiting import PATIENCE

pytestmark = pytest.mark.sample(of="files")

LINE = "cat /proc/version /nonexistent /etc; ls /proc/self/fd > /dev/null; : > /tmp/made; rm /tmp/made"
AT_FDCWD = -100
O_CREAT = 0o100


def number(value: int, bits: int) -> int:
    """With its sign."""
    value &= (1 << bits) - 1
    return value - (value >> bits - 1 << bits)


def select(session: Session, stage: Stage, expected: Callable[[Hit], object]) -> tuple[list[Hit], list[Hit]]:
    """Of the first probe, without a condition, the hits that are `expected`, and the hits of the second."""
    Shell(session.machine).run(LINE)
    first, second = session.probes.values()
    hits = [hit for hit in session.kprobes.hits if hit.stage is stage]
    assert first.hits == second.hits > 5
    wanted = [hit for hit in hits if hit.probe is first and expected(hit)]
    assert 0 < len(wanted) < first.hits
    assert second.met == len(wanted)
    return wanted, [hit for hit in hits if hit.probe is second]


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        # struct open_how begins with u64 flags (include/uapi/linux/openat2.h)
        ("w0 == -100 && *(u64 *)x2 & 0100", lambda dfd, name, flags: dfd == AT_FDCWD and flags & O_CREAT),
        ("*(char *)(x1 + 1) == 'p'", lambda dfd, name, flags: name.startswith(b"/p")),
        (
            "((char *)x1)[1] != 'p' || w0 != -100",
            lambda dfd, name, flags: not name.startswith(b"/p") or dfd != AT_FDCWD,
        ),
    ],
)
def test_kprobe(session: Session, condition: str, expected: Callable[[int, bytes, int], object]) -> None:
    """The file's name is in memory of the process."""
    seen: dict[int, tuple[int, bytes, int]] = {}
    memory = session.machine.memory

    def remember(hit: Hit) -> None:
        regs = hit.regs.regs
        if hit.stage is Stage.PRE:
            seen[hit.number] = (
                number(regs[0], 32),
                memory.read(regs[1], 2),
                int.from_bytes(memory.read(regs[2], 8), "little"),
            )

    session.kprobes.on_hit = remember
    session.run("kprobe do_sys_openat2")
    session.run(f"kprobe do_sys_openat2 if {condition}")
    wanted, selected = select(session, Stage.PRE, lambda hit: expected(*seen[hit.number]))
    assert [hit.number for hit in selected] == [hit.number for hit in wanted]


def test_kretprobe(session: Session) -> None:
    """Which opens fail, and with what arguments."""
    session.run("kretprobe do_sys_openat2")
    session.run("kretprobe do_sys_openat2 if retval < 0")
    wanted, selected = select(session, Stage.RETURN, lambda hit: number(hit.regs.regs[0], 64) < 0)
    assert [hit.number for hit in selected] == [hit.number for hit in wanted]
    second = selected[0].probe
    entered = [hit for hit in session.kprobes.hits if hit.probe is second and hit.stage is Stage.ENTRY]
    assert [hit.number for hit in entered] == [hit.number for hit in wanted]
    assert all(number(hit.regs.regs[0], 32) == AT_FDCWD for hit in entered)


def test_as_the_guest_s_own(session: Session) -> None:
    """Its kprobe_events print the same arguments of the same calls, and its filter lets the same through."""
    shell, name = Shell(session.machine), "p:entry do_sys_openat2 dfd=%x0:s32 name=+0(%x1):ustring flags=+0(%x2):x64"
    shell.probe_events(name)
    assert shell.run(f"echo 'dfd == -100 && flags & 0x4040' > {TRACING}/events/kprobes/entry/filter") == ""
    condition, form = "w0 == -100 && *(u64 *)x2 & 0x4040", r'"dfd=%d name=\"%s\" flags=%#lx", w0, x1, *(u64 *)x2'
    session.run(f"kprobe do_sys_openat2 if {condition} print {form}")
    shell.run(f"echo > {TRACING}/trace")
    session.kprobes.hits.clear()
    before = session.probes[1].hits
    shell.run(LINE)
    hits = [hit.note for hit in session.kprobes.hits if hit.stage is Stage.PRE]
    shell.run(f"echo 0 > {TRACING}/events/kprobes/enable")
    theirs = [" ".join(f"{key}={value}" for key, value in event.arguments.items()) for event in shell.trace()]
    assert hits
    assert len(hits) < session.probes[1].hits - before
    assert theirs[: len(hits)] == hits  # they go on until they are disabled


def test_in_gdb_without_debug_information(session: Session, gdb_path: str) -> None:
    """Of dd's reads, a hundred of one byte and one of 77, that one stops."""
    dd = "dd if=/dev/zero of=/dev/null"
    session.machine.console.write(f"{dd} bs=1 count=100; {dd} bs=77 count=1\n".encode())
    with GdbSession(session, gdb=gdb_path) as gdb:
        gdb.execute("kprobe vfs_read stop=pre if $x2 == 77")
        gdb.continue_to_stop(PATIENCE)
        assert gdb.register("x2") == 77
        assert "met=1 if $x2 == 77" in gdb.execute("info kprobes")
