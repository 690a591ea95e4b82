# SPDX-License-Identifier: GPL-2.0-or-later
"""Who may change the guest without announcing it as input.

The functions that write registers, memory and devices without announcing it are called by the modules that are listed
here, and by no others.
"""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
ROOMS = ("machine", "kernel", "expressions", "probes", "traces", "stub", "session", "clients", "commands", "guests")
DOORS = {"machine/core/registers.py", "machine/memory/memory.py", "machine/machine.py", "machine/semihosting.py"}
"""Where input enters and is announced."""

WRITERS: dict[str, set[str]] = {
    # Memory: physical, and by virtual address
    "bus.write": {
        *DOORS - {"machine/core/registers.py", "machine/semihosting.py"},
        "machine/core/access_stop.py",  # undoes an access that a watchpoint stops before
        "machine/devices/devices.py",  # the device tree, before the guest's first instruction
        "probes/saved_frame.py",  # pt_regs on the stack, which the trampoline restores
    },
    "memory.put": {
        "machine/semihosting.py",
        "probes/arming.py",  # breakpoints and slots
        "probes/slots.py",
        "probes/suspended_breakpoints.py",
        "probes/unwind.py",  # return addresses that calls get back
    },
    "scratch.write": {
        "kernel/kworker.py",  # what a thread of the guest's kernel executes and is given
        "probes/guest_trampoline.py",
        "probes/kretprobe_engine.py",
    },
    "scratch.write_code": {
        "machine/core/call.py",
        "machine/core/software_step.py",
        "probes/hit_stops.py",
        "probes/jprobe_engine.py",
        "probes/kretprobe_engine.py",
        "probes/slots.py",
    },
    # Registers
    "registers.put": {"machine/core/cpu_state.py"},
    "core.set_system": {
        "machine/core/registers.py",
        "machine/core/cpu_state.py",
        "machine/core/guest_debug.py",
        "machine/time/counter_access.py",
    },
    "core.set_vector": {"machine/core/registers.py"},
    "core.store": {
        "machine/core/cpu_state.py",
        "machine/core/registers.py",
        "machine/semihosting.py",
    },
    "context.store": {
        "machine/core/access_stop.py",
        "machine/core/call.py",
        "machine/core/core.py",
        "machine/core/cpu_state.py",
        "machine/core/dispatch.py",
        "machine/core/run_loop.py",
        "machine/core/software_step.py",
        "machine/machine.py",
        "probes/engine.py",
        "probes/kretprobe_engine.py",
        "probes/return_stops.py",
    },
    "engine.reg_write": {
        "machine/core/calibration.py",
        "machine/core/core.py",
        "machine/core/engine.py",
        "machine/core/register_access.py",
        "machine/core/registers.py",
    },
    # Devices
    "uart.receive": {"machine/machine.py", "machine/time/history.py"},
    "uart.take": {"machine/semihosting.py"},
    "gic.set_line": {
        "machine/core/core.py",  # the PMU and the timers
        "machine/devices/devices.py",
        "machine/time/history.py",  # what was announced enters again
    },
    "clock.skip_to": {
        "machine/machine.py",
        "machine/scheduler.py",  # to the next timer
        "machine/time/history.py",
        "machine/time/replay.py",  # to the time at which an input entered
    },
    "master_write": {"machine/devices/device.py"},
}


def last_names(function: ast.expr) -> str:
    """The last two names of what is called, without underscores before: `self._machine.bus.write` is "bus.write"."""
    names = []
    while isinstance(function, ast.Attribute):
        names.append(function.attr)
        function = function.value
    if isinstance(function, ast.Name):
        names.append(function.id)
    return ".".join(name.lstrip("_") for name in reversed(names[:2]))


def callers() -> dict[str, set[str]]:
    """The files that call each of `WRITERS`."""
    found: dict[str, set[str]] = {writer: set() for writer in WRITERS}
    for room in ROOMS:
        for file in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Call) and (name := last_names(node.func)) in found:
                    found[name].add(str(file.relative_to(ROOT)))
    return found


def test_who_writes_without_announcing_it() -> None:
    found = callers()
    assert {writer: files - WRITERS[writer] for writer, files in found.items() if files - WRITERS[writer]} == {}
    assert {writer: WRITERS[writer] - files for writer, files in found.items() if WRITERS[writer] - files} == {}


ON_THE_HOST = {
    "machine/host_files.py",  # names of temporary files
    "machine/native/aggregate.py",  # where a key is in its hash table, which the guest must not choose
    "machine/native/histogram.py",  # the same
    "machine/time/clock.py",  # pacing, which the scheduler announces
    "machine/time/pacing.py",  # when to take a checkpoint, which the guest does not notice
}


def test_nothing_else_of_the_guest_depends_on_the_host() -> None:
    """Its clock, or chance."""
    found = set()
    for room in ("machine", "kernel", "expressions", "probes", "traces"):
        for file in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
                if set(names) & {"time", "datetime", "random", "secrets", "uuid"}:
                    found.add(str(file.relative_to(ROOT)))
        for source in (*(ROOT / room).rglob("*.c"), *(ROOT / room).rglob("*.h")):
            if re.search(
                r"#include <(sys/)?(time|random)\.h>|\b(rand|clock_gettime|gettimeofday)\(", source.read_text()
            ):
                found.add(str(source.relative_to(ROOT)))
    assert found == ON_THE_HOST


def test_nobody_else_writes_to_the_bytes_of_memory() -> None:
    """`ram.data[...] = ...`."""
    found = set()
    for file in [*(ROOT / "machine").rglob("*.py"), *(ROOT / "probes").rglob("*.py"), *(ROOT / "kernel").rglob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text())):
            for target in node.targets if isinstance(node, ast.Assign) else ():
                if isinstance(target, ast.Subscript) and last_names(target.value).endswith("ram.data"):
                    found.add(str(file.relative_to(ROOT)))
    assert found == {
        "machine/core/cpu_state.py",  # code that has the engine heed the guest's breakpoints, undone at once
        "machine/memory/bus.py",
        "machine/memory/scratch.py",
    }
