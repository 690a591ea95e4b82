# SPDX-License-Identifier: GPL-2.0-or-later
"""What is measured, how often, and what it is held against."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import unicorn

from tests.bench import demo, designs, linux, peers, stubs
from tests.bench.table import Aim, Row, table


class Measurement(NamedTuple):
    """A function that measures, and how often it is to: each time in a new process."""

    function: Callable[[float], dict[str, float]]
    repetitions: int
    quick: int


MEASUREMENTS: Final = {
    "instructions": Measurement(demo.instruction_rates, 5, 2),
    "hits": Measurement(demo.hit_rates, 5, 2),
    "designs": Measurement(designs.rates, 3, 1),
    "resume": Measurement(linux.resume, 5, 2),
    "boot": Measurement(linux.boot, 3, 1),
    "linux": Measurement(linux.rates, 3, 1),
    "qemu-boot": Measurement(peers.qemu_boot, 3, 1),
    "gdb": Measurement(stubs.side_by_side, 3, 1),
}


def _pair(what: str, metric: str, unit: str) -> tuple[Row, Row]:
    return (
        Row(f"{what}, QEMU", f"gdb_qemu_{metric}", unit),
        Row("  armprobe", f"gdb_armprobe_{metric}", unit, against=(f"gdb_qemu_{metric}", "QEMU")),
    )


def _design(what: str, metric: str, other: str) -> tuple[Row, Row]:
    against = (f"{other}_hits", other.partition("_")[2]) if other else None
    return (
        Row(what, f"{metric}_hits", "/s", against=against),
        Row("  exceptions a hit", f"{metric}_exceptions", "exceptions"),
    )


_UNHIT: Final = "  with a probe set that is not hit"
GROUPS: Final = {
    "Linux (Debian's kernel, 256 MiB)": (
        Row("first `armprobe linux`: boot to the shell", "boot_seconds", "s", against=("qemu_boot_seconds", "QEMU")),
        Row("the same boot in QEMU (TCG)", "qemu_boot_seconds", "s"),
        Row("next `armprobe linux`: resume, type, see the answer", "resume_seconds", "s", Aim(1.5, at_least=False)),
        Row("peak memory, resumed", "resume_peak_mib", "MiB", Aim(700, at_least=False)),
        Row("peak memory, booted and saved", "boot_peak_mib", "MiB", Aim(700, at_least=False)),
        Row("system calls (dd bs=1: read and write)", "system_calls", "/s", Aim(20_000)),
        Row("instructions a system call", "instructions_a_system_call", "instructions"),
        Row("kprobe hits (vfs_read during dd, handler reads x0)", "linux_hits", "/s"),
    ),
    "Instructions": (
        Row("tight loop, bare Unicorn", "bare_loop_mips", "MIPS"),
        Row("tight loop, bare Unicorn with a count", "counted_loop_mips", "MIPS", against=("bare_loop_mips", "bare")),
        Row("tight loop, armprobe", "loop_mips", "MIPS", against=("bare_loop_mips", "bare")),
        Row(_UNHIT, "loop_probe_set_mips", "MIPS", against=("loop_mips", "without")),
        Row("demo workload", "workload_mips", "MIPS"),
        Row(_UNHIT, "workload_probe_set_mips", "MIPS", against=("workload_mips", "without")),
        Row("  with kfree probed", "workload_probe_hit_mips", "MIPS", against=("workload_mips", "without")),
        Row("Linux (dd)", "linux_mips", "MIPS"),
        Row(_UNHIT, "linux_probe_set_mips", "MIPS", against=("linux_mips", "without")),
    ),
    "Hits, on the demo kernel (kfree called in a loop)": (
        Row("BRKs in bare Unicorn, hook writes PC", "brk_pc", "/s"),
        Row("BRKs in bare Unicorn, hook reads and writes all registers", "brk_context", "/s"),
        Row("  the quicker of the two: the ceiling", "ceiling", "/s"),
        Row("calls, not probed", "calls_unprobed", "/s"),
        Row("kprobe, handler reads x0", "kprobe_hits", "/s", Aim(100_000)),
        Row("  as a share of the ceiling", "share_of_ceiling", "share", Aim(1 / 3)),
        Row("  as a share of the hook that writes PC", "share_of_pc_hook", "share"),
        Row("kprobe, with a post-handler too", "kprobe_post_hits", "/s", against=("kprobe_hits", "kprobe")),
        Row("kprobe, both stages recorded", "kprobe_recorded_hits", "/s", against=("kprobe_hits", "kprobe")),
        Row("  with a condition that is false", "kprobe_false_hits", "/s", against=("kprobe_hits", "kprobe")),
        Row("  ... that reads memory", "kprobe_false_memory_hits", "/s", against=("kprobe_hits", "kprobe")),
        Row("kretprobe, handler reads x0", "kretprobe_hits", "/s", against=("kprobe_hits", "kprobe")),
        Row("kretprobe, both stages recorded", "kretprobe_recorded_hits", "/s", against=("kprobe_hits", "kprobe")),
        Row(
            "  with a condition that is false at the entry",
            "kretprobe_false_hits",
            "/s",
            against=("kprobe_hits", "kprobe"),
        ),
        Row("  ... at the return", "kretprobe_false_return_hits", "/s", against=("kprobe_hits", "kprobe")),
        Row("kprobe on cmp_u32 in the workload, handler reads x0", "workload_hits", "/s", Aim(100_000)),
    ),
    "Designs, on the demo kernel: hits, and exceptions a hit": (
        *_design("brk: a breakpoint behind the slot (v5.10 on)", "step_brk", ""),
        *_design("ss: software step (to v5.9)", "step_ss", "step_brk"),
        *_design("branch: no second exception (never in a kernel)", "step_branch", "step_brk"),
        *_design("an instruction that is simulated", "step_simulated", "step_brk"),
        *_design("trampoline direct: saves the registers (v4.8 on)", "return_direct", ""),
        *_design("trampoline kprobe (before the patch)", "return_kprobe", "return_direct"),
        *_design("trampoline brk (v6.9 on)", "return_brk", "return_direct"),
    ),
    "gdb on QEMU's stub and on armprobe's, by turns (demo kernel)": (
        *_pair("stepi", "stepi", "/s"),
        *_pair("next, in a loop of three lines", "next", "/s"),
        *_pair("breakpoint with a false condition (kfree), gdb evaluates", "hits", "/s"),
        Row("  armprobe, which evaluates", "gdb_armprobe_hits_in_stub", "/s", against=("gdb_qemu_hits", "QEMU")),
        Row(
            "  armprobe's kprobe with a false condition (from above)",
            "kprobe_false_hits",
            "/s",
            against=("gdb_qemu_hits", "QEMU"),
        ),
        Row("  armprobe's kprobe (from above)", "kprobe_hits", "/s", against=("gdb_qemu_hits", "QEMU")),
        *_pair("dump of 64 MiB", "dump", "MiB/s"),
        *_pair("attach", "attach", "ms"),
        *_pair("info all-registers", "all_registers", "ms"),
    ),
}


def main() -> int:
    """Measure all, or what `--only` names, and print the table; the exit status."""
    parser = argparse.ArgumentParser(description="Measures armprobe. Takes about two minutes.")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter repetitions: half a minute")
    parser.add_argument("--only", choices=MEASUREMENTS, metavar="NAME", help=", ".join(MEASUREMENTS))
    parser.add_argument("--once", choices=MEASUREMENTS, help=argparse.SUPPRESS)  # in the process that measures
    options = parser.parse_args()
    scale = 0.25 if options.quick else 1.0
    if options.once:
        print(json.dumps(MEASUREMENTS[options.once].function(scale)))
        return 0
    began = time.monotonic()
    _say("preparing")
    linux_failure = _failure(linux.prepare)
    values: dict[str, list[float]] = {}
    missing: list[str] = []
    for name in [options.only] if options.only else MEASUREMENTS:
        if linux_failure and name in ("resume", "boot", "linux", "qemu-boot"):
            missing.append(f"{name}: {linux_failure}")
            continue
        measurement = MEASUREMENTS[name]
        for i in range(measurement.quick if options.quick else measurement.repetitions):
            _say(f"{name} {i + 1}")
            failure = _once(name, options.quick, values)
            if failure:
                missing.append(f"{name}: {failure}")
                break
    wanted = {t: [r for r in rows if r.metric in values] for t, rows in GROUPS.items()} if options.only else GROUPS
    print(_computer())
    print(table({title: rows for title, rows in wanted.items() if rows}, values))
    for line in missing:
        print(f"\nnot measured: {line}")
    print(f"\n{time.monotonic() - began:.0f} s; each repetition in a process of its own; a ratio is one of medians")
    return 0


def _failure(work: Callable[[], None]) -> str:
    try:
        work()
    except Exception as error:  # whatever it is, the rest can still be measured
        return f"{type(error).__name__}: {error}"
    return ""


def _once(name: str, quick: bool, values: dict[str, list[float]]) -> str:
    """Measure once, in a new process, and add to `values`. What went wrong, if anything did."""
    command = [sys.executable, str(Path(__file__).with_name("run.py")), "--once", name, *(["--quick"] if quick else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
    for metric, value in json.loads(done.stdout).items():
        values.setdefault(metric, []).append(value)
    return ""


def _say(text: str) -> None:
    print(f"... {text}", file=sys.stderr, flush=True)


def _computer() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if "model name" in line), platform.machine())
    load = os.getloadavg()[0]
    return (
        f"{model}, {os.cpu_count()} cores, load average {load:.1f}; Python {platform.python_version()}, "
        f"Unicorn {unicorn.__version__}\n"
    )
