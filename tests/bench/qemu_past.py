# SPDX-License-Identifier: GPL-2.0-or-later
"""Going back in QEMU's record/replay, with gdb: the same kernel at the same work.

QEMU goes back by executing from a snapshot (its docs/system/replay.rst). It has one at the start; another is made near
the place here, as armprobe's history has them. Otherwise QEMU would execute the whole boot for each step.
"""

from __future__ import annotations

import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from armprobe import machine
from armprobe.clients.gdb_session import GdbSession
from armprobe.guests import linux
from armprobe.guests.linux.debian import READY, build_initramfs, fetch_kernel
from armprobe.guests.linux.debian.initramfs import init
from tests.bench.stubs import BOARD, QEMU, tool, wait_for
from tests.linux.load import load  # tests have no import name to go by

_SECONDS: Final = 10
"""Recorded of the work."""
_BEFORE: Final = 2
"""Calls of do_exit before the snapshot."""
_STEPS: Final = 5
_WAYS: Final = 2


def going_back(scale: float) -> dict[str, float]:
    """Milliseconds of reverse-stepi, and of reverse-continue to a breakpoint."""
    image, debugger = tool("qemu-img", "qemu-utils"), tool("gdb-multiarch", "gdb-multiarch")
    function = machine.load(linux.prepare()).symbols["do_exit"].address
    with tempfile.TemporaryDirectory(prefix="armprobe-bench-") as name:
        folder = Path(name)
        subprocess.run([image, "create", "-q", "-f", "qcow2", folder / "snapshots", "1G"], check=True)
        _recorded(folder)
        socket, options = folder / "gdb", folder / "gdbinit"
        options.write_text("set architecture aarch64\n")
        with _run(folder, "replay", "-S", "-gdb", f"unix:{socket},server=on,wait=off") as process:
            wait_for(socket, process, QEMU)
            with GdbSession(f"unix:{socket}", gdb=debugger, gdbinit=options, timeout=600) as gdb:
                return _measured(gdb, function)


@contextmanager
def _run(folder: Path, mode: str, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """A run of QEMU that is recorded, or replayed."""
    # The device tree has random seeds, also in a replay: the guest would execute something else.
    board = [tool(QEMU, "qemu-system-arm"), *BOARD.split(), "-machine", "dtb-randomness=off", "-m", "256"]
    kernel = ["-kernel", str(fetch_kernel().vmlinuz), "-initrd", str(folder / "initrd"), "-serial", "stdio"]
    drive = ["-drive", f"file={folder / 'snapshots'},format=qcow2,if=none,id=snapshots"]
    record = ["-icount", f"shift=4,rrfile={folder / 'log'},rrsnapshot=begin,rr={mode}"]
    command = [*board, *kernel, "-append", "console=ttyAMA0 nokaslr", *drive, *record, *options]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        try:
            yield process
        finally:
            process.terminate()  # when it is asked to end, it writes what it has recorded


def _recorded(folder: Path) -> None:
    # The first process begins the work: QEMU 7.2 does not replay what is typed on the serial line.
    script = init().decode().replace("setsid cttyhack sh", f"{load()}; wait")
    files = {"init": (0o755, script.encode())}
    (folder / "initrd").write_bytes(build_initramfs(fetch_kernel().busybox.read_bytes(), files))
    with _run(folder, "record") as process:
        assert process.stdout is not None
        while READY.encode() not in (line := process.stdout.readline()):
            assert line, "QEMU ended before the guest was ready"
        time.sleep(_SECONDS)


def _measured(gdb: GdbSession, function: int) -> dict[str, float]:
    def milliseconds(line: str) -> float:
        start = time.perf_counter()
        gdb.execute(line)
        return (time.perf_counter() - start) * 1000

    gdb.execute(f"hbreak *{function:#x}")
    gdb.execute(f"ignore 1 {_BEFORE}")
    gdb.execute("continue")
    gdb.execute("monitor savevm near")
    for _ in range(_WAYS + 1):
        gdb.execute("continue")
    gdb.execute("stepi")
    steps = [milliseconds("reverse-stepi") for _ in range(_STEPS)]
    ways = [milliseconds("reverse-continue") for _ in range(_WAYS)]
    assert gdb.register("pc") == function
    return {"qemu_step_back_ms": statistics.median(steps), "qemu_back_ms": statistics.median(ways)}
