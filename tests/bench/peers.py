# SPDX-License-Identifier: GPL-2.0-or-later
"""The same kernel in QEMU."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from armprobe.commands import GdbSession
from armprobe.guests.linux.debian import PROMPT, READY, build_initramfs, fetch_kernel
from tests.bench.linux import check_copied, copying, cost_of_a_hit
from tests.bench.pieces import PIECES, TURNS, least
from tests.bench.stubs import BOARD, QEMU, tool
from tests.debuggers.tools.lx_scripts import scripts
from tests.oracle.debug_kernel import debug_vmlinux

_EVENT = "/sys/kernel/tracing/events/kprobes/bench"


class Shell:
    """The shell of a guest in QEMU, typed at over the serial line."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._in, self._out = process.stdin, process.stdout.fileno()
        self._clock = ~process.pid << 3 | 2  # clock_getcpuclockid(3), MAKE_PROCESS_CPUCLOCK of posix-timers_types.h

    @property
    def cpu_seconds(self) -> float:
        """The CPU time that QEMU has used."""
        return time.clock_gettime(self._clock)

    def wait(self, begun: str = "") -> str:
        """What the guest prints up to its prompt, the first after `begun`."""
        said = b""
        while PROMPT.encode() not in said.partition(begun.encode())[2]:
            part = os.read(self._out, 4096)
            assert part, "QEMU ended before there was a prompt"
            said += part
        return said.decode(errors="replace")

    def run(self, line: str) -> tuple[str, float]:
        """Run `line`: what was printed, and the seconds it took."""
        start = time.perf_counter()
        self._in.write(line.encode() + b"\n")
        self._in.flush()
        # The shell redraws its prompt while a line is typed: the one that counts comes after the line's end.
        return self.wait("\n"), time.perf_counter() - start

    def dd(self, blocks: int) -> float:
        """The seconds of one copy, with all that belongs to it."""
        printed, took = self.run(copying(blocks))
        check_copied(printed, blocks)
        return took

    def dd_cpu(self, blocks: int) -> float:
        """The seconds of CPU time of one such copy."""
        start = self.cpu_seconds
        self.dd(blocks)
        return self.cpu_seconds - start


@contextmanager
def booted(*options: str) -> Iterator[tuple[Shell, float]]:
    """A guest at its prompt, and the seconds that QEMU took from its start. nokaslr: else KPTI slows it down."""
    qemu, files = tool(QEMU, "qemu-system-arm"), fetch_kernel()
    with tempfile.TemporaryDirectory(prefix="armprobe-bench-") as folder:
        disk = Path(folder) / "initrd.gz"
        disk.write_bytes(build_initramfs(files.busybox.read_bytes()))
        kernel = ["-kernel", str(files.vmlinuz), "-initrd", str(disk), "-append", "console=ttyAMA0 nokaslr"]
        command = [qemu, *BOARD.split(), "-m", "256", "-serial", "stdio", *kernel, *options]
        start = time.perf_counter()
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            try:
                shell = Shell(process)
                shell.wait(READY)
                yield shell, time.perf_counter() - start
            finally:
                process.kill()


def qemu_boot(scale: float) -> dict[str, float]:
    """Seconds QEMU takes from its start until the same kernel and initramfs are at the shell's prompt."""
    with booted() as (_, took):
        return {"qemu_boot_seconds": took}


def qemu_hit_cost(scale: float) -> dict[str, float]:
    """Microseconds of CPU time that a hit of the guest's kprobe event on vfs_read adds to a read."""
    blocks = int(200_000 * scale)
    with booted() as (shell, _):
        shell.run("echo p:bench vfs_read > /sys/kernel/tracing/kprobe_events")

        def seconds(on: bool, blocks: int) -> float:
            shell.run(f"echo {int(on)} > {_EVENT}/enable")
            shell.dd(1000)  # translate what there is
            return least(lambda: shell.dd_cpu(blocks))

        found = {"qemu_hit_us": cost_of_a_hit(seconds, blocks)}
        traced, _ = shell.run("cat /sys/kernel/tracing/kprobe_profile")
        hits = int(traced.partition("bench")[2].split()[0])
        assert hits >= TURNS * (blocks // PIECES) * PIECES, f"the event was hit {hits} times"
    return found


def qemu_views(scale: float) -> dict[str, float]:
    """Seconds until gdb has attached to QEMU with the kernel's own debug information, and shows types and, with the
    kernel's scripts/gdb, tasks; and until a command typed at the console is over."""
    files, found = fetch_kernel(), dict[str, float]()
    vmlinux, lx = debug_vmlinux(files), scripts(files)
    with tempfile.TemporaryDirectory(prefix="armprobe-bench-") as folder:
        socket, init = f"{folder}/gdb", Path(folder) / "gdbinit"
        init.write_text(f"file {vmlinux}\n")
        with booted("-gdb", f"unix:{socket},server=on,wait=off") as (shell, _):
            for name in "sh", "sh_again":
                found[f"qemu_{name}_seconds"] = shell.run("true")[1]
            gdb_path, start = tool("gdb-multiarch", "gdb-multiarch"), time.perf_counter()
            with GdbSession(f"unix:{socket}", gdb=gdb_path, gdbinit=init, timeout=600) as gdb:
                found["qemu_attach_seconds"] = time.perf_counter() - start
                gdb.execute(f"source {lx / 'vmlinux-gdb.py'}")
                shown = {"ptype": ("ptype struct task_struct", "pid_t pid;"), "lx_ps": ("lx-ps", "kthreadd")}
                for name, (command, text) in shown.items():
                    for again in ("", "_again"):
                        start = time.perf_counter()
                        assert text in gdb.execute(command), command
                        found[f"qemu_{name}{again}_seconds"] = time.perf_counter() - start
    return found
