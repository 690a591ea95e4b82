# SPDX-License-Identifier: GPL-2.0-or-later
"""H, T, qC, qfThreadInfo, qsThreadInfo, qThreadExtraInfo, qXfer:threads: the one CPU as thread 1.

GDB manual, "General Query Packets" and "Thread List Format".
"""

import errno

from armprobe.stub.feature import Document, Feature, PacketKind
from armprobe.stub.target import Target
from armprobe.stub.wire import MalformedPacket, names_the_thread, nothing, quote, thread_id, to_hex

_CPU = "CPU 0"


def _parse_select(fields: bytes) -> bool:
    """H: an operation, 'g' for registers and memory or 'c' for resuming, and a thread."""
    if fields[:1] not in (b"g", b"c"):
        raise MalformedPacket(f"H for an unknown operation {quote(fields[:1])}")
    return names_the_thread(fields[1:])


class Threads(Feature[Target]):
    # There is one process. But gdb 13 aborts at `record full` where the process has no number.
    words = ("multiprocess+",)

    def answer(self, ours: bool) -> bytes:
        return b"OK" if ours else self.connection.error(errno.ESRCH, "there is no thread but 1")

    def extra(self, ours: bool) -> bytes:
        return to_hex(_CPU) if ours else self.answer(ours)

    def list(self, annex: str) -> str | None:
        if annex:
            return None
        name = thread_id(self.connection.client_words).decode()
        return f'<?xml version="1.0"?>\n<threads>\n<thread id="{name}" core="0" name="{_CPU}"/>\n</threads>\n'

    def first(self, _: None) -> bytes:
        return b"l" if self.connection.released else b"m" + thread_id(self.connection.client_words)

    def current(self, _: None) -> bytes:
        return b"QC" + thread_id(self.connection.client_words)

    def more(self, _: None) -> bytes:
        return b"l"

    packets = (
        PacketKind("H", _parse_select, answer, reads=True, uncontrolled=True),
        PacketKind("T", names_the_thread, answer, reads=True, uncontrolled=True),
        PacketKind("qC", nothing, current, reads=True, uncontrolled=True),
        PacketKind("qfThreadInfo", nothing, first, reads=True, uncontrolled=True),
        PacketKind("qsThreadInfo", nothing, more, reads=True, uncontrolled=True),
        PacketKind("qThreadExtraInfo", names_the_thread, extra, reads=True, uncontrolled=True),
    )
    documents = (Document("threads", list, uncontrolled=True),)
