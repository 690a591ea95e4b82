# SPDX-License-Identifier: GPL-2.0-or-later
"""The hash table by which the C core finds the place of a breakpoint."""

from __future__ import annotations

import ctypes
import random

import pytest

from armprobe import machine
from armprobe.machine.native.places import Action, Place, Places
from armprobe.machine.native.structures import NativeSlot


def found(places: Places, address: int) -> int | None:
    """The address of the place that a search finds: as place_at in places.c, row by row to an empty one."""
    recorder = places.recorder
    table = (ctypes.c_uint64 * (recorder.mask + 1)).from_address(recorder.places)
    at = address // 4
    while entry := table[at & recorder.mask]:
        if Place.from_address(entry).address == address:
            return entry
        at += 1
    return None


@pytest.mark.parametrize("seed", range(5))
def test_what_was_put_and_not_removed_is_found(seed: int) -> None:
    """Addresses that collide are many: all are near each other, or a large power of two apart."""
    places, choose = Places(machine.load("demo").core, 16), random.Random(seed)
    there: set[int] = set()
    near = [0x4008_0000 + 4 * at for at in range(200)] + [0x4008_0000 + (at << 20) for at in range(200)]
    for _ in range(3000):
        address = choose.choice(near)
        if address in there and choose.random() < 0.8:
            places.remove(address)
            there.remove(address)
        elif address not in there:
            places.put_breakpoint(address, 0xD503201F, NativeSlot(0x1000), [Action()])
            there.add(address)
    assert {address for address in near if found(places, address) is not None} == there
    assert len({found(places, address) for address in there}) == len(there)
