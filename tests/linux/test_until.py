# SPDX-License-Identifier: GPL-2.0-or-later
"""Stopping in code that the machine has translated before."""

from armprobe.machine import Machine, StopReason
from tests.linux.shell import Shell


def test_kernel_code_while_the_cpu_is_in_user_space(guest: Machine, shell: Shell) -> None:
    """Each system call of the loop goes through do_el0_svc()."""
    shell.type("while :; do cat /proc/version; done")
    guest.run(instructions=10_000_000)
    while guest.registers.pstate & 0xF:  # EL1
        guest.run(instructions=997)
    assert guest.run(until="do_el0_svc", instructions=10_000_000).reason is StopReason.UNTIL
