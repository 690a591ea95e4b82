# SPDX-License-Identifier: GPL-2.0-or-later
"""Qqemu.sstepbits: the packet of QEMU's stub by which pwndbg and GEF tell a whole computer from a process.

QEMU answers with the bits of its packet Qqemu.sstep (QEMU docs/system/gdb.rst, "Changing single-stepping behaviour").
Here a step is a step, so that of these only ENABLE exists.
"""

from armprobe.stub.feature import Feature, PacketKind
from armprobe.stub.target import Target
from armprobe.stub.wire import nothing


class Qemu(Feature[Target]):
    def bits(self, _: None) -> bytes:
        return b"ENABLE=1"

    packets = (PacketKind("Qqemu.sstepbits", nothing, bits, reads=True, uncontrolled=True),)
