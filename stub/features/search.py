# SPDX-License-Identifier: GPL-2.0-or-later
"""qSearch:memory: finds bytes without sending all of the memory (GDB manual, "General Query Packets")."""

import errno

from armprobe.machine.lazy_dataclass import lazy_dataclass
from armprobe.stub.connection import State
from armprobe.stub.feature import Feature, PacketKind
from armprobe.stub.target import Target, TargetError
from armprobe.stub.wire import ADDRESS_SPACE, MalformedPacket, number, split

_PIECE = 0x10000  # bytes read at once


@lazy_dataclass
class Search:
    """The bytes to find, and the memory to search, which ends at the latest with the address space."""

    address: int
    length: int
    pattern: bytes

    @staticmethod
    def parse(fields: bytes) -> "Search | None":
        """None if it is no search of memory."""
        kind, _, rest = fields.partition(b":")
        if kind != b"memory":
            return None
        address, length, pattern = split(rest, b";", 3)
        if not pattern:
            raise MalformedPacket("a search for nothing")
        start = number(address)
        return Search(start, min(number(length), ADDRESS_SPACE - start), pattern)


class MemorySearch(Feature[Target]):
    def search(self, search: Search | None) -> bytes | None:
        if search is None:
            return b""
        self.connection.run_aside(lambda: self._find(search))
        return None

    def _find(self, search: Search) -> bytes:
        self.connection.require_control()
        target, at, end = self.target, search.address, search.address + search.length
        kept = b""  # the end of the last piece, in which a match may begin
        while at < end and self.connection.state is not State.DISCONNECTED:
            wanted = min(_PIECE, end - at)
            piece = target.read_memory(at, wanted)
            found = (kept + piece).find(search.pattern)
            if found >= 0:
                return b"1,%x" % (at - len(kept) + found)
            if len(piece) < wanted:
                raise TargetError(errno.EFAULT, f"the memory to be searched ends at 0x{at + len(piece):x}")
            at += len(piece)
            kept += piece
            kept = kept[max(0, len(kept) - len(search.pattern) + 1) :]
        return b"0"

    packets = (PacketKind("qSearch", Search.parse, search, reads=True, uncontrolled=True),)
