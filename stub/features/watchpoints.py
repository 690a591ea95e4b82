# SPDX-License-Identifier: GPL-2.0-or-later
"""Z2 to Z4, z2 to z4: watchpoints (GDB manual, "Packets"). The packets are idempotent, as those of breakpoints."""

from __future__ import annotations

import errno
from functools import partial
from typing import TYPE_CHECKING

from armprobe.stub.feature import Feature, PacketKind
from armprobe.stub.target import TargetError, WatchKind, Watchpoints
from armprobe.stub.wire import MalformedPacket, number, split

if TYPE_CHECKING:
    from armprobe.stub.connection import Connection

_MOST = 100  # every access of the guest's to memory is compared with each

Key = tuple[WatchKind, int, int]
"""Kind, address, and the number of bytes watched."""


def _parse(kind: WatchKind, fields: bytes) -> Key:
    place, _, options = fields.removeprefix(b",").partition(b";")
    address, length = split(place, b",", 2)
    if options:
        raise MalformedPacket("a watchpoint takes neither conditions nor commands")
    return kind, number(address), number(length)


class WatchpointPackets(Feature[Watchpoints]):
    def __init__(self, connection: Connection, target: Watchpoints) -> None:
        super().__init__(connection, target)
        self._inserted: set[Key] = set()

    def released(self) -> None:
        self._inserted.clear()

    def insert(self, key: Key) -> bytes:
        if key not in self._inserted:
            if len(self._inserted) >= _MOST:
                raise TargetError(errno.E2BIG, f"there are {_MOST} watchpoints already: delete some")
            self.target.insert_watchpoint(*key)
            self._inserted.add(key)
        return b"OK"

    def remove(self, key: Key) -> bytes:
        if key in self._inserted:
            self.target.remove_watchpoint(*key)
            self._inserted.remove(key)
        return b"OK"

    packets = (
        PacketKind("Z2", partial(_parse, WatchKind.WRITE), insert),
        PacketKind("Z3", partial(_parse, WatchKind.READ), insert),
        PacketKind("Z4", partial(_parse, WatchKind.ACCESS), insert),
        PacketKind("z2", partial(_parse, WatchKind.WRITE), remove, uncontrolled=True),
        PacketKind("z3", partial(_parse, WatchKind.READ), remove, uncontrolled=True),
        PacketKind("z4", partial(_parse, WatchKind.ACCESS), remove, uncontrolled=True),
    )
