# SPDX-License-Identifier: GPL-2.0-or-later
"""A virtio block device: the disk of a guest (Virtual I/O Device 1.2, section 5.2)."""

from __future__ import annotations

import struct
from typing import Final

from armprobe.machine.memory.disk_image import SECTOR, DiskFull, DiskImage

from .virtio_mmio import QUEUE_MAX, BrokenQueue, Buffer, VirtioDevice

_BLOCK: Final = 2  # the device's ID (section 5)
_SEG_MAX, _FLUSH = 1 << 2, 1 << 9  # VIRTIO_BLK_F_*
_IN, _OUT, _FLUSH_TYPE, _GET_ID = 0, 1, 4, 8  # types of requests
_OK, _IOERR, _UNSUPP = 0, 1, 2  # their status
_HEADER: Final = struct.Struct("<IIQ")  # type, reserved, sector
_ID: Final = b"armprobe".ljust(20, b"\0")
_LARGEST: Final = 16 << 20  # bytes of a request


class VirtioBlock(VirtioDevice):
    """The disk. What is written goes to the memory of `image`, so that a flush has nothing to do."""

    def __init__(self, image: DiskImage) -> None:
        super().__init__("virtio_mmio", _BLOCK, _SEG_MAX | _FLUSH)
        self.image = image

    def config(self) -> bytes:
        """struct virtio_blk_config: capacity, size_max, seg_max. Header and status take two descriptors."""
        return struct.pack("<QII", self.image.size // SECTOR, 0, QUEUE_MAX - 2)

    def serve(self, readable: list[Buffer], writable: list[Buffer]) -> int:
        """Do one request (5.2.6)."""
        sizes = sum(buffer.size for buffer in readable), sum(buffer.size for buffer in writable)
        if sum(sizes) > _LARGEST:
            raise BrokenQueue(f"a request has {sum(sizes):,} bytes, and {_LARGEST:,} are the limit")
        if sizes[0] < _HEADER.size or not sizes[1]:
            raise BrokenQueue("a request has no header, or no room for its status")
        sent = self.gather(readable)
        kind, _, sector = _HEADER.unpack_from(sent)
        answer, status = self._do(kind, sector * SECTOR, sent[_HEADER.size :], sizes[1] - 1)
        self.scatter(writable, answer.ljust(sizes[1] - 1, b"\0") + bytes([status]))
        return sizes[1]

    def _do(self, kind: int, at: int, data: bytes, wanted: int) -> tuple[bytes, int]:
        """The answer to a request, and its status."""
        size = self.image.size
        if kind == _IN and not wanted % SECTOR and at + wanted <= size:
            return self.image.read(at, wanted), _OK
        if kind == _OUT and not len(data) % SECTOR and at + len(data) <= size:
            try:
                self.image.write(at, data)
            except DiskFull as error:
                self.state["error"] = str(error)
                return b"", _IOERR
            return b"", _OK
        if kind == _FLUSH_TYPE:
            return b"", _OK
        if kind == _GET_ID and wanted >= len(_ID):
            return _ID, _OK
        return b"", _IOERR if kind in (_IN, _OUT, _GET_ID) else _UNSUPP
