# SPDX-License-Identifier: GPL-2.0-or-later
"""What is shown after a command of the guest's shell: the values that it has passed and got back, and no context."""

from armprobe.commands import Session
from armprobe.commands.context import after_stops


def test_a_file_that_is_missing(session: Session) -> None:
    for line in ("kprobe do_sys_openat2", "kretprobe do_sys_openat2", "kretprobe do_filp_open"):
        session.run(line)
    session.run("kretprobe __arm64_sys_openat if retval < 0")
    after, shown = after_stops(session), list[object]()
    session.guest.sh("cat /missing")
    after(shown.append)
    assert not shown  # the guest is in a thread that works for armprobe
    opened, *returned = [line for line in session.run("trace").splitlines() if "cat-" in line][-4:]
    # cat passes AT_FDCWD, which is -100 (include/uapi/linux/fcntl.h); ENOENT is 2, and an error pointer names it.
    assert ' dfd=-100 filename="/missing" how=0xffff' in opened
    assert [line.rpartition(") retval=")[2] or line.partition("retval=")[2] for line in returned] == [
        f"{(1 << 64) - 2:#x} (-ENOENT)",
        "-2",
        "-2 (-ENOENT)",
    ]
    session.run("continue instructions=1")
    after(shown.append)
    assert len(shown) == 1
