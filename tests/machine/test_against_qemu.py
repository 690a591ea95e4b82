# SPDX-License-Identifier: GPL-2.0-or-later
"""The same program here and under QEMU's `-M virt,gic-version=2 -cpu cortex-a57`: what it prints must be the same.

It raises exceptions of every kind from every level, and prints what its vectors find in the system registers.
"""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from armprobe import machine
from armprobe.machine import StopReason
from tests.waiting import PATIENCE

# x28: where to go on after an exception, at EL1h. x20, x21: what was in x0 and x1. x27: SP_EL0. The program is entered
# with its own stack, SP_EL1; printing goes to the PL011.
RUNTIME = """
    ldr x0, =vectors
    msr vbar_el1, x0
    ldr x0, =0x40800000
    mov sp, x0
    ldr x27, =0x40700000
    msr sp_el0, x27
    msr far_el1, x27
    mov x0, #(3 << 20)
    msr cpacr_el1, x0
    mrs x0, sctlr_el1
    bic x0, x0, #(1 << 16)              // nTWI: WFI at EL0 traps
    msr sctlr_el1, x0
    isb
    b main

    .macro case name, resume=99f
    ldr x28, =\\resume
    .pushsection .rodata
77: .asciz "\\name\\n"
    .popsection
    ldr x0, =77b
    bl print
    .endm

    .macro value register
    mov x0, \\register
    bl hex
    .endm

print:                                  // the string at x0
    mov x9, #0x09000000
1:  ldrb w10, [x0], #1
    cbz w10, 2f
    str w10, [x9]
    b 1b
2:  ret

hex:                                    // x0 and a space
    mov x9, #0x09000000
    mov x11, #60
1:  lsr x10, x0, x11
    and x10, x10, #15
    add x12, x10, #'0'
    cmp x10, #9
    add x13, x10, #('a' - 10)
    csel x12, x12, x13, ls
    str w12, [x9]
    subs x11, x11, #4
    b.ge 1b
    mov w12, #' '
    str w12, [x9]
    ret

power_off:
    ldr x0, =0x84000008
    hvc #0
    b .

    .balign 2048
vectors:
    .set number, 0
    .rept 16
    .balign 128
    mov x20, x0
    mov x21, x1
    mov x22, #number
    .set number, number + 1
    b caught
    .endr

    .balign 128
caught:
    mrs x24, daif
    mrs x25, spsel
    mov x26, sp
    value x22
    mrs x1, esr_el1
    value x1
    mrs x1, elr_el1
    value x1
    mrs x1, spsr_el1
    value x1
    mrs x1, far_el1
    value x1
    value x24
    value x25
    value x26
    mrs x1, sp_el0
    value x1
    value x20
    value x21
    mov x9, #0x09000000
    mov w10, #'\\n'
    str w10, [x9]
    mov x1, #0x3c5
    msr spsr_el1, x1
    msr elr_el1, x28
    ldr x1, =0x40800000
    mov sp, x1
    msr sp_el0, x27
    eret

    .macro at mode, address             // go on at `address` with SPSR_EL1 `mode`
    ldr x1, =\\mode
    msr spsr_el1, x1
    ldr x1, =\\address
    msr elr_el1, x1
    ldr x0, =0x1111
    ldr x1, =0x2222
    eret
    .endm
main:
"""

# What raises an exception. The second table's do so at EL0 only: at EL1 they do something, or hang the peer. MSR
# DAIFSet is left out: Unicorn 2.1.4 gives no syndrome for it, and QEMU 7.2 one with op1 and op2 exchanged.
RAISING = {
    "svc": "svc #0x321",
    "brk": "brk #0x77",
    "udf": "udf #0",
    "smc": "smc #4",
    "no such register": "mrs x0, s3_0_c15_c15_7",
    "EL2's register": "msr sctlr_el2, x0",
    "fp": "fmov d0, x0; svc #3",
}
RAISING_AT_EL0 = {
    "hvc": "hvc #0",
    "eret": "eret",
    "EL1's register": "mrs x0, vbar_el1",
    "daif": "mrs x0, daif",
    "counter": "mrs x3, cntvct_el0",
    "timer": "msr cntv_ctl_el0, x4",
    "frequency": "mrs x5, cntfrq_el0",
    "wfi": "wfi; svc #1",
    "cache": "dc ivac, x0",
    "tlb": "tlbi vmalle1",
}


# Where an exception return goes, and there is nothing to execute.
FETCHES = {
    "fetch from nothing": 0x0F00_0000,
    "misaligned PC": 0x4000_0002,
    "misaligned PC, nothing there": 0x0F00_0002,
}


def program() -> str:
    """NZCV are not compared: the architecture leaves them as they were, and QEMU clears them."""
    lines = [RUNTIME]
    places: list[str] = []
    for table, modes in ((RAISING, {"EL1h": 5, "EL1t": 4, "EL0t": 0}), (RAISING_AT_EL0, {"EL0t": 0})):
        for name, code in table.items():
            places.append(f"raise{len(places)}: {code}\n b .")
            for mode, bits in modes.items():
                for flags in (0x6000_0000, 0x9000_03C0 if bits else 0x9000_0000):
                    place = f"raise{len(places) - 1}"
                    lines.append(f'case "{name}, {mode}, {flags:#x}"\n at {flags | bits:#x}, {place}\n99:')
    for name, address in FETCHES.items():
        for mode, bits in {"EL1h": 5, "EL0t": 0}.items():
            lines.append(f'case "{name}, {mode}"\n at {bits:#x}, {address:#x}\n99:')
    return "\n".join([*lines, "b power_off", *places])


def run_in_qemu(qemu: str, elf: Path) -> str:
    board = ["-M", "virt,gic-version=2", "-cpu", "cortex-a57", "-m", "256M"]
    command = [qemu, *board, "-display", "none", "-serial", "stdio", "-monitor", "none", "-kernel", str(elf)]
    run = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=True)
    return run.stdout.decode()


def run_here(elf: Path) -> str:
    guest = machine.load(elf)
    stop = guest.run(instructions=20_000_000)
    printed = guest.console.read().decode()
    assert stop.reason is StopReason.POWER_OFF, printed
    return printed


@pytest.mark.parametrize("source", [program()], ids=["exceptions"])
def test_same_output(source: str, build: Callable[[str], Path], tool: Callable[[str, str], str]) -> None:
    elf = build(source)
    qemu = tool("qemu-system-aarch64", "qemu-system-arm")
    expected = run_in_qemu(qemu, elf)
    assert expected.count("\n") > 40
    assert run_here(elf) == expected
