# SPDX-License-Identifier: GPL-2.0-or-later
"""The same kernel in QEMU."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path

from armprobe.guests.linux.debian import PROMPT, READY, build_initramfs, fetch_kernel
from tests.bench.stubs import BOARD, QEMU, tool


def qemu_boot(scale: float) -> dict[str, float]:
    """Seconds QEMU takes from its start until the same kernel and initramfs are at the shell's prompt."""
    qemu, files = tool(QEMU, "qemu-system-arm"), fetch_kernel()
    with tempfile.TemporaryDirectory(prefix="armprobe-bench-") as folder:
        disk = Path(folder) / "initrd.gz"
        disk.write_bytes(build_initramfs(files.busybox.read_bytes()))
        kernel = ["-kernel", str(files.vmlinuz), "-initrd", str(disk), "-append", "console=ttyAMA0 nokaslr"]
        start = time.perf_counter()
        with subprocess.Popen(
            [qemu, *BOARD.split(), "-m", "256", "-serial", "stdio", *kernel],
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
