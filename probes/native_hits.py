# SPDX-License-Identifier: GPL-2.0-or-later
"""Hits, made of the records of the C core."""

from __future__ import annotations

from collections.abc import Mapping

from armprobe.kernel.tasks import Task
from armprobe.machine.native import program
from armprobe.machine.native.places import Record

from .kprobe import Kprobe
from .record import Hit, Stage


def native_hit(probe: Kprobe, record: Record, note: str, memory: program.Note | None) -> Hit:
    """The hit of `probe` that C has recorded. `memory` is the note that has the memory of its `recording`."""
    owner, recording = probe.owner, probe.owner.recording
    stage = owner.stages[record.stage]
    caller = record.caller if stage is Stage.RETURN else None
    task = None
    if record.task_known:
        task = Task(bytes(record.comm).partition(b"\0")[0].decode("utf-8", "replace"), record.pid)
    executed = record.executed
    ticks = executed + record.idle
    general = bytes(record.x)
    if recording is None:
        return Hit(owner, stage, record.number, executed, ticks, general, record.pstate, caller, task, note)
    data: Mapping[str, bytes | str | None] = {}
    if record.memory and memory is not None:
        addresses, found = memory.decoded(record.memory_data)
        bytes_ = iter(found)
        data = recording.data(
            {name: next(bytes_) if address else None for name, address in zip(recording.fields, addresses, strict=True)}
        )
    missing = recording.missing
    return Hit(owner, stage, record.number, executed, ticks, general, record.pstate, caller, task, note, data, missing)
