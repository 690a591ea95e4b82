# SPDX-License-Identifier: GPL-2.0-or-later
"""The other ways of doing the same: QEMU, and gdb's own breakpoints. Each function returns what it measured by name."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final

from armprobe.commands import GdbSession, Session
from armprobe.commands.debian import PROMPT, READY, build_initramfs, fetch_kernel
from armprobe.machine.loaders import DEMO

_QEMU: Final = "qemu-system-aarch64"
_BOARD: Final = "-M virt,gic-version=2 -cpu cortex-a57 -nic none -display none -monitor none"


class _Absent(Exception):
    """A program is not installed."""


def _tool(name: str, package: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise _Absent(f"{name} is not installed (Debian: apt-get install {package})")
    return path


def qemu_boot(scale: float) -> dict[str, float]:
    """Seconds QEMU takes from its start until the same kernel and initramfs are at the shell's prompt."""
    qemu, files = _tool(_QEMU, "qemu-system-arm"), fetch_kernel()
    with tempfile.TemporaryDirectory(prefix="armprobe-bench-") as folder:
        disk = Path(folder) / "initrd.gz"
        disk.write_bytes(build_initramfs(files.busybox.read_bytes()))
        kernel = ["-kernel", str(files.vmlinuz), "-initrd", str(disk), "-append", "console=ttyAMA0 nokaslr"]
        start = time.perf_counter()
        with subprocess.Popen(
            [qemu, *_BOARD.split(), "-m", "256", "-serial", "stdio", *kernel],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            said = b""
            while PROMPT.encode() not in said.partition(READY.encode())[2]:
                part = os.read(process.stdout.fileno(), 4096)
                assert part, "QEMU ended before there was a prompt"
                said += part
            took = time.perf_counter() - start
            process.kill()
    return {"qemu_boot_seconds": took}


def conditional_breakpoints(scale: float) -> dict[str, float]:
    """Hits a second of a gdb breakpoint whose condition is never true, in QEMU and on armprobe's stub."""
    gdb = _tool("gdb-multiarch", "gdb-multiarch")
    found = {}
    with Session("demo") as session:
        session.run("continue until=workload_round")
        found["gdb_armprobe_hits"] = _conditional_rate(session, gdb, int(50_000 * scale), in_stub=True)
    qemu = _tool(_QEMU, "qemu-system-arm")
    with tempfile.TemporaryDirectory(prefix="armprobe-bench-") as folder:
        socket = Path(folder) / "gdb"
        stopped = ["-S", "-gdb", f"unix:{socket},server=on,wait=off"]
        process = subprocess.Popen(
            [qemu, *_BOARD.split(), "-m", "16", "-serial", "null", "-kernel", str(DEMO), *stopped]
        )
        try:
            deadline = time.monotonic() + 10
            while not socket.exists() and time.monotonic() < deadline:
                time.sleep(0.02)
            found["gdb_qemu_hits"] = _conditional_rate(f"unix:{socket}", gdb, int(1000 * scale), in_stub=False)
        finally:
            process.kill()
            process.wait()
    return found


def _conditional_rate(where: str | Session, gdb: str, hits: int, in_stub: bool) -> float:
    with GdbSession(where, gdb=gdb, gdbinit=None) as debugger:
        debugger.execute(f"file {DEMO}")
        # As a hardware breakpoint: the demo kernel has no memory at this address until its MMU is on.
        debugger.execute("hbreak workload_round")
        if debugger.register("pc") != int(debugger.evaluate("(unsigned long)&workload_round")):
            debugger.continue_to_stop()
        debugger.execute("delete")
        # False until the last, so that gdb need not be interrupted, which takes it an unknown time.
        # A trace state variable is one that the stub can count in, if it evaluates conditions at all.
        debugger.execute("tvariable $hits = 0" if in_stub else "set $hits = 0")
        debugger.execute(f"hbreak kfree if ($hits = $hits + 1) == {hits}")
        start = time.perf_counter()
        debugger.continue_to_stop()
        took = time.perf_counter() - start
        if not in_stub:  # and there it cannot have stopped for anything else
            assert int(debugger.evaluate("$hits")) == hits
    return hits / took
