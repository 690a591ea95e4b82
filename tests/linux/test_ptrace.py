# SPDX-License-Identifier: GPL-2.0-or-later
"""A debugger inside a Linux guest: hardware watchpoints, hardware breakpoints and single steps by ptrace(2).

`ptrace/ptrace.c` is that debugger. What it has to print, `ptrace/expected.txt`, is what it printed in QEMU 7.2
(virt, gic-version=2, cortex-a57) on Debian's 6.1 kernel. The rules behind it are Linux's arch/arm64/kernel/ptrace.c and
hw_breakpoint.c, and the Arm ARM's D2.9, D2.10 and D2.12.
"""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from armprobe.guests.linux.debian import KernelFiles, build_initramfs
from tests.linux.shell import Shell
from tests.qemu import boot  # tests have no import name to go by
from tests.stock import stock_kernel

pytestmark = pytest.mark.sample(of="files")

HERE = Path(__file__).parent / "ptrace"
PROGRAM = (HERE / "ptrace.elf").read_bytes()
EXPECTED = (HERE / "expected.txt").read_text()
_LINE = re.compile(r"^(?:\w+ \w+: |\w+ slots=).*\n", re.MULTILINE)


def test_ptrace(shell: Shell) -> None:
    shell.put("/tmp/ptrace", PROGRAM)
    assert shell.run("/tmp/ptrace").splitlines() == EXPECTED.splitlines()


def test_ptrace_in_qemu(tool: Callable[[str, str], str], tmp_path: Path) -> None:
    qemu, kernel = tool("qemu-system-aarch64", "qemu-system-arm"), stock_kernel()
    printed = boot_with_program(qemu, kernel, tmp_path / "initrd.gz")
    assert printed.splitlines() == EXPECTED.splitlines()


def boot_with_program(qemu: str, kernel: KernelFiles, initrd: Path) -> str:
    """What the program prints in QEMU; `initrd` is written."""
    initrd.write_bytes(build_initramfs(kernel.busybox.read_bytes(), {"bin/ptrace": (0o755, PROGRAM)}))
    return "".join(_LINE.findall(boot(qemu, kernel.vmlinuz, initrd, ["ptrace", "poweroff -f"])))


def test_the_program_traces_what_runs_unharmed(shell: Shell) -> None:
    """A program with a watchpoint that it never comes to, and a process that it runs beside it."""
    shell.put("/tmp/ptrace", PROGRAM)
    watched = shell.status("/tmp/ptrace watch /bin/busybox sh -c 'busybox expr 6 \\* 7; exit 3'")
    assert watched == ("42\n", 3)


def test_what_is_committed_is_what_is_built(tmp_path: Path, tool: Callable[[str, str], str]) -> None:
    compiler = tool("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu")
    make = ["make", "-s", "-C", str(HERE), "-B", f"PROGRAM={tmp_path / 'ptrace.elf'}"]
    subprocess.run(make, check=True)
    if (tmp_path / "ptrace.elf").read_bytes() != PROGRAM:
        version = subprocess.run([compiler, "-dumpfullversion"], capture_output=True, text=True, check=True).stdout
        assert f") {version.strip()}\0".encode() not in PROGRAM, (
            "ptrace.elf is not what its source makes: run make there"
        )
        pytest.skip("ptrace.elf was built by another version of the compiler")
