# SPDX-License-Identifier: GPL-2.0-or-later
"""qXfer:memory-map and qMemoryRegionInfo: what is where (GDB manual, "Memory Map Format"; LLDB, "GDB Remote Protocol
Extensions").

gdb asks once, takes the regions for virtual addresses as long as it is connected, and neither reads nor writes outside
them. So the map covers all 64 bits of address space, gaps included, as `ram`: gdb then asks the stub for each access.
While the guest's MMU is off, RAM and each device are regions of their own, so that gdb reads no further than to the end
of one at a time. With the MMU on, no map would stay true for long, and the regions are the two halves of the address
space, TTBR0_EL1's and TTBR1_EL1's. The board has no ROM.

LLDB asks by address, as often as it needs, and is told what the page tables have at that time.
"""

from collections.abc import Iterator

from armprobe.stub.feature import Document, Feature, PacketKind
from armprobe.stub.target import MemoryMap
from armprobe.stub.wire import ADDRESS_SPACE, number, to_hex

_HALF = ADDRESS_SPACE >> 1
_LAST = ADDRESS_SPACE - 1


def _pieces(target: MemoryMap) -> Iterator[tuple[int, int]]:
    """Starts and ends of the regions of the map, without gaps."""
    at = 0
    # A piece that is all of it would have a length of more than 64 bits.
    for end in sorted({_HALF, ADDRESS_SPACE, *(region.end for region in target.untranslated_memory())}):
        yield at, end
        at = end


class Regions(Feature[MemoryMap]):
    def map(self, annex: str) -> str | None:
        if annex:
            return None
        pieces = _pieces(self.target)
        regions = "".join(f'<memory type="ram" start="{at:#x}" length="{end - at:#x}"/>\n' for at, end in pieces)
        return (
            '<?xml version="1.0"?>\n<!DOCTYPE memory-map PUBLIC "+//IDN gnu.org//DTD GDB Memory Map V1.0//EN" '
            f'"http://sourceware.org/gdb/gdb-memory-map.dtd">\n<memory-map>\n{regions}</memory-map>\n'
        )

    def region(self, address: int) -> bytes:
        region = self.target.memory_region(address)
        # LLDB goes on where a region ends until that is its greatest number; a region behind it would begin again at 0.
        start, size = region.start, min(region.end, _LAST) - region.start
        access = b"permissions:%b;name:%b;" % (region.access.encode(), to_hex(region.name)) if region.access else b""
        return b"start:%x;size:%x;%b" % (start, size, access)

    packets = (PacketKind("qMemoryRegionInfo", number, region, reads=True),)
    documents = (Document("memory-map", map),)
