# SPDX-License-Identifier: GPL-2.0-or-later
"""QTStart, QTStop, qTStatus, QTDisconnected, QTBuffer, QTNotes: running a trace experiment.

GDB manual, "Tracepoint Packets".
"""

import errno

from armprobe.stub.feature import Feature, PacketKind
from armprobe.stub.target import TargetError, Tracepoints
from armprobe.stub.tracing.frames import DEFAULT_SIZE, MOST_SIZE
from armprobe.stub.wire import MalformedPacket, hex_text, nothing, number, quote, split, to_hex

_MOST_NOTE = 1 << 16  # characters


def _flag(field: bytes) -> bool:
    if field not in (b"0", b"1"):
        raise MalformedPacket("it is on, 1, or off, 0")
    return field == b"1"


def _parse_buffer(fields: bytes) -> tuple[bytes, int]:
    what, value = split(fields, b":", 2)
    if what == b"circular":
        return what, _flag(value)
    if what == b"size":
        return what, DEFAULT_SIZE if value == b"-1" else number(value, MOST_SIZE + 1)
    raise MalformedPacket(f"a trace buffer has a size and may be circular, but {quote(what)}?")


def _parse_notes(fields: bytes) -> dict[str, str]:
    notes = {}
    for part in filter(None, fields.split(b";")):
        what, text = split(part, b":", 2)
        if what not in (b"user", b"notes", b"tstop"):
            raise MalformedPacket(f"{quote(what)} is no note of an experiment")
        notes[what.decode()] = hex_text(text)[:_MOST_NOTE]
    return notes


class Tracing(Feature[Tracepoints]):
    words = ("DisconnectedTracing+", "QTBuffer:size+")

    def released(self) -> None:
        self.connection.trace.experiment.client_left()

    def start(self, _: None) -> bytes:
        self.connection.trace.frame = None
        self.connection.trace.experiment.start()
        return b"OK"

    def stop(self, _: None) -> bytes:
        self.connection.trace.experiment.stop("tstop")
        return b"OK"

    def status(self, _: None) -> bytes:
        experiment = self.connection.trace.experiment
        buffer = experiment.buffer
        reason, text, tracepoint = experiment.reason
        text = text or (experiment.notes["tstop"] if reason == "tstop" else "")
        told = to_hex(text) + b":" if reason in ("terror", "tstop") else b""  # without one gdb 13's tsave crashes
        fields = [
            b"T%d" % experiment.running,
            b"%b:%b%x" % (reason.encode(), told, tracepoint),
            b"tframes:%x" % len(buffer.frames),
            b"tcreated:%x" % buffer.created,
            b"tfree:%x" % max(0, buffer.size - buffer.used),  # the size may be meant for the next experiment
            b"tsize:%x" % buffer.size,
            b"circular:%d" % buffer.circular,
            b"disconn:%d" % experiment.outlasts_client,
            b"starttime:%x" % experiment.started,
            b"stoptime:%x" % experiment.stopped,
            b"username:%b:" % to_hex(experiment.notes["user"]),
            b"notes:%b:" % to_hex(experiment.notes["notes"]),
        ]
        return b";".join(fields)

    def set_disconnected(self, outlasts: bool) -> bytes:
        self.connection.trace.experiment.outlasts_client = outlasts
        return b"OK"

    def set_buffer(self, setting: tuple[bytes, int]) -> bytes:
        what, value = setting
        experiment = self.connection.trace.experiment
        buffer = experiment.buffer
        if what == b"circular":
            buffer.circular = bool(value)
        elif experiment.running and value < buffer.used:
            raise TargetError(
                errno.EBUSY, f"the buffer has {buffer.used} bytes of frames in it: end the experiment first"
            )
        else:
            buffer.size = value
        return b"OK"

    def set_notes(self, notes: dict[str, str]) -> bytes:
        self.connection.trace.experiment.notes |= notes
        return b"OK"

    packets = (
        PacketKind("QTStart", nothing, start, uncontrolled=True),
        PacketKind("QTStop", nothing, stop, uncontrolled=True),
        PacketKind("qTStatus", nothing, status, reads=True, uncontrolled=True),
        PacketKind("QTDisconnected", _flag, set_disconnected, uncontrolled=True),
        PacketKind("QTBuffer", _parse_buffer, set_buffer, uncontrolled=True),
        PacketKind("QTNotes", _parse_notes, set_notes, uncontrolled=True),
    )
