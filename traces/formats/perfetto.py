# SPDX-License-Identifier: GPL-2.0-or-later
"""Hits as a trace of Perfetto's own format, by Perfetto's own library.

Each task is a track. A call that a kretprobe saw is a slice, any other hit an instant, and each probe has a counter of
its hits. The calls of a funcgraph that is set are slices of a track below that of their task. See
https://perfetto.dev/docs/reference/synthetic-track-event.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

from armprobe.kernel.tasks import Task
from armprobe.probes import FunctionGraph, Hit, Stage
from armprobe.probes.record import TICK
from armprobe.traces.columns import is_traced
from armprobe.traces.libraries import library
from armprobe.traces.stacks import UNKNOWN, events, function_name

from .saved import Saved

_MARK: Final = b"recorded by armprobe"
_BEGINNING: Final = 64
"""Bytes in which the mark is: the description of the first track."""
_GUEST: Final = 1  # the process that all tasks are in, and its track
_SEQUENCE: Final = 1
_NO_TASK: Final = (1 << 22) + 1
"""The number of a task that is not known or has the number 0, which Perfetto takes for no thread. All other numbers are
below (PID_MAX_LIMIT, include/linux/threads.h)."""


def write(saved: Saved, file: BinaryIO) -> None:
    """Write the packets. Raises TraceError without Perfetto's library."""
    protos = library("perfetto.protos.perfetto.trace.perfetto_trace_pb2", "a trace for Perfetto")
    for packet in _Packets(saved, protos).all():
        file.write(protos.Trace(packet=[packet]).SerializeToString())


def is_ours(file: BinaryIO) -> bool:
    """Whether armprobe has made the file: the description of its first track says so."""
    return _MARK in file.read(_BEGINNING)


class _Packets:
    def __init__(self, saved: Saved, protos: Any) -> None:
        self._saved, self._protos = saved, protos
        self._symbols = saved.kprobes.machine.symbols
        self._tracks: dict[object, int] = {}  # their numbers
        self._named: dict[int, str] = {}  # tasks

    def all(self) -> Iterator[Any]:
        descriptor = self._protos.TrackDescriptor(uuid=_GUEST, description=_MARK.decode())
        descriptor.process.pid = _GUEST
        descriptor.process.process_name = "guest"
        packet = self._packet(track_descriptor=descriptor)
        packet.previous_packet_dropped = int(bool(self._saved.lost))
        packet.sequence_flags = self._protos.TracePacket.SEQ_INCREMENTAL_STATE_CLEARED
        yield packet
        yield from self._hits()
        for graph in self._saved.kprobes.watches.graphs:
            yield from self._graph(graph)

    def _hits(self) -> Iterator[Any]:
        counts: Counter[str] = Counter()
        kinds = self._protos.TrackEvent
        open_calls: dict[int, list[Hit]] = {}
        for event in events(self._saved.table):
            hit = event.hit
            yield from self._task(hit.task)
            track = self._track(hit.task)
            calls = open_calls.setdefault(track, [])
            if hit.stage is Stage.ENTRY and hit.probe.kind == "kretprobe":
                calls.append(hit)
                yield self._event(hit, kinds.TYPE_SLICE_BEGIN, track)
            elif event.entry in calls:
                while calls.pop() is not event.entry:  # one whose return is missing
                    yield self._packet(hit.ticks, track_event=kinds(type=kinds.TYPE_SLICE_END, track_uuid=track))
                yield self._event(hit, kinds.TYPE_SLICE_END, track)
            elif is_traced(hit):
                yield self._event(hit, kinds.TYPE_INSTANT, track)
            if is_traced(hit):
                name = hit.probe.name
                if name not in self._tracks:
                    counter = self._protos.CounterDescriptor(unit_name="hits")
                    yield self._new_track(name, name=_text(name), counter=counter)
                counts[name] += 1
                counted = kinds(type=kinds.TYPE_COUNTER, track_uuid=self._tracks[name], counter_value=counts[name])
                yield self._packet(hit.ticks, track_event=counted)

    def _graph(self, graph: FunctionGraph) -> Iterator[Any]:
        kinds = self._protos.TrackEvent
        depths: Counter[int] = Counter()
        for call in graph.calls():
            yield from self._task(call.task)
            key = graph, call.thread
            if key not in self._tracks:
                yield self._new_track(key, name=f"funcgraph {_text(graph.given)}", parent=self._track(call.task))
            track = self._tracks[key]
            if not call.returns:
                depths[track] += 1
                began = kinds(type=kinds.TYPE_SLICE_BEGIN, track_uuid=track, name=_text(call.function.name))
                began.categories.append("funcgraph")
                began.debug_annotations.add(name="position", uint_value=call.instructions)
                yield self._packet(call.ticks, track_event=began)
            elif depths[track]:  # its entry is there
                depths[track] -= 1
                yield self._packet(call.ticks, track_event=kinds(type=kinds.TYPE_SLICE_END, track_uuid=track))

    def _task(self, task: Task | None) -> Iterator[Any]:
        """The packet that describes the track of a task, if it is new or has a new name."""
        number = task.pid if task is not None and task.pid else _NO_TASK
        comm = task.comm if task is not None else UNKNOWN
        if self._named.get(number) != comm:
            self._named[number] = comm
            thread = self._protos.ThreadDescriptor(pid=_GUEST, tid=number, thread_name=_text(comm))
            yield self._new_track(number, thread=thread)

    def _track(self, task: Task | None) -> int:
        return self._tracks[task.pid if task is not None and task.pid else _NO_TASK]

    def _new_track(self, key: object, parent: int = _GUEST, **fields: Any) -> Any:
        number = self._tracks.setdefault(key, len(self._tracks) + _GUEST + 1)
        return self._packet(track_descriptor=self._protos.TrackDescriptor(uuid=number, parent_uuid=parent, **fields))

    def _event(self, hit: Hit, kind: int, track: int) -> Any:
        """What happens at a hit. A slice has the registers of its beginning, and the results of its end."""
        kinds = self._protos.TrackEvent
        event = kinds(type=kind, track_uuid=track)
        if kind != kinds.TYPE_SLICE_END:
            event.name = _text(function_name(self._symbols, hit))
            event.categories.append(hit.probe.kind)
            for name, word in {"position": hit.instructions, "hit": hit.number}.items():
                event.debug_annotations.add(name=name, uint_value=word)
            for name, word in hit.recorded.items():
                event.debug_annotations.add(name=name, pointer_value=word)
        if is_traced(hit):
            for name, text in self._results(hit).items():
                event.debug_annotations.add(name=_text(name), string_value=_text(text))
        return self._packet(hit.ticks, track_event=event)

    def _results(self, hit: Hit) -> dict[str, str]:
        """What the stage that `trace` shows has beside the registers."""
        found = {"note": hit.note} if hit.note else {}
        if hit.stage is Stage.RETURN:
            found["returns to"] = self._symbols.describe(hit.caller or 0)
            if hit.words[0] is not None:
                found["retval"] = f"{hit.words[0]:#x}"
        arguments = self._saved.table.arguments(hit)
        return found | {name: "(fault)" if text is None else text for name, text in arguments.items()}

    def _packet(self, ticks: int | None = None, **content: Any) -> Any:
        packet = self._protos.TracePacket(trusted_packet_sequence_id=_SEQUENCE, **content)
        if ticks is not None:
            packet.timestamp = ticks * TICK
        return packet


def _text(text: str) -> str:
    """A name of the guest's as UTF-8 has it."""
    return text.encode("utf-8", "backslashreplace").decode()
