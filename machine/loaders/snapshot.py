# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine's whole state, taken and restored in the same process. `snapshot_file` stores it in files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from armprobe.machine.machine import Machine


@dataclass(frozen=True)
class Snapshot:
    """A machine's state at one instruction: the state of each part by name, and the bytes of its memories."""

    state: dict[str, Any]
    memories: tuple[bytes, ...]


def take(machine: Machine) -> Snapshot:
    """The state of a stopped machine."""
    return Snapshot(machine.state.save(), tuple(bytes(ram.data) for ram in machine.bus.rams))


def put_back(machine: Machine, snapshot: Snapshot) -> None:
    """Put `machine` back to `snapshot`, which was taken from it."""
    for ram, data in zip(machine.bus.rams, snapshot.memories, strict=True):
        ram.data[:] = data
    machine.state.restore(snapshot.state)
