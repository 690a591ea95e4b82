# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests of a Linux kernel's system calls, with faults injected into the functions that they use."""

from errno import EIO, ENOMEM

from armprobe import Session
from armprobe.probes import Kprobes


def test_read_passes_an_error_on(linux: Session, kprobes: Kprobes) -> None:
    with kprobes.fail("vfs_read", returns=-EIO, comm="dd") as failing:
        done = linux.guest.sh("dd if=/proc/version")
    assert failing.failed == 1
    assert done.status == 1
    assert "Input/output error" in done.err


def test_open_passes_an_error_on(linux: Session, kprobes: Kprobes) -> None:
    """do_filp_open() then returns ERR_PTR(-ENOMEM)."""
    with kprobes.fail("do_filp_open", returns=-ENOMEM, comm="dd") as failing:
        done = linux.guest.sh("dd if=/proc/version")
    assert failing.failed == 1
    assert done.status == 1
    assert "can't open '/proc/version'" in done.err


def test_the_next_test_has_a_kernel_without_faults(linux: Session) -> None:
    assert linux.guest.sh("dd if=/proc/version").out.startswith("Linux version")
