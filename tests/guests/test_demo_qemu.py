# SPDX-License-Identifier: GPL-2.0-or-later
"""The demo kernel on another machine than ours: QEMU's virt board, with a Cortex-A57 and 16 MiB."""

import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from elftools.elf.elffile import ELFFile

from tests.waiting import PATIENCE

Symbols = dict[str, Any]
"""Name -> (address, size, kind)."""

REPORT = re.compile(r"workload: batch (\d+), (\d+) rounds, (\d+) ticks, checksum ([0-9a-f]{16}) (ok|MISMATCH)")

NOP, BRK_0X800, MOV_X0_0, RET = 0xD503201F, 0xD4210000, 0xD2800000, 0xD65F03C0


class Run:
    """QEMU with a kernel, its console on our pipes; it is ended after PATIENCE whatever happens."""

    def __init__(self, qemu: str, kernel: Path) -> None:
        self.lines: list[str] = []
        board = "-M virt,gic-version=2 -cpu cortex-a57 -m 16 -display none -monitor none -serial stdio"
        self.process = subprocess.Popen(
            [qemu, *board.split(), "-kernel", str(kernel)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.limit = threading.Timer(PATIENCE, self.process.kill)
        self.limit.start()

    def until(self, what: str) -> str:
        """Read on to a line that matches; all lines stay in self.lines."""
        assert self.process.stdout is not None
        for raw in self.process.stdout:
            self.lines.append(raw.decode().rstrip("\r\n"))
            if re.search(what, self.lines[-1]):
                return self.lines[-1]
        pytest.fail(f"no line with {what!r} in {PATIENCE:.0f} s; there were {self.lines}")

    def type(self, text: bytes) -> None:
        """Send bytes to the console."""
        assert self.process.stdin is not None
        self.process.stdin.write(text)
        self.process.stdin.flush()

    def close(self) -> None:
        """End QEMU, if it still runs."""
        self.limit.cancel()
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


@pytest.fixture
def boot(tool: Callable[[str, str], str]) -> Iterator[Callable[[Path], Run]]:
    """boot(kernel): start it."""
    qemu = tool("qemu-system-aarch64", "qemu-system-arm")
    runs: list[Run] = []

    def start(kernel: Path) -> Run:
        runs.append(Run(qemu, kernel))
        return runs[-1]

    yield start
    for run in runs:
        run.close()


@pytest.fixture
def patched(demo: Path, elf: ELFFile, symbols: Symbols, tmp_path: Path) -> Callable[[str, list[int]], Path]:
    """patched(function, words): a copy of the kernel with other words at the function's beginning."""

    def patch(function: str, words: list[int]) -> Path:
        (offset,) = elf.address_offsets(symbols[function].address)
        content = bytearray((demo / "demo.elf").read_bytes())
        for word in words:
            content[offset : offset + 4] = word.to_bytes(4, "little")
            offset += 4
        kernel = tmp_path / "patched.elf"
        kernel.write_bytes(content)
        return kernel

    return patch


def test_workload_is_right(demo: Path, boot: Callable[[Path], Run], constant: Callable[[str], int]) -> None:
    run = boot(demo / "demo.elf")
    reports = [REPORT.fullmatch(run.until("workload:")) for _ in range(3)]
    rounds, checksum = str(constant("ROUNDS_PER_BATCH")), f"{constant('BATCH_CHECKSUM'):016x}"
    assert [report and report.group(1, 2, 4, 5) for report in reports] == [
        (str(batch), rounds, checksum, "ok") for batch in (1, 2, 3)
    ]
    ticks = [int(report[3]) for report in reports if report]
    assert 0 < ticks[0] < ticks[1] < ticks[2]
    assert run.lines[0].startswith("demo kernel: AArch64 at EL1")
    assert "init: hello from EL0" in run.lines


def test_console_echoes_and_q_powers_off(demo: Path, boot: Callable[[Path], Run]) -> None:
    run = boot(demo / "demo.elf")
    run.until("batch 1,")
    run.type(b"aZ3\r")
    run.until("aZ3")
    run.type(b"q")
    run.until("q received, powering off")
    assert run.process.wait(PATIENCE) == 0


def test_wrong_result_is_noticed(boot: Callable[[Path], Run], patched: Callable[[str, list[int]], Path]) -> None:
    """pcrel_leaf returns its argument, not three times that."""
    run = boot(patched("pcrel_leaf", [NOP]))
    assert run.until("batch 1,").endswith("MISMATCH")
    assert run.until("expected").endswith("0 checks failed, first: none")


def test_failed_check_is_named(
    boot: Callable[[Path], Run], patched: Callable[[str, list[int]], Path], constant: Callable[[str], int]
) -> None:
    """strlen returns 0, each time."""
    run = boot(patched("strlen", [MOV_X0_0, RET]))
    assert run.until("batch 1,").endswith("MISMATCH")
    assert run.until("expected").endswith(f"{constant('ROUNDS_PER_BATCH')} checks failed, first: strlen")


def test_brk_nobody_claims_is_a_panic(
    symbols: Symbols, boot: Callable[[Path], Run], patched: Callable[[str, list[int]], Path]
) -> None:
    run = boot(patched("insn_nop", [BRK_0X800]))
    assert run.until("BRK exception").endswith("immediate 800")
    run.until("ESR f2000800")
    run.until(f"^pc {symbols['insn_nop'].address:016x} ")
    run.until("^Kernel panic - not syncing: BRK$")
