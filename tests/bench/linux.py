# SPDX-License-Identifier: GPL-2.0-or-later
"""Rates and times of a stock Debian kernel. Each function returns what it measured by name."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from armprobe import machine
from armprobe.guests import linux
from armprobe.guests.linux.debian import PROMPT, build_initramfs, fetch_kernel
from armprobe.machine import Machine, StopReason
from armprobe.probes import Kprobe, Kprobes, PtRegs

_QUESTION, _ANSWER = b"console echo $((6 * 7))\n", b"\n42"
_UNREACHED = "kernel_restart"


def prepare() -> None:
    """Have the kernel fetched and the snapshot made, so that neither is measured where it is not meant to be."""
    linux.prepare(report=lambda line: print(f"  {line}", file=sys.stderr))


def _armprobe_linux(cache: str | None, *options: str) -> dict[str, float]:
    """Seconds from the start of `armprobe linux` until it is resumed or booted, and has answered; its peak memory."""
    environment = dict(os.environ) if cache is None else {**os.environ, "XDG_CACHE_HOME": cache}
    command = [sys.executable, "-m", "armprobe", "linux", "--listen", "none", *options]
    found: dict[str, float] = {}
    start = time.perf_counter()
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(_QUESTION)
        process.stdin.flush()
        said = b""
        while _ANSWER not in said:
            part = os.read(process.stdout.fileno(), 4096)
            if not part:
                raise RuntimeError(f"armprobe linux ended without an answer: {said.decode(errors='replace')}")
            said += part
            if b"booted:" in said:
                found.setdefault("boot_seconds", time.perf_counter() - start)
        found["answer_seconds"] = time.perf_counter() - start
        status = Path(f"/proc/{process.pid}/status").read_text()
        process.stdin.write(b"quit\n")
        process.stdin.close()
    peak = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert peak is not None
    found["peak_mib"] = int(peak[1]) / 1024
    return found


def resume(scale: float) -> dict[str, float]:
    """`armprobe linux` when there is a snapshot: a process, a line typed at it, the answer."""
    found = _armprobe_linux(None)
    if "boot_seconds" in found:  # the machine's code has changed since, so that it had to boot after all
        found = _armprobe_linux(None)
    return {"resume_seconds": found["answer_seconds"], "resume_peak_mib": found["peak_mib"]}


def boot(scale: float) -> dict[str, float]:
    """`armprobe linux` when there is none: it boots the kernel, saves the snapshot and goes on from there."""
    files = fetch_kernel()
    with tempfile.TemporaryDirectory(prefix="armprobe-bench-") as folder:
        disk = Path(folder) / "initrd.gz"
        disk.write_bytes(build_initramfs(files.busybox.read_bytes()))
        found = _armprobe_linux(folder, "--kernel", str(files.vmlinuz), "--initrd", str(disk))
    return {"boot_seconds": found["boot_seconds"], "boot_peak_mib": found["peak_mib"]}


class _Shell:
    """Types at the guest's shell."""

    def __init__(self, guest: Machine) -> None:
        self.guest = guest
        self._printed = bytearray()
        guest.console.listen(self._listen)

    def _listen(self, data: bytes) -> None:
        self._printed += data
        if self._printed.endswith(PROMPT.encode()):
            self.guest.interrupt()

    def run(self, line: str) -> tuple[str, float, int]:
        """Run `line`: what it printed, the seconds it took, and the guest's instructions."""
        self._printed.clear()
        instructions = self.guest.instructions
        self.guest.console.write(line.encode() + b"\n")
        start = time.perf_counter()
        stop = self.guest.run(instructions=10_000_000_000)
        took = time.perf_counter() - start
        assert stop.reason is StopReason.INTERRUPTED, stop
        return self._printed.decode(), took, self.guest.instructions - instructions

    def copy(self, blocks: int) -> tuple[float, int]:
        """The seconds and instructions it takes to copy `blocks` bytes one at a time: a read and a write each.

        The difference of a long copy and a short one, so without the start of dd and what the shell does.
        """
        few, many = self._dd(1000), self._dd(1000 + blocks)
        return many[0] - few[0], many[1] - few[1]

    def _dd(self, blocks: int) -> tuple[float, int]:
        printed, took, instructions = self.run(f"dd if=/dev/zero of=/dev/null bs=1 count={blocks}")
        assert f"\n{blocks}+0 records in" in printed.replace("\r", ""), printed
        assert f"\n{blocks}+0 records out" in printed.replace("\r", ""), printed
        return took, instructions


def _reads_x0(probe: Kprobe, regs: PtRegs) -> None:
    regs.regs[0]


def rates(scale: float) -> dict[str, float]:
    """System calls and instructions a second during `dd bs=1`, then with a probe that is not hit and one that is."""
    blocks = int(40_000 * scale)
    shell = _Shell(machine.load(linux.prepare()))
    shell.copy(1000)  # translate what there is
    took, instructions = shell.copy(blocks)
    found = {
        "system_calls": 2 * blocks / took,
        "instructions_a_system_call": instructions / (2 * blocks),
        "linux_mips": instructions / took / 1e6,
    }
    kprobes = Kprobes(shell.guest)
    kprobes.register_kprobe(Kprobe(_UNREACHED, record=False))
    took, instructions = shell.copy(blocks)
    found["linux_probe_set_mips"] = instructions / took / 1e6
    probe = kprobes.register_kprobe(Kprobe("vfs_read", pre_handler=_reads_x0, record=False))
    took, _ = shell.copy(blocks)
    assert probe.hits >= blocks
    found["linux_hits"] = blocks / took
    return found
