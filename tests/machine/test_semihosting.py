# SPDX-License-Identifier: GPL-2.0-or-later
"""Semihosting without a debugger: what QEMU 7.2 answers the same program, and what is ours to decide."""

import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import pytest

from armprobe import machine
from armprobe.machine import Machine, StopReason
from tests.waiting import PATIENCE

CONSOLE_INPUT = b"typed"
HLT = 0xD45E_0000  # HLT #0xf000

# Each `call` prints what x0 is afterwards, in hexadecimal.
RUNTIME = """
    .macro semihost number, parameter
    ldr x1, =\\parameter
    mov w0, #\\number
    hlt #0xf000
    .endm

    .macro call number, arguments:vararg
    .pushsection .data
    .balign 8
77: .quad \\arguments
    .popsection
    semihost \\number, 77b
    bl hex
    .endm

    .macro say what
    .pushsection .data
77: .asciz "\\what"
    .popsection
    semihost 4, 77b
    .endm

    ldr x0, =0x40900000
    mov sp, x0
    ldr x0, =vectors
    msr vbar_el1, x0
    b main

hex:                                    // x0 and a line end
    mov x20, x0
    mov x21, #60
    ldr x22, =digit
1:  lsr x10, x20, x21
    and x10, x10, #15
    add x12, x10, #'0'
    cmp x10, #9
    add x13, x10, #('a' - 10)
    csel x12, x12, x13, ls
    strb w12, [x22]
    semihost 3, digit
    subs x21, x21, #4
    b.ge 1b
    mov w12, #'\\n'
    strb w12, [x22]
    semihost 3, digit
    ret

    .balign 2048
vectors:
    .rept 16
    .balign 128
    b caught
    .endr
caught:
    mrs x0, esr_el1
    bl hex
    call 0x20, 0x20026, 9
    b .

    .data
digit: .byte 0
tt: .asciz ":tt"
missing: .asciz "/no/such/file"
text: .ascii "some text\\n"
    .balign 8
handle: .quad 0
    .text
main:
"""

CONSOLE = """
    .irp mode, 4, 5, 6, 7, 8, 9, 10, 11
    .data
    .balign 8
1:  .quad tt, \\mode, 3
2:  .quad 0, text, 10
    .text
    semihost 1, 1b
    ldr x9, =2b
    str x0, [x9]
    lsr x0, x0, #63
    bl hex
    semihost 5, 2b
    bl hex
    semihost 2, 2b
    bl hex
    .endr
    call 1, missing, 0, 13
    call 1, tt, 12, 3
    call 8, 0
    call 8, 1
    call 8, -1
    call 8, -5
    call 0x18, 0x20026, 42
"""

BAD_HANDLES = """
    say "bad handles\\n"
    call 5, 77, text, 10
    call 6, 77, text, 10
    call 2, 77
    semihost 0x13, 0
    bl hex
    call 10, 77, 5
    call 12, 77
    call 0x20, 0x20026, 3
"""

TYPING = """
    .data
    .balign 8
opening: .quad tt, 0, 3
reading: .quad 0, text, 4
    .text
    semihost 1, opening
    ldr x9, =reading
    str x0, [x9]
1:  semihost 6, reading                 // what comes may come in pieces
    ldr x9, =reading
    ldr x10, [x9, #8]
    ldr x11, [x9, #16]
    sub x12, x11, x0
    add x10, x10, x12
    str x10, [x9, #8]
    str x0, [x9, #16]
    cbnz x0, 1b
    semihost 4, text
    call 0x18, 0x20026, 0
"""

EL0 = """
    msr spsr_el1, xzr
    ldr x0, =1f
    msr elr_el1, x0
    eret
1:  semihost 4, text
    b .
"""

ABNORMAL = "call 0x18, 0x20023, 5"  # ADP_Stopped_RunTimeErrorUnknown

PROGRAMS = {
    "console": CONSOLE,
    "bad handles": BAD_HANDLES,
    "typing": TYPING,
    "at EL0": EL0,
    "abnormal exit": ABNORMAL,
}


def run_in_qemu(qemu: str, elf: Path) -> tuple[str, int]:
    board = ["-M", "virt,gic-version=2", "-cpu", "cortex-a57", "-m", "256M", "-display", "none", "-monitor", "none"]
    command = [qemu, *board, "-serial", "none", "-semihosting-config", "enable=on,target=native", "-kernel", str(elf)]
    run = subprocess.run(
        command, input=CONSOLE_INPUT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PATIENCE, check=False
    )
    return run.stdout.decode(), run.returncode


@pytest.mark.parametrize("name", PROGRAMS)
def test_as_in_qemu(name: str, build: Callable[[str], Path], tool: Callable[[str, str], str]) -> None:
    elf = build(RUNTIME + PROGRAMS[name])
    printed, code = run_in_qemu(tool("qemu-system-aarch64", "qemu-system-arm"), elf)
    guest = machine.load(elf)
    guest.console.write(CONSOLE_INPUT)
    stop = guest.run(instructions=1_000_000)
    assert guest.console.read().decode() == printed
    assert stop.reason is StopReason.EXIT
    assert stop.detail == code
    assert guest.ended


@pytest.fixture
def guest(bare: Callable[..., Machine]) -> Machine:
    """About to make one call, again and again."""
    return bare("1: hlt #0xf000\n b 1b")


def call(guest: Machine, number: int, parameter: int) -> int:
    """x0 after one call."""
    guest.registers["pc"], guest.registers["x0"], guest.registers["x1"] = 0x4000_0000, number, parameter
    guest.step()
    return guest.registers["x0"]


def call_with(guest: Machine, number: int, *parameters: int) -> int:
    """With a block."""
    guest.memory.write(BLOCK_16M, b"".join((value & (1 << 64) - 1).to_bytes(8, "little") for value in parameters))
    return call(guest, number, BLOCK_16M)


BLOCK_16M = 0x4080_0000
FAILED = (1 << 64) - 1


def test_no_files_without_a_debugger(guest: Machine) -> None:
    """ENODEV for names, EBADF for handles; a read and a write have moved nothing."""
    guest.memory.write(0x4090_0000, b"name\0")
    for number, parameters, result, errno in (
        (0x01, (0x4090_0000, 0, 4), FAILED, 19),
        (0x02, (5,), FAILED, 9),
        (0x05, (5, 0x4090_0000, 3), 3, 9),
        (0x06, (5, 0x4090_0000, 3), 3, 9),
        (0x0A, (5, 0), FAILED, 9),
        (0x0C, (5,), FAILED, 9),
        (0x0E, (0x4090_0000, 4), FAILED, 19),
        (0x0F, (0x4090_0000, 4, 0x4090_0000, 4), FAILED, 19),
        (0x12, (0x4090_0000, 4), FAILED, 19),
    ):
        call(guest, 0xFF, 0)
        assert call_with(guest, number, *parameters) == result
        assert call(guest, 0x13, 0) == errno


@pytest.mark.parametrize(
    ("number", "parameters", "errno"),
    [
        (0xFF, (), 88),
        (0x01, (0x4090_0000, 0, 5), 22),  # where the NUL should be is none
        (0x01, (0x4090_0000, 0, 3), 22),
        (0x01, (0x4090_0000, 0, 1 << 63), 91),
        (0x01, (0x4090_0000, 12, 4), 22),
        (0x01, (0x1000_0000_0000, 0, 4), 14),
        (0x02, (0,), 9),
        (0x02, (1 << 40,), 9),
        (0x15, (0x4090_0000, 3), 22),
    ],
)
def test_errors(number: int, parameters: tuple[int, ...], errno: int, guest: Machine) -> None:
    guest.memory.write(0x4090_0000, b"name\0")
    assert call_with(guest, number, *parameters) == FAILED
    assert call(guest, 0x13, 0) == errno


def test_time_is_the_machine_s(guest: Machine) -> None:
    """The same in every run: 62.5 million ticks a second, from the start of the machine."""
    assert call(guest, 0x31, 0) == 62_500_000
    guest.clock.skip_to(62_500_000 * 3 + 625_000 * 7)
    assert call(guest, 0x10, 0) == 307
    assert call(guest, 0x11, 0) == 3
    assert call(guest, 0x30, BLOCK_16M) == 0
    assert guest.memory.u64(BLOCK_16M) == guest.clock.now


def test_what_the_program_is_told_of_itself(guest: Machine) -> None:
    assert call_with(guest, 0x15, 0x4090_0000, 100) == 0
    assert guest.memory.read(0x4090_0000, 10) == b"guest.elf\0"
    assert guest.memory.u64(BLOCK_16M + 8) == 9
    assert call_with(guest, 0x16, 0x4090_0000) == 0
    heap, limit, stack, stack_limit = (guest.memory.u64(0x4090_0000 + 8 * n) for n in range(4))
    assert guest.guest.segments[-1].end <= heap < limit == stack == 0x4100_0000
    assert stack_limit == heap


@pytest.mark.parametrize("handle", [1, 2, 3])
def test_the_console_is_a_terminal(handle: int, guest: Machine) -> None:
    """Whatever it was opened for, it can be read and written, and has no length. QEMU's is whatever that was given."""
    guest.console.write(b"x")
    guest.memory.write(0x4090_0000, b"abc")
    assert call_with(guest, 9, handle) == 1
    assert call_with(guest, 12, handle) == 0
    assert call_with(guest, 5, handle, 0x4090_0000, 3) == 0
    assert guest.console.read() == b"abc"
    assert call_with(guest, 6, handle, 0x4090_0000, 3) == 2
    assert guest.memory.read(0x4090_0000, 3) == b"xbc"


def test_typed(guest: Machine) -> None:
    guest.console.write(b"ab")
    assert [call(guest, 7, 0) for _ in range(3)] == [ord("a"), ord("b"), FAILED]


def test_nothing_typed(guest: Machine) -> None:
    """Nobody is waited for."""
    assert call(guest, 7, 0) == FAILED
    assert call_with(guest, 6, 1, 0x4090_0000, 5) == 5


def test_nothing_typed_is_lost_where_there_is_no_memory(guest: Machine) -> None:
    guest.console.write(b"ab")
    guest.step()
    assert call_with(guest, 6, 1, 1 << 40, 2) == FAILED
    assert call(guest, 7, 0) == ord("a")


def test_one_call_writes_a_mebibyte_at_most(guest: Machine) -> None:
    size = 3 << 20
    assert call_with(guest, 5, 2, 0x4000_0000, size) == size - (1 << 20)
    assert len(guest.console.read()) == 1 << 20


def test_snapshots_keep_the_errno(guest: Machine) -> None:
    call(guest, 0xFF, 0)
    state = guest.snapshot()
    call_with(guest, 2, 0)
    assert call(guest, 0x13, 0) == 9
    guest.restore(state)
    assert call(guest, 0x13, 0) == 88


def test_snapshot_files_keep_where_the_heap_begins(guest: Machine, tmp_path: Path) -> None:
    call_with(guest, 0x16, 0x4090_0000)
    begin = guest.memory.u64(0x4090_0000)
    guest.save(tmp_path / "saved")
    again = machine.load(tmp_path / "saved")
    again.memory.write(0x4090_0000, bytes(8))
    call_with(again, 0x16, 0x4090_0000)
    assert again.memory.u64(0x4090_0000) == begin != 0


def test_linux_is_offered_none(tmp_path: Path) -> None:
    """An Image (the kernel's Documentation/arch/arm64/booting.rst) that begins with the call: it is undefined."""
    image = struct.pack("<IIQQQQQQII", HLT, 0, 0, 0x1000, 0b1010, 0, 0, 0, 0x644D_5241, 0)
    (tmp_path / "Image").write_bytes(image.ljust(0x1000, b"\0"))
    guest = machine.load(tmp_path / "Image")
    assert guest.guest.is_linux
    entry = guest.registers.pc
    guest.step()
    assert guest.registers["elr_el1"] == entry
    assert guest.registers["esr_el1"] == 1 << 25


def test_other_hlt_are_undefined(bare: Callable[..., Machine]) -> None:
    guest = bare("ldr x0, =0x40000800\n msr vbar_el1, x0\n hlt #0xf001\n")
    guest.step(3)
    assert guest.registers.pc == 0x4000_0A00
    assert guest.registers["esr_el1"] == 1 << 25


@hypothesis.given(
    number=st.sampled_from([*range(0x14), 0x15, 0x16, 0x17, 0x30, 0x31, 0x40]),
    parameters=st.lists(
        st.one_of(
            st.integers(0, (1 << 64) - 1),
            st.integers(0, 12),
            st.sampled_from([0x4090_0000, 0x40FF_FFF8, 0x0900_0000, 0x0800_0FFC, 0x3000_0000, FAILED]),
        ),
        min_size=4,
        max_size=4,
    ),
    pointer=st.sampled_from([BLOCK_16M, 0x40FF_FFF0, 0x0900_0000, 0, FAILED - 7, BLOCK_16M + 3]),
)
@hypothesis.settings(
    max_examples=150, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture], database=None
)
def test_whatever_is_asked(number: int, parameters: list[int], pointer: int, guest: Machine) -> None:
    """Each call ends, at the next instruction, and nothing is raised."""
    call_with(guest, 0x13, *parameters)
    call(guest, number, pointer)
    assert guest.registers.pc == 0x4000_0004
    guest.console.read()
