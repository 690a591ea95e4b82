# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine's whole state, taken and restored in the same process. `snapshot_file` stores it in files."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from armprobe.machine.errors import MachineError
from armprobe.machine.time.checkpoint import Checkpoint

if TYPE_CHECKING:
    from armprobe.machine.machine import Machine


class Snapshot:
    """A machine's state at one instruction: a checkpoint that is dropped with it.

    `position` is the machine's count of instructions, and `state` has the state of each part by name.
    """

    def __init__(self, machine: Machine, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.position: int = checkpoint.position
        self.state: dict[str, Any] = checkpoint.state
        self._machine = weakref.ref(machine)
        weakref.finalize(self, machine.checkpoints.drop_soon, checkpoint)

    def is_of(self, machine: Machine) -> bool:
        """Whether it was taken from `machine`."""
        return self._machine() is machine


def take(machine: Machine) -> Snapshot:
    """The state of a stopped machine."""
    return Snapshot(machine, machine.checkpoints.take())


def put_back(machine: Machine, snapshot: Snapshot) -> None:
    """Put `machine` back to `snapshot`. Raises MachineError if it was taken from another machine."""
    if not snapshot.is_of(machine):
        raise MachineError("a snapshot can be restored in the machine that it was taken from only: save it to a file")
    machine.checkpoints.restore(snapshot.checkpoint)
