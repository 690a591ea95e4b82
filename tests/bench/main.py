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

from tests.bench import (
    demo,
    designs,
    linux,
    one_liners,
    own_tracer,
    past,
    peers,
    prototype_checkpoint,
    qemu_past,
    stubs,
    system_calls,
)
from tests.bench.rows import GROUPS
from tests.bench.svg import plot
from tests.bench.table import table


class Measurement(NamedTuple):
    """A function that measures, and how often it is to: each time in a new process."""

    function: Callable[[float], dict[str, float]]
    repetitions: int
    quick: int


MEASUREMENTS: Final = {
    "instructions": Measurement(demo.instruction_rates, 5, 2),
    "workload": Measurement(demo.workload_times, 5, 2),
    "optimised": Measurement(demo.optimised_rates, 5, 2),
    "handlers": Measurement(demo.handler_rates, 5, 2),
    "designs": Measurement(designs.rates, 3, 1),
    "resume": Measurement(linux.resume, 5, 2),
    "boot": Measurement(linux.boot, 3, 1),
    "qemu-boot": Measurement(peers.qemu_boot, 3, 1),
    "linux": Measurement(linux.rates, 3, 1),
    "system": Measurement(linux.system, 3, 1),
    "kernel-views": Measurement(linux.kernel_views, 3, 1),
    "attaches": Measurement(linux.attaches, 3, 1),
    "drgn-views": Measurement(linux.drgn_views, 3, 1),
    "qemu-views": Measurement(peers.qemu_views, 3, 1),
    "armed": Measurement(linux.armed, 3, 1),
    "hit-cost": Measurement(linux.hit_costs, 3, 1),
    "one-liners": Measurement(one_liners.costs, 3, 1),
    "own-tracer": Measurement(own_tracer.costs, 3, 1),
    "linux-steps": Measurement(past.linux_steps, 3, 1),
    "linux-ways": Measurement(past.linux_ways, 3, 1),
    "linux-second": Measurement(past.linux_second, 3, 1),
    "qemu-past": Measurement(qemu_past.going_back, 1, 1),
    "demo-steps": Measurement(past.demo_steps, 3, 1),
    "history-cost": Measurement(past.history_cost, 3, 1),
    "calls-of-boot": Measurement(past.calls_of_boot, 3, 1),
    "checkpoint": Measurement(prototype_checkpoint.checkpoints, 3, 1),
    "qemu-hit-cost": Measurement(peers.qemu_hit_cost, 3, 1),
    "system-calls": Measurement(system_calls.rates, 3, 1),
    "gdb-one-core": Measurement(stubs.one_core, 3, 1),
    "gdb-two-cores": Measurement(stubs.two_cores, 3, 1),
}
_OF_LINUX: Final = {linux, one_liners, own_tracer, past, peers, prototype_checkpoint, qemu_past, system_calls}
"""The modules whose measurements need the kernel."""


def main() -> int:
    """Measure all, or what `--only` names, and print the table; the exit status."""
    parser = argparse.ArgumentParser(description="Measures armprobe. Takes some minutes.")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter repetitions")
    parser.add_argument("--only", choices=MEASUREMENTS, metavar="NAME", help=", ".join(MEASUREMENTS))
    parser.add_argument("--svg", type=Path, metavar="FILE", help="write a plot of the rows that have an aim")
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
        if linux_failure and sys.modules[MEASUREMENTS[name].function.__module__] in _OF_LINUX:
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
    if options.svg:
        options.svg.write_text(plot(wanted, values))
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
