# SPDX-License-Identifier: GPL-2.0-or-later
"""A bare-metal program of the shape of a kernel that ftrace can patch, with debug information.

gcc 12 puts the NOPs of -fpatchable-function-entry between a function's symbol and its DW_AT_low_pc (GCC bug 98776), as
in Debian's kernels up to 6.1. Two functions are called `same`, and a variable is called as an argument of `fill`.
"""

import subprocess
from collections.abc import Callable
from pathlib import Path

ROUNDS = 40

_MAIN = f"""
__asm__(
    ".section .text.start, \\"ax\\"\\n.globl _start\\n.type _start, %function\\n"
    "_start:\\n.cfi_startproc\\n"
    ".cfi_undefined x30\\nldr x0, =stack\\nadd x0, x0, #4096\\nmov sp, x0\\nmov x29, xzr\\nmov x30, xzr\\nbl run\\n"
    "movz w0, #0x8400, lsl #16\\nmovk w0, #8\\nhvc #0\\nb .\\n.cfi_endproc\\n.size _start, . - _start\\n.text\\n");
char stack[4096] __attribute__((aligned(16)));
char buffer[256];
long first(long n);
long second(long n);

__attribute__((noipa)) void fill(char *to, unsigned long count, int value)
{{
    for (unsigned long at = 0; at < count; at++) /* arguments are not changed, nor are they where others were */
        to[at] = value;
}}

__attribute__((noipa)) long many(int a, int b, int c, int d, int e, int f, int g, int h, int i, int j)
{{
    return a + b + c + d + e + f + g + h + i + j;
}}

void run(void)
{{
    for (int n = 0; n < {ROUNDS}; n++) {{
        fill(buffer, n, n * 3);
        many(n, 1, 2, 3, 4, 5, 6, 7, 8, -n);
        first(n);
        second(n);
    }}
}}
"""
_OTHER = """
unsigned long {variable} = 7;

static __attribute__((noipa)) long same(long n)
{{
    return n {operator} 3;
}}

long {name}(long n)
{{
    return same(n);
}}
"""


def build(tool: Callable[[str, str], str], folder: Path, entry: str = "2") -> Path:
    """The program as an ELF in `folder`; `entry` is what -fpatchable-function-entry is given."""
    gcc = tool("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu")
    sources = {
        "main.c": _MAIN,
        "first.c": _OTHER.format(variable="count", operator="+", name="first"),
        "second.c": _OTHER.format(variable="unused", operator="-", name="second"),
    }
    for name, text in sources.items():
        (folder / name).write_text(text)
    flags = "-O2 -g -ffreestanding -nostdlib -static -fno-pie -no-pie -mgeneral-regs-only -fno-optimize-sibling-calls"
    linking = "-Wl,--no-warn-rwx-segments,-Ttext=0x40080000,-N,--build-id=none,--section-start=.text.start=0x40000000"
    subprocess.run(
        [gcc, *flags.split(), f"-fpatchable-function-entry={entry}", linking, "-o", "program.elf", *sources],
        cwd=folder,
        check=True,
    )
    return folder / "program.elf"
