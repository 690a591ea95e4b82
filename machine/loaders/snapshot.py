# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine's whole state, taken and put back in the same process; `snapshot_file` keeps it in files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from armprobe.machine.core import cpu_state

if TYPE_CHECKING:
    from armprobe.machine.machine import Machine


@dataclass(frozen=True)
class Snapshot:
    """A machine's state at one instruction: CPU context, devices, clock, and the bytes of its memories."""

    context: bytes
    state: dict[str, Any]
    memories: tuple[bytes, ...]


def take(machine: Machine, memories: bool = True) -> Snapshot:
    """The state of a stopped machine, with or without the contents of its memories."""
    machine.core.refuse_other_threads()
    machine.core.context.load()
    contents = tuple(bytes(ram.data) for ram in machine.bus.rams) if memories else ()
    return Snapshot(machine.core.context.save(), state(machine), contents)


def put_back(machine: Machine, snapshot: Snapshot) -> None:
    """Make `machine`, from which `snapshot` was taken, what it was then."""
    for ram, data in zip(machine.bus.rams, snapshot.memories, strict=bool(snapshot.memories)):
        ram.data[:] = data
    core = machine.core
    armed = cpu_state.breakpoints(core)
    set_state(machine, snapshot.state)
    core.context.restore(snapshot.context)
    core.context.store()
    restored(machine, armed)


class Part(Protocol):
    """What has state: the names of the attributes that hold all of it, as JSON can."""

    @property
    def STATE(self) -> tuple[str, ...]: ...


def _parts(machine: Machine) -> dict[str, Part]:
    parts: dict[str, Part] = {
        "clock": machine.clock,
        "gic": machine.gic,
        "uart": machine.uart,
        "devices": machine.devices,
        "counter_access": machine.core.counter_access,
        "guest_debug": machine.core.guest_debug,
        "pmu": machine.core.pmu,
        "run_loop": machine.core.run_loop,
        "calls": machine.calls,
        "software_step": machine.core.software_step,
    }
    return parts | {timer.name: timer for timer in machine.core.timers.values()} | machine.parts


def state(machine: Machine) -> dict[str, Any]:
    """The state of all parts but the CPU and the memories, as JSON can hold it."""
    parts = _parts(machine)
    found: dict[str, Any] = {name: state_of(part) for name, part in parts.items()}
    found["scratch"] = _copied(machine.scratch.state())
    found["register_sites"] = [[address, int(access)] for address, access in sorted(machine.core.register_access.sites)]
    return found


def state_of(part: Part) -> dict[str, Any]:
    """All that `part` has, as a copy that owns all it holds."""
    return _copied({key: getattr(part, key) for key in part.STATE})


def _copied(state: dict[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(state))  # type: ignore[no-any-return]


def set_state(machine: Machine, state: dict[str, Any]) -> None:
    """Give the parts of `machine` the state that `state` gave; `restored` is called when the CPU has its own too."""
    for name, part in _parts(machine).items():
        # A part that is not in it is younger, and goes back to what it was at first.
        for key, value in _copied(state.get(name, machine.initial.state[name])).items():
            setattr(part, key, value)
    machine.scratch.set_state(state["scratch"])
    machine.core.register_access.watch((address, access) for address, access in state["register_sites"])


def restored(machine: Machine, armed: dict[str, int]) -> None:
    """The machine has another state: nothing that was worked out from the one before is right any more.

    `armed` are the guest's breakpoints that the engine heeds.
    """
    core = machine.core
    core.changes += 1
    core.refresh()
    core.forget_translations()
    cpu_state.arm_breakpoints(core, machine.scratch.ram, armed)
    machine.scheduler.forget()
    for callback in machine.on_restore:
        callback()
