# SPDX-License-Identifier: GPL-2.0-or-later
"""A small kernel that is built as Linux is: a vmlinux with debug information, and the Image that objcopy makes of it.

It is linked where its Image is loaded, so that its addresses hold without an MMU. As in Debian's kernels up to 6.1,
its functions begin with the NOPs of -fpatchable-function-entry.
"""

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROUNDS = 5

# Documentation/arch/arm64/booting.rst, "Call the kernel image".
_HEAD = """
    .section .head.text, "ax"
    b start
    .long 0
    .quad 0, _size, 0xa, 0, 0, 0
    .ascii "ARM\\x64"
    .long 0
    .text
    .globl start
    .type start, %function
start:
    .cfi_startproc
    .cfi_undefined x30
    adrp x0, stack + 4096
    add x0, x0, :lo12:stack + 4096
    mov sp, x0
    mov x29, xzr
    mov x30, xzr
    bl main
    movz w0, #0x8400, lsl #16
    movk w0, #8
    hvc #0
    b .
    .cfi_endproc
    .size start, . - start
"""
_CLOCK = f"""\
struct task {{
    int pid;
    char comm[16];
    unsigned long ticks;
}};

char stack[4096] __attribute__((aligned(4096)));
struct task init_task = {{1, "init", 0}};
static unsigned long jiffies = VERSION;

__attribute__((noipa)) unsigned long tick(struct task *task, unsigned long now)
{{
    task->ticks += now;
    return task->ticks; /* here */
}}

void main(void)
{{
    for (int round = 0; round < {ROUNDS}; round++)
        jiffies += tick(&init_task, round + 10);
}}
"""
LINE = 1 + _CLOCK[: _CLOCK.index("/* here */")].count("\n")
"""Of clock.c, in tick."""

_SCRIPT = """
SECTIONS {
    . = 0x40200000;
    _text = .;
    .head.text : { *(.head.text) }
    .text : { *(.text*) }
    .rodata : { *(.rodata*) }
    .notes : { *(.note.*) }
    .data : { *(.data*) }
    .bss : { *(.bss*) }
    _end = .;
    _size = _end - _text;
}
"""


@dataclass(frozen=True)
class SmallKernel:
    """The two files, and the source."""

    vmlinux: Path
    image: Path
    source: Path


def build(
    tool: Callable[[str, str], str], folder: Path, *, version: int = 1, options: tuple[str, ...] = ()
) -> SmallKernel:
    """The kernel of one `version`; another has the same symbols and another build ID. `options` are for gcc."""
    gcc = tool("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu")
    objcopy = tool("aarch64-linux-gnu-objcopy", "binutils-aarch64-linux-gnu")
    (folder / "head.S").write_text(_HEAD)
    (folder / "clock.c").write_text(_CLOCK)
    (folder / "kernel.lds").write_text(_SCRIPT)
    flags = ["-g", "-O2", "-ffreestanding", "-nostdlib", "-static", "-fno-pic", "-no-pie", "-mgeneral-regs-only"]
    flags += ["-fpatchable-function-entry=2", "-fno-asynchronous-unwind-tables", f"-DVERSION={version}"]
    flags += [
        "-Wl,--build-id=sha1",
        "-Wl,-T,kernel.lds",
        "-Wl,--no-warn-rwx-segments",
        *options,
        "head.S",
        "clock.c",
        "-o",
        "vmlinux",
    ]
    subprocess.run([gcc, *flags], cwd=folder, check=True)
    subprocess.run([objcopy, "-O", "binary", "vmlinux", "Image"], cwd=folder, check=True)
    return SmallKernel(folder / "vmlinux", folder / "Image", folder / "clock.c")
