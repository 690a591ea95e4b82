# SPDX-License-Identifier: GPL-2.0-or-later
"""Packets a client might send, and what becomes of them when bits of them are changed."""

from random import Random

from .client import framed

SEEDS = [
    *b"g p0 P0=0000000000000000 ? vCont;s:1;c vCont;r40000000,40000010:1 vCont;C05:1 vCont? s S05 qC Hg0 Hc-1".split(),
    *b"Z0,40000040,4 z0,40000040,4 Z2,40000040,8 Z4,40000040,8 qSupported:swbreak+;error-message+;x qAttached".split(),
    *b"m40000000,10 M40000000,2:ffff x40000000,10 X40000000,2:ab qXfer:features:read:target.xml:0,fff T1".split(),
    *b"qXfer:threads:read::0,fff qfThreadInfo qThreadExtraInfo,1 qRcmd,6563686f qArmprobe.run:6563686f20".split(),
    *b"qArmprobe.complete:6c qArmprobe.commands qArmprobe.stop D;1 vKill;1 G00 k".split(),
]


def mutated(random: Random) -> bytes:
    """A packet that was good before up to three changes to it, and may end early."""
    payload = bytearray(random.choice(SEEDS))
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
