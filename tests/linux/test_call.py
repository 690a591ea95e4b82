# SPDX-License-Identifier: GPL-2.0-or-later
"""Calls of the kernel's functions from the host, wherever a Linux guest is stopped."""

import warnings

import pytest

from armprobe.machine import Machine, StopReason
from armprobe.machine.core.core import Core
from tests.linux.shell import Shell

_SYNCHRONOUS_FROM_EL0 = 0x400  # offset in the vector table (Arm ARM, D1.3.2)


def _healthy(shell: Shell) -> None:
    assert shell.run("echo $((6 * 7))") == "42\n"
    assert shell.run("dmesg | grep -iE 'bug:|warning:|scheduling while|unable to handle'") == ""


def test_from_el0_current_is_the_interrupted_program(guest: Machine, shell: Shell) -> None:
    pid = int(shell.run("echo $$"))
    shell.type("true")
    vector = guest.registers["vbar_el1"] + _SYNCHRONOUS_FROM_EL0
    assert guest.run(until=vector, instructions=1_000_000_000).reason is StopReason.UNTIL
    assert guest.core.load().el == 1
    at = guest.registers["elr_el1"]  # where the shell goes on after its system call
    guest.conditional_breakpoints.add(at, lambda core: core.load().el == 0)
    assert guest.run(instructions=1_000_000_000).reason is StopReason.BREAKPOINT
    assert guest.core.load().el == 0
    names = [*(f"x{i}" for i in range(31)), "sp", "pc", "pstate", *(f"v{i}" for i in range(32)), "sp_el1", "ttbr0_el1"]
    before = [guest.registers[name] for name in names]
    assert guest.call("__arm64_sys_getpid", 0) == pid
    assert [guest.registers[name] for name in names] == before


def test_a_call_that_sleeps_leaves_what_a_task_switch_has_loaded(guest: Machine, shell: Shell) -> None:
    """A kernel thread has the page tables and vector registers of the program that ran last, which changes."""
    shell.run("(sleep 1; while :; do :; done) & true")
    shell.type("true")  # a kernel worker takes the characters to the terminal
    assert guest.run(until="flush_to_ldisc", instructions=1_000_000_000).reason is StopReason.UNTIL
    guest.call("__arm64_sys_getpid", 0)  # which makes the return address
    assert guest.return_address is not None
    pc, sp, before = guest.registers.pc, guest.registers.sp, guest.registers["ttbr0_el1"]
    seen: list[tuple[int, bytes]] = []

    def returns(core: Core) -> bool:
        context = core.load()
        seen.append((context.system(context.layout.ttbr0_el1), context.vector_bytes()))
        return False

    guest.conditional_breakpoints.add(guest.return_address, returns)
    for milliseconds in (1, 1500):  # the shell runs meanwhile, then the loop
        guest.call("msleep", milliseconds)
        assert (guest.registers["ttbr0_el1"], guest.core.load().vector_bytes()) == seen[-1]
        assert (guest.registers.pc, guest.registers.sp) == (pc, sp)
    assert len(seen) == 2
    assert {ttbr0 for ttbr0, _ in seen} != {before}  # another program has run
    guest.conditional_breakpoints.remove(guest.return_address, returns)
    _healthy(shell)


def test_from_idle(guest: Machine, shell: Shell) -> None:
    assert guest.run(until="cpu_do_idle", instructions=1_000_000_000).reason is StopReason.UNTIL
    assert guest.call("__arm64_sys_getpid", 0) == 0  # of the idle task
    _healthy(shell)


def test_sleep_that_is_not_allowed_is_said(guest: Machine) -> None:
    assert guest.run(until="cpu_do_idle", instructions=1_000_000_000).reason is StopReason.UNTIL
    with pytest.warns(UserWarning, match=r"^msleep slept, which what the guest is stopped in must not, .* kworker=yes"):
        assert guest.call("msleep", 10) == 0
    with warnings.catch_warnings(action="error"):
        guest.call("__arm64_sys_getpid", 0)
