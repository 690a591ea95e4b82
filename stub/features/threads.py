# SPDX-License-Identifier: GPL-2.0-or-later
"""H, T, qC, qfThreadInfo, qsThreadInfo, qThreadExtraInfo, qXfer:threads: the one CPU as thread 1.

GDB manual, "General Query Packets" and "Thread List Format".
"""

from armprobe.stub.connection import Connection
from armprobe.stub.feature import Document, Feature, PacketKind
from armprobe.stub.wire import MalformedPacket, names_the_thread, nothing, quote, thread_id, to_hex

_CPU = "CPU 0"


def _parse_select(fields: bytes) -> bool:
    """H: an operation, 'g' for registers and memory or 'c' for going on, and the thread it is for."""
    if fields[:1] not in (b"g", b"c"):
        raise MalformedPacket(f"H for an unknown operation {quote(fields[:1])}")
    return names_the_thread(fields[1:])


def _answer(connection: Connection, ours: bool) -> bytes:
    return b"OK" if ours else connection.error(3, "there is no thread but 1")  # ESRCH


def _extra(connection: Connection, ours: bool) -> bytes:
    return to_hex(_CPU) if ours else _answer(connection, ours)


def _list(connection: Connection, annex: str) -> str | None:
    if annex:
        return None
    name = thread_id(connection.client_words).decode()
    return f'<?xml version="1.0"?>\n<threads>\n<thread id="{name}" core="0" name="{_CPU}"/>\n</threads>\n'


def _first(connection: Connection, _: None) -> bytes:
    return b"l" if connection.released else b"m" + thread_id(connection.client_words)


FEATURE = Feature(
    packets=(
        PacketKind("H", _parse_select, _answer, reads=True),
        PacketKind("T", names_the_thread, _answer, reads=True),
        PacketKind("qC", nothing, lambda connection, _: b"QC" + thread_id(connection.client_words), reads=True),
        PacketKind("qfThreadInfo", nothing, _first, reads=True),
        PacketKind("qsThreadInfo", nothing, lambda *_: b"l", reads=True),
        PacketKind("qThreadExtraInfo", names_the_thread, _extra, reads=True),
    ),
    documents=(Document("threads", _list),),
    # There is one process. But gdb 13 aborts at `record full` where the process has no number.
    words=("multiprocess+",),
)
