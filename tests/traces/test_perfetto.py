# SPDX-License-Identifier: GPL-2.0-or-later
"""Traces of Perfetto's format, read by Perfetto's own description of it."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from armprobe.probes import Kprobes, Stage
from armprobe.probes.record import TICK
from armprobe.traces import HitTable
from armprobe.traces.formats import Saved, perfetto, save

from .recorded import NAMES, one_task


class Slice(NamedTuple):
    """A slice of a track; without an end for what has none, the same as the beginning for an instant."""

    start: int
    end: int | None
    name: str
    depth: int
    arguments: dict[str, Any]


class Trace:
    """What is in a trace: tracks by number, the slices of each, and the values of counters."""

    def __init__(self, file: Path) -> None:
        protos = pytest.importorskip("perfetto.protos.perfetto.trace.perfetto_trace_pb2")
        kinds, trace = protos.TrackEvent, protos.Trace()
        trace.ParseFromString(file.read_bytes())
        self.packets = trace.packet
        self.tracks: dict[int, Any] = {}
        self.slices: dict[int, list[Slice]] = defaultdict(list)
        self.counters: dict[str, list[int]] = defaultdict(list)
        open_slices: dict[int, list[int]] = defaultdict(list)
        for packet in trace.packet:
            if packet.HasField("track_descriptor"):
                self.tracks[packet.track_descriptor.uuid] = packet.track_descriptor
                continue
            event, time = packet.track_event, packet.timestamp
            slices, depths = self.slices[event.track_uuid], open_slices[event.track_uuid]
            arguments = {each.name: getattr(each, each.WhichOneof("value")) for each in event.debug_annotations}
            if event.type == kinds.TYPE_SLICE_END:
                place = depths.pop()
                slices[place] = slices[place]._replace(end=time, arguments=slices[place].arguments | arguments)
            elif event.type == kinds.TYPE_COUNTER:
                self.counters[self.tracks[event.track_uuid].name].append(event.counter_value)
            else:
                instant = event.type == kinds.TYPE_INSTANT
                slices.append(Slice(time, time if instant else None, event.name, len(depths), arguments))
                depths += [] if instant else [len(slices) - 1]

    def of(self, name: str) -> list[Slice]:
        """The slices of the one track, or thread, of that name."""
        (track,) = (number for number, each in self.tracks.items() if name in (each.name, each.thread.thread_name))
        return self.slices[track]


def test_calls_and_graphs_are_slices(tmp_path: Path) -> None:
    """With the times, registers and results of the hits, and the nesting of the graph; each hit is counted."""
    kprobes = one_task(graph="tree_round")
    save(kprobes, tmp_path / "a.pftrace")
    trace = Trace(tmp_path / "a.pftrace")
    slices = trace.of("task;1 x")
    entries = [hit for hit in kprobes.hits if hit.stage in (Stage.ENTRY, Stage.PRE)]
    returns = {(hit.probe.name, hit.number): hit for hit in kprobes.hits if hit.stage is Stage.RETURN}
    for found, hit in zip(slices, entries, strict=True):
        assert (found.start, found.name) == (hit.ticks * TICK, hit.probe.name)
        assert {name: found.arguments[name] for name in hit.recorded} == hit.recorded
        assert found.arguments["position"] == hit.instructions
        if hit.stage is Stage.ENTRY:
            returned = returns[hit.probe.name, hit.number]
            assert found.end == returned.ticks * TICK
            assert found.arguments["retval"] == f"{returned.words[0]:#x}"
        else:
            assert found.end == found.start
    assert {each.depth for each in slices} == {0, 1}
    assert trace.counters == {
        name: list(range(1, count + 1)) for name, count in (("kmalloc", 52), ("kfree", 52), ("tree_round", 1))
    }
    (graph,) = kprobes.watches.graphs
    calls = graph.calls()
    nested = [(each.start, each.name, each.depth) for each in trace.of("funcgraph tree_round")]
    assert nested == [(call.ticks * TICK, call.function.name, call.depth) for call in calls if not call.returns]
    ends = sorted(each.end for each in trace.of("funcgraph tree_round") if each.end is not None)
    assert ends == [call.ticks * TICK for call in calls if call.returns]
    assert {depth for *_, depth in nested} == {0, 1, 2}


def test_tasks_are_tracks(kprobes: Kprobes, tmp_path: Path) -> None:
    """Whatever they are called. What was lost is said."""
    with open(tmp_path / "a.pftrace", "wb") as file:
        perfetto.write(Saved(kprobes, kprobes.hits.table, 5), file)
    trace = Trace(tmp_path / "a.pftrace")
    threads = {each.thread.tid: each.thread.thread_name for each in trace.tracks.values() if each.thread.tid}
    assert threads == dict(enumerate(NAMES, 1))
    assert trace.packets[0].previous_packet_dropped
    instants = [each for slices in trace.slices.values() for each in slices if each.end == each.start]
    notes = {each.arguments["note"] for each in instants if each.name == "kfree"}
    assert notes == {hit.note for hit in kprobes.hits.traced() if hit.probe.name == "kfree"}


def test_a_call_without_an_end(tmp_path: Path) -> None:
    """It has none in the trace. What is inside a call whose own return is missing ends with the call around it."""
    kprobes = one_task()
    hits = list(kprobes.hits)
    last = next(place for place, hit in enumerate(hits) if hit.probe.name == "tree_round")
    inner = next(hit for hit in hits[last + 1 :] if hit.probe.name == "kmalloc")
    without = [hit for hit in hits if (hit.probe, hit.number, hit.stage) != (inner.probe, inner.number, Stage.RETURN)]
    for part, unfinished in (hits[: last + 1], 1), (without, 0):
        with open(tmp_path / "a.pftrace", "wb") as file:
            perfetto.write(Saved(kprobes, HitTable(part, kprobes), 0), file)
        slices = Trace(tmp_path / "a.pftrace").of("task;1 x")
        assert sum(each.end is None for each in slices) == unfinished
    end = next(each.end for each in slices if each.name == "tree_round")
    assert end == next(each.end for each in slices if each.start == inner.ticks * TICK)
