# SPDX-License-Identifier: GPL-2.0-or-later
"""g, G, p, P, m, M, x, X and target.xml."""

import xml.etree.ElementTree as ElementTree

import pytest

from armprobe.machine.core.sysregs import SYSTEM_REGISTERS as MACHINE_REGISTERS
from armprobe.stub.aarch64 import ALIASES, QEMU, register_table
from armprobe.stub.register_types import FIELDS
from tests.stub.client import Client
from tests.stub.fake import BASE, NOP, SIZE, SYSTEM_REGISTERS, FakeTarget

AT = b"%x" % BASE


def description(client: Client) -> dict[str, ElementTree.Element]:
    """The registers of target.xml, by name."""
    reply = client.ask(b"qXfer:features:read:target.xml:0,ffff")
    assert reply[:1] == b"l"
    root = ElementTree.fromstring(reply[1:])
    assert root.findtext("architecture") == "aarch64"
    features = {feature.get("name"): feature for feature in root.iter("feature")}
    assert {"org.gnu.gdb.aarch64.core", "org.gnu.gdb.aarch64.fpu"} < set(features)
    return {str(register.get("name")): register for register in root.iter("reg")}


def test_description_has_what_gdb_demands(client: Client) -> None:
    """GDB manual, "AArch64 Features"."""
    registers = description(client)
    core = [f"x{n}" for n in range(31)] + ["sp", "pc", "cpsr"]
    fpu = [f"v{n}" for n in range(32)] + ["fpsr", "fpcr"]
    aliases = [alias for alias, name in ALIASES.items() if name in SYSTEM_REGISTERS]
    assert list(registers) == [*core, *fpu, *SYSTEM_REGISTERS, *aliases]
    for group, names in (("system", SYSTEM_REGISTERS), ("qemu", aliases)):
        for name in names:
            assert registers[name].attrib.items() >= {"bitsize": "64", "save-restore": "no", "group": group}.items()


def test_the_description_does_not_double() -> None:
    """gdb parses it at each attach: aliases take a small part of it."""
    table = register_table(tuple(MACHINE_REGISTERS))
    aliases = table.target_xml.partition(f'<feature name="{QEMU}">')[2]
    assert 0 < len(aliases) < len(table.target_xml) // 10


def test_every_described_register_can_be_read_and_written(client: Client, target: FakeTarget) -> None:
    for number, (name, register) in enumerate(description(client).items()):
        size = int(str(register.get("bitsize"))) // 8
        name = ALIASES.get(name, name)
        was = target.registers[name].to_bytes(size, "little").hex().encode()
        assert client.ask(b"p%x" % number) == was
        value = bytes(range(0x80, 0x80 + size))
        assert client.ask(b"P%x=%b" % (number, value.hex().encode())) == b"OK"
        assert target.registers[name] == int.from_bytes(value, "little")


def test_g_is_laid_out_as_described(client: Client, target: FakeTarget) -> None:
    values = bytes.fromhex(client.ask(b"g").decode())
    for name, register in description(client).items():
        if register.get("group") not in ("system", "qemu"):
            size = int(str(register.get("bitsize"))) // 8
            assert int.from_bytes(values[:size], "little") == target.registers[name]
            values = values[size:]
    assert values == b""


def test_all_registers_are_written_at_once(client: Client, target: FakeTarget) -> None:
    before = dict(target.registers)
    values = bytearray.fromhex(client.ask(b"g").decode())
    assert len(values) == 33 * 8 + 4 + 32 * 16 + 8
    values[8:16] = (0x1122334455667788).to_bytes(8, "little")
    assert client.ask(b"G" + values.hex().encode()) == b"OK"
    assert target.registers == before | {"x1": 0x1122334455667788}
    assert client.ask(b"G" + values[:-1].hex().encode()) == b"E01"
    assert target.registers == before | {"x1": 0x1122334455667788}


@pytest.mark.parametrize("packet", [b"p", b"pfff", b"p-1", b"px", b"P1", b"P1=", b"P1=00", b"P1=0g", b"Pfff=00", b"gx"])
def test_malformed_register_packets(client: Client, target: FakeTarget, packet: bytes) -> None:
    before = dict(target.registers)
    assert client.ask(packet) == b"E01"
    assert target.registers == before


def test_memory(client: Client, target: FakeTarget) -> None:
    assert client.ask(b"m%b,8" % AT) == NOP.hex().encode() * 2
    assert client.ask(b"M%b,3:c0ffee" % AT) == b"OK"
    assert client.ask(b"x%b,4" % AT) == b"b\xc0\xff\xee\xd5"
    assert client.ask(b"X%b,4:}\x03}\x04}\x5d}\x0a" % AT) == b"OK"
    assert target.memory[:4] == b"#$}*"
    assert client.ask(b"x%b,4" % AT) == b"b}\x03}\x04}\x5d}\x0a"


def test_reads_are_cut_short_where_memory_ends(client: Client) -> None:
    assert client.ask(b"m%x,10" % (BASE + SIZE - 4)) == NOP.hex().encode()
    assert client.ask(b"x%x,10" % (BASE + SIZE - 4)) == b"b" + NOP


def test_empty_reads_and_writes(client: Client) -> None:
    """Clients probe for x and X with them. An empty reply to m would say that there is no such packet."""
    assert client.ask(b"x0,0") == b"b"
    assert client.ask(b"X0,0:") == b"OK"
    assert client.ask(b"m0,0") == b"E01"


def test_a_large_read_takes_one_packet(client: Client) -> None:
    assert len(client.ask(b"m%b,%x" % (AT, SIZE))) >= 2 * (SIZE - 1)


@pytest.mark.parametrize(
    "packet",
    [
        b"m0,4",  # GDB unwinds to both of these
        b"mfffffffffffffffc,4",
        b"mfffffffffffffffc,8",
        b"m0,ffffffffffffffff",
        b"xffffffffffffffff,1",
        b"M0,1:00",
        b"X0,1:x",
        b"M%x,8:0000000000000000" % (BASE + SIZE - 4),
    ],
)
def test_where_there_is_no_memory(client: Client, packet: bytes) -> None:
    assert client.ask(packet) == b"E0e"  # EFAULT


@pytest.mark.parametrize(
    "packet",
    [
        *b"m m1 m, m1, mx,1 m0x1,1 m1_0,1 m-1,1 m10000000000000000,1 m1,10000000000000000 x".split(),
        *b"M1,1 M1,1: M1,1:0 M1,1:0000 M1,1:zz Mfffffffffffffffc,8:0000000000000000 X1,2:x X1".split(),
        b"m 1,1",
    ],
)
def test_malformed_memory_packets(client: Client, packet: bytes) -> None:
    assert client.ask(packet) == b"E01"


def test_documents_come_in_pieces(client: Client) -> None:
    whole = client.ask(b"qXfer:features:read:target.xml:0,ffff")[1:]
    pieces = b""
    while (reply := client.ask(b"qXfer:features:read:target.xml:%x,100" % len(pieces)))[:1] == b"m":
        assert len(reply) == 0x101
        pieces += reply[1:]
    assert reply[:1] == b"l"
    assert pieces + reply[1:] == whole
    assert client.ask(b"qXfer:features:read:target.xml:ffffff,100") == b"l"


@pytest.mark.parametrize(
    ("packet", "reply"),
    [
        (b"qXfer:features:read:other.xml:0,10", b"E01"),
        (b"qXfer:features:read:target.xml:0", b"E01"),
        (b"qXfer:features:read:target.xml", b"E01"),
        (b"qXfer:features:write:target.xml:0:x", b""),
        (b"qXfer:auxv:read::0,10", b""),
        (b"qXfer", b"E01"),
    ],
)
def test_documents_that_are_not_there(client: Client, packet: bytes, reply: bytes) -> None:
    assert client.ask(packet) == reply


@pytest.mark.parametrize("register", FIELDS)
def test_fields_do_not_overlap(register: str) -> None:
    bits = [bit for _, low, high in FIELDS[register] for bit in range(low, high + 1)]
    assert len(bits) == len(set(bits))
    assert max(bits) < {"cpsr": 32, "fpsr": 32, "fpcr": 32}.get(register, 64)
    names = [name for name, _, _ in FIELDS[register]]
    assert len(names) == len(set(names))
