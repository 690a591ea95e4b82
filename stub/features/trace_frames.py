# SPDX-License-Identifier: GPL-2.0-or-later
"""QTFrame, qTBuffer, qXfer:traceframe-info: selecting frames of collected data, and downloading them.

GDB manual, "Tracepoint Packets" and "Traceframe Info Format". While a frame is selected, registers and memory are those
of the frame (features `registers` and `memory`).
"""

from collections.abc import Callable

from armprobe.stub.feature import Document, Feature, PacketKind
from armprobe.stub.framing import PACKET_SIZE
from armprobe.stub.target import Tracepoints
from armprobe.stub.tracing import TraceFrame
from armprobe.stub.wire import MalformedPacket, number, span, to_hex

_NONE = (0xFFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF)  # -1, as gdb writes it: the live machine
_MOST = PACKET_SIZE // 2

Wanted = int | Callable[[TraceFrame], bool]
"""A frame's number, or a test that the next frame must pass."""


def _parse(fields: bytes) -> Wanted:
    kind, *places = fields.split(b":")
    match kind, [number(place) for place in places]:
        case b"pc", [pc]:
            return lambda frame: frame.pc == pc
        case b"tdp", [tracepoint]:
            return lambda frame: frame.number == tracepoint
        case b"range", [start, end]:
            return lambda frame: start <= frame.pc <= end
        case b"outside", [start, end]:
            return lambda frame: not start <= frame.pc <= end
        case frame, []:
            return -1 if frame == b"-1" else number(frame)
    raise MalformedPacket("a frame is asked for by number, pc, tdp, range or outside")


class TraceFrames(Feature[Tracepoints]):
    def select(self, wanted: Wanted) -> bytes:
        trace = self.connection.trace
        frames = trace.experiment.buffer.frames
        if callable(wanted):
            first = 0 if trace.frame is None else trace.frame_number + 1
            found = next((i for i in range(first, len(frames)) if wanted(frames[i])), None)
        elif wanted == -1 or wanted in _NONE:
            trace.frame = None
            return b"OK"
        else:
            found = wanted if wanted < len(frames) else None
        if found is None:
            return b"F-1"
        trace.frame, trace.frame_number = frames[found], found
        return b"F%xT%x" % (found, frames[found].number)

    def read(self, piece: tuple[int, int]) -> bytes:
        offset, length = piece
        return to_hex(self.connection.trace.experiment.buffer.read(offset, min(length, _MOST))) or b"l"

    def describe(self, annex: str) -> str | None:
        frame = self.connection.trace.frame
        if annex or frame is None:
            return None
        memory = "".join(f'<memory start="{at:#x}" length="{len(data):#x}"/>\n' for at, data in frame.memory)
        variables = "".join(f'<tvar id="{number:#x}"/>\n' for number in frame.variables)
        return f'<?xml version="1.0"?>\n<traceframe-info>\n{memory}{variables}</traceframe-info>\n'

    packets = (
        PacketKind("QTFrame", _parse, select, uncontrolled=True),
        PacketKind("qTBuffer", span, read, reads=True, uncontrolled=True),
    )
    documents = (Document("traceframe-info", describe, uncontrolled=True),)
