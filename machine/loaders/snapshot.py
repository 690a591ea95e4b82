# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine's whole state, taken and put back in the same process; `snapshot_file` keeps it in files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from armprobe.machine.machine import Machine


@dataclass(frozen=True)
class Snapshot:
    """A machine's state at one instruction: that of each part by its name, and the bytes of its memories."""

    state: dict[str, Any]
    memories: tuple[bytes, ...]


def take(machine: Machine) -> Snapshot:
    """The state of a stopped machine."""
    return Snapshot(machine.state.save(), tuple(bytes(ram.data) for ram in machine.bus.rams))


def put_back(machine: Machine, snapshot: Snapshot) -> None:
    """Make `machine`, from which `snapshot` was taken, what it was then."""
    for ram, data in zip(machine.bus.rams, snapshot.memories, strict=True):
        ram.data[:] = data
    machine.state.restore(snapshot.state)
