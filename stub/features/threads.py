# SPDX-License-Identifier: GPL-2.0-or-later
"""H, T, qC, qfThreadInfo, qsThreadInfo, qThreadExtraInfo, qXfer:threads: the guest's tasks, or its CPU as thread 1.

GDB manual, "General Query Packets" and "Thread List Format".
"""

import errno

from armprobe.stub.feature import Document, Feature, PacketKind
from armprobe.stub.target import Target, TargetError
from armprobe.stub.visible import visible
from armprobe.stub.wire import MalformedPacket, nothing, quote, thread_number, to_hex


def _parse_select(fields: bytes) -> tuple[bool, int | None]:
    """H: an operation, 'g' for registers and memory or 'c' for resuming, and a thread."""
    if fields[:1] not in (b"g", b"c"):
        raise MalformedPacket(f"H for an unknown operation {quote(fields[:1])}")
    return fields[:1] == b"g", thread_number(fields[1:])


def _line(text: str) -> str:
    return visible(text).replace("\n", "?")


class Threads(Feature[Target]):
    # There is one process. But gdb 13 aborts at `record full` where the process has no number.
    words = ("multiprocess+",)

    def select(self, selected: tuple[bool, int | None]) -> bytes:
        to_look_at, thread = selected
        threads = self.connection.threads
        if to_look_at:
            threads.select(_known(thread))
        else:
            threads.check(_known(thread))
        return b"OK"

    def alive(self, thread: int | None) -> bytes:
        self.connection.threads.check(_known(thread))
        return b"OK"

    def extra(self, thread: int | None) -> bytes:
        found = self.connection.threads.find(_known(thread))
        return to_hex(_line(found.state or found.name))

    def list(self, annex: str) -> str | None:
        if annex:
            return None
        from xml.sax.saxutils import escape, quoteattr  # here, as it imports all of urllib

        threads = self.connection.threads
        rows = [
            f'<thread id="{threads.id(each.number).decode()}" core="0" name={quoteattr(_line(each.name))}>'
            f"{escape(_line(each.state))}</thread>\n"
            for each in (() if self.connection.released else threads.all())
        ]
        return f'<?xml version="1.0"?>\n<threads>\n{"".join(rows)}</threads>\n'

    def first(self, _: None) -> bytes:
        threads = self.connection.threads
        if self.connection.released:
            return b"l"
        return b"m" + b",".join(threads.id(each.number) for each in threads.all())

    def current(self, _: None) -> bytes:
        return b"QC" + self.connection.threads.running_id

    def more(self, _: None) -> bytes:
        return b"l"

    packets = (
        PacketKind("H", _parse_select, select, reads=True, uncontrolled=True),
        PacketKind("T", thread_number, alive, reads=True, uncontrolled=True),
        PacketKind("qC", nothing, current, reads=True, uncontrolled=True),
        PacketKind("qfThreadInfo", nothing, first, reads=True, uncontrolled=True),
        PacketKind("qsThreadInfo", nothing, more, reads=True, uncontrolled=True),
        PacketKind("qThreadExtraInfo", thread_number, extra, reads=True, uncontrolled=True),
    )
    documents = (Document("threads", list, uncontrolled=True),)


def _known(thread: int | None) -> int:
    if thread is None:
        raise TargetError(errno.ESRCH, "there is no process but 1")
    return thread
