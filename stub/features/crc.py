# SPDX-License-Identifier: GPL-2.0-or-later
"""qCRC: the checksum of memory, for `compare-sections` (GDB manual, "General Query Packets")."""

import errno
import zlib

from armprobe.stub.feature import Feature, PacketKind
from armprobe.stub.target import Target, TargetError
from armprobe.stub.wire import span

_PIECE = 0x10000  # bytes read at once
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class Crc(Feature[Target]):
    def checksum(self, where: tuple[int, int]) -> bytes:
        """The CRC of gdb's "Separate Debug Files": polynomial 0x04c11db7, most significant bit first, begun with all
        ones. zlib's is the same with the bits of each byte and of the result in reverse, and inverted at the end.
        """
        address, length = where
        crc = 0
        while length:
            piece = self.target.read_memory(address, min(length, _PIECE))
            crc = zlib.crc32(piece.translate(_MIRRORED), crc)
            address, length = address + len(piece), length - len(piece)
            if length and not piece:
                raise TargetError(errno.EFAULT, f"there is no memory at 0x{address:x}")
        return b"C%x" % int(f"{crc ^ 0xFFFF_FFFF:032b}"[::-1], 2)

    packets = (PacketKind("qCRC", span, checksum, reads=True),)
