# SPDX-License-Identifier: GPL-2.0-or-later
"""Packets a client might send, and what becomes of them when bits of them are changed."""

from collections.abc import Sequence
from random import Random

from tests.stub.client import framed

SEEDS = [
    *b"g p0 P0=0000000000000000 ? vCont;s:1;c vCont;r40000000,40000010:1 vCont;C05:1 vCont? s S05 qC Hg0 Hc-1".split(),
    *b"Z0,40000040,4 z0,40000040,4 Z2,40000040,8 Z4,40000040,8 qSupported:swbreak+;error-message+;x qAttached".split(),
    *b"m40000000,10 M40000000,2:ffff x40000000,10 X40000000,2:ab qXfer:features:read:target.xml:0,fff T1".split(),
    *b"qXfer:threads:read::0,fff qfThreadInfo qThreadExtraInfo,1 qRcmd,6563686f qArmprobe.run:6563686f20".split(),
    *b"! D R00 vRun; vAttach;1 qCRC:40000000,10 qSearch:memory:40000000;100;x QTinit QTStart QTStop qTStatus".split(),
    *b"Z0,40000040,4;X3,220127cmds:0,Xc,2200220034000468690a0027 Z1,40000040,4;X4,26002027".split(),
    *b"QTFrame:0 QTFrame:-1 QTDP:1:40000010:E:0:0- QTDP:-1:40000010:R1- QTDP:-1:40000010:M-1,40000000,8-".split(),
    *b"QTDP:-1:40000010:SX5,2240000c27 QTDP:2:40000020:E:3:5:F4:X3,220127 QTDPsrc:1:40000010:at:0:1:41".split(),
    *b"QTDV:5:1:0:61 QTEnable:1:40000010 QTDisable:1:40000010 QTro:40000000,40000100 qTfP qTsP qTfV qTsV".split(),
    *b"qTP:1:40000010 qTV:5 qTBuffer:0,100 QTBuffer:size:1000 QTBuffer:circular:1 QTDisconnected:1".split(),
    *b"QTNotes:user:61;notes:62 QTFrame:tdp:1 QTFrame:pc:40000010 qXfer:traceframe-info:read::0,fff".split(),
    *b"qXfer:memory-map:read::0,fff qMemoryRegionInfo:40000000 qMemoryRegionInfo:ffffffffffffffff".split(),
    *b"qArmprobe.complete:6c qArmprobe.commands qArmprobe.stop qArmprobe.changes qArmprobe.wait".split(),
    *b"D;1 vKill;1 G00 k".split(),
]


def mutated(random: Random, seeds: Sequence[bytes] = SEEDS) -> bytes:
    """A packet that was good before up to three changes to it, and may end early."""
    payload = bytearray(random.choice(seeds))
    for _ in range(random.randrange(4)):
        at = random.randrange(len(payload) + 1)
        match random.randrange(4):
            case 0:
                payload[at : at + 1] = random.randbytes(1)
            case 1:
                payload[at:at] = random.choice([b",", b";", b":", b"=", b"-1", b"ffffffffffffffff", b"}", b"\x03"])
            case 2:
                del payload[at : at + random.randrange(6)]
            case 3:
                payload[at:at] = payload[:at]
    data = framed(bytes(payload))
    if random.randrange(20) == 0:
        data = data[: random.randrange(len(data))]
    return data
