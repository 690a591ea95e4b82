# SPDX-License-Identifier: GPL-2.0-or-later
"""qXfer:memory-map and qMemoryRegionInfo."""

import xml.etree.ElementTree as ElementTree

import pytest

from armprobe.machine.memory.regions import Region
from tests.stub.client import Client
from tests.stub.fake import BASE, SIZE, FakeTarget

TOP = 1 << 64


def memory_map(client: Client) -> list[tuple[int, int]]:
    """Starts and ends."""
    reply = client.ask(b"qXfer:memory-map:read::0,ffff")
    assert reply[:1] == b"l"
    root = ElementTree.fromstring(reply[1:])
    assert root.tag == "memory-map"
    assert {(each.tag, each.get("type")) for each in root} == {("memory", "ram")}
    found = [(int(str(each.get("start")), 16), int(str(each.get("length")), 16)) for each in root]
    assert all(0 < length < TOP for _, length in found)  # gdb takes it as 64 bits
    return [(start, start + length) for start, length in found]


def region_info(client: Client, address: int) -> dict[str, str]:
    reply = client.ask(b"qMemoryRegionInfo:%x" % address).decode()
    assert reply.endswith(";")
    return dict(pair.split(":") for pair in reply[:-1].split(";"))


def test_the_map_has_memory_by_itself_and_leaves_no_address_out(client: Client) -> None:
    """What is not in it gdb does not even ask for."""
    pieces = memory_map(client)
    assert pieces[0][0] == 0
    assert pieces[-1][1] == TOP
    assert [end for _, end in pieces[:-1]] == [start for start, _ in pieces[1:]]
    assert (BASE, BASE + SIZE) in pieces
    assert client.ask(b"qXfer:memory-map:read:1:0,ffff") == b"E01"


def test_the_map_says_nothing_of_memory_that_page_tables_move(client: Client, target: FakeTarget) -> None:
    target.translating = True
    assert memory_map(client) == [(0, TOP >> 1), (TOP >> 1, TOP)]


def test_a_region(client: Client) -> None:
    """LLDB, docs/resources/lldbgdbremote.md: names are in hexadecimal, and no permissions mean unmapped."""
    ram = {"start": f"{BASE:x}", "size": f"{SIZE:x}", "permissions": "rwx", "name": b"RAM".hex()}
    assert region_info(client, BASE) == region_info(client, BASE + SIZE - 1) == ram
    assert region_info(client, BASE - 1) == {"start": "0", "size": f"{BASE:x}"}


def test_regions_come_to_an_end(client: Client) -> None:
    """LLDB asks where the last one ended until that is 2**64 - 1, and would begin again at 0 behind that."""
    ends = [0]
    while ends[-1] != TOP - 1:
        region = region_info(client, ends[-1])
        assert int(region["start"], 16) == ends[-1]
        ends.append(int(region["start"], 16) + int(region["size"], 16))
    assert ends == [0, BASE, BASE + SIZE, TOP - 1]
    assert region_info(client, TOP - 1)["start"] == f"{BASE + SIZE:x}"


@pytest.mark.parametrize("address", [0, TOP >> 1])
def test_regions_as_large_as_can_be(client: Client, target: FakeTarget, address: int) -> None:
    target.regions = [Region(0, TOP, "", "")]
    assert region_info(client, address) == {"start": "0", "size": f"{TOP - 1:x}"}
    assert memory_map(client) == [(0, TOP >> 1), (TOP >> 1, TOP)]


@pytest.mark.parametrize("fields", [b"", b":", b":x", b":1,2", b":10000000000000000"])
def test_malformed_region_packets(client: Client, fields: bytes) -> None:
    assert client.ask(b"qMemoryRegionInfo" + fields) == b"E01"
